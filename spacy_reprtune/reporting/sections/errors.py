"""The most confident errors: where to look first, in the data as much as in the model."""

from html import escape
from typing import Dict, List, Optional, Sequence, Tuple

from markupsafe import Markup

from ..blocks import Block, Fold, Missing, Mistake, Mistakes, Section
from ..counts import OTHER, answer, cats_rows, ents_rows, guess, kind_of
from ..groups import Entry, Group
from ..predictions import Entity, Predictions
from ..svg import SERIES

# Errors of the best recipe, and of each of the others.
MOST, FEWER = 10, 5
# Characters of a text, and on each side of an entity.
TEXT, AROUND = 500, 180

_ENTITY = '<mark class="entity" style="--entity: {bg}">{text}<span>{label}</span></mark>'


def errors_section(groups: List[Group]) -> Section:
    """RETURNS (Section): Wrong predictions, the surest first."""
    blocks: List[Block] = []
    for group in groups:
        entries = group.with_predictions
        if not entries:
            blocks.append(
                Missing(f"{group.title}: the most confident errors ({group.prediction_files})")
            )
        for i, entry in enumerate(entries):
            found = _mistakes(entry, group, MOST if i == 0 else FEWER)
            blocks.append(found if i == 0 else Fold(entry.name, [found]))
    if not groups:
        blocks.append(Missing("The most confident errors (metrics/RECIPE.predictions.jsonl.gz)"))
    return Section("errors", "The most confident errors", blocks)


def _mistakes(entry: Entry, group: Group, most: int) -> Mistakes:
    predictions = entry.recipe.predictions
    title = f"{group.title}: {entry.name}"
    if predictions is None:
        return Mistakes(title, [])
    if group.kind == "ents":
        return Mistakes(title, _entities(predictions, most))
    pick = _exclusive if predictions.exclusive else _independent
    return Mistakes(title, pick(predictions, most))


def _exclusive(predictions: Predictions, most: int) -> List[Mistake]:
    wrong = []
    for row, cats in cats_rows(predictions):
        right, found = answer(cats), guess(cats)
        if right != found:
            gold = predictions.labels[right] if right >= 0 else ", ".join(cats.other) or OTHER
            score = cats.scores[right] if right >= 0 else None
            wrong.append((cats.scores[found], row.text, predictions.labels[found], gold, score))
    wrong.sort(key=lambda item: -item[0])
    return [
        Mistake(
            f"{found} {surely:.2f}, right: {gold}" + ("" if score is None else f" {score:.2f}"),
            [("", _text(text))],
        )
        for surely, text, found, gold, score in wrong[:most]
    ]


def _independent(predictions: Predictions, most: int) -> List[Mistake]:
    wrong = []
    for row, cats in cats_rows(predictions):
        for label, gold, score in zip(predictions.labels, cats.gold, cats.scores, strict=True):
            if gold is not None and (score >= predictions.threshold) != (gold > 0):
                wrong.append((max(score, 1 - score), row.text, label, score, gold > 0))
    wrong.sort(key=lambda item: -item[0])
    return [
        Mistake(
            f"{label} {score:.2f}, right: {'yes' if holds else 'no'}",
            [("", _text(text))],
        )
        for _, text, label, score, holds in wrong[:most]
    ]


def _entities(predictions: Predictions, most: int) -> List[Mistake]:
    wrong = []
    for row, ents in ents_rows(predictions):
        for entity, score in zip(ents.found, ents.scores, strict=True):
            kind = kind_of(entity, ents.gold)
            if kind != "right":
                wrong.append((-1.0 if score is None else score, row.text, entity, kind, ents))
    wrong.sort(key=lambda item: -item[0])
    colours = _colours(predictions)
    mistakes = []
    # Of several in one text the surest one is named; the others are to be seen.
    first = {item[1]: item for item in reversed(wrong)}
    for surely, text, entity, kind, ents in [w for w in wrong if first[w[1]] is w][:most]:
        excerpt = _excerpt(text, entity)
        scored = dict(zip(ents.found, ents.scores, strict=True))
        shown = f" {surely:.2f}" if surely >= 0 else ""
        mistakes.append(
            Mistake(
                f"{text[entity[0] : entity[1]][:60]}: {entity[2]}{shown}, {kind}",
                [
                    ("right", _highlight(text, excerpt, ents.gold, {}, colours)),
                    ("predicted", _highlight(text, excerpt, ents.found, scored, colours)),
                ],
            )
        )
    return mistakes


def _text(text: str) -> Markup:
    cut = text if len(text) <= TEXT else text[:TEXT].rsplit(None, 1)[0] + " …"
    return Markup(f'<p class="quote">{escape(cut)}</p>')


def _excerpt(text: str, entity: Entity) -> Tuple[int, int]:
    """Where to cut, between words if there are any."""
    start, end = max(0, entity[0] - AROUND), min(len(text), entity[1] + AROUND)
    if start:
        start = next((i + 1 for i in range(start, entity[0]) if text[i].isspace()), start)
    if end < len(text):
        end = next((i for i in range(end - 1, entity[1], -1) if text[i].isspace()), end)
    return start, end


def _highlight(
    text: str,
    excerpt: Tuple[int, int],
    entities: Sequence[Entity],
    scores: Dict[Entity, Optional[float]],
    colours: Dict[str, str],
) -> Markup:
    """A part of a text with its entities, by displaCy."""
    from spacy import displacy

    start, end = excerpt
    before, after = "… " if start else "", " …" if end < len(text) else ""
    shift = len(before) - start
    shown, palette = [], {}
    last = start
    for entity in sorted(entities):
        first, stop, label = entity
        # displaCy wants entities apart from each other, in the text.
        if first < last or stop > end:
            continue
        score = scores.get(entity)
        # displaCy escapes the text but not the label.
        title = escape(label if score is None else f"{label} {score:.2f}")
        palette[title] = colours.get(label, "var(--series-1)")
        shown.append({"start": first + shift, "end": stop + shift, "label": title})
        last = stop
    doc = {"text": before + text[start:end] + after, "ents": shown, "title": None}
    options = {"colors": palette, "template": _ENTITY}
    # Not what an open notebook would make of it.
    return Markup(displacy.render(doc, style="ent", manual=True, jupyter=False, options=options))


def _colours(predictions: Predictions) -> Dict[str, str]:
    labels = sorted({e[2] for _, row in ents_rows(predictions) for e in (*row.gold, *row.found)})
    return {label: f"var(--series-{i % len(SERIES) + 1})" for i, label in enumerate(labels)}
