"""docs/data.md and the help of `convert` are complete."""

import re
from pathlib import Path

from spacy.cli._util import app
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data import check as checking
from spacy_reprtune.data import checks
from spacy_reprtune.data.formats import find_reader, format_names

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "data.md").read_text("utf8")


def test_every_finding_is_in_the_document():
    folder = Path(checks.__file__).parent
    sources = [
        path.read_text("utf8") for path in [*folder.glob("[!f]*.py"), Path(checking.__file__)]
    ]
    codes = {
        code
        for source in sources
        for code in re.findall(r'"(?:error|warning)",\s+"([a-z_]+)"', source)
    }
    assert len(codes) >= 30
    named = set(re.findall(r"`([a-z_]+)`", DOCUMENT))
    assert codes <= named, codes - named


def test_every_format_is_in_the_help():
    done = CliRunner().invoke(app, ["reprtune", "convert", "--help"])
    # The lines of the table break where they like.
    shown = re.sub(r"[\s│]", "", done.output)
    # Pages that add a format of their own may have run in this process.
    own = [n for n in format_names() if find_reader(n).__module__.startswith("spacy_reprtune.")]
    assert len(own) > 10 and [name for name in own if name not in shown] == []
