import dataclasses
import itertools

import numpy
import pytest
import spacy
import torch
from conftest import ENTITIES, make_entity_examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_reprtune.bridge.token_classifier import TagScores
from spacy_reprtune.components.tag_rows import decode, gold_tags
from spacy_reprtune.heads.lattice import Lattice
from spacy_reprtune.heads.tags import SCHEMES, TagScheme

TEXTS = [text for text, _ in ENTITIES]


def make_nlp(model, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": model, **settings})
    examples = make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    return nlp, examples, optimizer


def train(nlp, examples, optimizer, steps=30):
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses["ner"]


def module_of(nlp):
    return nlp.get_pipe("ner").head


def found(doc):
    return [(e.start, e.end, e.label_, e._.score) for e in doc.ents]


def agree(first, second, tolerance=1e-6):
    assert [row[:3] for row in first] == [row[:3] for row in second]
    assert [r[3] for r in first] == pytest.approx([r[3] for r in second], abs=tolerance)


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ({}, {}),
        ({"piece_pooling": "first", "dropout": 0.0}, {"scheme": "bio"}),
        ({"learned_transitions": True}, {}),
        ({}, {"shared_positions": False, "head_init": "probe"}),
        ({"learned_transitions": True}, {"scheme": "bio", "head_init": "probe"}),
        ({"encoder": {"precision": "bf16"}}, {"head_init": "probe"}),
        ({"encoder": {"window": 8, "overlap": 2, "batch_pieces": 16}}, {"spans_key": None}),
    ],
)
def test_overfitting_and_every_way_to_save(model, config, token_config, tmp_path):
    nlp, examples, optimizer = make_nlp(token_config(**model), **config)
    assert train(nlp, examples, optimizer, steps=60) < 0.2
    scores = nlp.evaluate(examples)
    assert scores["ents_f"] == 1.0 and 0.0 <= scores["ents_ece"] < 0.5
    expected = [found(doc) for doc in nlp.pipe(TEXTS)]
    for rows, (text, entities) in zip(expected, ENTITIES, strict=True):
        doc = nlp.make_doc(text)
        spans = [doc.char_span(start, end, label) for start, end, label in entities]
        assert [row[:3] for row in rows] == [(s.start, s.end, s.label_) for s in spans]
        assert all(0.0 < row[3] <= 1.0 for row in rows)

    def check(other):
        for rows, doc in zip(expected, other.pipe(TEXTS), strict=True):
            agree(found(doc), rows)

    check(nlp)
    tolerance = 0.05 if model.get("encoder", {}).get("precision") == "bf16" else 1e-5
    for rows, text in zip(expected, TEXTS, strict=True):
        agree(found(nlp(text)), rows, tolerance)
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    data = nlp.to_bytes()
    check(fresh.from_bytes(data))
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    check(loaded)
    train(loaded, examples, loaded.resume_training(), steps=1)


def test_scores_are_in_the_span_group_and_on_the_spans_and_survive_the_binary_format(ner):
    train(ner, ner.examples, ner.optimizer)
    doc = ner(TEXTS[3])
    group = doc.spans["ner"]
    assert list(group) == list(doc.ents) and len(doc.ents) == 2
    assert group.attrs["scores"].tolist() == pytest.approx([e._.score for e in doc.ents])
    restored = next(DocBin(store_user_data=True, docs=[doc]).get_docs(ner.vocab))
    assert restored.spans["ner"].attrs["scores"].tolist() == group.attrs["scores"].tolist()
    assert [e._.score for e in restored.ents] == [e._.score for e in doc.ents]
    assert ner("").spans["ner"].attrs["scores"].shape == (0,)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("scheme", ["bio", "bilou"])
def test_the_gradient_is_that_of_the_loss(scheme, shared, learned, token_config):
    model = token_config(learned_transitions=learned)
    nlp, examples, _ = make_nlp(model, scheme=scheme, shared_positions=shared)
    pipe = nlp.get_pipe("ner")
    scores, _ = pipe.model.begin_update([eg.predicted for eg in examples])
    loss, gradient = pipe.get_loss(examples, scores)
    assert (scores.transitions is not None) is learned
    step = 0.01
    for name in ("logits", "transitions") if learned else ("logits",):
        for cell in [(0, 0), (2, 1)]:
            moved = {"logits": scores.logits, "transitions": scores.transitions}
            moved[name] = moved[name].copy()
            moved[name][cell] += step
            higher, _ = pipe.get_loss(examples, TagScores(lengths=scores.lengths, **moved))
            expected = getattr(gradient, name)[cell]
            assert (higher - loss) / step == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("learned", [False, True])
def test_every_parameter_trains(learned, token_config):
    nlp, examples, optimizer = make_nlp(token_config(learned_transitions=learned))
    before = {k: v.clone() for k, v in module_of(nlp).named_parameters()}
    train(nlp, examples, optimizer, steps=2)
    still = {k for k, v in module_of(nlp).named_parameters() if torch.equal(v, before[k])}
    # The pooler of a BERT has no part in token vectors.
    assert not {k for k in still if "pooler" not in k}
    assert ("transitions" in before) is learned


@pytest.mark.parametrize("unfreeze", ["none", 1])
def test_frozen_blocks_are_bit_identical_and_the_cache_changes_nothing(unfreeze, token_config):
    runs = {}
    for cache_mb in (0, 100):
        model = token_config(encoder={"unfreeze": unfreeze, "cache_mb": cache_mb}, dropout=0.0)
        nlp, examples, _ = make_nlp(model)
        encoder = module_of(nlp).encoder
        frozen = {k: v.clone() for k, v in encoder.named_parameters() if not v.requires_grad}
        optimizer = Adam(0.01, use_averages=False)
        losses = [train(nlp, examples, optimizer, steps=1) for _ in range(6)]
        assert frozen and all(
            torch.equal(dict(encoder.named_parameters())[k], v) for k, v in frozen.items()
        )
        runs[cache_mb] = losses, [found(doc) for doc in nlp.pipe(TEXTS)]
        if cache_mb:
            assert encoder.cache.stats.hits >= 5 * len(examples)
    numpy.testing.assert_allclose(runs[0][0], runs[100][0], rtol=5e-3)
    for cached, plain in zip(runs[100][1], runs[0][1], strict=True):
        agree(cached, plain, 5e-3)


def test_pooling_is_over_the_pieces_of_a_token(token_config):
    """A token of several pieces has the mean of their logits, or those of the first."""
    logits = {}
    for pooling in ("mean", "first"):
        nlp, *_ = make_nlp(token_config(piece_pooling=pooling))
        logits[pooling] = (
            nlp.get_pipe("ner").model.predict([nlp.make_doc("boring film xyz")]).logits
        )
        module = module_of(nlp)
    pieces = module.encoder.tokenize(["boring film xyz"])
    [vectors] = [v.detach() for _, v in module.encoder.encode(pieces)]
    rows = module.output(vectors[0, 1:-1]).detach().numpy()
    assert len(rows) == 5
    numpy.testing.assert_allclose(logits["mean"][2], rows[2:].mean(0), atol=1e-5)
    numpy.testing.assert_allclose(logits["first"][2], rows[2], atol=1e-5)
    numpy.testing.assert_allclose(logits["mean"][:2], rows[:2], atol=1e-5)


def test_odd_docs_and_pipe_agrees_with_call(token_config):
    nlp, examples, optimizer = make_nlp(token_config(encoder={"batch_pieces": 128}))
    train(nlp, examples, optimizer)
    texts = [
        "",
        " ",
        "\n\t \u00a0",
        "film",
        "😀👍🏽",
        "\x00\x01\x07",
        "\u200b\u200d\ufeff",
        "lovely \u200b bright",
        "שלום עולם مرحبا",
        "a" * 10_000,
        "lovely bright music 1 - 2 " * 300,
        "lovely bright",
    ]
    docs = list(nlp.pipe(texts, batch_size=4))
    assert [doc.text for doc in docs] == texts
    for doc in docs:
        assert doc.has_annotation("ENT_IOB") and "ner" in doc.spans
        for ent in doc.ents:
            assert not ent[0].is_space and not ent[-1].is_space
        agree(found(doc), found(nlp(doc.text)), 1e-5)


def test_entities_span_white_space_and_pieceless_tokens_but_have_none_at_their_edges(ner):
    train(ner, ner.examples, ner.optimizer, steps=60)
    doc = ner("the actor lovely \n\n \x07 bright  is great")
    assert [ent.text for ent in doc.ents] == ["lovely \n\n \x07 bright"]


def test_an_entity_across_the_seam_of_two_windows_is_one_entity(token_config):
    model = token_config(encoder={"window": 8, "overlap": 3})
    nlp, examples, optimizer = make_nlp(model)
    train(nlp, examples, optimizer, steps=80)
    filler = "this movie is quite dull "
    for n in range(1, 5):
        doc = nlp(filler * n + "the actor lovely bright is great " + filler * 2)
        assert [ent.text for ent in doc.ents] == ["lovely bright"], n


def test_what_a_doc_has_already_is_respected_unless_overwritten(token_config):
    nlp, examples, optimizer = make_nlp(token_config())
    train(nlp, examples, optimizer, steps=60)

    def annotate(overwrite):
        nlp.get_pipe("ner").overwrite = overwrite
        doc = nlp.make_doc("lovely warm was in music 3")
        old = Span(doc, 1, 3, label="OLD", kb_id="Q1")
        doc.set_ents([old], blocked=[doc[4:5]], default="missing")
        doc = nlp.get_pipe("ner")(doc)
        return [(e.text, e.label_, e.kb_id_) for e in doc.ents], doc

    kept, doc = annotate(False)
    assert ("warm was", "OLD", "Q1") in kept
    assert not {i for e in doc.spans["ner"] for i in range(e.start, e.end)} & {1, 2, 4}
    assert doc[4].ent_iob == 3 and doc[4].ent_type == 0 and doc[3].ent_iob_ == "O"
    again = [(e.start, e.end, e.label_) for e in nlp.get_pipe("ner")(doc).ents]
    assert again == [(e.start, e.end, e.label_) for e in doc.ents]
    replaced, _ = annotate(True)
    assert replaced == [("lovely warm", "ACTOR", ""), ("music 3", "MUSIC", "")]


def test_a_ruler_in_front_and_components_behind(ner):
    train(ner, ner.examples, ner.optimizer, steps=60)
    ruler = ner.add_pipe("entity_ruler", before="ner")
    ruler.add_patterns([{"label": "MINE", "pattern": "bright is"}])
    doc = ner("the actor lovely bright is great")
    assert [(e.text, e.label_) for e in doc.ents if e.label_ == "MINE"] == [("bright is", "MINE")]


def test_min_score_leaves_out_what_is_less_sure(token_config):
    nlp, examples, optimizer = make_nlp(token_config())
    train(nlp, examples, optimizer, steps=25)
    everything = [row for doc in nlp.pipe(TEXTS) for row in found(doc)]
    scores = sorted(row[3] for row in everything)
    assert len(scores) >= 3
    limit = (scores[0] + scores[1]) / 2
    nlp.get_pipe("ner").min_score = limit
    rest = [row for doc in nlp.pipe(TEXTS) for row in found(doc)]
    assert rest == [row for row in everything if row[3] >= limit] != everything


def test_scores_add_up_over_what_could_be_there_instead(token_config):
    """A token is either outside or in exactly one entity."""
    nlp, *_ = make_nlp(token_config(), scheme="bio")
    pipe = nlp.get_pipe("ner")
    doc = nlp.make_doc("lovely")
    lattice = Lattice(pipe.tags)
    logits = pipe.model.predict([doc]).logits
    shares = []
    for tag in range(1, len(pipe.tags)):
        if not pipe.tags.continues[tag]:
            shares.extend(lattice.entity_probabilities(logits, [1], numpy.array([tag]))[1])
    legal = ~pipe.tags.continues
    weights = numpy.exp(logits[0][legal])
    assert sum(shares) == pytest.approx(1 - weights[0] / weights.sum(), abs=1e-6)


def test_two_processes_agree_with_one(ner):
    train(ner, ner.examples, ner.optimizer)
    texts = [*TEXTS, ""] * 4
    single = [found(doc) for doc in ner.pipe(texts)]
    both = [found(doc) for doc in ner.pipe(texts, n_process=2, batch_size=5)]
    for one, two in zip(single, both, strict=True):
        agree(two, one, 1e-5)


def test_a_stream_keeps_its_order_and_errors_go_to_the_handler(ner, monkeypatch):
    texts = [f"film {'very ' * (i * 7 % 23)}{i}" for i in range(100)]
    assert [d.text for d in ner.pipe(iter(texts), batch_size=3)] == texts
    pipe = ner.get_pipe("ner")
    predict = pipe.predict

    def fail(docs):
        if any("bad" in doc.text for doc in docs):
            raise RuntimeError("planted")
        return predict(docs)

    monkeypatch.setattr(type(pipe), "predict", lambda self, docs: fail(docs))
    failed = []
    ner.set_error_handler(lambda name, proc, docs, error: failed.extend(docs))
    out = [doc.text for doc in ner.pipe(["good", "bad", "fine"], batch_size=1)]
    assert out == ["good", "fine"] and [doc.text for doc in failed] == ["bad"]


def test_labels_are_sorted_or_given_before_initialize(nlp, token_config):
    pipe = nlp.add_pipe("reprtune_ner", config={"model": token_config()})
    assert (pipe.add_label("ZEBRA"), pipe.add_label("ZEBRA")) == (1, 0)
    nlp.initialize(lambda: make_entity_examples(nlp))
    assert pipe.labels == ("ZEBRA", "ACTOR", "MUSIC") and pipe.label_data == list(pipe.labels)
    assert pipe.model.get_dim("nO") == pipe.tags.n_parts == 1 + 3 + 4
    for wrong in (7, ""):
        with pytest.raises(ValueError, match="has to be a string"):
            nlp.add_pipe("reprtune_ner", name=f"other{wrong}").add_label(wrong)


def test_initializing_again_takes_the_labels_of_the_new_examples(ner):
    example = Example.from_dict(ner.make_doc("a film"), {"entities": [(2, 6, "NEW")]})
    ner.initialize(lambda: [*ner.examples, example])
    assert ner.get_pipe("ner").labels == ("ACTOR", "MUSIC", "NEW")
    assert ner.get_pipe("ner").model.get_dim("nO") == 8
    assert ner(TEXTS[0]).has_annotation("ENT_IOB")


def test_labels_from_the_config(nlp, token_config):
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": token_config()})
    nlp.config["initialize"]["components"]["ner"] = {"labels": ["MUSIC"]}
    with pytest.warns(UserWarning, match=r"count as outside: ACTOR \(3\)"):
        optimizer = nlp.initialize(lambda: make_entity_examples(nlp))
    optimizer.learn_rate = 0.01
    train(nlp, make_entity_examples(nlp), optimizer, steps=60)
    assert {e.label_ for doc in nlp.pipe(TEXTS) for e in doc.ents} == {"MUSIC"}


def test_sourced_components_bring_their_weights(ner, tmp_path):
    train(ner, ner.examples, ner.optimizer, steps=30)
    ner.to_disk(tmp_path)
    other = spacy.blank("xx")
    other.add_pipe("sentencizer")
    other.add_pipe("ner", source=spacy.load(tmp_path))
    for text in TEXTS:
        agree(found(other(text)), found(ner(text)))


def test_beside_a_text_classifier_with_docs_annotated_for_one_of_them(
    nlp, token_config, model_config
):
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": token_config()})
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    examples = make_entity_examples(nlp)
    for text, good in (("a great film", 1.0), ("dull and cold", 0.0)):
        cats = {"cats": {"GOOD": good, "BAD": 1.0 - good}}
        examples.append(Example.from_dict(nlp.make_doc(text), cats))
    with pytest.warns(UserWarning, match="2 of 7 docs have no annotation of entities"):
        optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    assert nlp.evaluate(examples[:5])["ents_f"] == 1.0
    assert nlp.evaluate(examples[5:])["cats_macro_f"] == 1.0


def test_the_same_seed_gives_the_same_weights(token_config):
    def run():
        nlp, examples, optimizer = make_nlp(token_config())
        train(nlp, examples, optimizer, steps=3)
        return nlp.get_pipe("ner").to_bytes()

    assert run() == run()


def test_a_long_document_trains_and_predicts_in_windows(ner):
    text = " ".join(text for text, _ in ENTITIES * 40)
    doc = ner.make_doc(text)
    entities, shift = [], 0
    for piece, own in ENTITIES * 40:
        entities.extend((a + shift, b + shift, label) for a, b, label in own)
        shift += len(piece) + 1
    example = Example.from_dict(doc, {"entities": entities})
    train(ner, [example], ner.optimizer, steps=40)
    assert ner.evaluate([example])["ents_f"] > 0.9


def test_docs_with_other_tokens_than_the_gold_are_aligned(ner):
    words = ["the", "actor", "love", "ly", "bright", "is", "great"]
    spaces = [True, True, False, True, True, True, False]
    reference = Doc(ner.vocab, words=words, spaces=spaces)
    reference.set_ents([Span(reference, 2, 5, label="ACTOR")])
    example = Example(ner.make_doc(reference.text), reference)
    train(ner, [example, *ner.examples], ner.optimizer, steps=60)
    assert ner.evaluate([example])["ents_f"] == 1.0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    words=st.lists(
        st.sampled_from(["film", "lovely", "xyz", " ", "\n", "\x07", "\u200b", "good-ish", "ä"]),
        min_size=1,
        max_size=40,
    ),
    window=st.integers(8, 20),
    overlap=st.integers(0, 3),
    batch_pieces=st.sampled_from([8, 64, 4096]),
    seed=st.integers(0, 1000),
    scheme=st.sampled_from(list(SCHEMES)),
)
def test_gold_survives_any_tokens_pieces_and_windows(
    words, window, overlap, batch_pieces, seed, scheme, ner
):
    """Which tokens are seen, and with it the gold tags, does not depend on windows and batches."""
    pipe = ner.get_pipe("ner")
    tags = TagScheme(pipe.labels, scheme)
    encoder = module_of(ner).encoder
    random = numpy.random.default_rng(seed)
    doc = Doc(ner.vocab, words=words, spaces=random.random(len(words)) < 0.8)
    edges = numpy.unique(random.integers(0, len(words) + 1, 6))
    spans = [Span(doc, a, b, label="ACTOR") for a, b in itertools.pairwise(edges.tolist())][::2]
    doc.set_ents(spans)
    blank = Doc(ner.vocab, words=words, spaces=[bool(t.whitespace_) for t in doc])
    whole = pipe.model.predict([blank]).logits
    before = encoder.settings, encoder.window
    encoder.settings = dataclasses.replace(
        encoder.settings, overlap=overlap, batch_pieces=batch_pieces
    )
    encoder.window = window
    try:
        logits = pipe.model.predict([blank]).logits
    finally:
        encoder.settings, encoder.window = before
    numpy.testing.assert_array_equal(logits.any(1), whole.any(1))
    gold = gold_tags([Example(blank, doc)], logits, tags)
    perfect = numpy.zeros((len(doc), len(tags)), dtype="f")
    perfect[gold.rows] = -9.0
    perfect[gold.rows, gold.tags] = 9.0
    [found] = decode([blank], perfect, Lattice(tags), overwrite=False, min_score=0.0)
    expected = []
    for span in spans:
        seen = [t.i for t in span if logits[t.i].any() and not t.is_space]
        if seen:
            expected.append((seen[0], seen[-1] + 1, "ACTOR"))
    assert found.entities == expected


def wrong_example(nlp, text, start, end, label, key="wrong"):
    """An example of which only one span is known, not to be an entity."""
    doc = nlp.make_doc(text)
    example = Example(doc, doc.copy())
    example.reference.spans[key] = [Span(example.reference, start, end, label)]
    return example


@pytest.mark.parametrize("label", ["ACTOR", ""])
def test_a_span_that_is_known_to_be_incorrect_is_unlearned(nlp, token_config, label):
    config = {"model": token_config(), "incorrect_spans_key": "wrong"}
    nlp.add_pipe("reprtune_ner", name="ner", config=config)
    examples = make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    text = examples[0].reference.text
    assert [(ent.start, ent.end) for ent in nlp(text).ents] == [(2, 4)]
    wrong = wrong_example(nlp, text, 2, 4, label)
    for _ in range(20):
        losses = nlp.update([wrong], sgd=optimizer)
    assert losses["ner"] < 0.1
    assert (2, 4) not in [(ent.start, ent.end) for ent in nlp(text).ents]


def test_a_span_can_not_be_right_and_wrong(nlp, token_config):
    for name, model in (("ner", token_config()), ("crf", token_config(learned_transitions=True))):
        config = {"model": model, "incorrect_spans_key": "wrong"}
        nlp.add_pipe("reprtune_ner", name=name, config=config)
    examples = make_entity_examples(nlp)
    nlp.initialize(lambda: examples)
    both = examples[0]
    both.reference.spans["wrong"] = [both.reference.ents[0]]
    with pytest.raises(ValueError, match="lovely bright.*ACTOR.*Keep one of them"):
        nlp.update([both], exclude=["crf"])
    wrong = wrong_example(nlp, "a film", 0, 1, "ACTOR")
    with pytest.raises(ValueError, match="'crf' needs learned_transitions = false"):
        nlp.update([wrong], exclude=["ner"])
