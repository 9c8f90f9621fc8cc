import numpy
import pytest
import spacy
from conftest import byte_level_tokenizer, wordpiece_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from spacy_reprtune.encoder.align import align
from spacy_reprtune.encoder.pieces import PieceTokenizer

NLP = spacy.blank("en")
TOKENIZERS = {
    "wordpiece": PieceTokenizer(wordpiece_tokenizer()),
    "byte-level": PieceTokenizer(byte_level_tokenizer()),
}


def pairs(text, tokenizer):
    doc = NLP.make_doc(text)
    pieces = tokenizer([text], offsets=True)[0]
    starts = numpy.array([token.idx for token in doc], dtype=int)
    ends = numpy.array([token.idx + len(token) for token in doc], dtype=int)
    return doc, pieces, align(starts, ends, pieces.offsets, text)


def slow_pairs(doc, pieces, text):
    """The definition, character by character."""
    found = set()
    for token in doc:
        for i, (start, end) in enumerate(pieces.offsets):
            while start < end and text[start].isspace():
                start += 1
            while start < end and text[end - 1].isspace():
                end -= 1
            if max(start, token.idx) < min(end, token.idx + len(token)):
                found.add((token.i, i))
    return found


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(alphabet=st.sampled_from("ab.é 😀\u200b\u0301\n\tא'-\x00"), max_size=40))
def test_alignment_equals_its_definition_by_characters(kind, text):
    doc, pieces, alignment = pairs(text, TOKENIZERS[kind])
    got = list(zip(alignment.tokens.tolist(), alignment.pieces.tolist(), strict=True))
    assert len(got) == len(set(got)) and got == sorted(got)
    assert set(got) == slow_pairs(doc, pieces, text)
    assert alignment.lengths.sum() == len(got) and len(alignment.lengths) == len(doc)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_words_own_their_pieces_and_white_space_has_none(kind):
    doc, _, alignment = pairs("great  unfilmable plot", TOKENIZERS[kind])
    assert [token.text for token in doc] == ["great", " ", "unfilmable", "plot"]
    assert alignment.lengths[1] == 0
    assert all(alignment.lengths[i] >= 1 for i in (0, 2, 3))
    # No piece is tied to two words, also where it carries the space before its own.
    assert len(set(alignment.pieces.tolist())) == len(alignment.pieces)


def test_a_piece_across_tokens_belongs_to_both():
    # Tokens "ab" and "cd", one piece over all four characters.
    alignment = align(numpy.array([0, 2]), numpy.array([2, 4]), numpy.array([[0, 4]]), "abcd")
    assert alignment.tokens.tolist() == [0, 1]
    assert alignment.pieces.tolist() == [0, 0]
