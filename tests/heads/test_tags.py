import itertools

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import iob_to_biluo, offsets_to_biluo_tags
from spacy.vocab import Vocab

from spacy_reprtune.heads.tags import SCHEMES, TagScheme

LABELS = ["LOC", "B-PER", "two words"]


@st.composite
def annotated(draw):
    """Some tokens, and entities over them of which none overlaps another."""
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
    assert scheme.is_legal(tags)
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
        assert scheme.is_legal(tags) is expected, text


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="'iob'.*bio, bilou"):
        TagScheme(["X"], "iob")
