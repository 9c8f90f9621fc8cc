"""Every command of docs/packages.md runs as it is written, except those that need the hub."""

import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Dict, NamedTuple

import pytest
import spacy
import srsly
from spacy.cli._util import app
from spacy.training import Corpus
from typer.testing import CliRunner

import spacy_reprtune.cli  # adds its commands to spaCy's
from spacy_reprtune.data.convert import convert
from spacy_reprtune.data.corpus import read_texts
from spacy_reprtune.packaging import smoke
from spacy_reprtune.packaging.agreement import predictions
from spacy_reprtune.packaging.half import weights_types

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "packages.md").read_text("utf8")
SOURCE = ("spacy_reprtune", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PLUGIN = f"spacy_reprtune-{spacy_reprtune.__version__}"


class Followed(NamedTuple):
    """What the commands of the document left and said."""

    folder: Path
    said: Dict[str, str]


@pytest.fixture(scope="module")
def followed(tmp_path_factory, model_config):
    """The commands of the document, from top to bottom. Not to be changed."""
    folder = tmp_path_factory.mktemp("followed")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / name)
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
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
        for block in re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL):
            for line in filter(None, block.splitlines()):
                arguments = shlex.split(line)
                assert arguments[:4] == ["python", "-m", "spacy", "reprtune"], line
                done = CliRunner().invoke(app, arguments[3:])
                assert done.exit_code == 0, f"{line}\n{done.output}"
                said[line] = " ".join(done.output.split())
    return Followed(folder, said)


def test_the_document_runs_from_top_to_bottom(followed):
    ran = [shlex.split(line)[4] for line in followed.said]
    assert ran == ["card", "package", "package", "smoke"]


def test_the_document_uses_existing_options_of_push():
    [line] = [line for line in DOCUMENT.splitlines() if " reprtune push " in line]
    arguments = shlex.split(line)
    options = [a for a in arguments if a.startswith("--")]
    done = CliRunner().invoke(app, ["reprtune", "push", "--help"])
    assert arguments[3:5] == ["reprtune", "push"] and options
    assert all(option in done.output for option in options)


def test_a_packaged_pipeline_works_in_a_fresh_environment(followed):
    names = sorted(path.name for path in (followed.folder / "packages").iterdir())
    pipelines = [f"en_{name}-1.0.0-py3-none-any.whl" for name in ("reviews", "reviews_small")]
    assert names == [*pipelines, f"{PLUGIN}-py3-none-any.whl"]
    result = json.loads((followed.folder / "metrics" / "smoke.json").read_text())
    assert (result["texts"], result["version"]) == (3, "1.0.0")
    assert result["largest_difference"] < 1e-6
    assert (result["weights"], result["equal_predictions"]) == ("fp32", 1.0)


def test_the_wheel_of_this_package_is_whole_and_its_source_stays_clean(followed):
    """All that `pip wheel .` packs; the configs are data files outside of the package."""
    source = followed.folder
    with zipfile.ZipFile(source / "packages" / f"{PLUGIN}-py3-none-any.whl") as wheel:
        packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {path for path in (source / "spacy_reprtune").rglob("*") if path.is_file()}
    expected = {path.relative_to(source).as_posix() for path in files}
    share = f"{PLUGIN}.data/data/share/spacy_reprtune"
    expected |= {f"{share}/configs/{path.name}" for path in (source / "configs").glob("*.cfg")}
    assert packaged == expected and f"{share}/configs/mlm.cfg" in expected
    left = {path.name for path in source.iterdir()}
    assert left == {*SOURCE, "corpus", "metrics", "packages", "training"}


def test_a_package_in_half_precision_tells_what_that_changes(followed, tmp_path):
    [said] = [said for line, said in followed.said.items() if "--half" in line]
    assert "3 of 3 texts (100 %)" in said
    wheel = followed.folder / "packages" / "en_reviews_small-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    packaged = tmp_path / "en_reviews_small" / "en_reviews_small-1.0.0"
    card = (packaged / "README.md").read_text("utf8")
    assert card.startswith("---\n") and "stored in fp16 and loaded as fp32" in card
    trained = followed.folder / "training" / "mine" / "model-best"
    assert "fp16" not in (trained / "README.md").read_text("utf8")

    # Its proof allows for rounding.
    texts = read_texts(followed.folder / "corpus" / "reviews" / "test.spacy", 9)
    found = {"pipeline": "reviews_small", "version": "1.0.0"}
    found["weights"] = weights_types(packaged)
    found["docs"] = predictions(spacy.load(packaged), texts)
    result = smoke.judge(found, predictions(spacy.load(trained), texts), texts)
    assert result["weights"] == "fp16" and result["equal_predictions"] == 1.0
    assert 0 < result["largest_difference"] < 0.02
