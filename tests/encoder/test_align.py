import itertools

import numpy
import pytest
import spacy
from conftest import byte_level_tokenizer, wordpiece_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from spacy_reprtune.bridge.encoder import token_spans
from spacy_reprtune.encoder.align import align, align_all
from spacy_reprtune.encoder.pieces import PieceTokenizer

NLP = spacy.blank("xx")
TOKENIZERS = {
    "wordpiece": PieceTokenizer(wordpiece_tokenizer()),
    "byte-level": PieceTokenizer(byte_level_tokenizer()),
}


def byte_fallback_tokenizer():
    """A Unigram tokenizer that spells unknown characters in bytes."""
    vocabulary = [("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0)]
    vocabulary += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def pairs(text, tokenizer):
    doc = NLP.make_doc(text)
    pieces = tokenizer([text], offsets=True)[0]
    starts = numpy.array([token.idx for token in doc], dtype=int)
    ends = numpy.array([token.idx + len(token) for token in doc], dtype=int)
    return doc, pieces, align(starts, ends, pieces.offsets, text)


def strip(start, end, text):
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def slow_pairs(tokens, offsets, text):
    """The definition, character by character."""
    found = set()
    spans = [strip(start, end, text) for start, end in offsets]
    runs = [list(run) for _, run in itertools.groupby(range(len(spans)), key=lambda i: spans[i])]
    for run in runs:
        start, end = spans[run[0]]
        for k, i in enumerate(run):
            first = start + k * (end - start) // len(run)
            last = start + (k + 1) * (end - start) // len(run)
            own = strip(first, min(max(last, first + 1), end), text)
            for token, (begin, stop) in enumerate(tokens):
                if max(own[0], begin) < min(own[1], stop):
                    found.add((token, i))
    return found


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(alphabet=st.sampled_from("ab.é 😀\u200b\u0301\n\tא'-\x00"), max_size=40))
def test_alignment_equals_its_definition_by_characters(kind, text):
    doc, pieces, alignment = pairs(text, TOKENIZERS[kind])
    got = list(zip(alignment.tokens.tolist(), alignment.pieces.tolist(), strict=True))
    assert len(got) == len(set(got)) and got == sorted(got)
    tokens = [(token.idx, token.idx + len(token)) for token in doc]
    assert set(got) == slow_pairs(tokens, pieces.offsets.tolist(), text)
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


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=12),
    st.lists(st.integers(1, 4), max_size=60),
    st.data(),
)
def test_pieces_that_share_a_span_are_handed_to_its_characters_in_turn(spans, sizes, data):
    """However many pieces share a span, pairs are no more than pieces and tokens together."""
    n_chars = sum(length for length, _ in spans)
    text = data.draw(st.text(alphabet="ab ", min_size=n_chars, max_size=n_chars))
    offsets, position = [], 0
    for length, n_pieces in spans:
        offsets += [(position, position + length)] * n_pieces
        position += length
    edges = [e for e in [0, *itertools.accumulate(sizes)] if e <= n_chars]
    tokens = list(itertools.pairwise(edges))
    starts, ends = numpy.array(tokens, dtype=int).reshape(-1, 2).T
    alignment = align(starts, ends, numpy.array(offsets, dtype=int).reshape(-1, 2), text)
    got = set(zip(alignment.tokens.tolist(), alignment.pieces.tolist(), strict=True))
    assert got == slow_pairs(tokens, offsets, text)
    assert len(got) <= len(offsets) + len(tokens)
    covered = {c for start, end in offsets for c in range(start, end) if not text[c].isspace()}
    for i, (start, end) in enumerate(tokens):
        # White space inside of a piece belongs to it, at its edge it does not.
        if text[start:end].strip():
            assert bool(alignment.lengths[i]) == bool(covered & set(range(start, end)))


def test_thousands_of_unknown_characters_make_thousands_of_pairs():
    tokenizer = PieceTokenizer(byte_fallback_tokenizer())
    doc, pieces, alignment = pairs("\u9fa5 " + "\u9fa5" * 2400, tokenizer)
    assert len(pieces) >= 3 * 2400
    assert len(alignment.tokens) <= len(pieces) + len(doc)
    assert (alignment.lengths > 0).all()
    # A character per token, as in Chinese: its own three bytes.
    starts = numpy.arange(2402)
    own = align(starts, starts + 1, pieces.offsets, "\u9fa5 " + "\u9fa5" * 2400)
    assert own.lengths[2:].tolist() == [3] * 2400


@given(st.lists(st.text(alphabet="ab \n\u9fa5\u00e9-", max_size=12), min_size=1, max_size=6))
@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_that_are_aligned_at_once_have_the_pairs_of_each(name, texts):
    tokenizer = TOKENIZERS[name]
    docs = [NLP.make_doc(text) for text in texts]
    pieces = tokenizer(texts, offsets=True)
    found = align_all([token_spans(doc) for doc in docs], pieces)
    tokens, piece_numbers, n_tokens, n_pieces = [], [], 0, 0
    for text, own in zip(texts, pieces, strict=True):
        alignment = pairs(text, tokenizer)[2]
        tokens += (alignment.tokens + n_tokens).tolist()
        piece_numbers += (alignment.pieces + n_pieces).tolist()
        n_tokens, n_pieces = n_tokens + alignment.n_tokens, n_pieces + len(own)
    assert found.n_tokens == n_tokens
    assert found.tokens.tolist() == tokens and found.pieces.tolist() == piece_numbers
