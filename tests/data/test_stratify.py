"""Splits keep labels in proportion and copies together."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_reprtune.data.stratify import Layout, parse_split

WORDS = "kettle lamp chair door garden river stone letter music bread clock winter".split()


def text_of(number):
    """Texts of eight words, no two of which have a run of three words in common often."""
    import random

    rng = random.Random(number)
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(1000)}" for _ in range(8))


def assign(rows, split="80/10/10", seed=0):
    layout = Layout()
    for text, labels, group in rows:
        layout.add(text, labels, group)
    return layout.assign(parse_split(split), seed)


def test_every_label_has_its_share_in_every_split():
    rows = [(text_of(i), [("a", "b")[i % 5 == 0]], None) for i in range(1000)]
    counts = Counter((row[1][0], split) for row, split in zip(rows, assign(rows), strict=True))
    assert counts == {
        ("a", "train"): 640,
        ("a", "dev"): 80,
        ("a", "test"): 80,
        ("b", "train"): 160,
        ("b", "dev"): 20,
        ("b", "test"): 20,
    }


@pytest.mark.parametrize("n", [1, 9, 10, 11, 20])
def test_texts_are_taken_in_chunks_of_any_number(n):
    layout, whole = Layout(chunk=10), Layout()
    for i in range(n):
        layout.add(text_of(i), ["a"], None)
        whole.add(text_of(i), ["a"], None)
    shares = parse_split("80/10/10")
    assert layout.assign(shares, 0) == whole.assign(shares, 0)


def test_a_label_with_five_texts_is_in_every_split():
    rows = [(text_of(i), ["rare" if i < 5 else "common"], None) for i in range(300)]
    splits = assign(rows)
    assert Counter(splits[:5]) == {"train": 3, "dev": 1, "test": 1}


def test_groups_stay_together_and_so_do_copies():
    rows = [(text_of(i), ["a"], f"author {i % 40}") for i in range(400)]
    rows += [(text.upper() + " !", labels, None) for text, labels, _ in rows[:100]]
    splits = assign(rows)
    for author in range(40):
        assert len({splits[i] for i in range(author, 400, 40)}) == 1
    assert splits[400:] == splits[:100]
    assert set(splits) == {"train", "dev", "test"}


def test_nearly_equal_texts_stay_together():
    long = [" ".join(text_of(5 * i + k) for k in range(5)) for i in range(200)]
    rows = [(text, ["a"], None) for text in long]
    rows += [(f"{text} indeed", ["a"], None) for text in long]
    splits = assign(rows)
    same = sum(a == b for a, b in zip(splits[:200], splits[200:], strict=True))
    assert same >= 198


def test_the_seed_changes_the_split_and_the_order_of_the_file_does_not():
    rows = [(text_of(i), [("a", "b")[i % 2]], None) for i in range(200)]
    first = dict(zip(rows_texts(rows), assign(rows), strict=True))
    turned = rows[::-1]
    assert dict(zip(rows_texts(turned), assign(turned), strict=True)) == first
    assert assign(rows, seed=1) != assign(rows)


def rows_texts(rows):
    return [row[0] for row in rows]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 8)), max_size=80),
    st.sampled_from(["80/10/10", "90/10", "100", "1/1/1"]),
)
def test_every_text_gets_one_of_the_splits_and_no_group_gets_two(rows, split):
    rows = [(text_of(t), [f"l{k}"], f"g{g}" if g else None) for t, k, g in rows]
    splits = assign(rows, split)
    assert len(splits) == len(rows)
    assert set(splits) <= set(parse_split(split))
    for key in (0, 2):
        seen = {}
        for row, name in zip(rows, splits, strict=True):
            if row[key] is not None:
                assert seen.setdefault(row[key], name) == name


@pytest.mark.parametrize("text", ["", "80-10-10", "0/50/50", "1/2/3/4", "80/-10", "half"])
def test_a_wrong_split_is_explained(text):
    with pytest.raises(ValueError, match="Write the shares of train, dev and test: 80/10/10"):
        parse_split(text)
