import itertools

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import iob_to_biluo, offsets_to_biluo_tags
from spacy.vocab import Vocab

from spacy_reprtune.heads.tags import SCHEMES, PartLogits, TagScheme

LABELS = ["LOC", "B-PER", "two words"]


def is_legal(scheme, tags):
    around = numpy.array([0, *tags, 0])
    return bool(scheme.may_follow(around[:-1], around[1:]).all())


@st.composite
def annotated(draw):
    """Some tokens, and entities over them that don't overlap."""
    n_tokens = draw(st.integers(0, 30))
    edges = sorted(draw(st.sets(st.integers(0, n_tokens), max_size=12)))
    gaps = list(itertools.pairwise(edges))
    chosen = draw(st.lists(st.booleans(), min_size=len(gaps), max_size=len(gaps)))
    labels = [draw(st.integers(0, len(LABELS) - 1)) for _ in gaps]
    return n_tokens, [(a, b, k) for (a, b), k, yes in zip(gaps, labels, chosen, strict=True) if yes]


@pytest.mark.parametrize("name", SCHEMES)
@given(case=annotated())
def test_entities_survive_as_tags(name, case):
    n_tokens, spans = case
    scheme = TagScheme(LABELS, name)
    tags = scheme.tags(spans, n_tokens)
    assert is_legal(scheme, tags)
    assert scheme.spans(tags).tolist() == [list(span) for span in spans]


@given(case=annotated())
def test_tags_are_the_ones_that_spacy_gives(case):
    n_tokens, spans = case
    doc = Doc(Vocab(), ["x"] * n_tokens)
    entities = [(2 * a, 2 * b - 1, LABELS[k]) for a, b, k in spans]
    expected = offsets_to_biluo_tags(doc, entities)
    bilou, bio = (TagScheme(LABELS, name) for name in ("bilou", "bio"))
    assert [bilou.names[tag] for tag in bilou.tags(spans, n_tokens)] == expected
    assert iob_to_biluo([bio.names[tag] for tag in bio.tags(spans, n_tokens)]) == expected


@pytest.mark.parametrize(
    ("name", "legal", "illegal"),
    [
        (
            "bio",
            ["O", "B-X O B-X I-X", "B-X B-X", "B-X B-Y I-Y", "B-X"],
            ["I-X", "O I-X", "B-X I-Y"],
        ),
        (
            "bilou",
            ["O", "U-X B-X L-X", "B-X I-X L-X U-Y", ""],
            [
                "B-X",
                "B-X O",
                "I-X L-X",
                "U-X L-X",
                "B-X L-Y",
                "B-X U-X",
                "B-X B-X L-X",
                "L-X I-X L-X",
            ],
        ),
    ],
)
def test_which_sequences_are_legal(name, legal, illegal):
    scheme = TagScheme(["X", "Y"], name)
    for text, expected in [(t, True) for t in legal] + [(t, False) for t in illegal]:
        tags = numpy.array([scheme.names.index(tag) for tag in text.split()], dtype=numpy.int64)
        assert is_legal(scheme, tags) is expected, text


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="'iob'.*bio, bilou"):
        TagScheme(["X"], "iob")


@pytest.mark.parametrize("name", SCHEMES)
def test_a_tag_is_its_label_and_its_position(name):
    scheme = TagScheme(LABELS, name, shared_positions=True)
    kinds = list(SCHEMES[name])
    parts = ["O", *LABELS, *kinds]
    assert scheme.parts.shape == (len(parts), len(scheme))
    for tag, column in zip(scheme.names, scheme.parts.T, strict=True):
        expected = {"O"} if tag == "O" else {tag[2:], tag[0]}
        assert {part for part, has in zip(parts, column, strict=True) if has} == expected
    assert (TagScheme(LABELS, name).parts == numpy.eye(len(scheme))).all()
    single = TagScheme(LABELS[:1], name, shared_positions=True)
    assert (single.parts == numpy.eye(len(single))).all()


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("shared", [False, True])
def test_the_logit_of_a_tag_is_the_sum_of_its_parts(name, shared):
    scheme = TagScheme(LABELS, name, shared_positions=shared)
    parts = numpy.random.default_rng(0).normal(size=(5, scheme.n_parts)).astype("f")
    assert scheme.n_parts == len(scheme.parts)
    numpy.testing.assert_array_equal(scheme.logits(parts), parts @ scheme.parts)
    numpy.testing.assert_array_equal(PartLogits(scheme, parts)[1:3], (parts @ scheme.parts)[1:3])


@pytest.mark.parametrize("shared", [False, True])
def test_a_fitted_head_is_split_into_parts_that_give_it_back(shared):
    scheme = TagScheme(LABELS, "bilou", shared_positions=shared)
    random = numpy.random.default_rng(0)
    n_parts = len(scheme.parts)
    weight = scheme.parts.T @ random.normal(size=(n_parts, 5))
    bias = scheme.parts.T @ random.normal(size=n_parts)
    # This tag is in no example, so its weights are zero.
    weight[3], bias[3] = 0.0, -9.0
    back_weight, back_bias = scheme.split(weight, bias, -4.0)
    vectors = random.normal(size=(7, 5)).astype("f")
    logits = scheme.logits(vectors @ back_weight.T + back_bias)
    others = [tag for tag in range(len(scheme)) if tag != 3]
    expected = vectors @ weight.T + bias
    numpy.testing.assert_allclose(logits[:, others], expected[:, others], atol=1e-4)


def test_the_gradient_of_parts_is_that_of_their_tags():
    scheme = TagScheme(LABELS, "bio", shared_positions=True)
    random = numpy.random.default_rng(1)
    parts = random.normal(size=(2, len(scheme.parts)))
    d_logits = random.normal(size=(2, len(scheme)))
    moved = random.normal(size=parts.shape)
    change = (d_logits * (scheme.logits(parts + moved) - scheme.logits(parts))).sum()
    assert (scheme.gradient(d_logits) * moved).sum() == pytest.approx(change)


@pytest.mark.parametrize("shared", [False, True])
def test_parts_without_examples_start_below_the_others(shared):
    scheme = TagScheme(["A", "NEW"], "bilou", shared_positions=shared)
    random = numpy.random.default_rng(0)
    weight = random.normal(size=(len(scheme), 5)) + 0.1
    bias = random.normal(size=len(scheme))
    # No entity has the second label, and those of the first have one token.
    single = scheme.names.index("U-A")
    weight[[tag for tag in range(len(scheme)) if tag not in (0, single)]] = 0.0
    _, parts = scheme.split(weight, bias, -4.0)
    unused = ~scheme.parts[:, [0, single]].any(1)
    assert unused.sum() == len(parts) - (3 if shared else 2)
    lowest = min(0.0, parts[~unused].min())
    numpy.testing.assert_allclose(parts[unused], lowest - 4.0, rtol=1e-5)
