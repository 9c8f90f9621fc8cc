"""Restore spaces, to turn the words of a tokenized file back into the original text.

A model that was trained on "London ." will be served "London." Files of one token per line have
lost the difference, and this module restores most of it: from punctuation that everyone writes the
same way, from quotes that open and close, from scripts that have no spaces, and, for hyphens,
slashes and apostrophes, from the file itself.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import FrozenSet, List, Sequence, Tuple

_CLOSING = frozenset(". , ; : ! ? ) ] } % … ’ ” » '' ... .. !! ??".split())
_OPENING = frozenset("( [ { “ ‘ « `` ¿ ¡ # $ £ €".split())
_CLITIC = re.compile(r"('|’|´)(s|m|d|re|ve|ll|t|em)|n('|’)t", re.IGNORECASE)
_CLITIC_ENDS = frozenset(("s", "m", "d", "re", "ve", "ll", "t"))
_APOSTROPHES = frozenset("'’´`")
_SYMMETRIC = frozenset(('"', "'"))
_JOINING = frozenset("-/–")
_WORD_LIKE = re.compile(r"\w")
_URL = re.compile(r"://|www\.|\.\w+/")
# Thai, Lao, Tibetan, Myanmar, Khmer, Tai, Balinese and Javanese are written without spaces between
# words.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1980-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaa7f]"
)
# So are Chinese and Japanese, even next to Latin words and numbers: radicals, punctuation, kana,
# ideographs, and full-width forms.
_IDEOGRAPHIC = re.compile(
    "[\u2e80-\u2fdf\u3000-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff00-\uffef\U00020000-\U0003ffff]"
)
# If a mark occurs inside of words more often than this, relative to how often it occurs between
# words, the file's tokenizer did not split it off: marks between words were written with spaces.
_MAX_INSIDE = 0.05
_ESCAPED = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "``": '"',
    "''": '"',
}


@dataclass
class Evidence:
    """How a file treats marks that may occur inside of words.

    inside (Counter[str]): Number of words that have a mark between two letters or digits.
    between (Counter[str]): Number of marks that are separate words, between two such words.
    """

    inside: Counter = field(default_factory=Counter)
    between: Counter = field(default_factory=Counter)

    def add(self, words: Sequence[str]) -> None:
        """words (Sequence[str]): Words of the next text."""
        for i, word in enumerate(words):
            if len(word) == 1:
                if word in _JOINING and 0 < i < len(words) - 1:
                    both = _WORD_LIKE.match(words[i + 1]) and _WORD_LIKE.match(words[i - 1][-1])
                    self.between[word] += bool(both)
            elif any(mark in word for mark in _JOINING) and not _URL.search(word):
                for mark in _JOINING:
                    self.inside[mark] += bool(re.search(rf"\w{mark}\w", word))

    @property
    def joining(self) -> FrozenSet[str]:
        """RETURNS (FrozenSet[str]): Marks at which the tokenizer of the file split words."""
        return frozenset(
            mark for mark in _JOINING if self.inside[mark] < _MAX_INSIDE * self.between[mark]
        )


def unescape(word: str) -> str:
    """RETURNS (str): A word as it was written, if it is escaped as in the Penn Treebank."""
    return _ESCAPED.get(word, word)


def restore_spaces(words: Sequence[str], joining: FrozenSet[str] = frozenset()) -> List[bool]:
    """Find the words of a text that were followed by a space.

    words (Sequence[str]): Words of a whole text: a quote may close some sentences later.
    joining (FrozenSet[str]): Marks that are joined to the words on both sides, as `Evidence` finds.
    RETURNS (List[bool]): Whether a space follows each word. Always true for the last.
    """
    spaces = [True] * len(words)
    is_open = dict.fromkeys(_SYMMETRIC, False)
    for i, word in enumerate(words):
        before, after = i > 0, i < len(words) - 1
        if word in _SYMMETRIC and not _is_apostrophe(words, i):
            is_open[word] = _opens(words, i, is_open[word])
            if is_open[word] and after:
                spaces[i] = False
            elif before:
                spaces[i - 1] = False
        elif word in _CLOSING or _CLITIC.fullmatch(word):
            if before and not _is_emoticon_start(words, i):
                spaces[i - 1] = False
        elif _is_apostrophe(words, i) or (word in joining and _joins(words, i)):
            spaces[i - 1] = spaces[i] = False
        if after and (word in _OPENING or _has_no_space(word[-1], words[i + 1][0])):
            spaces[i] = False
    return spaces


def join_words(words: Sequence[str], spaces: Sequence[bool]) -> Tuple[str, List[int]]:
    """Join words to a text.

    words (Sequence[str]): Words in order.
    spaces (Sequence[bool]): Whether a space follows each word.
    RETURNS (Tuple[str, List[int]]): Text, the same as spaCy's `Doc.text`, and the first character
        of each word.
    """
    parts, starts, position = [], [], 0
    for word, space in zip(words, spaces, strict=True):
        starts.append(position)
        part = f"{word} " if space else word
        parts.append(part)
        position += len(part)
    return "".join(parts), starts


def _has_no_space(left: str, right: str) -> bool:
    """Whether the scripts of two neighboring characters are written without spaces."""
    if left < "\u0e00" and right < "\u0e00":
        return False
    if _IDEOGRAPHIC.match(left) or _IDEOGRAPHIC.match(right):
        return True
    return bool(_UNSPACED.match(left) and _UNSPACED.match(right))


def _opens(words: Sequence[str], i: int, is_open: bool) -> bool:
    """Whether a straight quote opens: every second one does, unless its neighbors say otherwise.

    Newspapers open a quote again with each paragraph and close only the last one, so taking turns
    would be wrong from there on.
    """
    if i == 0:
        return True
    previous, following = words[i - 1], words[i + 1 : i + 2]
    if previous in _OPENING:
        return True
    if is_open or not following:
        # At the very end, there is nothing to open.
        return not is_open and bool(following)
    if following[0] in _CLOSING or (previous in (",", ".", "!", "?") and following[0].islower()):
        return False
    if words[i] == "'" and previous[-1:] in ("s", "z", "x"):
        # The genitive of a plural, unless a partner is near.
        return "'" in words[i + 1 : i + 25]
    return True


def _is_apostrophe(words: Sequence[str], i: int) -> bool:
    """Whether a separate mark is the apostrophe of a contraction: you ' ve."""
    if words[i] not in _APOSTROPHES or not 0 < i < len(words) - 1:
        return False
    return words[i + 1].lower() in _CLITIC_ENDS and bool(_WORD_LIKE.match(words[i - 1][-1]))


def _is_emoticon_start(words: Sequence[str], i: int) -> bool:
    # ": )" and ": D": the colon belongs to the next word.
    return words[i] in (":", ";") and i + 1 < len(words) and words[i + 1] in ("D", "P", "(", "/")


def _joins(words: Sequence[str], i: int) -> bool:
    """Whether a mark is between two words: tumour - suppressor."""
    if not 0 < i < len(words) - 1:
        return False
    left, right = words[i - 1][-1], words[i + 1][0]
    return bool(
        (_WORD_LIKE.match(left) or left in ")]") and (_WORD_LIKE.match(right) or right in "([")
    )
