"""A card says what is known of a pipeline, and that the rest is missing."""

import gzip
import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import spacy
import srsly
from huggingface_hub import ModelCard
from spacy.cli._util import app
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data.convert import convert
from spacy_reprtune.packaging.half import find_encoders
from spacy_reprtune.packaging.wheels import package_pipeline
from spacy_reprtune.reporting.card import data_counts, freezing
from spacy_reprtune.reporting.card_facts import CardFacts, EncoderFacts, read_pipeline
from spacy_reprtune.reporting.intervals import score_intervals
from spacy_reprtune.reporting.metrics import find_metrics
from spacy_reprtune.reporting.predictions import read_own_predictions

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"
# What `reprtune evaluate` writes for eight texts, six of them right.
GOLD = [1, 1, 1, 1, 0, 0, 0, 0]
FOUND = [1, 1, 1, 0, 0, 0, 0, 1]


def card(*arguments):
    return CliRunner().invoke(app, ["reprtune", "card", *map(str, arguments)])


def write_scores(folder, *, predictions=True, **changes):
    folder.mkdir(exist_ok=True)
    scores = {
        "cats_score": 0.75,
        "cats_score_desc": "macro F",
        "cats_micro_f": 0.75,
        "cats_macro_f": 0.75,
        "cats_macro_auc": 0.875,
        "cats_ece": 0.0625,
        "cats_f_per_type": {label: {"p": 0.75, "r": 0.75, "f": 0.75} for label in ("BAD", "GOOD")},
        "ents_f": None,
        "speed": 1234.5,
        "run": {"docs": 8},
        **changes,
    }
    srsly.write_json(folder / "joint.json", scores)
    if predictions:
        head = {"kind": "start", "version": 1, "labels": ["BAD", "GOOD"], "exclusive": True}
        lines = [{**head, "threshold": 0.0, "scores": {"cats_micro_f": 0.75}}]
        for gold, found in zip(GOLD, FOUND, strict=True):
            cats = {"gold": [1 - gold, gold], "scores": [0.9 - 0.8 * found, 0.1 + 0.8 * found]}
            lines.append({"text": "a text", "cats": cats})
        with gzip.open(folder / "joint.predictions.jsonl.gz", "wt") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "joint.json"


@pytest.fixture
def nlp():
    """An English pipeline: the language is in the names of packages."""
    spacy.util.fix_random_seed(0)
    return spacy.blank("en")


@pytest.fixture
def trained(textcat, tmp_path):
    textcat.to_disk(tmp_path / "model")
    return tmp_path / "model"


def sections(text):
    parts = text.split("\n## ")
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts[1:]}


def test_a_card_says_all_that_is_known(trained, tiny_encoder, tmp_path):
    metrics = write_scores(tmp_path / "metrics")
    convert({"train": SAMPLES / "reviews.csv"}, tmp_path / "corpus", split="50/25/25")
    done = card(
        trained, "--metrics", metrics, "--manifest", tmp_path / "corpus", "--name", "reviews",
        "--version", "1.2.0", "--license", "MIT", "--data-name", "Shop reviews",
        "--data-license", "CC BY 4.0", "--author", "Mira Holt", "--repo", "team/en_reviews",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (trained / "README.md").read_text("utf8")
    said = sections(text)
    assert list(said) == [
        *"Use,Labels,Test scores,Data,Encoder,Calibration,Training,License,Versions".split(",")
    ]
    assert "# en_reviews\n" in text and "missing" not in said["Test scores"]
    assert "- `textcat`: `BAD`, `GOOD`" in said["Labels"]
    assert "| accuracy | 0.750 | 0." in said["Test scores"]
    assert "1,000 bootstrap samples of the 8 test documents" in said["Test scores"]
    assert "| `GOOD` | 0.750 | 0.750 | 0.750 | 0." in said["Test scores"]
    assert "MD5" in said["Data"] and "| texts | 6 | 3 | 3 |" in said["Data"]
    [encoder] = find_encoders(trained)
    digest = hashlib.sha256((encoder / "model.safetensors").read_bytes()).hexdigest()
    assert digest in said["Encoder"] and f"`{tiny_encoder}`" in said["Encoder"]
    weights = sum(p.numel() for p in _model(trained).parameters())
    assert f"{weights:,} parameters, 2 blocks of width 16" in said["Encoder"]
    assert '`unfreeze = "all"`: the whole encoder was trained' in said["Encoder"]
    assert "Temperature of `textcat`: 1 (not fitted" in said["Calibration"]
    assert "error of labels on test: 0.062" in said["Calibration"]
    assert "- Pipeline: MIT\n- Data: CC BY 4.0" in said["License"]
    required = srsly.read_json(trained / "meta.json")["spacy_version"]
    assert f"requires spaCy {required}" in said["Versions"]
    assert "https://huggingface.co/team/en_reviews/resolve/main/en_reviews-1.2.0-py3" in text


def _model(folder):
    return spacy.load(folder).get_pipe("textcat").encoder.model


def test_the_hub_reads_the_metadata(trained, tmp_path):
    done = card(trained, "--metrics", write_scores(tmp_path / "metrics"), "--license", "mit")
    assert done.exit_code == 0, done.output
    data = ModelCard.load(trained / "README.md").data
    assert (data.library_name, data.license, data.language) == ("spacy", "mit", "en")
    assert data.pipeline_tag == "text-classification"
    assert {"spacy", "spacy-reprtune", "text-classification"} <= set(data.tags)
    results = {result.metric_name: result.metric_value for result in data.eval_results}
    assert results == {"accuracy": 0.75, "macro F": 0.75, "macro AUC": 0.875}


def test_micro_f_is_called_accuracy_only_if_labels_are_exclusive(trained, tmp_path):
    metrics = write_scores(tmp_path / "metrics", cats_score_desc="macro AUC")
    assert card(trained, "--metrics", metrics).exit_code == 0
    loaded = ModelCard.load(trained / "README.md")
    assert "| micro F | 0.750 |" in loaded.content and "| accuracy |" not in loaded.content
    assert "accuracy" not in {result.metric_type for result in loaded.data.eval_results}


def test_what_is_not_known_is_said_to_be_missing(trained):
    done = card(trained)
    assert done.exit_code == 0 and "has no test scores" in done.output
    said = sections((trained / "README.md").read_text("utf8"))
    assert said["Test scores"].startswith("\nMissing: no scores were given")
    assert "- Name: missing\n- License: missing\n- Counts and origin: missing" in said["Data"]
    assert "Expected calibration error on test: missing" in said["Calibration"]
    assert "sha256 of the pretrained weights: missing" in said["Encoder"]
    assert "Pipeline: missing" in said["License"]
    data = ModelCard.load(trained / "README.md").data
    assert data.license is None and data.eval_results is None


def test_scores_without_predictions_have_no_intervals(trained, tmp_path):
    metrics = write_scores(tmp_path / "metrics", predictions=False)
    done = card(trained, "--metrics", metrics)
    assert done.exit_code == 0 and "have no intervals" in done.output
    said = sections((trained / "README.md").read_text("utf8"))["Test scores"]
    assert "| accuracy | 0.750 | – |" in said and "Intervals are missing: there are no" in said


def test_predictions_of_another_evaluation_give_no_intervals(trained, tmp_path):
    metrics = write_scores(tmp_path / "metrics", cats_micro_f=0.5)
    done = card(trained, "--metrics", metrics)
    assert done.exit_code == 0
    said = sections((trained / "README.md").read_text("utf8"))["Test scores"]
    assert "belongs to another evaluation than joint.json" in said
    path = metrics.with_name("joint.predictions.jsonl.gz")
    path.write_bytes(path.read_bytes()[:40])
    card(trained, "--metrics", metrics)
    assert "is cut off" in (trained / "README.md").read_text("utf8")


def test_intervals_are_those_of_documents_drawn_again(tmp_path):
    metrics = write_scores(tmp_path / "metrics")
    intervals = intervals_of(metrics, srsly.read_json(metrics))
    low, high = intervals.scores["cats_micro_f"]
    # Six of eight right: the binomial has 2.7 % below 4 of 8, and 10 % at 8 of 8.
    assert low == pytest.approx(0.375, abs=0.126) and high == 1.0
    assert set(intervals.per_label["cats_f_per_type"]) == {"BAD", "GOOD"} and intervals.docs == 8


def intervals_of(path, scores):
    return score_intervals(read_own_predictions(path, scores), scores)


def write_independent(folder):
    """Independent labels of four texts, of which one has no annotation."""
    head = {"kind": "start", "version": 1, "labels": ["A", "B"], "exclusive": False}
    cats = [([1, 0], [0.9, 0.1]), ([0, 1], [0.2, 0.8]), ([0, 0], [0.5, 0.9])]
    lines = [{**head, "threshold": 0.5, "scores": {"cats_score": 0.75}}]
    lines += [{"text": "x", "cats": {"gold": gold, "scores": found}} for gold, found in cats]
    with gzip.open(folder / "joint.predictions.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(line) + "\n" for line in [*lines, {"text": "y"}]))
    return {"cats_score": 0.75, "cats_score_desc": "macro AUC", "cats_macro_auc": 0.75}


def test_independent_labels_have_an_interval_of_their_area(tmp_path):
    intervals = intervals_of(tmp_path / "joint.json", write_independent(tmp_path))
    low, high = intervals.scores["cats_macro_auc"]
    assert 0 <= low < 0.75 < high == 1.0
    metrics = write_scores(tmp_path / "exclusive")
    assert "cats_macro_auc" not in intervals_of(metrics, srsly.read_json(metrics)).scores


def test_documents_of_an_interval_are_those_that_were_drawn(tmp_path):
    assert intervals_of(tmp_path / "joint.json", write_independent(tmp_path)).docs == 3


@pytest.mark.parametrize("change, same", [(1e-8, True), (1e-4, False), (None, False)])
def test_a_card_and_a_report_agree_on_whose_predictions_they_are(tmp_path, change, same):
    scores = write_independent(tmp_path)
    scores.update(cats_score=None if change is None else 0.75 + change, speed=1.0)
    srsly.write_json(tmp_path / "joint.json", scores)
    metrics = find_metrics(tmp_path, corpus=tmp_path / "c", training=tmp_path / "t")
    assert (metrics.recipes[0].predictions is not None) is same
    if same:
        assert intervals_of(tmp_path / "joint.json", scores).scores
    else:
        with pytest.raises(ValueError, match="another evaluation.*cats_score is 0.7500 there"):
            intervals_of(tmp_path / "joint.json", scores)


def test_intervals_of_entities_draw_documents_not_entities(tmp_path):
    both, one = [[0, 2, "A"], [3, 5, "B"]], [[0, 2, "A"]]
    rows = [
        {"text": "x" * 40, "ents": {"gold": both, "found": [[0, 2, "A", 0.9]]}},
        {"text": "y" * 40, "ents": {"gold": one, "found": [[0, 2, "A", None]]}},
    ]
    head = {"kind": "start", "version": 1, "labels": [], "exclusive": True, "threshold": 0.5}
    with gzip.open(tmp_path / "ner.predictions.jsonl.gz", "wt") as file:
        for line in ({**head, "scores": {}}, *rows):
            file.write(json.dumps(line) + "\n")
    intervals = intervals_of(tmp_path / "ner.json", {"ents_f": 0.8, "speed": 1.0})
    assert intervals.scores["ents_f"] == pytest.approx((2 / 3, 1.0))
    per_label = intervals.per_label["ents_per_type"]
    # Always right in two documents, never in one.
    assert per_label["A"] == pytest.approx((0.342, 1.0), abs=1e-3)
    assert per_label["B"] == pytest.approx((0.0, 0.793), abs=1e-3)


def test_labels_with_the_same_name_have_a_row_each():
    own = {"texts": 9, "labels": {"WATER": 4, "texts": 3}, "entities": {"WATER": 7, "CITY": 1}}
    table = data_counts(CardFacts({}, {}, manifest={"splits": {"train": own}}))
    rows = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:])
    assert rows == {
        "texts": "9",
        "WATER (texts)": "4",
        "texts (texts)": "3",
        "WATER (entities)": "7",
        "CITY": "1",
    }
    manifest = {"topics": {"train": {"WATER": 4}}, "entities": {"train": {"WATER": 7}}}
    facts = CardFacts({"labels": {"ner": ["WATER"]}}, {}, manifest=manifest)
    assert "WATER (texts) | 4" in data_counts(facts)
    assert "WATER (entities) | 7" in data_counts(facts)


def test_the_card_and_its_scores_are_in_the_package(trained, tmp_path):
    metrics = write_scores(tmp_path / "metrics")
    card(trained, "--metrics", metrics, "--name", "tiny", "--version", "1.0.0", "--author", "Jon")
    [wheel] = package_pipeline(trained, tmp_path / "out", name="tiny", version="1.0.0")
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(n).name: n for n in archive.namelist() if "en_tiny/en_tiny-1.0.0/" in n}
        packaged = archive.read("en_tiny/en_tiny-1.0.0/README.md").decode()
        meta = json.loads(archive.read(names["meta.json"]))
        about = archive.read("en_tiny-1.0.0.dist-info/METADATA").decode()
    assert packaged == (trained / "README.md").read_text("utf8")
    assert meta["performance"]["cats_micro_f"] == 0.75 and "run" not in meta["performance"]
    assert meta["author"] == "Jon" and meta["description"].startswith("A spaCy pipeline:")
    assert "Summary: A spaCy pipeline: `textcat` with 2 labels" in about


def test_a_copy_has_the_card_and_the_pipeline_stays_as_it_is(trained, tmp_path):
    """A workflow hashes what a training wrote."""
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    done = card(trained, "--output", tmp_path / "release", "--license", "mit")
    assert done.exit_code == 0, done.output
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before
    assert (tmp_path / "release" / "README.md").is_file()
    assert spacy.load(tmp_path / "release").meta["license"] == "mit"
    done = card(trained, "--output", trained)
    assert done.exit_code == 1 and "names MODEL_DIR itself" in done.output


def test_a_card_written_again_says_what_is_so_now(trained):
    card(trained, "--license", "mit")
    card(trained, "--description", "Mine.")
    text = (trained / "README.md").read_text("utf8")
    assert text.count("## Labels") == 1 and "\nMine.\n" in text
    assert "Pipeline: mit" in text


def test_entities_have_a_card_too(ner, tmp_path):
    ner.to_disk(tmp_path / "ner")
    assert card(tmp_path / "ner").exit_code == 0
    loaded = ModelCard.load(tmp_path / "ner" / "README.md")
    assert loaded.data.pipeline_tag == "token-classification"
    assert "`ner`: `ACTOR`, `MUSIC`" in loaded.content and "print(doc.ents)" in loaded.content


@pytest.mark.parametrize(
    ("unfreeze", "words"),
    [
        ("all", "the whole encoder was trained"),
        ("none", "none of it was trained"),
        (0, "none of it was trained"),
        (2, "the last 2 of 6 blocks were trained"),
    ],
)
def test_freezing_is_said_in_words(unfreeze, words):
    facts = EncoderFacts("textcat", "x", None, None, "", 1, "fp32", 6, unfreeze, None, "bert", 8)
    assert words in freezing(facts)


@pytest.mark.parametrize(
    ("name", "content", "option", "message"),
    [
        ("a.json", '{"texts": 3}', "--metrics", "has no scores"),
        ("a.json", "[1]", "--metrics", "must be an object, but it is a list"),
        ("a.json", "{", "--metrics", "can't be read"),
        (
            "a.json",
            '{"speed": 1, "cats_f_per_type": {"sport": {}}}',
            "--metrics",
            "it belongs to another pipeline",
        ),
        ("m.json", '{"files": 3}', "--manifest", "is not the manifest of a corpus"),
    ],
)
def test_wrong_files_are_explained(name, content, option, message, trained, tmp_path):
    (tmp_path / name).write_text(content)
    done = card(trained, option, tmp_path / name)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and message in said, said
    assert not (trained / "README.md").exists()


def test_wrong_names_and_folders_are_explained(trained, tmp_path):
    done = card(trained, "--name", "en_tiny")
    assert done.exit_code == 1 and "begins with the language code" in done.output
    with pytest.raises(ValueError, match="no trained pipeline"):
        read_pipeline(tmp_path)


def test_a_copy_replaces_nothing_but_an_earlier_pipeline(trained, tmp_path):
    def refused(output):
        done = card(trained, "--output", output)
        assert done.exit_code == 1 and "Traceback" not in done.output
        return " ".join(done.output.split())

    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    assert "exists and is not a pipeline" in refused(other)
    assert (other / "chapter.txt").read_text() == "years of work"
    # Also if it looks like a pipeline itself.
    (tmp_path / "meta.json").write_text("{}")
    assert "holds MODEL_DIR" in refused(tmp_path)
    assert "is inside of MODEL_DIR" in refused(trained / "copy")
    assert (trained / "meta.json").is_file() and not (trained / "README.md").exists()

    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "empty", tmp_path / "new", tmp_path / "new"):
        done = card(trained, "--output", output)
        assert done.exit_code == 0, done.output
        assert (output / "README.md").is_file() and (output / "config.cfg").is_file()
