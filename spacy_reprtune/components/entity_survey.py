"""Survey the training data of an entity recognizer, and describe the problems in it."""

from collections import Counter
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from spacy.tokens import SpanGroup
from spacy.training import Example

from .entities import Entity, gold_entities, has_gold, read_gold, without_overlaps


@dataclass
class Survey:
    """Counts of the training data, and of everything that can't be learned from.

    labels (Dict[str, int]): Number of entities per label.
    docs, unannotated (int): Number of docs, and of docs whose entities were never set.
    missing (int): Number of tokens of other docs whose annotation is missing.
    nested (int): Number of entities that overlap a longer one of their own label.
    cut (int): Number of entities whose borders are not between tokens.
    odd (Dict[str, int]): Texts and counts of entities without any letter or digit. They may have
        no word piece at all, but only an encoder can tell.
    span_groups (Dict[str, Tuple[int, int]]): For each span group of docs without annotation: the
        number of spans, and how many of them overlap an earlier one.
    """

    labels: Dict[str, int]
    docs: int
    unannotated: int
    missing: int
    nested: int
    cut: int
    odd: Dict[str, int]
    span_groups: Dict[str, Tuple[int, int]]


def survey(examples: Iterable[Example], spans_key: Optional[str] = None) -> Survey:
    """Count entities, and everything that can't be learned from.

    examples (Iterable[Example]): The training examples.
    spans_key (Optional[str]): See `read_gold`.
    RETURNS (Survey): The counts.
    """
    labels: Counter = Counter()
    odd: Counter = Counter()
    groups: Dict[str, Tuple[int, int]] = {}
    docs = unannotated = missing = nested = cut = 0
    for example in examples:
        docs += 1
        reference = example.reference
        if len(reference) and not has_gold(reference, spans_key):
            unannotated += 1
            for key, group in reference.spans.items():
                n_spans, n_overlapping = groups.get(key, (0, 0))
                groups[key] = (n_spans + len(group), n_overlapping + _overlapping(group))
            continue
        gold, entities = read_gold(example, spans_key), gold_entities(reference, spans_key)
        labels.update(entity.label_ for entity in entities)
        odd.update(e.text for e in entities if not any(map(str.isalnum, e.text)))
        lost = len(entities) - len(gold.entities)
        by_label: Dict[str, List[Entity]] = {}
        for entity in gold.entities if spans_key else ():
            by_label.setdefault(entity[2], []).append(entity)
        nested += sum(len(set(own)) - len(without_overlaps(own)) for own in by_label.values())
        cut += lost
        if not lost:
            missing += int((~gold.known).sum())
    found = dict(sorted(labels.items()))
    return Survey(found, docs, unannotated, missing, nested, cut, dict(odd), groups)


def problems(found: Survey, labels: Sequence[str], *, pieceless: int = 0) -> List[str]:
    """Describe what can't be learned from.

    found (Survey): The training data.
    labels (Sequence[str]): The labels that are going to be learned.
    pieceless (int): Number of entities without any word piece.
    RETURNS (List[str]): A clause for each kind of problem.
    """
    result = []
    if found.unannotated:
        result.append(
            f"{found.unannotated} of {found.docs} docs have no annotation of entities and are left "
            "out (if they have no entities, say so with doc.set_ents([]))"
        )
    if found.missing:
        result.append(f"{found.missing} tokens of the other docs have no annotation")
    if found.nested:
        result.append(
            f"{found.nested} of {sum(found.labels.values())} entities overlap a longer one of "
            "their own label and are left out"
        )
    if found.cut:
        result.append(
            f"{found.cut} of {sum(found.labels.values())} entities begin or end within a token of "
            "this pipeline's tokenizer, and their tokens are left out"
        )
    if pieceless:
        result.append(
            f"{pieceless} of {sum(found.labels.values())} entities are white space or control "
            "characters, for which the encoder has no piece, and can't be found"
        )
    unknown = {k: v for k, v in found.labels.items() if k not in labels}
    if unknown:
        named = ", ".join(f"{label} ({count})" for label, count in unknown.items())
        result.append(f"entities with labels that it does not have count as outside: {named}")
    return result


def nothing_to_learn(name: str, found: Survey, spans_key: Optional[str] = None) -> str:
    """Write a message that there are no entities, and where there might be some.

    name (str): The component.
    found (Survey): The training data.
    spans_key (Optional[str]): See `read_gold`.
    RETURNS (str): The message.
    """
    message = (
        f"'{name}' has nothing to learn: none of the {found.docs} training docs has an entity in "
        f"{f'doc.spans[{spans_key!r}] or ' if spans_key else ''}doc.ents."
    )
    spans = {key: counts for key, counts in found.span_groups.items() if counts[0]}
    if not spans:
        return f"{message} Set doc.ents in the training data."
    key, (n_spans, n_overlapping) = max(spans.items(), key=lambda item: item[1][0])
    message += f" They have {n_spans} spans in doc.spans[{key!r}]"
    if spans_key:
        return f"{message}: set spans_key = {key!r}."
    if n_overlapping:
        return (
            f"{message}, and {n_overlapping} of them overlap others or are nested in them, which "
            "doc.ents does not allow. To learn all of them, set overlapping = true and spans_key = "
            f"{key!r}; to learn only the longest, doc.set_ents(spacy.util.filter_spans("
            f"doc.spans[{key!r}]))."
        )
    return f"{message}, none overlapping: doc.set_ents(list(doc.spans[{key!r}])) sets doc.ents."


def _overlapping(group: SpanGroup) -> int:
    reach, count = 0, 0
    for start, end in sorted((span.start, span.end) for span in group):
        count += start < reach
        reach = max(reach, end)
    return count
