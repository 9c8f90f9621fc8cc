"""What is wrong is said before any training, or has a defined result; nothing is lost."""

import warnings

import numpy
import pytest
import spacy
from conftest import ENTITIES, make_entity_examples
from spacy.tokens import Doc, Span
from spacy.training import Example


def example(nlp, words, entities=(), *, spaces=None, predicted=None, annotated=True):
    """An example from token indices."""
    reference = Doc(nlp.vocab, words=words, spaces=spaces)
    if annotated:
        reference.set_ents([Span(reference, a, b, label=label) for a, b, label in entities])
    return Example(predicted or Doc(nlp.vocab, words=words, spaces=spaces), reference)


def initialize(nlp, config, examples, **settings):
    pipe = nlp.add_pipe("reprtune_ner", name="ner", config={"model": config, **settings})
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    return pipe, optimizer


def test_no_entities_at_all(nlp, token_config):
    with pytest.raises(ValueError, match="nothing to learn: none of the 2 training docs"):
        initialize(nlp, token_config(), [example(nlp, ["a"]), example(nlp, ["b"])])


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 3), (1, 2)], "1 of them overlap.*overlapping = true.*spans_key = 'sc'.*filter_spans"),
        ([(0, 2), (1, 3)], "1 of them overlap.*overlapping = true.*spans_key = 'sc'.*filter_spans"),
        ([(0, 1), (1, 3)], r"none overlapping: doc.set_ents\(list\(doc.spans\['sc'\]\)\)"),
    ],
)
def test_overlapping_and_nested_gold_is_shown_the_way_to_spans(nlp, token_config, spans, message):
    eg = example(nlp, ["a", "b", "c"], annotated=False)
    eg.reference.spans["sc"] = [Span(eg.reference, a, b, label="X") for a, b in spans]
    with pytest.raises(ValueError, match=message):
        initialize(nlp, token_config(), [eg])


def test_entities_that_cut_tokens_are_counted_and_not_learned_from(nlp, token_config):
    words, spaces = ["love", "ly", "film"], [False, True, False]
    predicted = Doc(nlp.vocab, words=["lovely", "film"])
    cut = example(nlp, words, [(0, 1, "X")], spaces=spaces, predicted=predicted)
    fine = example(nlp, ["lovely", "film"], [(1, 2, "X")])
    with pytest.warns(UserWarning, match="1 of 2 entities begin or end within a token"):
        pipe, _ = initialize(nlp, token_config(), [cut, fine])
    scores, _ = pipe.model.begin_update([cut.predicted, fine.predicted])
    _, gradient = pipe.get_loss([cut, fine], scores)
    assert not gradient.logits[0].any() and gradient.logits[1:].any(1).all()


def test_docs_never_annotated_are_not_docs_without_entities(nlp, token_config):
    never = example(nlp, ["dull", "film"], annotated=False)
    without = example(nlp, ["cold", "film"])
    some = example(nlp, ["lovely", "film"], [(0, 1, "X")])
    with pytest.warns(UserWarning, match=r"1 of 3 docs have no annotation.*set_ents\(\[\]\)"):
        pipe, _ = initialize(nlp, token_config(), [never, without, some])
    assert pipe.training_batch([never, without, some]) == [without, some]
    scores, _ = pipe.model.begin_update([eg.predicted for eg in (never, without)])
    _, gradient = pipe.get_loss([never, without], scores)
    assert not gradient.logits[:2].any() and gradient.logits[2:].any(1).all()


def test_missing_tokens_are_masked_and_counted(nlp, token_config):
    eg = example(nlp, ["lovely", "film", "music", "1"], annotated=False)
    eg.reference.set_ents([Span(eg.reference, 0, 1, label="X")], missing=[eg.reference[2:3]])
    with pytest.warns(UserWarning, match="1 tokens of the other docs have no annotation"):
        pipe, _ = initialize(nlp, token_config(), [eg])
    scores, _ = pipe.model.begin_update([eg.predicted])
    _, gradient = pipe.get_loss([eg], scores)
    assert gradient.logits.any(1).tolist() == [True, True, False, True]


def test_all_problems_are_in_one_warning(nlp, token_config):
    predicted = Doc(nlp.vocab, words=["lovely", "film"])
    cut = example(
        nlp, ["love", "ly", "film"], [(0, 1, "X")], spaces=[False, True, False], predicted=predicted
    )
    never = example(nlp, ["dull"], annotated=False)
    fine = example(nlp, ["lovely", "film"], [(1, 2, "X")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        initialize(nlp, token_config(), [cut, never, fine])
    own = [w for w in caught if "'ner'" in str(w.message)]
    assert len(own) == 1


@pytest.mark.parametrize("learned", [False, True])
def test_a_batch_without_any_annotation_changes_nothing_but_the_loss_is_set(
    learned, nlp, token_config
):
    pipe, optimizer = initialize(
        nlp, token_config(learned_transitions=learned), make_entity_examples(nlp)
    )
    before = pipe.to_bytes()
    batch = [example(nlp, ["a", "film"], annotated=False), example(nlp, [], annotated=False)]
    assert nlp.update(batch, sgd=optimizer, losses={}) == {"ner": 0.0}
    assert pipe.to_bytes() == before
    # And if somebody asks nevertheless: no loss, no gradient.
    scores, _ = pipe.model.begin_update([eg.predicted for eg in batch])
    loss, gradient = pipe.get_loss(batch, scores)
    assert loss == 0.0 and not gradient.logits.any()


def test_unknown_labels_in_dev_are_named_and_score_as_errors(ner):
    dev = [example(ner, ["the", "film"], [(1, 2, "NEW")])]
    with pytest.warns(UserWarning, match="NEW"):
        scores = ner.evaluate([*dev, *ner.examples])
    assert scores["ents_per_type"]["NEW"]["r"] == 0.0


def test_labels_that_only_dev_has_do_not_spoil_the_temperature(ner):
    dev = [example(ner, ["the", "film"], [(1, 2, "NEW")]), *ner.examples]
    for _ in range(30):
        ner.update(ner.examples, sgd=ner.optimizer)
    with pytest.warns(UserWarning, match="NEW"):
        ner.evaluate(dev)
    assert 0.0 < ner.get_pipe("ner").calibrate(dev) < 10.0


@pytest.mark.parametrize("scheme", ["bio", "bilou"])
def test_labels_with_dashes_and_spaces(scheme, nlp, token_config):
    labels = ["B-PER", "I", "two words", "-", "O"]
    words = ["lovely", "bright", "film", "music", "dull", "cold", "weak", "great", "a", "warm"]
    eg = example(nlp, words, [(2 * i, 2 * i + 2, label) for i, label in enumerate(labels)])
    pipe, optimizer = initialize(nlp, token_config(), [eg], scheme=scheme)
    assert set(pipe.labels) == set(labels)
    for _ in range(100):
        nlp.update([eg], sgd=optimizer)
    assert nlp.evaluate([eg])["ents_f"] == 1.0


def test_a_document_of_fifty_thousand_tokens(ner):
    words = ["lovely", "bright", "is", "a", "film"] * 10_000
    ner.max_length = 10**7
    for _ in range(40):
        ner.update(ner.examples, sgd=ner.optimizer)
    doc = ner.get_pipe("ner")(Doc(ner.vocab, words=words))
    assert len(doc.ents) > 0 and doc[-1].ent_iob != 0
    assert numpy.isfinite(doc.spans["ner"].attrs["scores"]).all()


@pytest.mark.parametrize("scheme", ["bio", "bilou"])
def test_tokens_without_a_piece_inside_and_at_the_edge_of_an_entity(scheme, nlp, token_config):
    words = ["a", "\x07", "lovely", "\u200b", "film", "\x07", "is"]
    inner = example(nlp, words, [(2, 5, "X")])
    edge = example(nlp, words, [(1, 6, "X")])
    edges = example(nlp, ["\x07", "film"], [(0, 1, "X"), (1, 2, "Y")])
    with pytest.warns(UserWarning, match="1 of 4 entities are white space or control"):
        pipe, optimizer = initialize(nlp, token_config(), [inner, edge, edges], scheme=scheme)
    scores, _ = pipe.model.begin_update([inner.predicted, edge.predicted])
    (_, first), (_, second) = (pipe.get_loss([eg, eg], scores) for eg in (inner, edge))
    numpy.testing.assert_array_equal(first.logits, second.logits)
    for _ in range(100):
        nlp.update([inner], sgd=optimizer)
    assert [(e.start, e.end) for e in pipe(Doc(nlp.vocab, words=words)).ents] == [(2, 5)]


def test_entities_without_any_piece_are_counted_in_the_one_warning(nlp, token_config):
    examples = [
        example(nlp, ["\x07", "film"], [(0, 1, "X"), (1, 2, "Y")]),
        example(nlp, ["a", "\u200b", "\x07"], [(1, 3, "X")]),
        # Signs that have a piece, if only that of what is unknown.
        example(nlp, ["!", "\u263a"], [(0, 1, "X"), (1, 2, "X")]),
        example(nlp, ["dull"], annotated=False),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe, optimizer = initialize(nlp, token_config(), examples)
    [message] = [str(w.message) for w in caught if "'ner'" in str(w.message)]
    assert "2 of 5 entities are white space or control characters" in message
    assert "1 of 4 docs have no annotation" in message
    nlp.update(examples, sgd=optimizer)
    # Nothing of it is learned, nor does it count as outside.
    scores, _ = pipe.model.begin_update([examples[0].predicted])
    _, gradient = pipe.get_loss(examples[:1], scores)
    assert gradient.logits.any(1).tolist() == [False, True]


def test_docs_of_a_single_token(nlp, token_config):
    examples = [example(nlp, ["lovely"], [(0, 1, "X")]), example(nlp, ["film"])]
    _, optimizer = initialize(nlp, token_config(learned_transitions=True), examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_overlapping_entities_are_refused_by_spacy_before_they_get_here(nlp):
    with pytest.raises(ValueError, match="E103|E1010"):
        Example.from_dict(
            nlp.make_doc("the lovely film"), {"entities": [(0, 10, "X"), (4, 15, "Y")]}
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "iob2"}, "scheme = 'iob2'"),
        ({"head_init": "zero"}, "head_init = 'zero'"),
        ({"min_score": 1.5}, "min_score = 1.5"),
        ({"temperature": 0.0}, "temperature = 0.0"),
    ],
)
def test_settings_out_of_range(nlp, token_config, settings, message):
    with pytest.raises(ValueError, match=message):
        nlp.add_pipe("reprtune_ner", config={"model": token_config(), **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"piece_pooling": "last"}, "mean, first"),
        ({"dropout": 1.0}, "dropout"),
        ({"head_lr": 0.01}, "head_lr"),
    ],
)
def test_head_settings_out_of_range(nlp, token_config, settings, message):
    with pytest.raises(ValueError, match=message):
        nlp.add_pipe("reprtune_ner", config={"model": token_config(**settings)})


def test_predicting_before_initialize(nlp, token_config):
    nlp.add_pipe("reprtune_ner", config={"model": token_config()})
    with pytest.raises(ValueError, match="nlp.initialize"):
        nlp("a film")


def test_a_saved_head_of_another_shape_is_refused(ner, tmp_path):
    ner.to_disk(tmp_path)
    config = (tmp_path / "config.cfg").read_text()
    wrong = config.replace("learned_transitions = false", "learned_transitions = true")
    (tmp_path / "config.cfg").write_text(wrong)
    with pytest.raises(ValueError, match="does not fit"):
        spacy.load(tmp_path)


@pytest.mark.parametrize(
    ("saved", "wrong"),
    [
        ('scheme = "bilou"', 'scheme = "bio"'),
        ("shared_positions = true", "shared_positions = false"),
    ],
)
def test_tags_that_are_not_the_saved_ones_are_refused(saved, wrong, ner, tmp_path):
    ner.to_disk(tmp_path)
    config = (tmp_path / "config.cfg").read_text()
    assert config.count(saved) == 1
    (tmp_path / "config.cfg").write_text(config.replace(saved, wrong))
    with pytest.raises(ValueError, match=f"was trained with {saved.split()[0]} ="):
        spacy.load(tmp_path)


def test_the_probe_needs_annotated_tokens_only(nlp, token_config):
    never = [example(nlp, text.split(), annotated=False) for text, _ in ENTITIES]
    examples = [*never, *make_entity_examples(nlp) * 4]
    with pytest.warns(UserWarning, match="5 of 25 docs"):
        initialize(nlp, token_config(), examples, head_init="probe")
    assert nlp.evaluate(examples)["ents_f"] > 0.5
