"""Annotations that look wrong: what `reprtune check --labels` found."""

from typing import Any, Dict, List

from ..blocks import Fold, Mistake, Mistakes, Section, Text
from ..excerpts import marked, quoted
from ..groups import Group
from ..metrics import Metrics
from ..values import number, objects

# Suspects that are shown directly, and in the fold.
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
    if suspect.get("kind") not in ("entity", "span") or start is None or end is None:
        return Mistake(head, [("", quoted(text))])
    first, last = int(max(0, start)), int(max(0, end))
    return Mistake(head, [("", marked(text, first, last))])
