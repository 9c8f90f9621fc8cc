"""Intervals of all scores of a test set, from its predictions."""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional

from .bootstrap import Interval, bootstrap, label_f, macro_auc, macro_f, micro_f
from .counts import count_cats, count_ents
from .headline import labels_key, score_kinds
from .predictions import Predictions, of_kind


@dataclass
class Intervals:
    """The 95 % intervals of a pipeline's scores.

    docs (int): Annotated documents in the test set, from which samples are drawn. For a pipeline
        with labels and entities, the larger of the two numbers.
    scores (Dict[str, Optional[Interval]]): Intervals by spaCy's key: "cats_micro_f",
        "cats_macro_f", "ents_f", "spans_KEY_f", and "cats_macro_auc" if labels are independent.
    per_label (Dict[str, Dict[str, Optional[Interval]]]): Intervals of each label's F by spaCy's
        key of these: "cats_f_per_type", "ents_per_type", "spans_KEY_per_type".
    """

    docs: int = 0
    scores: Dict[str, Optional[Interval]] = field(default_factory=dict)
    per_label: Dict[str, Dict[str, Optional[Interval]]] = field(default_factory=dict)


def score_intervals(predictions: Predictions, scores: Mapping[str, Any]) -> Intervals:
    """Compute the intervals of a pipeline's scores.

    predictions (Predictions): The predictions.
    scores (Mapping[str, Any]): The scores of the same evaluation.
    RETURNS (Intervals): The intervals.
    """
    result = Intervals()
    for kind in score_kinds(scores):
        own = of_kind(predictions, kind)
        known = scores.get("cats_score" if kind == "cats" else f"{kind}_f") is not None
        counts = (count_cats if kind == "cats" else count_ents)(own) if known else None
        if counts is None:
            continue
        per_label = result.per_label.setdefault(labels_key(kind), {})
        if kind != "cats":
            statistics = {f"{kind}_f": micro_f(counts)}
        else:
            statistics = {"cats_micro_f": micro_f(counts), "cats_macro_f": macro_f(counts)}
            if not predictions.exclusive:
                statistics["cats_macro_auc"] = macro_auc(predictions)
        n_docs = len(counts.true)
        result.docs = max(result.docs, n_docs)
        for name, statistic in statistics.items():
            result.scores[name] = bootstrap(n_docs, statistic).interval
        for label in counts.labels:
            per_label[label] = bootstrap(n_docs, label_f(counts, label)).interval
    return result
