"""Annotations that look wrong: what `reprtune check --labels` found."""

from html import escape
from typing import Any, Dict, List

from markupsafe import Markup

from ..blocks import Fold, Mistake, Mistakes, Section, Text
from ..groups import Group
from ..metrics import Metrics
from ..values import number, objects
from .errors import AROUND, TEXT

# Suspects that are shown at once, and behind the fold.
SHOWN, FOLDED = 10, 90


def suspects_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): The most doubtful annotations of each corpus that was checked."""
    section = Section("suspects", "Doubtful annotations")
    for name, check in metrics.checks.items():
        suspects = objects(check.get("suspects"))
        if not suspects:
            continue
        corpus = str(check.get("corpus", name))
        count = number(check.get("suspect_count")) or len(suspects)
        section.blocks.append(
            Text(
                f"{corpus}: heads that have not seen the text disagree with {count:,.0f} "
                "annotations. The most doubtful come first."
            )
        )
        found = [_mistake(suspect) for suspect in suspects]
        section.blocks.append(Mistakes(corpus, found[:SHOWN]))
        rest = found[SHOWN : SHOWN + FOLDED]
        if rest:
            section.blocks.append(Fold(f"{len(rest)} more", [Mistakes(corpus, rest)]))
    return section


def _mistake(suspect: Dict[str, Any]) -> Mistake:
    doubt = number(suspect.get("doubt"))
    shown = "–" if doubt is None else f"{doubt:.2f}"
    head = (
        f"{suspect.get('gold', '–')} → {suspect.get('suggested', '–')}, doubt {shown} "
        f"({suspect.get('split', '–')}, text {suspect.get('text_number', '–')})"
    )
    text = str(suspect.get("text", ""))
    start, end = number(suspect.get("start")), number(suspect.get("end"))
    if suspect.get("kind") != "entity" or start is None or end is None:
        cut = text if len(text) <= TEXT else text[:TEXT] + " …"
        return Mistake(head, [("", Markup(f'<p class="quote">{escape(cut)}</p>'))])
    first, last = int(max(0, start)), int(max(0, end))
    before, inside, after = text[:first], text[first:last], text[last:]
    before = before if len(before) <= AROUND else "… " + before[-AROUND:]
    after = after if len(after) <= AROUND else after[:AROUND] + " …"
    marked = f"{escape(before)}<mark>{escape(inside)}</mark>{escape(after)}"
    return Mistake(head, [("", Markup(f'<p class="quote">{marked}</p>'))])
