"""The most confident errors, the place to look first for mistakes in the data or the model."""

from html import escape
from typing import Dict, List, Optional, Sequence, Tuple

from markupsafe import Markup

from ..blocks import Fold, Mistake, Mistakes, Section
from ..counts import OTHER, answer, cats_rows, ents_rows, guess, kind_of
from ..excerpts import around, quoted
from ..groups import Group
from ..metrics import Metrics
from ..predictions import Entity, Predictions
from ..svg import SERIES

# Errors shown for the best recipe, and for each of the others.
MOST, FEWER = 10, 5

_ENTITY = '<mark class="entity" style="--entity: {bg}">{text}<span>{label}</span></mark>'


def errors_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Wrong predictions, most confident first."""
    section = Section("errors", "Most confident errors")
    for group in groups:
        for i, (name, predictions) in enumerate(group.predictions.items()):
            pick = _exclusive if predictions.exclusive else _independent
            pick = pick if group.kind == "cats" else _entities
            found = pick(predictions, MOST if i == 0 else FEWER)
            mistakes = Mistakes(f"{group.title}: {name}", found)
            section.blocks.append(mistakes if i == 0 else Fold(name, [mistakes]))
    return section


def _exclusive(predictions: Predictions, most: int) -> List[Mistake]:
    wrong = []
    for row, cats in cats_rows(predictions):
        right, found = answer(cats), guess(cats)
        if right != found:
            gold = predictions.labels[right] if right >= 0 else ", ".join(cats.other) or OTHER
            score = f" {cats.scores[right]:.2f}" if right >= 0 else ""
            head = f"{predictions.labels[found]} {cats.scores[found]:.2f}, gold: {gold}{score}"
            wrong.append((cats.scores[found], head, row.text))
    return _most_confident(wrong, most)


def _independent(predictions: Predictions, most: int) -> List[Mistake]:
    wrong = []
    for row, cats in cats_rows(predictions):
        for label, gold, score in zip(predictions.labels, cats.gold, cats.scores, strict=True):
            if gold is not None and (score >= predictions.threshold) != (gold > 0):
                head = f"{label} {score:.2f}, gold: {'yes' if gold > 0 else 'no'}"
                wrong.append((max(score, 1 - score), head, row.text))
    return _most_confident(wrong, most)


def _most_confident(wrong: List[Tuple[float, str, str]], most: int) -> List[Mistake]:
    wrong.sort(key=lambda item: -item[0])
    return [Mistake(head, [("", quoted(text))]) for _, head, text in wrong[:most]]


def _entities(predictions: Predictions, most: int) -> List[Mistake]:
    wrong = []
    for row, ents in ents_rows(predictions):
        for entity, score in zip(ents.found, ents.scores, strict=True):
            kind = kind_of(entity, ents.gold)
            if kind != "right":
                wrong.append((-1.0 if score is None else score, row.text, entity, kind, ents))
    wrong.sort(key=lambda item: -item[0])
    colors = _colors(predictions)
    mistakes = []
    # One mistake per text, the most confident. The others are visible in the text.
    first = {item[1]: item for item in reversed(wrong)}
    for confidence, text, entity, kind, ents in [w for w in wrong if first[w[1]] is w][:most]:
        excerpt = around(text, *entity[:2])
        scored = dict(zip(ents.found, ents.scores, strict=True))
        shown = f" {confidence:.2f}" if confidence >= 0 else ""
        mistakes.append(
            Mistake(
                f"{text[entity[0] : entity[1]][:60]}: {entity[2]}{shown}, {kind}",
                [
                    ("gold", _highlight(text, excerpt, ents.gold, {}, colors)),
                    ("predicted", _highlight(text, excerpt, ents.found, scored, colors)),
                ],
            )
        )
    return mistakes


def _highlight(
    text: str,
    excerpt: Tuple[int, int],
    entities: Sequence[Entity],
    scores: Dict[Entity, Optional[float]],
    colors: Dict[str, str],
) -> Markup:
    """An excerpt of a text with its entities, drawn by displaCy."""
    from spacy import displacy

    start, end = excerpt
    before, after = "… " if start else "", " …" if end < len(text) else ""
    shift = len(before) - start
    shown, palette = [], {}
    last = start
    for entity in sorted(entities):
        first, stop, label = entity
        # displaCy can't draw entities that overlap.
        if first < last or stop > end:
            continue
        score = scores.get(entity)
        # displaCy escapes the text but not the label.
        title = escape(label if score is None else f"{label} {score:.2f}")
        palette[title] = colors.get(label, "var(--series-1)")
        shown.append({"start": first + shift, "end": stop + shift, "label": title})
        last = stop
    doc = {"text": before + text[start:end] + after, "ents": shown, "title": None}
    options = {"colors": palette, "template": _ENTITY}
    # In a notebook, displaCy would display the text instead of returning it.
    return Markup(displacy.render(doc, style="ent", manual=True, jupyter=False, options=options))


def _colors(predictions: Predictions) -> Dict[str, str]:
    labels = sorted({e[2] for _, row in ents_rows(predictions) for e in (*row.gold, *row.found)})
    return {label: f"var(--series-{i % len(SERIES) + 1})" for i, label in enumerate(labels)}
