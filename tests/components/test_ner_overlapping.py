"""Entities of different labels may overlap: each label has a sequence of tags to itself."""

import itertools
import json
import re
from pathlib import Path

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Adam, Config

from spacy_reprtune.bridge.token_classifier import TagScores
from spacy_reprtune.components.entities import best_flat, group_scores, read_gold, without_overlaps
from spacy_reprtune.components.thresholds import fit_thresholds
from spacy_reprtune.heads.tag_layers import TagLayers

TEXTS = {
    "this movie is lovely warm music": [(1, 6, "FILM"), (3, 5, "MOOD"), (4, 6, "MUSIC")],
    "a scene of bright film": [(0, 5, "FILM"), (3, 4, "MOOD")],
    "lovely music was in cold film": [(0, 1, "MOOD"), (0, 2, "MUSIC"), (4, 5, "MOOD")],
    "this is quite dull": [],
}


def example(nlp, text, spans, key="ner"):
    doc = nlp.make_doc(text)
    gold = doc.copy()
    gold.spans[key] = [Span(gold, start, end, label=label) for start, end, label in spans]
    return Example(doc, gold)


def found(doc, key="ner"):
    return [(span.start, span.end, span.label_) for span in doc.spans[key]]


def pipeline(token_config, examples=None, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    settings = {"model": token_config(), "overlapping": True, **settings}
    nlp.add_pipe("reprtune_ner", name="ner", config=settings)
    nlp.examples = examples or [example(nlp, *item) for item in TEXTS.items()]
    nlp.optimizer = nlp.initialize(lambda: nlp.examples)
    nlp.optimizer.learn_rate = 0.02
    return nlp


def train(nlp, steps=30):
    for _ in range(steps):
        losses = nlp.update(nlp.examples, sgd=nlp.optimizer)
    return losses["ner"]


@pytest.fixture(scope="module")
def saved(encoder_config, tmp_path_factory):
    """A trained pipeline, and where it is saved."""
    model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": encoder_config()}
    nlp = pipeline(lambda: model)
    train(nlp, steps=50)
    path = tmp_path_factory.mktemp("overlapping")
    nlp.to_disk(path)
    return nlp, path


def test_nested_entities_are_learned_scored_and_saved(saved):
    nlp, path = saved
    for doc, (_, spans) in zip(nlp.pipe(TEXTS), TEXTS.items(), strict=True):
        assert found(doc) == sorted(spans, key=lambda s: (s[0], -s[1]))
        scores = doc.spans["ner"].attrs["scores"]
        assert len(scores) == len(spans) and (scores > 0.5).all() and (scores <= 1.0).all()
        assert doc.has_annotation("ENT_IOB")
    scores = nlp.evaluate(nlp.examples)
    assert scores["spans_ner_f"] == scores["ents_f"] == 1.0
    assert set(scores["spans_ner_per_type"]) == {"FILM", "MOOD", "MUSIC"}
    assert 0.0 <= scores["ents_ece"] < 0.5
    loaded = spacy.load(path)
    for text in TEXTS:
        one, other = nlp(text), loaded(text)
        assert found(one) == found(other)
        numpy.testing.assert_allclose(
            one.spans["ner"].attrs["scores"], other.spans["ner"].attrs["scores"], atol=1e-5
        )
    assert loaded.get_pipe("ner").calibrate(nlp.examples) > 0.0


def test_other_schemes_learn_as_well(token_config):
    nlp = pipeline(token_config, scheme="bio")
    train(nlp, steps=50)
    assert nlp.evaluate(nlp.examples)["spans_ner_f"] == 1.0


entities = st.tuples(st.integers(0, 8), st.integers(1, 4)).map(lambda p: (p[0], sum(p), "X"))
scored = st.lists(st.tuples(entities, st.floats(0.01, 1.0)), max_size=7)


@settings(max_examples=100, deadline=None)
@given(scored)
def test_the_flat_reading_has_the_greatest_sum_of_scores(items):
    spans, scores = [own for own, _ in items], [score for _, score in items]
    chosen = best_flat(spans, scores)
    best = max(
        sum(scores[i] for i in subset)
        for n in range(len(items) + 1)
        for subset in itertools.combinations(range(len(items)), n)
        if all(
            spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]
            for i, j in itertools.combinations(subset, 2)
        )
    )
    assert sum(scores[i] for i in chosen) == pytest.approx(best)
    assert [spans[i] for i in chosen] == without_overlaps(spans[i] for i in chosen)


def test_entities_that_a_doc_has_already_stay_and_may_be_overlapped(saved):
    nlp, _ = saved
    text = "this movie is lovely warm music"
    doc = nlp.make_doc(text)
    doc.set_ents([Span(doc, 5, 6, label="MINE")])
    doc = nlp.get_pipe("ner")(doc)
    assert found(doc) == found(nlp(text))
    assert [(e.start, e.end, e.label_) for e in doc.ents] == [(3, 5, "MOOD"), (5, 6, "MINE")]


def test_a_label_that_is_added_leaves_the_others_as_they_are(saved):
    nlp = spacy.load(saved[1])
    before = {text: found(nlp(text)) for text in TEXTS}
    pipe = nlp.get_pipe("ner")
    rows = pipe.model.predict([nlp.make_doc("a film")]).logits
    assert pipe.add_label("NEW") == 1
    grown = pipe.model.predict([nlp.make_doc("a film")]).logits
    numpy.testing.assert_allclose(grown[:, : rows.shape[1]], rows, atol=1e-6)
    assert before == {text: found(nlp(text)) for text in TEXTS}
    nlp.examples = [example(nlp, "a film", [(0, 2, "NEW"), (1, 2, "FILM")])]
    nlp.optimizer = nlp.resume_training()
    nlp.optimizer.learn_rate = 0.02
    train(nlp)
    assert found(nlp("a film")) == [(0, 2, "NEW"), (1, 2, "FILM")]


def test_the_gradient_is_that_of_the_loss(token_config):
    nlp = pipeline(token_config, incorrect_spans_key="wrong")
    pipe = nlp.get_pipe("ner")
    gold = nlp.examples[3].reference
    gold.spans["wrong"] = [Span(gold, 0, 2, label="FILM"), Span(gold, 2, 3)]
    scores = pipe.model.predict([eg.predicted for eg in nlp.examples])
    logits = numpy.random.default_rng(0).normal(size=scores.logits.shape)
    loss, gradient = pipe.get_loss(nlp.examples, TagScores(logits, scores.lengths))
    for row, column in ((0, 0), (2, 6), (5, 14), (17, 3), (19, 11)):
        moved = logits.copy()
        moved[row, column] += 1e-4
        other, _ = pipe.get_loss(nlp.examples, TagScores(moved, scores.lengths))
        assert (other - loss) / 1e-4 == pytest.approx(gradient.logits[row, column], abs=1e-4)


def test_entities_are_read_from_the_doc_where_there_is_no_group(token_config):
    nlp = spacy.blank("xx")
    flat = Example.from_dict(nlp.make_doc("a lovely film"), {"entities": [(2, 8, "MOOD")]})
    none = Example(nlp.make_doc("film"), nlp.make_doc("film"))
    nested = example(nlp, "lovely music", [(0, 1, "MOOD"), (0, 2, "MUSIC")])
    with pytest.warns(UserWarning, match="1 of 3 docs have no annotation"):
        nlp = pipeline(token_config, examples=[flat, none, nested])
    pipe = nlp.get_pipe("ner")
    assert pipe.labels == ("MOOD", "MUSIC")
    assert pipe.training_batch(nlp.examples) == [flat, nested]
    train(nlp)
    assert nlp.evaluate(nlp.examples)["spans_ner_r"] == 1.0


def test_tokens_without_annotation_are_neither_learned_nor_scored(token_config):
    nlp = spacy.blank("xx")
    partly = example(nlp, "a lovely film", [(1, 2, "MOOD"), (1, 3, "FILM")])
    partly.reference.set_ents(
        [Span(partly.reference, 1, 2, label="MOOD")],
        missing=[partly.reference[0:1]],
        default="outside",
    )
    assert read_gold(partly, "ner").known.tolist() == [False, True, True]
    nlp = pipeline(token_config, examples=[partly])
    pipe = nlp.get_pipe("ner")
    scores = pipe.model.predict([partly.predicted])
    _, gradient = pipe.get_loss([partly], scores)
    assert not gradient.logits[0].any() and gradient.logits[1:].any()
    predicted = partly.predicted.copy()
    predicted.spans["ner"] = [
        Span(predicted, a, b, label=label)
        for a, b, label in [(0, 2, "FILM"), (1, 2, "MOOD"), (1, 3, "FILM")]
    ]
    result = pipe.score([Example(predicted, partly.reference)])
    assert result["spans_ner_p"] == result["spans_ner_r"] == 1.0


def test_spans_that_cut_tokens_leave_those_tokens_unknown():
    nlp = spacy.blank("xx")
    gold = Doc(nlp.vocab, words=["love", "ly", "film"], spaces=[False, True, False])
    gold.spans["ner"] = [Span(gold, 0, 1, label="X"), Span(gold, 0, 3, label="Y")]
    found = read_gold(Example(Doc(nlp.vocab, words=["lovely", "film"]), gold), "ner")
    assert found.entities == [(0, 2, "Y")] and found.known.tolist() == [False, True]


def test_the_longest_of_one_label_is_learned_and_the_rest_is_reported(token_config):
    nlp = spacy.blank("xx")
    twice = example(nlp, "a lovely film", [(0, 3, "FILM"), (1, 3, "FILM"), (1, 2, "MOOD")])
    with pytest.warns(UserWarning, match="1 of 3 entities overlap a longer one of their own"):
        nlp = pipeline(token_config, examples=[twice])
    train(nlp)
    assert found(nlp("a lovely film")) == [(0, 3, "FILM"), (1, 2, "MOOD")]


def test_a_long_document_is_read_in_windows(saved):
    _, path = saved
    windows = {"window": 16, "overlap": 4}
    other = spacy.load(path, config={"components": {"ner": {"model": {"encoder": windows}}}})
    assert other.config["components"]["ner"]["model"]["encoder"]["window"] == 16
    text = " ".join(TEXTS)
    doc = other(text * 5)
    assert len(doc) > 80 and found(doc)[-1][0] > 64
    assert {label for _, _, label in found(doc)} == {"FILM", "MOOD", "MUSIC"}


def test_a_recognizer_that_listens_finds_nested_entities(nlp, encoder_config):
    nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder_config()})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}
    model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": listener}
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": model, "overlapping": True})
    nlp.examples = [example(nlp, *item) for item in TEXTS.items()]
    nlp.optimizer = nlp.initialize(lambda: nlp.examples)
    nlp.optimizer.learn_rate = 0.02
    train(nlp)
    assert nlp.evaluate(nlp.examples)["spans_ner_f"] > 0.9


@pytest.mark.parametrize("scheme", ["bilou", "bio"])
def test_each_label_starts_from_a_probe_of_its_own(token_config, scheme):
    def start(**settings):
        examples = [example(spacy.blank("xx"), *item) for item in TEXTS.items()] * 4
        nlp = pipeline(token_config, examples=examples, scheme=scheme, **settings)
        return nlp.evaluate(examples)["ents_f"] or 0.0

    assert start(head_init="probe") > 0.8 > start()


def test_a_label_without_examples_starts_as_a_new_one_does(token_config, caplog):
    nlp = pipeline(token_config)
    ner = nlp.get_pipe("ner")
    ner.head_init = "probe"
    ner.initialize(lambda: nlp.examples * 4, nlp=nlp, labels=["FILM", "MOOD", "MUSIC", "NONE"])
    layer, _ = ner.layers.columns("NONE")
    assert not ner.head.output.weight[layer].any()
    assert ner.head.output.bias[layer].tolist() == [0.0] + [-4.0] * (layer.stop - layer.start - 1)
    assert "NONE" not in {label for eg in nlp.examples for *_, label in found(nlp(eg.text))}


def test_layers_unfold_and_fold():
    layers = TagLayers(["A", "B", "C"], "bio", shared_positions=True, overlapping=True)
    rows = numpy.arange(2 * 9).reshape(2, 9)
    assert layers.unfold(rows)[:3].tolist() == [[0, 1, 2], [9, 10, 11], [3, 4, 5]]
    assert layers.fold(layers.unfold(rows)).tolist() == rows.tolist()
    assert layers.columns("B") == (slice(3, 6), 0)
    flat = TagLayers(["A", "B"], "bio", shared_positions=True, overlapping=False)
    assert flat.n_columns == flat.scheme.n_parts and flat.unfold(rows[:, :5]).shape == (2, 5)


def test_mistakes_have_messages(nlp, token_config):
    for wrong in ({"spans_key": None}, {"soft_labels": True}):
        with pytest.raises(ValueError, match="overlapping = true needs"):
            pipeline(token_config, **wrong)
    learned = pipeline(token_config, model=token_config(learned_transitions=True))
    with pytest.raises(ValueError, match="set learned_transitions = false"):
        learned.update(learned.examples, sgd=Adam(0.01))
    other = [example(nlp, *item, key="sc") for item in TEXTS.items()]
    with pytest.raises(ValueError, match="set spans_key = 'sc'"):
        pipeline(token_config, examples=other)


def test_nested_entities_are_explained_by_the_tags_of_their_label(saved):
    from spacy_reprtune.reporting.explain import explain, explain_errors

    nlp, _ = saved
    doc = nlp("this movie is lovely warm music")
    found = explain(nlp, doc)
    assert [own.label for own in found] == [span.label_ for span in doc.spans["ner"]]
    scores = doc.spans["ner"].attrs["scores"].tolist()
    assert [own.score for own in found] == pytest.approx(scores)
    gold = nlp.examples[0].reference.copy()
    gold.spans["ner"] = list(gold.spans["ner"])[1:]
    [wrong] = explain_errors(nlp, [gold])
    assert wrong["label"] == "FILM" and "MOOD" in wrong["gold"]


def test_an_unsure_token_of_any_label_makes_a_text_worth_annotating(saved):
    from spacy_reprtune.annotate.next_texts import entity_doubts

    nlp, _ = saved
    sure, unsure = entity_doubts(
        nlp.get_pipe("ner"), [nlp("this is quite dull"), nlp("cold movie is bright")]
    )
    assert 0.0 <= sure < unsure <= 1.0


def test_the_config_on_the_page_trains(tiny_encoder):
    page = (Path(__file__).parents[2] / "docs" / "spans.md").read_text("utf8")
    [block] = [b for b in re.findall(r"```ini\n(.+?)```", page, re.DOTALL) if "overlapping" in b]
    settings = Config().from_str("[components]\n" + block)["components"]["ner"]
    settings["model"]["encoder"].update(name=str(tiny_encoder), device="cpu")
    nlp = spacy.blank("xx")
    nlp.add_pipe(settings.pop("factory"), name="ner", config=settings)
    nlp.examples = [example(nlp, *item) for item in TEXTS.items()]
    nlp.optimizer = nlp.initialize(lambda: nlp.examples)
    nlp.optimizer.learn_rate = 0.02
    train(nlp)
    assert nlp.evaluate(nlp.examples)["spans_ner_f"] > 0.9


SPANS = [{"start": 8, "end": 20, "label": "ORG"}, {"start": 8, "end": 15, "label": "PLACE"}]
FILES = {
    "jsonl": {"text": "See the Norwood Bank.", "spans": SPANS},
    "doccano": {"text": "See the Norwood Bank.", "label": [[8, 20, "ORG"], [8, 15, "PLACE"]]},
    "label-studio": [
        {
            "data": {"text": "See the Norwood Bank."},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "labels",
                            "from_name": "label",
                            "to_name": "text",
                            "value": {"start": a, "end": b, "labels": [label]},
                        }
                        for a, b, label in [(8, 20, "ORG"), (8, 15, "PLACE")]
                    ]
                }
            ],
        }
    ],
}


@pytest.mark.parametrize("tool", FILES)
def test_convert_keeps_nested_spans_of_every_tool(tool, tmp_path):
    from spacy_reprtune.data.convert import convert

    path = tmp_path / ("in.json" if tool == "label-studio" else "in.jsonl")
    path.write_text(json.dumps(FILES[tool]) + "\n", encoding="utf8")
    convert({"train": path}, tmp_path / "out", split="100", spans_key="ner")
    docs = DocBin().from_disk(tmp_path / "out" / "train.spacy").get_docs(spacy.blank("en").vocab)
    group = next(iter(docs)).spans["ner"]
    assert {(s.text, s.label_) for s in group} == {("Norwood Bank", "ORG"), ("Norwood", "PLACE")}


def test_convert_says_where_nothing_is_known():
    from spacy_reprtune.data.align import Account, make_doc
    from spacy_reprtune.data.record import Record

    nlp = spacy.blank("en")
    spans = [(0, 12, "ORG"), (0, 7, "PLACE")]
    record = Record("Norwood Bank it is", "here", spans=spans, spans_complete=False)
    doc = make_doc(record, nlp, Account(), spans_key="ner")
    assert read_gold(Example(nlp.make_doc(doc.text), doc), "ner").known.tolist() == [1, 1, 0, 0]
    doc = make_doc(
        Record("So", "here", spans=[], spans_complete=False), nlp, Account(), spans_key="ner"
    )
    assert not read_gold(Example(nlp.make_doc("So"), doc), "ner").known.any()


def test_a_label_below_its_threshold_is_left_out_and_the_others_stay(saved):
    nlp = spacy.load(saved[1])
    text, spans = next(iter(TEXTS.items()))
    nlp.get_pipe("ner").calibration.set_thresholds(0.9, {"FILM": 0.1, "MOOD": None, "MUSIC": 0.1})
    assert found(nlp(text)) == [span for span in spans if span[2] != "MOOD"]


def test_thresholds_are_fitted_to_gold_in_the_group(saved):
    nlp = spacy.load(saved[1])
    fits = fit_thresholds(nlp, [example(nlp, *item) for item in TEXTS.items()], precision=0.2)
    assert {item.label: item.n_gold for item in fits} == {"FILM": 2, "MOOD": 4, "MUSIC": 2}
    assert all(item.fit.n_right == item.fit.n_kept > 0 for item in fits)


def test_spans_of_a_component_without_scores_stay(saved):
    nlp, _ = saved
    text, pipe = next(iter(TEXTS)), nlp.get_pipe("ner")
    doc, expected = nlp.make_doc(text), found(nlp(text))
    doc.spans["ner"] = [Span(doc, 0, 1, label="RULE")]
    for _ in range(2):
        doc = pipe(doc)
        assert expected and sorted(found(doc)) == sorted([*expected, (0, 1, "RULE")])
        scores = dict(zip(found(doc), group_scores(doc.spans["ner"]), strict=True))
        assert scores.pop((0, 1, "RULE")) is None and all(scores.values())
    assert pipe.score([Example(doc, nlp.examples[0].reference)])["ents_ece"] is not None


@pytest.mark.parametrize("second_overlaps", [True, False])
@pytest.mark.filterwarnings("ignore:The learning rate")
@pytest.mark.filterwarnings("ignore:Not all of the training data")
def test_two_recognizers_share_a_group(token_config, second_overlaps):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    for name, labels in (("first", ["FILM", "MOOD"]), ("second", ["MUSIC"])):
        config = {"model": token_config(), "overlapping": second_overlaps or name == "first"}
        nlp.add_pipe("reprtune_ner", name=name, config=config)
        nlp.config["initialize"]["components"][name] = {"labels": labels}
    examples = [example(nlp, *item) for item in TEXTS.items()]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    for text, spans in TEXTS.items():
        # The gold docs have no flat entities, so a flat recognizer has learned nothing of music.
        known = {"FILM", "MOOD", "MUSIC"} if second_overlaps else {"FILM", "MOOD"}
        expected = sorted(span for span in spans if span[2] in known)
        doc = nlp(text)
        for again in (doc, nlp.get_pipe("second")(doc)):
            assert sorted(span for span in found(again) if span[2] in known) == expected
            assert len(again.spans["ner"].attrs["scores"]) == len(found(again))
