"""The explanations of `reprtune explain --errors` for the worst errors, in color."""

from html import escape
from typing import Any, Dict, List, Optional

from markupsafe import Markup

from ..blocks import Mistake, Mistakes, Section, Text
from ..groups import Group
from ..metrics import Metrics
from ..values import number, objects

# Colors of tokens that speak for and against a label, and the deepest shade in percent.
FOR, AGAINST, DEEPEST = "var(--series-1)", "var(--series-2)", 60
# Tokens shown of a long text, around the token that contributes most.
TOKENS = 120

_HELP = (
    "Blue tokens speak for the predicted label and orange ones against it: integrated gradients of "
    "its log odds. The shades are relative to the strongest token of each text."
)


def explained_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): The explained errors of each pipeline."""
    section = Section("explained", "Why the worst errors were made")
    for name, content in metrics.explained.items():
        found = [_mistake(item) for item in objects(content.get("explanations"))]
        mistakes = [mistake for mistake in found if mistake is not None]
        if mistakes:
            section.blocks += [] if section.blocks else [Text(_HELP)]
            section.blocks.append(Mistakes(name, mistakes))
    return section


def _mistake(item: Dict[str, Any]) -> Optional[Mistake]:
    tokens, values = item.get("tokens"), item.get("contributions")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        return None
    numbers = [number(value) for value in values]
    score = number(item.get("score"))
    shown = "–" if score is None else f"{score:.2f}"
    head = f"{item.get('component', '–')}: {item.get('label', '–')} {shown}"
    if "gold" in item:
        head += f", gold: {item['gold']}"
    marked = colored(list(map(str, tokens)), [value or 0.0 for value in numbers], item.get("span"))
    return Mistake(head, [("", marked)])


def colored(tokens: List[str], values: List[float], span: Any = None) -> Markup:
    """Draw the contributions of tokens.

    tokens (List[str]): The tokens, each with the white space after it.
    values (List[float]): The contribution of each.
    span (Any): Index of the first token of an entity to underline and of the token after its last,
        or None.
    RETURNS (Markup): HTML in the colors of the page.
    """
    strongest = max(map(abs, values), default=0.0) or 1.0
    center = max(range(len(values)), key=lambda i: abs(values[i]), default=0)
    first = max(0, min(center - TOKENS // 2, len(tokens) - TOKENS))
    inside = range(*span) if _is_span(span) else range(0)
    parts = ["… " if first else ""]
    for i in range(first, min(first + TOKENS, len(tokens))):
        word = tokens[i].rstrip()
        share = round(DEEPEST * abs(values[i]) / strongest)
        text = escape(word)
        if share:
            tone = FOR if values[i] > 0 else AGAINST
            title = f"{values[i]:+.2f}"
            text = f'<mark style="--tone: {tone}; --share: {share}%" title="{title}">{text}</mark>'
        if i in inside:
            text = f'<span class="span">{text}</span>'
        parts.append(text + tokens[i][len(word) :])
    parts.append(" …" if first + TOKENS < len(tokens) else "")
    return Markup(f'<p class="tokens">{"".join(parts)}</p>')


def _is_span(span: Any) -> bool:
    return isinstance(span, list) and len(span) == 2 and all(type(value) is int for value in span)
