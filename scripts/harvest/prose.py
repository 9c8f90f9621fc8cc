"""What counts as a readable paragraph, and as one whose marked code is complete."""

import re
from typing import Iterable, Optional, Sequence, Tuple

# Start, end and label.
Span = Tuple[int, int, str]

MIN_WORDS = 6
# The same, where no full stop shows that the sentence is over.
MIN_WORDS_OPEN = 9
MAX_WORDS = 200
# Of the characters that are not space. Formulas, shapes and signatures stay below.
MIN_LETTERS = 0.8

_BOILERPLATE = re.compile(
    r"copyright|licen[cs]e|all rights reserved|\btodo\b|\bfixme\b|\bxxx\b|"
    r"deprecated|for internal use|do not use|backwards? compatib|"
    r"read the documentation|see the (user guide|documentation|docs)|in the user guide|"
    r"(added|new|changed) in version|not (yet )?implemented|"
    r"array api (standard|backend)|experimental support for|"
    r"^(see|refer to|please (see|refer|check|read)|check out|"
    r"for (more|further) (details|information)|"
    r"more (details|information)|take a look|parameters? are the same|same as|alias (for|of)|"
    r"this (is an? alias|function is an alias)|inherited from|override)\b",
    re.IGNORECASE,
)
_URL = re.compile(r"https?:|www\.|\bdoi\b|arxiv", re.IGNORECASE)
_TEMPLATE = re.compile(r"%\(|[{}]|\|\w+\||<[a-z/]+>|</")
_MATH = re.compile(r"\\[a-zA-Z]+|\$|[\^_]\{|[=|]>|<-|(?<!\w)\w ?= ?[\w(]+ ?[-+*/] ?\w")
_CITATION = re.compile(
    r"(?<!\w)\[\d+(, ?\d+)*\]|\b(pp?|vol|no|eds?)\. ?\d|\(\d{4}\)\.?$|\bet al\b|"
    r",? \(?(19|20)\d\d\)?[.,]$|"
    r"^[A-Z][\w-]+, [A-Z]\.|\b(University|Press|Springer|Journal|Proceedings|IEEE|ISBN)\b"
)
_REASONS = (
    ("broken markup", re.compile(r"`|\*\*(?!\w)|\.\.$")),
    ("address", _URL),
    ("template", _TEMPLATE),
    ("formula", _MATH),
    ("citation", _CITATION),
    ("boilerplate", _BOILERPLATE),
    ("code", re.compile(r">>>| \.\.\. |--")),
)
_ENDING = re.compile(r"[.!?][\"')\]]*$")
# A paragraph without a full stop may be whole, unless it stops where something has to follow.
_OPEN_ENDING = re.compile(
    r"([^\w)\"']|\b(following|below|above|as|by|is|are|be|of|to|and|or|the|a|an|in|on|with|for|from|"
    r"if|that|when|where|example|like|using|via|than|then|see|note|e\.g))$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"(where|and|or|but|which|then|with|so|because|whose|while|thus|hence)\b")
_WORD = re.compile(r"[A-Za-z][a-z'-]*[a-z]|\b[aAI]\b")
# A name that only code would write so: snake_case, call(), dotted.path, camelCase, __dunder__.
_CODE_LIKE = re.compile(
    r"\w_\w|\b_\w|\w\(\)|\w\(\w+\)|[a-z]\w*\.[a-z_]\w+|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z0-9]+[A-Z]\w*|"
    r"\b(True|False|None)\b|==|\w=\w|\[\d*[:,]|\[\w+\]|'\w+'|\"\w+\"|@\w|<\w|->"
)
_NOT_CODE = re.compile(r"\b(e\.g|i\.e|et\.al|etc|vs)\b|\b(SciPy|NumPy|PyTorch|SymPy|NetworkX)\b")


def why_not_prose(
    text: str, spans: Sequence[Span] = (), *, is_field: bool = False
) -> Optional[str]:
    """Say why a paragraph is not clean running text.

    text (str): One paragraph, without markup.
    spans (Sequence[Span]): What is marked as code in it. Code may look like code, and a name in
        lower case may begin a sentence.
    is_field (bool): Whether it describes a parameter or a returned value.
    RETURNS (Optional[str]): The reason, a few words to count it under, or None for clean text.
    """
    tokens = text.split(" ")
    if len(tokens) < MIN_WORDS:
        return "too short"
    if len(tokens) > MAX_WORDS:
        return "too long"
    if text.endswith(":"):
        return "introduces a block"
    if not _ENDING.search(text) and (len(tokens) < MIN_WORDS_OPEN or _OPEN_ENDING.search(text)):
        return "no sentence end"
    starts_marked = bool(spans) and spans[0][0] == 0
    # Many authors write what a parameter is in lower case. Elsewhere, a small letter means that
    # the sentence began before a formula or a block of code.
    if not starts_marked and not (text[0].isalpha() if is_field else text[0].isupper()):
        return "no sentence start"
    if text[0].islower() and _CONTINUES.match(text):
        return "no sentence start"
    unmarked = without_spans(text, spans)
    for reason, pattern in _REASONS:
        if pattern.search(unmarked):
            return reason
    solid = sum(map(len, tokens))
    if sum(map(str.isalpha, text)) < MIN_LETTERS * solid:
        return "few letters"
    if len(_WORD.findall(text)) < 0.65 * len(tokens) or not text.isascii():
        return "few words"
    return None


def has_unmarked_code(text: str, spans: Sequence[Span]) -> bool:
    """Tell whether a paragraph mentions code that its author left without markup.

    Such a mention would be a false negative: a model that finds it is right.

    text (str): The paragraph.
    spans (Sequence[Span]): Start, end and label of what is marked.
    RETURNS (bool): Whether code is left over outside the spans.
    """
    rest = _NOT_CODE.sub(" ", without_spans(text, spans))
    if _CODE_LIKE.search(rest):
        return True
    marked = {text[start:end] for start, end, _ in spans}
    words = set(re.findall(r"\w+", rest))
    # Marked once and then written as a bare name: "``Foo`` ... the Foo".
    return any(name in words for name in marked if not name.islower() or len(name) == 1)


def without_spans(text: str, spans: Iterable[Span]) -> str:
    """Take the marked parts out of a text.

    text (str): The text.
    spans (Iterable[Span]): What to take out, in order.
    RETURNS (str): The rest, with a space for each span.
    """
    rest, position = [], 0
    for start, end, _ in spans:
        rest += [text[position:start], " "]
        position = end
    return "".join([*rest, text[position:]])
