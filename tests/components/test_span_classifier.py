"""Given spans get labels and scores: trained, scored, saved, with missing spans left out."""

import warnings

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from spacy_reprtune.bridge import ahead
from spacy_reprtune.components.span_rows import SpanRows

SENTENCES = [
    ("a great film .", "GOOD"),
    ("dull and cold .", "BAD"),
    ("the music was lovely .", "GOOD"),
]


def example(nlp, order, key="sc", keep=None):
    """A doc of sentences with a labeled span for each, or for those with the numbers `keep`."""
    words = [SENTENCES[k][0].split() for k in order]
    starts = [i == 0 for own in words for i in range(len(own))]
    gold = Doc(nlp.vocab, words=[w for own in words for w in own], sent_starts=starts)
    sents = list(gold.sents)
    spans = [
        Span(gold, sent.start, sent.end, label=SENTENCES[k][1])
        for i, (sent, k) in enumerate(zip(sents, order, strict=True))
        if keep is None or i in keep
    ]
    gold.spans[key] = spans
    plain = Doc(nlp.vocab, words=[t.text for t in gold], spaces=[bool(t.whitespace_) for t in gold])
    return Example(plain, gold)


def pipeline(token_config, **settings):
    # Seeded, because heads start at random.
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    config = {"model": token_config(), **settings}
    nlp.add_pipe("reprtune_span_classifier", name="sc", config=config)
    nlp.examples = [
        example(nlp, o, settings.get("spans_key", "sc")) for o in ((0, 1), (1, 2, 0), (2,))
    ]
    nlp.optimizer = nlp.initialize(lambda: nlp.examples)
    nlp.optimizer.learn_rate = 0.01
    return nlp


def train(nlp, steps=60):
    for _ in range(steps):
        losses = nlp.update(nlp.examples, sgd=nlp.optimizer)
    return losses


@pytest.mark.filterwarnings("ignore:The learning rate")
@pytest.mark.parametrize("exclusive", [True, False])
def test_overfitting_scoring_saving(token_config, tmp_path, exclusive):
    nlp = pipeline(token_config, exclusive=exclusive)
    assert nlp.get_pipe("sc").labels == ("BAD", "GOOD")
    first = nlp.get_pipe("sc").update(nlp.examples)["sc"]
    assert train(nlp)["sc"] < first / 4
    text = "dull and cold . a great film ."
    doc = nlp(text)
    assert [(s.text, s.label_) for s in doc.spans["sc"]] == [
        ("dull and cold .", "BAD"),
        ("a great film .", "GOOD"),
    ]
    scores = doc.spans["sc"].attrs["scores"]
    assert scores.shape == (2,) and (scores > 0.5).all()
    found = nlp.evaluate(nlp.examples)
    assert found["spans_sc_f"] == 1.0 and found["spans_sc_per_type"]["BAD"]["f"] == 1.0
    nlp.to_disk(tmp_path)
    for again in (spacy.load(tmp_path), nlp):
        other = again(text).spans["sc"]
        numpy.testing.assert_allclose(other.attrs["scores"], scores, atol=1e-5)
    (piped,) = nlp.pipe([text])
    numpy.testing.assert_allclose(piped.spans["sc"].attrs["scores"], scores, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"exclusive": False}, {"spans": "given"}])
@pytest.mark.parametrize("listens", [False, True])
def test_the_head_starts_where_the_probe_is(token_config, encoder_config, settings, listens):
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    model = token_config()
    if listens:
        nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder_config()})
        model["encoder"] = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    config = {"model": model, "head_init": "probe", **settings}
    nlp.add_pipe("reprtune_span_classifier", name="sc", config=config)
    examples = [example(nlp, order) for order in ((0, 1), (1, 2, 0), (2, 1), (0, 2, 1))] * 3
    nlp.initialize(lambda: examples)
    assert nlp.evaluate(examples)["spans_sc_f"] > 0.95


def test_a_probe_needs_spans_of_two_labels(token_config, caplog):
    nlp = pipeline(token_config)
    pipe = nlp.get_pipe("sc")
    pipe.head_init = "probe"
    pipe.initialize(lambda: [example(nlp, (0, 2))], nlp=nlp, labels=["BAD", "GOOD"])
    assert "its head starts at random" in caplog.text


def test_a_group_of_the_doc_is_labeled_in_place(token_config):
    nlp = pipeline(token_config, spans="sc")
    doc = nlp.make_doc("a great film . dull and cold .")
    doc.spans["sc"] = [doc[0:4], doc[1:6]]
    doc = nlp(doc)
    assert [(s.start, s.end) for s in doc.spans["sc"]] == [(0, 4), (1, 6)]
    assert all(s.label_ in ("GOOD", "BAD") for s in doc.spans["sc"])
    # Test docs come without the group: the gold spans are classified.
    assert nlp.evaluate(nlp.examples)["spans_sc_f"] is not None
    assert "sc" not in nlp("no spans here").spans


def test_entities_can_be_classified(token_config):
    nlp = pipeline(token_config, spans="ents", spans_key="kinds")
    doc = nlp.make_doc("a great film")
    doc.set_ents([Span(doc, 1, 3, label="WORK")])
    doc = nlp(doc)
    assert [(s.start, s.end) for s in doc.spans["kinds"]] == [(1, 3)]
    assert doc.ents[0].label_ == "WORK"


def test_independent_labels_may_be_none_or_several(token_config):
    nlp = pipeline(token_config, exclusive=False, threshold=0.0)
    doc = nlp("a great film .")
    assert [s.label_ for s in doc.spans["sc"]] == ["BAD", "GOOD"]
    nlp.get_pipe("sc").cfg["threshold"] = 1.0
    assert not nlp("a great film .").spans["sc"]


@pytest.mark.parametrize("exclusive", [True, False])
def test_spans_that_the_encoder_does_not_see_get_no_label(token_config, exclusive, caplog):
    nlp = pipeline(token_config, exclusive=exclusive, threshold=0.0)
    assert not nlp(" \n").spans["sc"]
    pipe = nlp.get_pipe("sc")
    unseen = Example(nlp.make_doc("\n . dull"), nlp.make_doc("\n . dull"))
    for key, doc in (("sc", unseen.reference), ("given", unseen.predicted)):
        doc.spans[key] = [Span(doc, 0, 1, label="BAD")]
    assert pipe.update([unseen])["sc"] == 0.0
    pipe.spans = "given"
    assert pipe.predict([unseen.predicted])[0].places == []
    assert pipe.calibrate([unseen]) == 1.0
    if exclusive:
        pipe.head_init = "probe"
        examples = [unseen, example(nlp, (0, 2))]
        pipe.initialize(lambda: examples, nlp=nlp, labels=["BAD", "GOOD"])
        assert "its head starts at random" in caplog.text


def test_a_stream_starts_what_the_model_is_asked_for(token_config, monkeypatch):
    monkeypatch.setattr(ahead, "runs_behind", lambda device: True)
    nlp = pipeline(token_config)
    pipe, passes = nlp.get_pipe("sc"), []
    forward = pipe.head.forward
    monkeypatch.setattr(pipe.head, "forward", lambda tokens: passes.append(1) or forward(tokens))
    texts = ["a great film .", "", "dull and cold .", "  "]
    docs = list(nlp.pipe([*texts, "", "", *texts], batch_size=2))
    assert len(passes) == 4 and not pipe.shim.ahead._started
    assert [len(doc.spans["sc"]) for doc in docs] == [1, 0, 1, 0, 0, 0, 1, 0, 1, 0]


def test_spans_without_annotation_are_neither_learned_nor_scored(token_config):
    nlp = pipeline(token_config)
    pipe = nlp.get_pipe("sc")
    partly, fully = example(nlp, (0, 1), keep=[0]), example(nlp, (0, 1))
    scores, _ = pipe.model.begin_update([partly.predicted])
    _, d_scores = pipe.get_loss([partly], scores)
    gradient = numpy.asarray(d_scores.logits)
    assert gradient[:4].any() and not gradient[4:].any()
    _, d_scores = pipe.get_loss([fully], scores)
    assert numpy.asarray(d_scores.logits)[4:].any()
    for eg in (partly, fully):
        eg.predicted.spans["sc"] = [
            Span(eg.predicted, s.start, s.end, label="GOOD") for s in eg.reference.sents
        ]
    assert pipe.score([partly])["spans_sc_p"] == 1.0
    assert pipe.score([fully])["spans_sc_p"] == 0.5
    bare = Example(nlp.make_doc("a film"), nlp.make_doc("a film"))
    assert pipe.update([bare]) == {"sc": 0.0}


def test_the_gradient_is_that_of_the_mean():
    rng = numpy.random.default_rng(0)
    logits = rng.normal(size=(9, 2)).astype("f")
    logits[4] = 0.0
    places, lengths = [[(0, 3), (1, 5)], [], [(0, 4)]], [5, 0, 4]
    rows = SpanRows(places, lengths, logits)
    expected = [logits[0:3].mean(0), logits[1:4].mean(0), logits[5:9].mean(0)]
    numpy.testing.assert_allclose(rows.means, expected, rtol=1e-5)
    weights = rng.normal(size=(3, 2))
    gradient = rows.gradient(weights)
    for token in (0, 1, 3, 8):
        moved = logits.copy()
        moved[token, 0] += 1e-2
        change = ((SpanRows(places, lengths, moved).means - rows.means) * weights).sum() / 1e-2
        assert gradient[token, 0] == pytest.approx(change, abs=1e-3)
    assert not gradient[4].any()


def test_a_head_that_listens_classifies_spans(nlp, encoder_config):
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("reprtune_encoder", config={"model": encoder_config()})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": listener}
    nlp.add_pipe("reprtune_span_classifier", name="sc", config={"model": model})
    examples = [example(nlp, (0, 1, 2))]
    sgd = nlp.initialize(lambda: examples)
    assert nlp.update(examples, sgd=sgd)["sc"] > 0
    assert len(nlp("a film . a plot .").spans["sc"]) == 2


def test_mistakes_have_messages(token_config):
    nlp = spacy.blank("xx")
    pipe = nlp.add_pipe("reprtune_span_classifier", config={"model": token_config()})
    with pytest.raises(ValueError, match="span groups are other.*spans_key"):
        pipe.initialize(lambda: [example(nlp, (0, 1), "other")])
    twice = example(nlp, (0, 1))
    group = twice.reference.spans["sc"]
    twice.reference.spans["sc"] = SpanGroup(
        twice.reference, spans=[*group, Span(twice.reference, 0, 4, label="BAD")]
    )
    with pytest.raises(ValueError, match="several: BAD, GOOD. Set exclusive = false"):
        pipe.initialize(lambda: [twice])
    with pytest.raises(ValueError, match="threshold = 2"):
        nlp.add_pipe("reprtune_span_classifier", name="x", config={"threshold": 2.0})


def test_a_label_can_be_added(token_config):
    nlp = pipeline(token_config)
    before = nlp("a great film .").spans["sc"].attrs["scores"]
    pipe = nlp.get_pipe("sc")
    assert pipe.add_label("NEW") == 1
    after = nlp("a great film .").spans["sc"].attrs["scores"]
    numpy.testing.assert_allclose(after, before, rtol=0.1)


def test_convert_writes_what_it_trains_on(tmp_path):
    from spacy.tokens import DocBin

    from spacy_reprtune.data.convert import convert

    (tmp_path / "in.jsonl").write_text(
        '{"text": "A fine film. Dull.", "spans": [{"start": 0, "end": 12, "label": "GOOD"}]}\n'
    )
    convert({"train": tmp_path / "in.jsonl"}, tmp_path / "out", split="100", spans_key="sc")
    docs = DocBin().from_disk(tmp_path / "out" / "train.spacy").get_docs(spacy.blank("en").vocab)
    assert [(s.text, s.label_) for s in next(iter(docs)).spans["sc"]] == [("A fine film.", "GOOD")]


@pytest.mark.parametrize("source", ["ents", "sents"])
def test_a_key_may_be_named_like_a_source(token_config, source):
    nlp = pipeline(token_config, spans=source, spans_key=source)
    examples = [example(nlp, order, key=source) for order in ((0, 1), (1, 2, 0))]
    with nlp.select_pipes(disable=["sentencizer"]):
        assert f"spans_{source}_f" in nlp.evaluate(examples)


def test_calibrating_needs_docs_with_the_spans(token_config):
    nlp = pipeline(token_config)
    pipe = nlp.get_pipe("sc")
    plain = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in nlp.examples]
    with pytest.warns(UserWarning, match="none of the docs has the spans"):
        assert pipe.calibrate(plain, nlp=nlp) == 1.0
    nlp.evaluate(nlp.examples)
    assert pipe.temperature == 1.0
    examples = [Example(nlp(eg.reference.text), eg.reference) for eg in nlp.examples]
    assert pipe.calibrate(examples) != 1.0


def test_exclusive_spans_without_a_label_are_not_scored(token_config):
    nlp = pipeline(token_config)
    partly = example(nlp, (0, 1))
    doc = partly.reference
    first, second = doc.sents
    labeled = Span(doc, first.start, first.end, label="GOOD")
    scores = []
    for more in ([], [Span(doc, second.start, second.end)]):
        doc.spans["sc"] = [labeled, *more]
        plain = nlp.make_doc(doc.text)
        scores.append(nlp.evaluate([Example(plain, doc)]))
    assert scores[0]["spans_sc_p"] == scores[1]["spans_sc_p"]
    assert scores[0]["spans_sc_f"] == scores[1]["spans_sc_f"]


@pytest.mark.parametrize(
    "spans, first, warned",
    [
        ("given", "sentencizer", True),
        ("sents", None, True),
        ("ents", "sentencizer", True),
        ("sents", "sentencizer", False),
        ("sc", None, False),
    ],
)
def test_spans_that_nothing_sets_are_warned_of(token_config, spans, first, warned):
    nlp = spacy.blank("xx")
    if first is not None:
        nlp.add_pipe(first)
    config = {"model": token_config(), "spans": spans}
    nlp.add_pipe("reprtune_span_classifier", name="sc", config=config)
    examples = [example(nlp, (0, 1))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nlp.initialize(lambda: examples)
    found = [str(one.message) for one in caught if "no component before it" in str(one.message)]
    assert bool(found) == warned
    if warned:
        assert f"classifies the spans '{spans}'" in found[0]


def test_an_evaluation_without_the_spans_is_warned_of_once(token_config):
    nlp = pipeline(token_config)
    nlp.remove_pipe("sentencizer")
    with pytest.warns(UserWarning, match="none of the evaluated docs has them"):
        assert nlp.evaluate(nlp.examples)["spans_sc_f"] == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp.evaluate(nlp.examples)


@pytest.mark.parametrize(
    "spans, meant",
    [("sentences", "sents"), ("sentss", "sents"), ("entities", "ents"), ("ent", "ents")],
)
def test_a_misspelled_source_is_an_error(token_config, spans, meant):
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    config = {"model": token_config(), "spans": spans}
    nlp.add_pipe("reprtune_span_classifier", name="sc", config=config)
    with pytest.raises(ValueError, match=f'Did you mean spans = "{meant}"'):
        nlp.initialize(lambda: [example(nlp, (0, 1))])


def test_spans_that_only_an_evaluation_makes_up_are_warned_of(token_config):
    nlp = pipeline(token_config, spans="given")
    with pytest.warns(UserWarning, match="none of the evaluated docs has them"):
        assert nlp.evaluate(nlp.examples)["spans_sc_f"] is not None
    for eg in nlp.examples:
        eg.reference.spans["given"] = list(eg.reference.spans["sc"])
    nlp.get_pipe("sc").warned_of = frozenset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp.evaluate(nlp.examples)
