"""Calibrate the scores of entities: expected calibration error, and temperature."""

from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..heads.tag_layers import TagLayers
from ..heads.tags import PartLogits, TagScheme
from .calibration import LossOfTemperature
from .entities import gold_entities, group_scores, has_gold, own_score, read_gold
from .tag_rows import GoldTags, gold_tags, sequences


def calibration_error_of(
    examples: Iterable[Example], spans_key: Optional[str], *, overlapping: bool = False
) -> Optional[float]:
    """Compute the expected calibration error of scored entities.

    examples (Iterable[Example]): Evaluated examples.
    spans_key (Optional[str]): Key of the `doc.spans` with the entities and scores, or None for
        `doc.ents`.
    overlapping (bool): Whether the gold entities are there as well; see `read_gold`.
    RETURNS (Optional[float]): The error, or None if there are no entities.
    """
    from ..heads.calibration import calibration_error

    found = entity_results(examples, spans_key, overlapping=overlapping)
    if not found:
        return None
    return calibration_error([score for _, score, _ in found], [right for *_, right in found])


def score_overlapping(examples: Sequence[Example], spans_key: str) -> Dict[str, Any]:
    """Score entities that may overlap. As in spaCy's scorer of entities, a prediction over tokens
    without annotation is neither right nor wrong.

    examples (Sequence[Example]): Evaluated examples.
    spans_key (str): Key of `doc.spans` for predicted and gold entities; see `read_gold`.
    RETURNS (Dict[str, Any]): Precision, recall and F over all labels and per label, as `ents_…` and
        as `spans_KEY_…`.
    """
    spans: Dict[int, List[Span]] = {}
    for example in examples:
        known = read_gold(example, spans_key).known
        if has_gold(example.reference, spans_key):
            spans[id(example.reference)] = list(gold_entities(example.reference, spans_key))
            found = example.predicted.spans.get(spans_key, ())
            spans[id(example.predicted)] = [s for s in found if known[s.start : s.end].all()]
    scores = Scorer.score_spans(
        examples,
        f"spans_{spans_key}",
        getter=lambda doc, _: spans[id(doc)],
        has_annotation=lambda doc: id(doc) in spans,
        allow_overlap=True,
    )
    # The default score weights name the scores of entities.
    return {**scores, **{key.replace(f"spans_{spans_key}", "ents"): scores[key] for key in scores}}


def entity_results(
    examples: Iterable[Example], spans_key: Optional[str], *, overlapping: bool = False
) -> List[Tuple[str, float, bool]]:
    """Compare scored entities with gold. As in spaCy's scorer, a prediction over tokens without
    annotation is neither right nor wrong.

    examples (Iterable[Example]): Evaluated examples.
    spans_key (Optional[str]): Key of the `doc.spans` with the entities and scores, or None for
        `doc.ents`.
    overlapping (bool): Whether the gold entities are there as well; see `read_gold`.
    RETURNS (List[Tuple[str, float, bool]]): Label and score of each, and whether it was right.
    """
    found = []
    for example in examples:
        scored = _scored(example.predicted, spans_key)
        if not scored:
            continue
        gold = read_gold(example, spans_key if overlapping else None)
        entities = set(gold.entities)
        for span, score in scored:
            if gold.known[span.start : span.end].all():
                right = (span.start, span.end, span.label_) in entities
                found.append((span.label_, float(score), right))
    return found


def loss_of_temperature(
    examples: Sequence[Example],
    logits: Sequence[NDArray],
    transitions: Optional[NDArray],
    layers: TagLayers,
    spans_key: Optional[str] = None,
) -> Optional[LossOfTemperature]:
    """Prepare to fit the temperature to whether entities were right. The predicted entities are the
    same at any temperature, so they are found once.

    examples (Sequence[Example]): Evaluated examples.
    logits (Sequence[ndarray]): Logits of the tags' parts for the tokens of each example, shape
        (n_tokens, n_columns).
    transitions (Optional[ndarray]): Learned transitions, shape (n_tags, n_tags), or None.
    layers (TagLayers): The tags.
    spans_key (Optional[str]): See `read_gold`.
    RETURNS (Optional[Callable[[float], float]]): The log loss of the entities' probabilities at a
        temperature, or None if there are no entities.
    """
    from ..heads.calibration import binary_log_loss
    from ..heads.lattice import Lattice

    scheme, rows = layers.scheme, layers.unfold(numpy.concatenate(logits))
    gold = gold_tags(examples, rows, scheme, layers.labels, spans_key)
    rows = PartLogits(scheme, rows[gold.rows])
    lengths, _ = sequences([eg.predicted for eg in examples] * len(layers), gold.rows)
    lattice = Lattice(scheme, transitions)
    tags = lattice.decode(rows, lengths)
    entities, _ = lattice.entity_probabilities(rows, lengths, tags)
    known, right = _compare(entities, lengths, tags, gold, scheme)
    if not known.any():
        return None

    def loss(temperature: float) -> float:
        lattice = Lattice(scheme, transitions, temperature=temperature)
        _, found = lattice.entity_probabilities(rows, lengths, tags)
        return binary_log_loss(found[known], right[known])

    return loss


def _compare(
    entities: NDArray, lengths: NDArray, tags: NDArray, gold: GoldTags, scheme: TagScheme
) -> Tuple[NDArray[numpy.bool_], NDArray[numpy.bool_]]:
    """Compare predicted entities with gold.

    entities (ndarray): The entities, as from `Lattice.entity_probabilities`.
    lengths (ndarray): Lengths of the sequences that they are in.
    tags (ndarray): The predicted tags, shape (n_seen,).
    gold (GoldTags): The gold tags.
    scheme (TagScheme): The tags.
    RETURNS (Tuple[NDArray[bool], NDArray[bool]]): Whether all gold tags of each entity are known,
        and whether it is right, both of shape (n_entities,).
    """
    starts = numpy.cumsum(lengths) - lengths
    ends = numpy.cumsum(gold.lengths)
    known = numpy.zeros(len(entities), dtype=bool)
    right = numpy.zeros(len(entities), dtype=bool)
    for i, (sequence, first, after, _) in enumerate(entities):
        start, end = starts[sequence] + first, starts[sequence] + after
        # A gold entity that continues at the next token, if the doc has one, is another entity.
        end_of_doc = ends[numpy.searchsorted(ends, start, side="right")]
        following = gold.tags[end : min(end + 1, end_of_doc)]
        goes_on = (following > 0) & scheme.continues[following]
        known[i] = (gold.tags[start:end] >= 0).all()
        right[i] = (gold.tags[start:end] == tags[start:end]).all() and not goes_on.any()
    return known, right


def _scored(doc: Doc, spans_key: Optional[str]) -> List[Tuple[Span, float]]:
    if spans_key is None:
        found = [(span, own_score(span)) for span in doc.ents]
    else:
        group: Sequence[Span] = doc.spans.get(spans_key, [])
        found = list(zip(group, group_scores(group), strict=True))
    return [(span, score) for span, score in found if score is not None]
