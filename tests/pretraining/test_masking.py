"""Masks keep their rates, whole words and special pieces, wherever a piece is computed."""

import pytest
import torch
from conftest import byte_level_tokenizer, wordpiece_tokenizer

from spacy_reprtune.encoder.pieces import PieceTokenizer
from spacy_reprtune.pretraining.corpus import word_starts
from spacy_reprtune.pretraining.masking import Masker, hashed

N = 200_000
MASK, SPECIAL = 4, [0, 1, 2, 3, 4]


def make_masker(**settings) -> Masker:
    defaults = {
        "mask_id": MASK,
        "special_ids": SPECIAL,
        "vocab_size": 1000,
        "rate": 0.2,
        "whole_words": False,
    }
    return Masker(**{**defaults, **settings})


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (N,), generator=generator)
    index = torch.arange(N)
    starts = torch.rand(N, generator=generator) < 0.6
    words = torch.where(starts, index, 0).cummax(0).values
    return ids, index, words


@pytest.mark.parametrize("rate", [0.15, 0.2, 0.4])
@pytest.mark.parametrize("whole_words", [False, True])
def test_the_rate_is_kept(batch, rate, whole_words):
    masked = make_masker(rate=rate, whole_words=whole_words)(*batch, 0, 0)
    assert len(masked.positions) / N == pytest.approx(rate, abs=0.006)


def test_eight_of_ten_become_the_mask_one_another_piece_one_stays(batch):
    ids, index, words = batch
    masked = make_masker(rate=0.5)(ids, index, words, 0, 0)
    fed, labels = masked.ids[masked.positions], masked.labels
    assert (labels == ids[masked.positions]).all()
    share = {
        "mask": (fed == MASK).float().mean(),
        "other": ((fed != MASK) & (fed != labels)).float().mean(),
        "same": (fed == labels).float().mean(),
    }
    assert share["mask"] == pytest.approx(0.8, abs=0.005)
    assert share["other"] == pytest.approx(0.1, abs=0.005)
    assert share["same"] == pytest.approx(0.1, abs=0.005)
    # No piece is more likely in the place of another than any other.
    counts = torch.bincount(fed[(fed != MASK) & (fed != labels)], minlength=1000)
    assert counts[SPECIAL].sum() == 0 and counts.max() < 40


def test_nothing_else_is_changed(batch):
    ids, index, words = batch
    masked = make_masker()(ids, index, words, 0, 0)
    rest = torch.ones(N, dtype=torch.bool)
    rest[masked.positions] = False
    assert (masked.ids[rest] == ids[rest]).all()


def test_pieces_of_a_word_are_masked_together(batch):
    ids, index, words = batch
    masked = make_masker(whole_words=True)(ids, index, words, 0, 0)
    chosen = torch.zeros(N, dtype=torch.bool)
    chosen[masked.positions] = True
    per_word = torch.zeros(N).index_add(0, words, chosen.float())
    size = torch.zeros(N).index_add(0, words, torch.ones(N))
    assert ((per_word == 0) | (per_word == size)).all()


def test_special_pieces_and_filling_are_never_masked(batch):
    ids, index, words = (x.clone() for x in batch)
    ids[::7], index[::5] = 2, -1
    masked = make_masker(rate=0.9)(ids, index, words, 0, 0)
    assert not ((ids[masked.positions] == 2) | (index[masked.positions] < 0)).any()


def test_a_mask_depends_on_the_key_and_the_place_alone(batch):
    masker = make_masker(whole_words=True)
    whole = masker(*batch, 3, 1)
    part = masker(*(x[1000:2000] for x in batch), 3, 1)
    assert (whole.ids[1000:2000] == part.ids).all() or int(batch[2][1000]) < 1000
    assert (masker(*batch, 3, 1).ids == whole.ids).all()
    assert (masker(*batch, 3, 2).ids != whole.ids).any()
    assert (masker(*batch, 4, 1).ids != whole.ids).any()


def test_hashes_use_all_their_bits():
    bits = hashed(torch.arange(100_000), 0, 0)
    for bit in range(64):
        assert ((bits >> bit) & 1).float().mean() == pytest.approx(0.5, abs=0.01)


def unigram_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz▁"]
    words = [("▁un", -2.0), ("film", -2.0), ("able", -2.0), ("▁a", -2.0)]
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *letters, *words], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>")


def bare_tokenizer():
    """No pre-tokenizer: the whole text is one word to it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz .?")}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?", pad_token="?")


@pytest.mark.parametrize(
    "make", [wordpiece_tokenizer, byte_level_tokenizer, unigram_tokenizer, bare_tokenizer]
)
def test_words_begin_where_they_do_for_every_family_of_tokenizers(make):
    tokenizer = PieceTokenizer(make())
    text = "a film unfilmable"
    encoding = tokenizer.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    starts = word_starts(text, encoding)
    assert len(starts) == len(encoding.ids) > 3
    assert sum(starts) == 3
    # The text of each word, put together from its pieces.
    words, at = [], 0
    for begins, (_, last) in zip(starts, encoding.offsets, strict=True):
        if begins:
            words.append("")
        words[-1] += text[at:last]
        at = last
    assert [word.strip() for word in words] == ["a", "film", "unfilmable"]
