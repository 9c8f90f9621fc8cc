"""Inline markup: what a reader sees of a paragraph, and where its roles and literals stand."""

import re
from typing import List, NamedTuple, Optional, Tuple

# Roles whose target is a thing in code, and what a reader would call that thing. :mod: is not among
# them: some fifty mentions in all installed packages are too few to learn it, or to score it.
ROLE_LABELS = {
    "class": "CLASS",
    "exc": "CLASS",
    "func": "FUNCTION",
    "meth": "FUNCTION",
    "attr": "ATTRIBUTE",
    "data": "ATTRIBUTE",
    "code": "CODE",
}
LITERAL_LABEL = "CODE"
LABELS = tuple(sorted(set(ROLE_LABELS.values()) | {LITERAL_LABEL}))

# Roles that mark words of the sentence, not code: their text says nothing about our labels.
_PLAIN_ROLES = re.compile(r"(ref|doc|term|abbr|emphasis|strong|pep|rfc|wikipedia|doi|sup|sub)$")


# Issues that leave the sentence without a part of it.
FATAL_ISSUES = frozenset({"math", "citation"})


class Markup(NamedTuple):
    """A paragraph without its markup.

    text (str): What a reader sees.
    spans (Tuple[Tuple[int, int, str], ...]): Start, end and label of what was marked, in order.
    issue (Optional[str]): Why the spans cannot be trusted as complete gold, None if they can.
    """

    text: str
    spans: Tuple[Tuple[int, int, str], ...]
    issue: Optional[str]


def strip_markup(paragraph: str) -> Markup:
    """Replace inline markup by what it shows, and remember what it marked.

    paragraph (str): One paragraph on one line.
    RETURNS (Markup): Its plain text, with a span for each role and literal.
    """
    text, spans, issues = "", [], []
    position = 0
    for match in _INLINE.finditer(paragraph):
        text += _unescape(paragraph[position : match.start()])
        position = match.end()
        shown, label, issue = _shown(match)
        if issue:
            issues.append(issue)
        if label and shown:
            spans.append((len(text), len(text) + len(shown), label))
        text += shown
    text += _unescape(paragraph[position:])
    if not spans and not issues and _LEFTOVER.search(text):
        issues.append("broken markup")
    return _tidy(text, spans, issues[0] if issues else None)


_INLINE = re.compile(
    r"""
      (?P<literal>``(?P<literal_text>[^`\n]+(?:`[^`\n]+)*?)``)
    | (?P<role>:(?P<role_name>[a-zA-Z][\w:+.-]*):`(?P<role_text>[^`]+)`)
    | (?P<reference>\[`(?P<reference_text>[^`]+)`\](?:\([^)\s]*\))?)
    | (?P<markdown_link>\[(?P<link_text>[^\]\[]+)\]\((?:https?:|\#|\.{0,2}/)[^)\s]*\))
    | (?P<backtick>(?<![\w`])`(?P<backtick_text>[^`]+)`(?P<backtick_link>_{0,2}))
    | (?P<footnote>\s*\[[\w#*.+-]{1,20}\]_\b|\s*\[[\w#*.+-]{1,20}\]_(?=\W|$))
    | (?P<strong>\*\*(?=[^\s*])(?P<strong_text>[^*]+?)(?<=\S)\*\*)
    | (?P<emphasis>(?<![\w*])\*(?=[^\s*])(?P<emphasis_text>[^*]+?)(?<=[^\s*])\*(?![\w*]))
    """,
    re.VERBOSE,
)
_TITLE = re.compile(r"^(?P<title>.*?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)
_NEEDS_OBJECT = re.compile(
    r"(\b(in|of|see|from|by|with|to|and|on|per|e\.g\.|cf\.?|refs?\.?|references?|paper|equation|section|is|as|the)|[(,])$",
    re.IGNORECASE,
)
_LEFTOVER = re.compile(r"`|:[a-z]+:")


def _shown(match: "re.Match[str]") -> Tuple[str, Optional[str], Optional[str]]:
    """What a piece of markup shows, its label, and why the paragraph can't be gold."""
    group = match.group
    if group("literal"):
        return group("literal_text").strip(), LITERAL_LABEL, None
    if group("role"):
        return _shown_role(group("role_name"), group("role_text"))
    if group("reference"):
        # Hugging Face's [`Trainer.train`]: a link to code that does not say of which kind.
        return _target_name(group("reference_text")), None, "untyped reference"
    if group("markdown_link"):
        return strip_markup(group("link_text")).text, None, None
    if group("backtick"):
        title = _TITLE.match(group("backtick_text"))
        if title and title.group("title"):
            return title.group("title"), None, None
        if group("backtick_link"):
            return group("backtick_text"), None, None
        # A parameter in numpydoc, a literal in Markdown, a cross reference in Sphinx, a quotation
        # elsewhere. Calling it CODE would be wrong half of the time, and so would calling it
        # nothing, hence the paragraph serves as plain text only.
        return group("backtick_text").lstrip("~"), None, "single backticks"
    if group("footnote"):
        # "As shown in [2]_" has no end without its number.
        cut = _NEEDS_OBJECT.search(match.string[: match.start()])
        return "", None, "citation" if cut else None
    if group("strong"):
        return group("strong_text"), None, None
    return group("emphasis_text"), None, None


def _shown_role(name: str, content: str) -> Tuple[str, Optional[str], Optional[str]]:
    kind = name.rpartition(":")[2].lower()
    title = _TITLE.match(content)
    shown = title.group("title") if title and title.group("title") else _target_name(content)
    if kind in ROLE_LABELS:
        # :func:`the solver of SciPy <scipy.solve>` is a link on ordinary words.
        return shown, None if title and " " in shown else ROLE_LABELS[kind], None
    if _PLAIN_ROLES.match(kind):
        return shown, None, None
    if kind == "math":
        return content, None, "math"
    return shown, None, f"role :{kind}:"


def _target_name(content: str) -> str:
    """`~pkg.mod.Name` shows the last part, `!name` and `.name` themselves."""
    content = re.sub(r"\s+", " ", content.strip().strip("<>")).lstrip("!")
    if content.startswith("~"):
        return content.lstrip("~").rpartition(".")[2]
    return content.lstrip(".")


def _unescape(text: str) -> str:
    return re.sub(r"\\([*`_|\\])", r"\1", text).replace("\\ ", "")


def _tidy(text: str, spans: List[Tuple[int, int, str]], issue: Optional[str]) -> Markup:
    """Collapse white space, and move the spans along."""
    if text == " ".join(text.split()):
        # Nearly all of them, and the rest of this takes ten times as long.
        return Markup(text, tuple(spans), issue)
    new_index, kept = [], []
    for char in text:
        new_index.append(len(kept))
        if char.isspace():
            if kept and kept[-1] != " ":
                kept.append(" ")
        else:
            kept.append(char)
    if kept and kept[-1] == " ":
        kept.pop()
    new_index.append(len(kept))
    moved = tuple(
        (new_index[start], min(new_index[end], len(kept)), label) for start, end, label in spans
    )
    return Markup("".join(kept), moved, issue)
