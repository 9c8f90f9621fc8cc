import math
import random
from collections import Counter

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_reprtune.training.setfit.batches import batch_by_class_v1


class Item:
    """Stands in for an example."""

    def __init__(self, *labels):
        self.labels = labels


def make(counts):
    items = [Item(label) for label, n in counts.items() for _ in range(n)]
    random.Random(0).shuffle(items)
    return items


def batches(items, **settings):
    return list(batch_by_class_v1(get_labels=lambda item: item.labels, **settings)(items))


def count(batch):
    return Counter(label for item in batch for label in item.labels)


def test_each_batch_has_as_many_labels_as_fit_and_the_same_number_of_each():
    found = batches(make({str(i): 16 for i in range(77)}), size=32, per_class=4)
    assert all(set(count(batch).values()) == {4} and len(count(batch)) == 8 for batch in found)
    assert len(found) == math.ceil(77 * 16 / 32)
    seen = sum((count(batch) for batch in found), Counter())
    assert max(seen.values()) - min(seen.values()) <= 4 and len(seen) == 77


def test_with_few_labels_all_of_them_are_in_each_batch():
    for batch in batches(make({"a": 16, "b": 16}), size=32):
        assert count(batch) == {"a": 16, "b": 16}
    for batch in batches(make({"a": 16, "b": 16, "c": 16}), size=32):
        assert count(batch) == {"a": 10, "b": 10, "c": 10}


def test_an_epoch_of_balanced_labels_has_every_text():
    items = make({str(i): 8 for i in range(4)})
    seen = Counter(id(item) for batch in batches(items, size=8, per_class=2) for item in batch)
    assert set(seen) == {id(item) for item in items} and set(seen.values()) == {1}


def test_a_rare_label_comes_as_often_as_a_frequent_one():
    found = batches(make({"rare": 4, "frequent": 60}), size=8)
    assert all(count(batch) == {"rare": 4, "frequent": 4} for batch in found)


@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=1), st.integers(1, 9), min_size=1),
    st.integers(2, 5),
    st.integers(0, 30),
)
@settings(max_examples=60, deadline=None)
def test_no_batch_is_too_large_or_has_a_text_twice(counts, per_class, more):
    items = make(counts)
    size = 2 * per_class + more
    found = batches(items, size=size, per_class=per_class)
    assert sum(map(len, found)) >= len(items)
    for batch in found:
        assert 0 < len(batch) <= size
        assert len({id(item) for item in batch}) == len(batch)


def test_texts_with_several_labels_come_once_a_batch():
    items = [Item("a", "b"), Item("a"), Item("b"), Item("a", "b")]
    for batch in batches(items, size=4, per_class=2):
        assert len({id(item) for item in batch}) == len(batch)


def test_the_seed_and_the_order_of_the_corpus_decide():
    items = make({"a": 9, "b": 9, "c": 9})
    assert batches(items, size=8, seed=1) == batches(items, size=8, seed=1)
    assert batches(items, size=8, seed=1) != batches(items, size=8, seed=2)
    assert batches(items, size=8, seed=1) != batches(items[::-1], size=8, seed=1)


def test_labels_are_those_of_cats_and_unannotated_docs_are_left_out():
    nlp = spacy.blank("xx")

    def doc(text, cats) -> Doc:
        doc = nlp.make_doc(text)
        doc.cats = cats
        return doc

    docs = [
        doc("one", {"A": 1.0, "B": 0.0}),
        doc("two", {"A": 0.0, "B": 1.0}),
        doc("three", {"A": 0.0, "B": 0.0}),
        doc("four", {}),
    ]
    found = [d.text for batch in batch_by_class_v1(size=12)(docs) for d in batch]
    assert sorted(found) == ["one", "three", "two"]
    assert list(batch_by_class_v1(size=12)([docs[3]])) == []


@pytest.mark.parametrize("settings", [{"size": 7}, {"size": 8, "per_class": 1}])
def test_a_batch_without_room_for_pairs_is_refused(settings):
    with pytest.raises(ValueError, match="two labels with two texts"):
        batch_by_class_v1(**settings)
