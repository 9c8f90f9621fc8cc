"""Progress bars: for people at a terminal, never in logs."""

import io
import re
from pathlib import Path

from spacy_reprtune.progress import bar

PACKAGE = Path(__file__).parents[1] / "spacy_reprtune"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_the_time_left_and_a_log_nothing():
    terminal, log = Terminal(), io.StringIO()
    for file in (terminal, log):
        read = list(bar(range(3), what="Reading", unit="texts", total=3, file=file, mininterval=0))
        assert read == [0, 1, 2]
    assert re.search(r"Reading: +33%.*1/3 \[\d\d:\d\d<\d\d:\d\d,", terminal.getvalue())
    assert log.getvalue() == ""


def test_who_asked_for_quiet_gets_quiet():
    terminal = Terminal()
    assert list(bar([1], unit="texts", shown=False, file=terminal)) == [1]
    assert terminal.getvalue() == ""


def test_all_bars_of_the_package_are_made_in_one_place():
    users = [p.name for p in PACKAGE.rglob("*.py") if re.search(r"\btqdm\b", p.read_text("utf8"))]
    assert users == ["progress.py"]
