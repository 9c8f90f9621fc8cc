"""Thresholds per label for the components of a pipeline, fitted to annotated examples."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Iterable, Iterator, List, NamedTuple, Tuple, Union

import numpy
from spacy.language import Language
from spacy.training import Example

from .cats import hard_labels
from .entities import read_gold
from .entity_calibration import entity_results
from .entity_recognizer import EntityRecognizer
from .text_classifier import TextClassifier

if TYPE_CHECKING:
    from ..heads.thresholds import Fit

# Label and score of a prediction, and whether it is right.
Scored = Tuple[str, float, bool]
Thresholded = Union[TextClassifier, EntityRecognizer]
KINDS = (TextClassifier, EntityRecognizer)


class LabelFit(NamedTuple):
    """The threshold of a label.

    component (str): Name of the component that predicts it.
    label (str): The label.
    fit (Fit): The result of the search for the threshold.
    n_gold (int): How often the examples have the label.
    """

    component: str
    label: str
    fit: "Fit"
    n_gold: int


def fit_thresholds(
    nlp: Language, examples: Iterable[Example], *, precision: float
) -> List[LabelFit]:
    """Fit a threshold per label, and use them in predictions from now on.

    nlp (Language): The pipeline.
    examples (Iterable[Example]): Annotated examples that the pipeline has not trained on.
    precision (float): The precision that each label has to reach, between 0 and 1.
    RETURNS (List[LabelFit]): The result for each label of each component.
    RAISES (ValueError): The precision is out of range, no component can have thresholds, the
        examples have none of the labels of a component, or no label reaches the precision. The
        thresholds are unchanged.
    """
    from ..heads.thresholds import check_precision, fit_threshold

    check_precision(precision)
    examples = list(examples)
    pipes = {name: pipe for name, pipe in nlp.pipeline if isinstance(pipe, KINDS)}
    if not pipes:
        raise ValueError(
            "Thresholds are for reprtune_textcat, reprtune_textcat_multilabel, reprtune_setfit and "
            f"reprtune_ner. The pipeline has {', '.join(nlp.pipe_names) or 'no component'}."
        )
    counts = {name: _gold_counts(pipe, examples) for name, pipe in pipes.items()}
    for name, pipe in pipes.items():
        if not any(counts[name][label] for label in pipe.labels):
            others = ", ".join(sorted(counts[name])) or "none in " + pipe.attribute
            raise ValueError(
                f"None of the {len(examples)} examples has a label of '{name}' "
                f"({', '.join(pipe.labels)}). They have {others}: name an annotated corpus."
            )
    before = {name: pipe.cfg["thresholds"] for name, pipe in pipes.items()}
    found: List[LabelFit] = []
    try:
        for pipe in pipes.values():
            pipe.cfg["thresholds"] = None
        docs = nlp.pipe([example.predicted.copy() for example in examples])
        scored = [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]
        for name, pipe in pipes.items():
            by_label = defaultdict(list)
            for label, score, right in scored_predictions(pipe, scored):
                by_label[label].append((score, right))
            for label in pipe.labels:
                pairs = numpy.array(by_label[label], dtype=numpy.float64).reshape(-1, 2)
                fit = fit_threshold(pairs[:, 0], pairs[:, 1], precision=precision)
                found.append(LabelFit(name, label, fit, counts[name][label]))
        if all(item.fit.threshold is None for item in found):
            raise ValueError(
                f"No label reaches a precision of {precision:g} with any threshold. "
                + " ".join(map(describe, found))
            )
    except BaseException:
        for name, pipe in pipes.items():
            pipe.cfg["thresholds"] = before[name]
        raise
    for name, pipe in pipes.items():
        limits = {item.label: item.fit.threshold for item in found if item.component == name}
        pipe.calibration.set_thresholds(precision, limits)
    return found


def describe(item: LabelFit) -> str:
    """RETURNS (str): Why a label has no threshold, and what it would need."""
    _, n_kept, n_right, n_all, needed = item.fit
    if not item.n_gold:
        return f"{item.label}: never annotated in these examples."
    if not n_all:
        return f"{item.label}: never predicted in these examples."
    share = f"{n_right} of {n_kept} predictions are right"
    if n_kept < n_all:
        share = f"{n_right} of its {n_kept} surest predictions are right"
    if needed is None:
        return f"{item.label}: {share}. More examples would hardly help, but a better model would."
    return f"{item.label}: {share}. It takes at least {needed:,}."


def scored_predictions(pipe: Thresholded, examples: Iterable[Example]) -> Iterator[Scored]:
    """Compare the predictions of a component with gold.

    pipe (Union[TextClassifier, EntityRecognizer]): The component.
    examples (Iterable[Example]): Predicted examples.
    YIELDS (Tuple[str, float, bool]): Label and score of each prediction, and whether it is right.
        The predictions for a text are its best label if labels are exclusive, and all annotated
        labels if not.
    """
    if isinstance(pipe, EntityRecognizer):
        found = entity_results(examples, pipe.spans_key, overlapping=pipe.overlapping)
        yield from (item for item in found if item[0] in pipe.labels)
        return
    for example in examples:
        if not pipe.is_answered(example.reference.cats):
            continue
        gold = hard_labels(example, pipe.labels, pipe.kind).reference.cats
        scores = {label: example.predicted.cats[label] for label in pipe.labels}
        if not pipe.exclusive:
            yield from ((k, score, gold[k] > 0) for k, score in scores.items() if k in gold)
        else:
            best = max(scores, key=scores.__getitem__)
            yield best, scores[best], gold.get(best, 0.0) > 0


def _gold_counts(pipe: Thresholded, examples: Iterable[Example]) -> Counter:
    if isinstance(pipe, EntityRecognizer):
        gold = (read_gold(eg, pipe.gold_key).entities for eg in examples)
        return Counter(label for entities in gold for *_, label in entities)
    hard = (hard_labels(eg, pipe.labels, pipe.kind).reference.cats for eg in examples)
    return Counter(label for cats in hard for label, value in cats.items() if value > 0)
