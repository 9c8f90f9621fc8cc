"""Excerpts of texts as HTML."""

from html import escape
from typing import Tuple

from markupsafe import Markup

# Characters of a text that are shown, and on each side of a marked part.
TEXT, AROUND = 500, 180


def quoted(text: str) -> Markup:
    """RETURNS (Markup): The beginning of a text."""
    cut = text if len(text) <= TEXT else text[:TEXT].rsplit(None, 1)[0] + " …"
    return Markup(f'<p class="quote">{escape(cut)}</p>')


def marked(text: str, start: int, end: int) -> Markup:
    """RETURNS (Markup): The characters from `start` to `end`, marked, with the text around them."""
    first, last = around(text, start, end)
    before, after = "… " if first else "", " …" if last < len(text) else ""
    parts = escape(text[first:start]), escape(text[start:end]), escape(text[end:last])
    return Markup(
        f'<p class="quote">{before}{parts[0]}<mark>{parts[1]}</mark>{parts[2]}{after}</p>'
    )


def around(text: str, start: int, end: int) -> Tuple[int, int]:
    """RETURNS (Tuple[int, int]): Where to cut a text around a part, between words if possible."""
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    if first:
        first = next((i + 1 for i in range(first, start) if text[i].isspace()), first)
    if last < len(text):
        last = next((i for i in range(last - 1, end, -1) if text[i].isspace()), last)
    return first, last
