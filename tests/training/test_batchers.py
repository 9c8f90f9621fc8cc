import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.training import Example
from spacy.util import registry

from spacy_reprtune.training.batchers import batch_by_length_v1


@given(st.lists(st.text(max_size=50)), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9))
def test_nothing_is_dropped_and_batches_are_full(texts, size, buffer, seed):
    batches = list(batch_by_length_v1(size=size, buffer=buffer, seed=seed)(iter(texts)))
    assert sorted(text for batch in batches for text in batch) == sorted(texts)
    assert all(1 <= len(batch) <= size for batch in batches)
    assert sum(len(batch) < size for batch in batches) <= 1
    again = list(batch_by_length_v1(size=size, buffer=buffer, seed=seed)(iter(texts)))
    assert again == batches


def test_a_batch_holds_texts_of_about_the_same_length():
    texts = ["a" * (i * 37 % 100) for i in range(100)]
    spread = [
        max(map(len, batch)) - min(map(len, batch))
        for batch in batch_by_length_v1(size=10, buffer=100)(texts)
    ]
    assert max(spread) <= 10


def test_with_an_encoder_it_is_word_pieces_that_are_counted(tiny_encoder):
    # Each letter of an unknown word is a piece by itself.
    words = ["good good good good", "xyzxyzxyzxyz", "good good", "xyzxyz"]
    batcher = batch_by_length_v1(size=2, buffer=4, encoder=str(tiny_encoder))
    batches = [sorted(batch) for batch in batcher(words)]
    assert sorted(batches) == [["good good", "good good good good"], ["xyzxyz", "xyzxyzxyzxyz"]]


def test_an_unknown_encoder_is_named_with_the_first_batch():
    batcher = batch_by_length_v1(size=2, encoder="no/such/encoder")
    with pytest.raises(ValueError, match="no/such/encoder"):
        next(batcher(["a"]))


def test_batches_do_not_come_shortest_first():
    texts = ["a" * i for i in range(200)]
    lengths = [len(batch[0]) for batch in batch_by_length_v1(size=10, buffer=200)(texts)]
    assert lengths != sorted(lengths)


def test_a_document_of_any_length_is_kept():
    nlp = spacy.blank("xx")
    long = Example.from_dict(nlp.make_doc("word " * 5000), {})
    batcher = registry.batchers.get("spacy_reprtune.batch_by_length.v1")(size=2)
    assert list(batcher([long])) == [[long]]


@pytest.mark.parametrize("settings", [{"size": 0}, {"size": 4, "buffer": 0}])
def test_sizes_below_one_are_refused(settings):
    with pytest.raises(ValueError, match="1 or more"):
        batch_by_length_v1(**settings)
