"""A small and a large text classifier in one component."""

import logging
import pickle
import warnings

import numpy
import pytest
import spacy
import srsly
from conftest import make_examples
from spacy.cli import package
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from thinc.api import Config

from spacy_reprtune.annotate.next_texts import choose_next
from spacy_reprtune.bridge import ahead
from spacy_reprtune.components.cascade_pipe import ANSWERED_BY
from spacy_reprtune.components.label_kinds import Exclusive
from spacy_reprtune.packaging.half import halve_weights
from spacy_reprtune.reporting.card_facts import read_pipeline

TEXTS = ["a great film", "this movie is bad", "", "  ", "music"]


@pytest.fixture(scope="module")
def cascade_config(tiny_encoder):
    """Makes the config of a cascade on the tiny encoder."""

    def config(**settings):
        def head(encoder):
            return {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}

        kind = "spacy_reprtune.StaticEncoder.v1"
        small = {"@architectures": kind, "name": str(tiny_encoder), "width": 8}
        large = {"@architectures": "spacy_reprtune.Encoder.v1", "name": str(tiny_encoder)}
        large["precision"] = "fp32"
        return {"small": head(small), "large": head(large), **settings}

    return config


def trained(cascade_config, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_cascade", name="textcat", config=cascade_config(**settings))
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.003
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(50):
            nlp.update(examples, sgd=optimizer)
    return nlp, examples


@pytest.fixture(scope="module")
def cascade(cascade_config):
    """A trained pipeline and its examples."""
    return trained(cascade_config)


def answers(nlp, texts=TEXTS):
    return [(doc._.get(ANSWERED_BY), doc.cats) for doc in nlp.pipe(texts)]


def assert_same(found, expected):
    for (who, cats), (their_who, their_cats) in zip(found, expected, strict=True):
        assert who == their_who and cats == pytest.approx(their_cats, abs=1e-3)


def set_threshold(nlp, threshold):
    nlp.get_pipe("textcat").cfg["threshold"] = threshold


def certainties(pipe, docs):
    return pipe.large.kind.certainty(pipe.small.predict(docs))


def test_exclusive_labels_are_sure_if_the_second_best_is_far_behind():
    found = Exclusive().certainty(numpy.array([[0.1, 0.3, 0.6], [0.5, 0.5, 0.0]]))
    assert found == pytest.approx([0.3, 0.0])


def test_overfitting_and_every_way_to_save(cascade, tmp_path):
    nlp, examples = cascade
    assert nlp.evaluate(examples)["cats_score"] == 1.0
    pipe = nlp.get_pipe("textcat")
    assert pipe.calibrate(examples) > 0.5
    assert nlp.evaluate(examples)["cats_score"] == 1.0
    scores = certainties(pipe, [nlp.make_doc(text) for text in TEXTS])
    set_threshold(nlp, float(numpy.median(scores)))
    expected = answers(nlp)
    assert {who for who, _ in expected} == {"small", "large"}
    assert_same([(doc._.get(ANSWERED_BY), doc.cats) for doc in map(nlp, TEXTS)], expected)
    nlp.to_disk(tmp_path)
    for again in (
        spacy.load(tmp_path),
        spacy.blank("xx").from_config(nlp.config).from_bytes(nlp.to_bytes()),
        pickle.loads(pickle.dumps(nlp)),
    ):
        assert_same(answers(again), expected)
    assert (tmp_path / "textcat" / "small" / "model" / "encoder" / "config.json").is_file()


def test_after_a_calibration_that_fails_an_evaluation_fits_nothing(cascade, monkeypatch):
    nlp, examples = cascade
    pipe = nlp.get_pipe("textcat")
    before = srsly.json_dumps([pipe.cfg, pipe.small.cfg, pipe.large.cfg])

    def interrupted(docs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipe.large, "logits", interrupted)
        pipe.calibrate(examples)
    nlp.evaluate(examples)
    assert srsly.json_dumps([pipe.cfg, pipe.small.cfg, pipe.large.cfg]) == before


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_a_stream_starts_only_what_will_be_asked_for(threshold, cascade, monkeypatch):
    monkeypatch.setattr(ahead, "runs_behind", lambda device: True)
    nlp, _ = cascade
    set_threshold(nlp, threshold)
    pipe = nlp.get_pipe("textcat")
    expected, waiting = answers(nlp), []
    found = []
    for doc in nlp.pipe(TEXTS * 2, batch_size=2):
        found.append((doc._.get(ANSWERED_BY), doc.cats))
        waiting.append([len(part.shim.ahead._started) for part in (pipe.small, pipe.large)])
    assert_same(found, expected * 2)
    idle = 0 if threshold is None else 1
    assert max(counts[1 - idle] for counts in waiting) == 1
    assert not any(counts[idle] for counts in waiting)


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_each_part_answers_as_it_would_by_itself(threshold, cascade):
    nlp, _ = cascade
    pipe = nlp.get_pipe("textcat")
    set_threshold(nlp, threshold)
    part = pipe.large if threshold is None else pipe.small
    found = pipe.predict([nlp.make_doc(text) for text in TEXTS])
    own = part.predict([nlp.make_doc(text) for text in TEXTS])
    assert found.probabilities == pytest.approx(own, abs=1e-5)
    assert found.early.all() == (threshold is not None)


def test_the_large_one_reads_only_what_the_small_one_leaves(cascade, monkeypatch):
    nlp, _ = cascade
    pipe = nlp.get_pipe("textcat")
    docs = [nlp.make_doc(text) for text in TEXTS]
    certainty = certainties(pipe, docs)
    set_threshold(nlp, float(numpy.sort(certainty)[-2]))
    read, logits = [], pipe.large.logits
    monkeypatch.setattr(pipe.large, "logits", lambda docs: read.extend(docs) or logits(docs))
    early = pipe.predict(docs).early
    assert [doc.text for doc in read] == [d.text for d, e in zip(docs, early, strict=True) if not e]
    assert 0 < len(read) < len(docs)


def test_evaluating_and_saving_change_no_threshold(cascade):
    nlp, examples = cascade
    set_threshold(nlp, 0.9)
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 1e-6
    nlp.update(examples, sgd=optimizer)
    nlp.evaluate(examples)
    nlp.to_bytes()
    assert nlp.get_pipe("textcat").threshold == 0.9


def test_independent_labels_and_a_fixed_threshold(cascade_config):
    nlp, examples = trained(cascade_config, exclusive=False, threshold=0.5)
    assert nlp.evaluate(examples)["cats_micro_f"] == 1.0
    assert {who for who, _ in answers(nlp)} == {"small"}
    nlp.get_pipe("textcat").calibrate(examples)
    assert nlp.get_pipe("textcat").threshold == 0.5
    nlp.get_pipe("textcat").add_label("NEW")
    assert set(nlp("a film").cats) == {"GOOD", "BAD", "NEW"}


def test_soft_labels_reach_both_parts(cascade_config):
    nlp = spacy.blank("xx")
    pipe = nlp.add_pipe("reprtune_cascade", config=cascade_config(soft_labels=True))
    examples = make_examples(nlp)
    for example in examples:
        example.reference.cats = {"GOOD": 0.6, "BAD": 0.4}
    nlp.initialize(lambda: examples)
    assert nlp.update(examples)[pipe.name] > 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"keep": 1.5}, "keep = 1.5"), ({"threshold": -1.0}, "threshold = -1.0")],
)
def test_settings_out_of_range_are_named(settings, message, cascade_config):
    with pytest.raises(ValueError, match=message):
        spacy.blank("xx").add_pipe("reprtune_cascade", config=cascade_config(**settings))


def test_a_listening_part_is_refused(cascade_config):
    config = cascade_config()
    config["small"]["encoder"] = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    with pytest.raises(ValueError, match="need encoders of their own"):
        spacy.blank("xx").add_pipe("reprtune_cascade", config=config)


def test_a_packaged_cascade_with_half_the_bytes_loads_and_its_card_names_both_encoders(
    cascade, tmp_path
):
    nlp, examples = cascade
    nlp.get_pipe("textcat").calibrate(examples)
    nlp.to_disk(tmp_path / "fp32")
    nlp.to_disk(tmp_path / "fp16")
    assert len(halve_weights(tmp_path / "fp16", "fp16")) == 2
    package(tmp_path / "fp16", tmp_path, name="cascade", version="1.0.0", create_sdist=False)
    [folder] = tmp_path.glob("*_cascade-1.0.0/*_cascade/*_cascade-1.0.0")
    found = answers(spacy.load(folder))
    for (who, cats), (_, theirs) in zip(found, answers(nlp), strict=True):
        assert who in ("small", "large")
        assert cats == pytest.approx(theirs, abs=0.02)
    facts = read_pipeline(tmp_path / "fp32")
    assert [e.component for e in facts.encoders] == ["textcat (small)", "textcat (large)"]
    assert [e.family for e in facts.encoders] == ["reprtune_static", "bert"]


def test_damaged_files_are_named(cascade, tmp_path):
    nlp, _ = cascade
    nlp.to_disk(tmp_path)
    cfg = tmp_path / "textcat" / "cfg"
    cfg.write_text(cfg.read_text().replace("threshold", "treshold"))
    with pytest.raises(ValueError, match="textcat/cfg .* 'textcat'"):
        spacy.load(tmp_path)
    with pytest.raises(ValueError, match="can't be loaded from bytes"):
        nlp.get_pipe("textcat").from_bytes(nlp.get_pipe("textcat").to_bytes()[:-9])


def test_spacy_train_fits_the_threshold_on_dev(cascade_config, tmp_path):
    nlp = spacy.blank("xx")
    DocBin(docs=[eg.reference for eg in make_examples(nlp)]).to_disk(tmp_path / "train.spacy")
    reader = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "train.spacy")}
    config = {
        "nlp": {"lang": "xx", "pipeline": ["textcat"]},
        "components": {"textcat": {"factory": "reprtune_cascade", **cascade_config()}},
        "corpora": {"train": reader, "dev": reader},
        "training": {
            "seed": 0,
            "gpu_allocator": None,
            "max_steps": 30,
            "eval_frequency": 10,
            "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 8},
            "optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.0009},
        },
    }
    made = init_nlp(Config(config))
    (tmp_path / "out").mkdir()
    train(made, tmp_path / "out")
    best = spacy.load(tmp_path / "out" / "model-best")
    pipe = best.get_pipe("textcat")
    assert pipe.cfg["early"] > 0.0 and pipe.cfg["kept"] >= 0.99
    assert "cascade_early" in best.meta["performance"]
    scores = best.evaluate(make_examples(best))
    assert scores["cascade_early"] == pytest.approx(pipe.cfg["early"])


def test_it_is_pickled_between_updates_without_logits(cascade_config):
    """Where processes are spawned, `nlp.pipe(n_process=2)` pickles what was just trained."""
    nlp, examples = trained(cascade_config)
    copy = pickle.loads(pickle.dumps(nlp))
    assert_same(answers(copy), answers(nlp))
    copy.get_pipe("textcat").calibrate(examples)
    assert copy.get_pipe("textcat").threshold is not None


def test_messages_name_the_component_and_appear_once(cascade_config, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    caplog.set_level(logging.INFO, "spacy")
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_cascade", name="textcat", config=cascade_config(head_init="probe"))
    same = [Example.from_dict(nlp.make_doc("a film"), {"cats": {"GOOD": 1.0, "BAD": 0.0}})]
    optimizer = nlp.initialize(lambda: same)
    said = [record.getMessage() for record in caplog.records]
    assert sum("'textcat' can't start from a linear probe" in line for line in said) == 1
    for part in ("small", "large"):
        assert sum(f"What trains in 'textcat' ({part})" in line for line in said) == 1
    optimizer.learn_rate, optimizer.averages = 0.003, {}
    new = [Example.from_dict(nlp.make_doc("x"), {"cats": {"NEW": 1.0, "GOOD": 0.0}})]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        nlp.update([*same, *new], sgd=optimizer)
        nlp.evaluate([*same, *new])
    said += [str(warning.message) for warning in found]
    for message in (
        "can't learn them: NEW. Add labels with nlp.get_pipe('textcat').add_label",
        "use_averages is true",
        "The learning rate of 'textcat' is 0.003",
    ):
        assert sum(message in line for line in said) == 1
    wrong = [Example.from_dict(nlp.make_doc("x"), {"cats": {"BAD": 1.0, "GOOD": 1.0}})]
    with pytest.raises(ValueError, match="'textcat' has exclusive labels"):
        nlp.update(wrong, sgd=optimizer)
    assert not any("textcat.small" in line or "textcat.large" in line for line in said)
    # A component that is initialized again warns again.
    caplog.clear()
    nlp.initialize(lambda: same)
    assert "'textcat' can't start from a linear probe" in caplog.text


def test_texts_to_annotate_next_are_those_that_the_answers_are_unsure_of(cascade):
    nlp, _ = cascade
    pool = list(enumerate(TEXTS))
    (choice,) = choose_next(nlp, pool, 1)
    margins = [abs(doc.cats["GOOD"] - doc.cats["BAD"]) for doc in nlp.pipe(TEXTS)]
    assert set(choice.cats) == {"BAD", "GOOD"} and len(choice.labels) == 1
    assert choice.doubt == pytest.approx(1.0 - margins[choice.id], abs=1e-5)
