"""What users may expect of any component: honest warnings, and neighbors that are left alone."""

import warnings

import numpy
import pytest
import spacy
from conftest import BAD, ENTITIES, GOOD, make_entity_examples, make_examples
from spacy.tokens import Doc, Span
from spacy.tokens.underscore import Underscore
from spacy.training import Example

from spacy_reprtune.components.streams import LOOK_AHEAD_DOCS


def relabeled(nlp, name, label):
    """An example with a label that no component has."""
    if name == "ner":
        return Example.from_dict(nlp.make_doc("a film"), {"entities": [(2, 6, label)]})
    return Example.from_dict(nlp.make_doc("a film"), {"cats": {label: 1.0}})


@pytest.fixture(params=["textcat", "ner"])
def trained(request):
    """The pipelines of both fixtures in turn, with the name of their component."""
    nlp = request.getfixturevalue(request.param)
    nlp.optimizer.learn_rate = 1e-4
    return nlp, request.param


def caught_from(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def test_an_unknown_label_in_update_is_named_once_with_the_remedy(trained):
    nlp, name = trained
    batch = [*nlp.examples, relabeled(nlp, name, "NEW")]

    def update():
        for _ in range(2):
            nlp.update(batch, sgd=nlp.optimizer)

    def evaluate():
        for _ in range(2):
            nlp.evaluate(batch)

    if name == "ner":
        # It would learn to predict nothing in its place.
        for _ in range(2):
            with pytest.raises(ValueError, match=r"'ner' does not have.*: NEW\. Add .*add_label"):
                update()
        [message] = caught_from(evaluate)
    else:
        [message] = caught_from(lambda: (update(), evaluate()))
    assert f"'{name}'" in message and "NEW" in message and ".add_label(…)" in message


def test_a_label_of_another_component_is_no_reason_to_warn(nlp, token_config, model_config):
    for name, label in (("first", "ACTOR"), ("second", "MUSIC")):
        nlp.add_pipe("reprtune_ner", name=name, config={"model": token_config()})
        nlp.config["initialize"]["components"][name] = {"labels": [label]}
    for name, label in (("third", "A"), ("fourth", "B")):
        config = {"model": model_config()}
        nlp.add_pipe("reprtune_textcat_multilabel", name=name, config=config)
        nlp.config["initialize"]["components"][name] = {"labels": [label]}
    examples = make_entity_examples(nlp)
    for example in examples:
        example.reference.cats = {"A": 1.0, "B": 1.0}

    def run():
        optimizer = nlp.initialize(lambda: examples)
        optimizer.learn_rate = 1e-4
        nlp.update(examples, sgd=optimizer)
        nlp.evaluate(examples)

    assert caught_from(run) == []


def test_a_component_reads_the_training_corpus_once(trained):
    nlp, name = trained
    read = []

    def get_examples():
        read.append(name)
        yield from nlp.examples

    nlp.get_pipe(name).initialize(get_examples, nlp=nlp)
    assert read == [name]


def test_a_batch_without_annotation_sets_the_loss(trained):
    nlp, name = trained
    blank = [Example(nlp.make_doc("a film"), nlp.make_doc("a film"))]
    assert nlp.update(blank, sgd=nlp.optimizer, losses={}) == {name: 0.0}


@pytest.mark.parametrize(("rate", "warned"), [(1e-3, True), (9e-4, False)])
def test_a_learning_rate_that_destroys_encoders_is_named(rate, warned, trained):
    nlp, _ = trained
    nlp.optimizer.learn_rate = rate

    def update():
        for _ in range(2):
            nlp.update(nlp.examples, sgd=nlp.optimizer)

    messages = caught_from(update)
    assert len(messages) == warned
    assert not warned or ("is 0.001" in messages[0] and "0.00002 to 0.0003" in messages[0])


def test_a_frozen_encoder_survives_any_learning_rate(nlp, model_config):
    config = {"model": model_config(encoder={"unfreeze": "none"})}
    nlp.add_pipe("reprtune_textcat", config=config)
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    assert caught_from(lambda: nlp.update(examples, sgd=optimizer)) == []


def test_rehearsing_says_that_it_is_not_possible(trained):
    nlp, name = trained
    with pytest.raises(NotImplementedError, match=rf"exclude=\['{name}'\]"):
        nlp.rehearse(nlp.examples)
    nlp.rehearse(nlp.examples, exclude=[name])


def test_the_config_keeps_its_variables_and_gives_an_optimizer(trained, tmp_path):
    nlp, _ = trained
    schedule = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": 0,
        "total_steps": "${training.max_steps}",
        "initial_rate": 1e-4,
    }
    nlp.config["training"]["max_steps"] = 50
    nlp.config["training"]["optimizer"]["learn_rate"] = schedule
    optimizer = nlp.initialize(lambda: nlp.examples)
    assert optimizer.learn_rate == pytest.approx(1e-4)
    nlp.to_disk(tmp_path)
    for config in (nlp.config, spacy.load(tmp_path).config):
        kept = config["training"]["optimizer"]["learn_rate"]["total_steps"]
        assert kept == "${training.max_steps}"
    resumed = spacy.load(tmp_path, config={"training.max_steps": 2}).resume_training()
    resumed.step_schedules()
    assert resumed.learn_rate == pytest.approx(5e-5)


def test_at_most_512_docs_are_read_ahead_of_the_first(trained):
    nlp, name = trained
    taken = []

    def docs():
        for i in range(600):
            taken.append(i)
            yield nlp.make_doc("film")

    pipe = nlp.get_pipe(name)
    for batch_size, most in ((1, 1), (32, 32), (10_000, LOOK_AHEAD_DOCS)):
        taken.clear()
        next(pipe.pipe(docs(), batch_size=batch_size))
        assert len(taken) == most


def test_a_setfit_whose_weights_are_destroyed_says_to_lower_the_rate(nlp, sentence_config):
    nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": sentence_config()})
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 1e38
    with pytest.warns(UserWarning, match="1e\\+38"):
        nlp.update(examples, sgd=optimizer)
    with pytest.raises(ValueError, match=r"not finite.*Lower \[training.optimizer\] learn_rate"):
        nlp("a film")
    with pytest.raises(ValueError, match=r"training stops here"):
        nlp.update(examples, sgd=optimizer)


def test_a_loaded_setfit_keeps_its_head_when_it_is_updated_with_two_texts(
    nlp, sentence_config, tmp_path
):
    nlp.add_pipe("reprtune_setfit", name="textcat", config={"model": sentence_config()})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    pipe, optimizer = again.get_pipe("textcat"), again.resume_training()
    optimizer.learn_rate = 1e-4
    head = pipe.head.output.weight.detach().clone()
    again.update([examples[0], examples[-1]], sgd=optimizer)
    with pytest.warns(UserWarning, match="keeps the head .* 1 texts of .* needs 4 texts per label"):
        again("a film")
    assert (pipe.head.output.weight == head).all()
    assert caught_from(lambda: again("a film")) == []
    again.update(examples, sgd=optimizer)
    again("a film")
    assert not (pipe.head.output.weight == head).all()


def test_labels_that_were_added_need_no_entities_in_the_examples(nlp, token_config):
    for name, settings in (("ner", {}), ("probed", {"head_init": "probe"})):
        pipe = nlp.add_pipe("reprtune_ner", name=name, config={"model": token_config(), **settings})
        pipe.add_label("PERSON")
    nlp.initialize()
    example = Example.from_dict(nlp.make_doc("a film"), {"entities": []})
    nlp.initialize(lambda: [example])
    assert nlp.get_pipe("ner").labels == ("PERSON",)
    assert nlp("a film").has_annotation("ENT_IOB")


def test_no_entity_crosses_a_sentence_boundary_that_is_set(ner):
    ner.optimizer.learn_rate = 0.01
    for _ in range(60):
        ner.update(ner.examples, sgd=ner.optimizer)
    words = "the actor lovely bright is great".split()
    pipe = ner.get_pipe("ner")

    def entities(boundary):
        starts = [i == boundary for i in range(len(words))] if boundary else None
        doc = pipe(Doc(ner.vocab, words=words, sent_starts=starts))
        assert len(doc.spans["ner"]) == len(doc.ents)
        return [(ent.start, ent.end) for ent in doc.ents]

    assert entities(None) == entities(1) == [(2, 4)]
    assert not any(start < 3 < end for start, end in entities(3))
    # The temperature is fitted to the same entities.
    gold = Example.from_dict(
        Doc(ner.vocab, words=words, sent_starts=[i == 3 for i in range(6)]),
        {"words": words, "entities": ["O", "O", "B-ACTOR", "L-ACTOR", "O", "O"]},
    )
    assert 0.0 < pipe.calibrate([gold, *ner.examples]) < 20.0


@pytest.mark.parametrize("settings", [{"default": None}, {"getter": lambda span: 41.0}])
def test_an_extension_called_score_of_the_users_own_stays_theirs(
    settings, nlp, token_config, monkeypatch
):
    monkeypatch.setattr(Underscore, "span_extensions", {})
    Span.set_extension("score", **settings)
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": token_config()})
    examples = make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    docs = list(nlp.pipe([text for text, _ in ENTITIES]))
    scores = [ent._.reprtune_score for doc in docs for ent in doc.ents]
    assert scores and all(0.0 < score <= 1.0 for score in scores)
    expected = None if "default" in settings else 41.0
    assert {ent._.score for doc in docs for ent in doc.ents} == {expected}
    for key in ("ner", None):
        nlp.get_pipe("ner").spans_key = key
        assert nlp.evaluate(examples)["ents_ece"] <= 1.0


def test_cats_are_complete_in_every_doc(textcat):
    docs = list(textcat.pipe([*GOOD, *BAD, "", " ", "\x07"]))
    assert all(set(doc.cats) == {"GOOD", "BAD"} for doc in docs)
    assert numpy.isfinite([list(doc.cats.values()) for doc in docs]).all()
