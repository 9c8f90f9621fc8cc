import json
import logging

import pytest
import spacy
from conftest import make_entity_examples, make_examples, save_encoder
from spacy.tokens import DocBin
from spacy.util import load_config
from thinc.api import Config
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.training import sweep as sweeping
from spacy_reprtune.training.experiments import fingerprint
from spacy_reprtune.training.sweep import Point, Run, parse_points, smallest_good_point, summarize

CONFIG = """
[paths]
train = null
dev = null

[system]
seed = 7

[nlp]
lang = "xx"
pipeline = ["textcat"]

[components]

[components.textcat]
factory = "reprtune_textcat"

[components.textcat.model]
@architectures = "spacy_reprtune.TextClassifier.v1"

[components.textcat.model.encoder]
@architectures = "spacy_reprtune.Encoder.v1"
name = "ENCODER"
precision = "fp32"

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}

[training]
gpu_allocator = null
seed = ${system.seed}
max_steps = 6
eval_frequency = 3
dev_corpus = "corpora.dev"
train_corpus = "corpora.train"

[training.optimizer]
@optimizers = "Adam.v1"
learn_rate = 0.01
use_averages = false
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "bert", num_hidden_layers=3)


@pytest.fixture
def files(tmp_path, encoder):
    """A config and the data that it names."""
    docs = []
    for example in make_examples(spacy.blank("xx")):
        docs.append(example.reference)
    DocBin(docs=docs).to_disk(tmp_path / "data.spacy")
    (tmp_path / "config.cfg").write_text(CONFIG.replace("ENCODER", str(encoder)))
    return tmp_path


def run(files, *args, drawn=False):
    """Run the command; drawing takes a third of the time of such a sweep."""
    data = str(files / "data.spacy")
    command = ["sweep", str(files / "config.cfg"), "--output", str(files / "m" / "sweep.json")]
    paths = ["--paths.train", data, "--paths.dev", data]
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr("spacy_reprtune.cli.experiments._save_picture", lambda *_: None)
        return CliRunner().invoke(reprtune_cli, [*command, *paths, *args])


def results(files):
    return json.loads((files / "m" / "sweep.json").read_text())


def test_a_sweep_from_the_command_line(files):
    done = run(files, "--unfreeze", "all,none,2", "--seeds", "2", drawn=True)
    assert done.exit_code == 0, done.output
    saved = results(files)
    assert [(r["unfreeze"], r["seed"]) for r in saved["runs"]] == [
        (point, seed) for point in ("none", "2", "all") for seed in (0, 1)
    ]
    assert [p["unfreeze"] for p in saved["points"]] == ["none", "2", "all"]
    for point in saved["points"]:
        scores = [r["score"] for r in saved["runs"] if r["unfreeze"] == point["unfreeze"]]
        assert point["mean"] == pytest.approx(sum(scores) / 2) and point["n_runs"] == 2
    assert all(r["seconds"] > 0 and r["scores"]["cats_macro_f"] <= 1 for r in saved["runs"])
    assert saved["smallest_within_one_standard_error"] in done.output
    assert (files / "m" / "sweep.png").stat().st_size > 5000


def test_an_empty_corpus_is_named(files):
    DocBin().to_disk(files / "data.spacy")
    done = run(files, "--unfreeze", "none", "--seeds", "1")
    assert done.exit_code == 1 and "is [corpora.train] empty?" in " ".join(done.output.split())


def test_an_empty_dev_corpus_is_named(files):
    DocBin().to_disk(files / "none.spacy")
    done = run(
        files, "--unfreeze", "none", "--seeds", "1", "--paths.dev", str(files / "none.spacy")
    )
    assert done.exit_code == 1 and "is [corpora.dev] empty?" in " ".join(done.output.split())


def test_a_sweep_of_an_entity_recognizer(files):
    docs = [eg.reference for eg in make_entity_examples(spacy.blank("xx"))]
    DocBin(docs=docs).to_disk(files / "data.spacy")
    config = (files / "config.cfg").read_text()
    for old, new in (
        ('["textcat"]', '["ner"]'),
        ("components.textcat", "components.ner"),
        ("reprtune_textcat", "reprtune_ner"),
        ("TextClassifier.v1", "TokenClassifier.v1"),
    ):
        assert old in config
        config = config.replace(old, new)
    (files / "config.cfg").write_text(config)
    done = run(files, "--unfreeze", "none,1,all", "--seeds", "1")
    assert done.exit_code == 0, done.output
    saved = results(files)
    assert [p["unfreeze"] for p in saved["points"]] == ["none", "1", "all"]
    for row in saved["runs"]:
        assert {"ents_f", "ents_ece"} <= row["scores"].keys() and row["score"] >= 0.0


def test_all_points_share_one_cache(files, monkeypatch):
    caches = []
    original = sweeping.caches_of
    monkeypatch.setattr(sweeping, "caches_of", lambda nlp: caches.extend(original(nlp)) or caches)
    assert run(files, "-u", "none,1,2", "-s", "2").exit_code == 0
    assert len({id(cache) for cache in caches}) == 1
    # Each of the 8 texts misses once at each of the three cuts, whatever the seed.
    assert caches[0].stats.misses == 3 * 8


def test_it_goes_on_where_it_was_stopped(files, monkeypatch):
    trained = []
    original = sweeping.train_once

    def interrupted(config, unfreeze, seed, **kwargs):
        trained.append((unfreeze, seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return original(config, unfreeze, seed, **kwargs)

    monkeypatch.setattr(sweeping, "train_once", interrupted)
    assert run(files, "-u", "none,all", "-s", "2").exit_code != 0
    assert len(results(files)["runs"]) == 2
    assert run(files, "-u", "none,all", "-s", "2").exit_code == 0
    assert trained == [("all", 0), ("all", 1), ("none", 0), ("none", 0), ("none", 1)]
    first = results(files)
    assert run(files, "-u", "none,all,1", "-s", "2").exit_code == 0
    assert trained[5:] == [("1", 0), ("1", 1)]
    assert [r for r in results(files)["runs"] if r["unfreeze"] != "1"] == first["runs"]


def test_results_of_another_sweep_are_replaced_on_demand(files):
    assert run(files, "-u", "none", "-s", "1").exit_code == 0
    first = results(files)
    assert run(files, "-u", "none", "-s", "1", "--replace").exit_code == 0
    assert results(files)["runs"] == first["runs"]
    changed = ["-u", "none", "-s", "1", "--training.max_steps", "9", "--replace"]
    assert run(files, *changed).exit_code == 0
    assert results(files)["fingerprint"] != first["fingerprint"]


def test_points_are_those_of_the_sweep_that_was_asked_for(files):
    assert run(files, "-u", "none,1,all", "-s", "1").exit_code == 0
    assert run(files, "-u", "none,1", "-s", "2").exit_code == 0
    saved = results(files)
    assert [(p["unfreeze"], p["n_runs"]) for p in saved["points"]] == [("none", 2), ("1", 2)]
    assert len(saved["runs"]) == 5


def test_a_block_that_starts_again_has_to_train_at_every_point(files):
    setting = "--components.textcat.model.encoder.reinit_last"
    done = run(files, "-u", "none,2", "-s", "1", setting, "1")
    assert done.exit_code == 1 and "reinit_last = 1" in " ".join(done.output.split())


def test_results_of_another_sweep_are_never_mixed_in(files):
    assert run(files, "-u", "none", "-s", "1").exit_code == 0
    before = results(files)
    other = run(files, "-u", "none", "-s", "2", "--training.max_steps", "9")
    assert other.exit_code == 1 and "another config or other data" in other.output
    DocBin(docs=[spacy.blank("xx")("new")]).to_disk(files / "data.spacy")
    assert run(files, "-u", "none", "-s", "2").exit_code == 1
    assert results(files) == before
    (files / "m" / "sweep.json").write_text("[]")
    broken = run(files, "-u", "none")
    assert broken.exit_code == 1
    assert "was not written by a sweep" in " ".join(broken.output.split())


def test_all_data_that_is_read_counts_and_what_only_has_a_name_does_not(files):
    config = load_config(files / "config.cfg", interpolate=False)
    data, log = files / "data.spacy", files / "log.jsonl"
    config["corpora"]["train"]["path"] = str(data)
    config["paths"].update(log=str(log), folder=str(files))
    log.write_text("a")
    before = fingerprint(config, output=files / "sweep.json")
    log.write_text("b")
    (files / "sweep.json").write_text("{}")
    assert fingerprint(config, output=files / "sweep.json") == before
    data.write_bytes(b"other")
    assert fingerprint(config, output=files / "sweep.json") != before


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("none,4", "has 3"),
        ("none,some", "'some' is not a point"),
        ("-1", "'-1' is not a point"),
        ("", "'' is not a point"),
    ],
)
def test_points_that_cannot_be(points, message, files):
    done = run(files, f"--unfreeze={points}")
    assert done.exit_code == 1 and message in " ".join(done.output.split())
    assert not (files / "m").exists()


def test_points_count_only_the_blocks_that_the_config_keeps(files):
    kept = ["--components.textcat.model.encoder.keep_blocks", "[0, 2]"]
    done = run(files, "-u", "none,3", "-s", "1", *kept)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "has 2, because of its keep_blocks" in said
    assert not (files / "m").exists()
    assert run(files, "-u", "2", "-s", "1", *kept).exit_code == 0


def test_a_config_without_an_encoder(files):
    (files / "config.cfg").write_text(
        '[paths]\ntrain = null\ndev = null\n\n[nlp]\nlang = "en"\n\n[training]\nseed = 0\n'
    )
    done = run(files)
    assert done.exit_code == 1 and "Encoder.v1" in done.output


def test_points_are_sorted_and_unique():
    assert parse_points("all, 10,2,0,none,2") == ["none", "2", "10", "all"]


def test_the_smallest_point_within_one_standard_error():
    def runs(unfreeze, *scores):
        return [Run(unfreeze, i, score, {}, 1, 1.0) for i, score in enumerate(scores)]

    scores = [
        *runs("all", 0.90, 0.84, 0.87),
        *runs("2", 0.86, 0.86, 0.85),
        *runs("1", 0.7, 0.8, 0.9),
    ]
    points = summarize(scores)
    assert [p.unfreeze for p in points] == ["1", "2", "all"]
    assert points[2].standard_error == pytest.approx(0.03 / 3**0.5)
    smallest, best = smallest_good_point(points)
    assert (smallest.unfreeze, best.unfreeze) == ("2", "all")
    single = [Point("none", 0.8, 0.0, 1.0, 1), Point("all", 0.81, 0.0, 9.0, 1)]
    assert smallest_good_point(single)[0].unfreeze == "all"


def test_the_logger_is_spacys():
    assert sweeping.logger is logging.getLogger("spacy")
    assert sweeping.encoder_blocks(Config().from_str(CONFIG))[0]["precision"] == "fp32"


def test_the_configs_of_the_recipes_can_be_swept(files):
    """Their other sections refer to the seed, which is not part of the fingerprint."""
    batcher = '[training.batcher]\n@batchers = "spacy_reprtune.batch_by_length.v1"\nsize = 4'
    config = (files / "config.cfg").read_text()
    (files / "config.cfg").write_text(f"{config}\n{batcher}\nseed = ${{system.seed}}\n")
    assert run(files, "-u", "none", "-s", "1").exit_code == 0
