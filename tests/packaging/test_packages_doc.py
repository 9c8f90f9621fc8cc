"""Every command of docs/packages.md runs as it is written, but for those that need the hub."""

import re
import shlex
import shutil
from pathlib import Path

import spacy
import srsly
from spacy.cli._util import app
from spacy.training import Corpus
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data.convert import convert
from spacy_reprtune.packaging.wheels import _SOURCE

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "packages.md").read_text("utf8")


def test_the_document_runs_from_top_to_bottom(tmp_path, monkeypatch, model_config):
    for name in _SOURCE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    samples = ROOT / "assets" / "samples"
    convert({"train": samples / "reviews.csv"}, Path("corpus/reviews"), split="50/25/25")
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    nlp.initialize(lambda: Corpus(Path("corpus/reviews/train.spacy"))(nlp))
    Path("training/mine").mkdir(parents=True)
    nlp.to_disk("training/mine/model-best")
    Path("metrics").mkdir()
    scores = nlp.evaluate(list(Corpus(Path("corpus/reviews/test.spacy"))(nlp)))
    srsly.write_json("metrics/mine.json", scores)
    ran = []
    for block in re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL):
        for line in block.splitlines():
            arguments = shlex.split(line)
            assert arguments[:4] == ["python", "-m", "spacy", "reprtune"], line
            done = CliRunner().invoke(app, arguments[3:])
            assert done.exit_code == 0, f"{line}\n{done.output}"
            ran.append(arguments[4])
    assert ran == ["card", "package", "package", "smoke"]
    assert (tmp_path / "packages" / "en_reviews_small-1.0.0-py3-none-any.whl").is_file()


def test_the_commands_for_the_hub_are_those_that_there_are():
    [line] = [line for line in DOCUMENT.splitlines() if " reprtune push " in line]
    arguments = shlex.split(line)
    options = [a for a in arguments if a.startswith("--")]
    done = CliRunner().invoke(app, ["reprtune", "push", "--help"])
    assert arguments[3:5] == ["reprtune", "push"] and options
    assert all(option in done.output for option in options)
