"""The page on annotating at scale shows what runs: its commands, and each engine's program."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from test_annotate_files import ROWS, output_rows
from typer.testing import CliRunner

from spacy_reprtune.annotate import Annotator
from spacy_reprtune.cli import reprtune_cli

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text("utf8")


def block(heading, language):
    """The first block of code under a heading."""
    found = re.search(rf"^#+ {heading}$.+?```{language}\n(.+?)```", PAGE, re.DOTALL | re.MULTILINE)
    return found[1]


@pytest.fixture
def reviews(annotate_pipeline, tmp_path, monkeypatch):
    """A folder with the files that the page names. Returns the best label of each review."""
    shutil.copytree(annotate_pipeline, tmp_path / "training" / "joint" / "model-best")
    rows = {"review_id": [i for i, _ in ROWS], "body": [text for _, text in ROWS]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "reviews.parquet", row_group_size=10)
    monkeypatch.chdir(tmp_path)
    found = Annotator(annotate_pipeline, columns=["cats"]).annotate(rows["body"]).rows
    labels = [row["cats_label"] for row in found]
    return dict(zip(rows["review_id"], labels, strict=True))


def run(heading, *, more=""):
    """Run a program of the page as a script of its own, with lines behind it."""
    Path("program.py").write_text(block(heading, "python") + more, encoding="utf8")
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("heading", ["Annotate files of any size", "Ray: .+"])
def test_the_commands_annotate_all_rows(heading, reviews):
    if heading != "Annotate files of any size":
        pytest.importorskip("ray.data", reason='Ray Data is missing: pip install "ray[data]"')
    arguments = shlex.split(block(heading, "bash"))
    assert arguments[:4] == ["python", "-m", "spacy", "reprtune"]
    done = CliRunner().invoke(reprtune_cli, arguments[4:])
    assert done.exit_code == 0, done.output
    rows = output_rows(Path("annotated"))
    assert {row["id"]: row["cats_label"] for row in rows} == reviews


def test_the_object_annotates_a_batch(reviews):
    names = {}
    exec(compile(block("The same object elsewhere", "python"), "scale.md", "exec"), names)
    assert len(names["annotated"]["cats_label"]) == 2


# What each program needs, where its rows are, and what writes them there if it does not itself.
PROGRAMS = {
    "A process pool": (
        "pyarrow",
        "found.parquet",
        "    pyarrow.parquet.write_table(annotated, 'found.parquet')\n",
    ),
    "Ray Data": ("ray.data", "annotated-ray", ""),
    "Spark": ("pyspark", "annotated-spark", ""),
    "Dask": (
        "dask.dataframe",
        "found.parquet",
        "    table[['review_id', 'cats_label']].to_parquet('found.parquet')\n",
    ),
}


@pytest.mark.parametrize("heading", PROGRAMS)
def test_the_programs_annotate_all_rows(heading, reviews):
    module, written, more = PROGRAMS[heading]
    pytest.importorskip(module, reason=f"{heading} needs {module.partition('.')[0]}.")
    if heading == "Spark" and shutil.which("java") is None:
        pytest.skip("Spark needs Java.")
    run(heading, more=more)
    rows = parquet.read_table(written).to_pylist()
    assert len(rows) == len(reviews)
    assert {row["review_id"]: row["cats_label"] for row in rows} == reviews
    if heading == "Ray Data":
        before = sorted(path.name for path in Path(written).iterdir())
        run(heading)
        assert sorted(path.name for path in Path(written).iterdir()) == before
