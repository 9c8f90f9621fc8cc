"""How far the scores of a test set can be trusted: bootstrap intervals from its predictions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from .bootstrap import Statistic, bootstrap, label_f, macro_auc, macro_f, micro_f
from .counts import Counts, count_cats, count_ents
from .predictions import other_score, predictions_path, read_predictions

Interval = Tuple[float, float]


@dataclass
class Intervals:
    """Between which values 95 % of the resampled scores lie.

    docs (int): Annotated documents in the test set, of which samples are drawn; of a pipeline with
        labels and entities, those of the one of the two with more.
    scores (Dict[str, Interval]): By spaCy's key: "cats_micro_f", "cats_macro_f", "ents_f", and of
        independent labels "cats_macro_auc".
    per_label (Dict[str, Interval]): F of each label.
    """

    docs: int = 0
    scores: Dict[str, Interval] = field(default_factory=dict)
    per_label: Dict[str, Interval] = field(default_factory=dict)


def score_intervals(scores_path: Path, scores: Mapping[str, Any]) -> Intervals:
    """Draw documents with replacement and score them again.

    scores_path (Path): The file of scores; that of predictions is looked for beside it.
    scores (Mapping[str, Any]): What is in it.
    RETURNS (Intervals): The intervals.
    RAISES (FileNotFoundError): There are no predictions.
    RAISES (ValueError): The predictions can't be read, or are not those of the scores.
    """
    path = predictions_path(scores_path)
    if not path.is_file():
        raise FileNotFoundError(path)
    predictions = read_predictions(path)
    key = other_score(predictions, scores)
    if key is not None:
        raise ValueError(
            f"{path.name} is of another evaluation than {scores_path.name} ({key} is "
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


def show_interval(interval: Optional[Interval], digits: int = 3) -> str:
    """RETURNS (str): An interval, or a dash."""
    return "–" if interval is None else f"{interval[0]:.{digits}f} – {interval[1]:.{digits}f}"
