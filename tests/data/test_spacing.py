"""Words go back to the text that they were cut from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_reprtune.data.spacing import Evidence, join_words, restore_spaces

TEXTS = [
    "Mira Holt's boat (built in Norwood) left Elsey, Port Elsey and the bay.",
    "\"It isn't far,\" she said, and the keeper's dog agreed.",
    "He said: \"We'll come at 5 p.m.; don't wait!\"",
    "The bank paid $500, or 20% of what it owed...",
    "The players' union met on Monday.",
    'They call it "the long pier" in town. "It is long," he said.',
    "Who wrote [1] and {2}?",
    "I'd say they've won.",
]


def cut(text):
    """Cut as the Penn Treebank does, and keep where the spaces were."""
    import re

    pattern = r"n't\b|'(?:s|m|d|re|ve|ll)\b|\.\.\.|p\.m\.|\w+?(?=n't\b)|\w+|[^\w\s]"
    matches = list(re.finditer(pattern, text))
    words = [match[0] for match in matches]
    spaces = [text[match.end() : match.end() + 1] == " " for match in matches]
    return words, spaces


def joined(words, spaces):
    return join_words(words, spaces)[0].strip()


@pytest.mark.parametrize("text", TEXTS)
def test_punctuation_clitics_and_quotes_find_their_place(text):
    words, _ = cut(text)
    assert joined(words, restore_spaces(words)) == text


def test_a_quote_that_spans_sentences_opens_once_and_closes_once():
    words = 'He left . " I am late . So late , " she said .'.split()
    assert joined(words, restore_spaces(words)) == 'He left. "I am late. So late," she said.'


def test_a_hyphen_is_joined_only_where_the_file_never_has_one_inside_a_word():
    split_off = [["tumour", "-", "suppressor", "gene"], ["wild", "-", "type", "mice"]]
    kept = [["well-known", "names"], ["Elsey", "-", "Norwood", "2", "-", "1"]]
    for sentences, joining in ((split_off, {"-"}), (kept, set())):
        evidence = Evidence()
        for words in sentences:
            evidence.add(words)
        assert evidence.joining == joining
    words = split_off[0]
    assert joined(words, restore_spaces(words, frozenset("-"))) == "tumour-suppressor gene"
    assert joined(words, restore_spaces(words)) == "tumour - suppressor gene"


def test_an_apostrophe_alone_is_a_contraction_before_its_rest():
    words = "you ' ve seen it".split()
    assert joined(words, restore_spaces(words)) == "you've seen it"


def test_emoticons_keep_the_space_before_them():
    words = "see you : D".split()
    assert restore_spaces(words)[1]


@given(st.lists(st.sampled_from([*"a b - / ' \" ( ) , . : $ % # n't 's I".split()]), max_size=30))
def test_no_letter_is_lost_and_starts_point_at_words(words):
    spaces = restore_spaces(words, frozenset("-/"))
    text, starts = join_words(words, spaces)
    assert text.replace(" ", "") == "".join(words)
    assert all(text[s : s + len(w)] == w for w, s in zip(words, starts, strict=True))
