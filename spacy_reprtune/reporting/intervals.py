"""Intervals of all scores of a test set, from its predictions."""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional

from .bootstrap import Interval, bootstrap, label_f, macro_auc, macro_f, micro_f
from .counts import count_cats, count_ents
from .predictions import Predictions


@dataclass
class Intervals:
    """The 95 % intervals of a pipeline's scores.

    docs (int): Annotated documents in the test set, from which samples are drawn. For a pipeline
        with labels and entities, the larger of the two numbers.
    scores (Dict[str, Optional[Interval]]): Intervals by spaCy's key: "cats_micro_f",
        "cats_macro_f", "ents_f", and "cats_macro_auc" if labels are independent.
    per_label (Dict[str, Optional[Interval]]): Intervals of each label's F.
    """

    docs: int = 0
    scores: Dict[str, Optional[Interval]] = field(default_factory=dict)
    per_label: Dict[str, Optional[Interval]] = field(default_factory=dict)


def score_intervals(predictions: Predictions, scores: Mapping[str, Any]) -> Intervals:
    """Compute the intervals of a pipeline's scores.

    predictions (Predictions): The predictions.
    scores (Mapping[str, Any]): The scores of the same evaluation.
    RETURNS (Intervals): The intervals.
    """
    result = Intervals()
    for key, count in (("cats_score", count_cats), ("ents_f", count_ents)):
        counts = count(predictions) if scores.get(key) is not None else None
        if counts is None:
            continue
        if key == "ents_f":
            statistics = {key: micro_f(counts)}
        else:
            statistics = {"cats_micro_f": micro_f(counts), "cats_macro_f": macro_f(counts)}
            if not predictions.exclusive:
                statistics["cats_macro_auc"] = macro_auc(predictions)
        n_docs = len(counts.true)
        result.docs = max(result.docs, n_docs)
        for name, statistic in statistics.items():
            result.scores[name] = bootstrap(n_docs, statistic).interval
        for label in counts.labels:
            result.per_label[label] = bootstrap(n_docs, label_f(counts, label)).interval
    return result
