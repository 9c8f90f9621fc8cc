"""Intervals of all scores of a test set, from its predictions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from .bootstrap import Interval, Statistic, bootstrap, label_f, macro_auc, macro_f, micro_f
from .counts import Counts, count_cats, count_ents
from .predictions import other_score, predictions_path, read_predictions


@dataclass
class Intervals:
    """The intervals of 95 % of a pipeline's scores.

    docs (int): Annotated documents in the test set, from which samples are drawn. For a pipeline
        with labels and entities, the larger of the two numbers.
    scores (Dict[str, Optional[Interval]]): Intervals by spaCy's key: "cats_micro_f",
        "cats_macro_f", "ents_f", and "cats_macro_auc" if labels are independent.
    per_label (Dict[str, Optional[Interval]]): Intervals of each label's F.
    """

    docs: int = 0
    scores: Dict[str, Optional[Interval]] = field(default_factory=dict)
    per_label: Dict[str, Optional[Interval]] = field(default_factory=dict)


def score_intervals(scores_path: Path, scores: Mapping[str, Any]) -> Intervals:
    """Compute the intervals of a pipeline's scores.

    scores_path (Path): The file of scores. The predictions are expected beside it.
    scores (Mapping[str, Any]): Content of that file.
    RETURNS (Intervals): The intervals.
    RAISES (FileNotFoundError): There are no predictions.
    RAISES (ValueError): The predictions can't be read, or belong to other scores.
    """
    path = predictions_path(scores_path)
    if not path.is_file():
        raise FileNotFoundError(path)
    predictions = read_predictions(path)
    key = other_score(predictions, scores)
    if key is not None:
        raise ValueError(
            f"{path.name} belongs to another evaluation than {scores_path.name} ({key} is "
            f"{predictions.scores[key]:.4f} there, {scores.get(key, 'missing')} here). Evaluate "
            "again."
        )
    result = Intervals()
    cats = count_cats(predictions) if scores.get("cats_score") is not None else None
    if cats is not None:
        statistics = {"cats_micro_f": micro_f(cats), "cats_macro_f": macro_f(cats)}
        if not predictions.exclusive:
            statistics["cats_macro_auc"] = macro_auc(predictions)
        _add(result, cats, statistics)
    ents = count_ents(predictions) if scores.get("ents_f") is not None else None
    if ents is not None:
        _add(result, ents, {"ents_f": micro_f(ents)})
    return result


def _add(result: Intervals, counts: Counts, statistics: Mapping[str, Statistic]) -> None:
    n_docs = len(counts.true)
    result.docs = max(result.docs, n_docs)
    for key, statistic in statistics.items():
        result.scores[key] = bootstrap(n_docs, statistic).interval
    for label in counts.labels:
        result.per_label[label] = bootstrap(n_docs, label_f(counts, label)).interval
