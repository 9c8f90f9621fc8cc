"""How far the scores of a test set can be trusted: bootstrap intervals from its predictions.

`reprtune evaluate` writes `NAME.predictions.jsonl.gz` beside the scores in `NAME.json`: a first
line about what was predicted, and a line a document with right and predicted labels or entities.
"""

import gzip
import json
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

SUFFIX = ".predictions.jsonl.gz"
RESAMPLES = 1000
# Draws times documents that are in memory at once.
_CHUNK = 2_000_000

Interval = Tuple[float, float]


@dataclass
class Intervals:
    """Between which values 95 % of the resampled scores lie.

    docs (int): Documents in the test set.
    scores (Dict[str, Interval]): By spaCy's key: "cats_micro_f", "cats_macro_f", "ents_f".
    per_label (Dict[str, Interval]): F of each label.
    """

    docs: int = 0
    scores: Dict[str, Interval] = field(default_factory=dict)
    per_label: Dict[str, Interval] = field(default_factory=dict)


def score_intervals(scores_path: Path, scores: Mapping[str, Any]) -> Intervals:
    """Draw documents with replacement and score them again (Efron & Tibshirani 1993, An
    Introduction to the Bootstrap, chapter 13). Documents, because the labels and entities of
    one are not independent.

    scores_path (Path): The file of scores; that of predictions is looked for beside it.
    scores (Mapping[str, Any]): What is in it.
    RETURNS (Intervals): The intervals.
    RAISES (FileNotFoundError): There are no predictions.
    RAISES (ValueError): The predictions can't be read, or are not those of the scores.
    """
    path = scores_path.with_name(scores_path.stem + SUFFIX)
    head, rows = _read(path)
    for key, value in head.get("scores", {}).items():
        if isinstance(scores.get(key), float) and abs(scores[key] - value) > 1e-9:
            raise ValueError(
                f"{path.name} is of another evaluation than {scores_path.name} ({key} is "
                f"{value:.4f} there, {scores[key]:.4f} here). Evaluate again."
            )
    result = Intervals(len(rows))
    labels = head["labels"]
    if labels and scores.get("cats_score") is not None:
        counted = [_count_cats(row["cats"], head) for row in rows if "cats" in row]
        micro, macro, own = _resample(counted, labels)
        result.scores.update({"cats_micro_f": micro, "cats_macro_f": macro})
        result.per_label.update(own)
    if scores.get("ents_f") is not None:
        counted = [_count_ents(row["ents"]) for row in rows if "ents" in row]
        types = sorted({label for parts in counted for part in parts for label in part})
        if types:
            micro, _, own = _resample(counted, types)
            result.scores["ents_f"] = micro
            result.per_label.update(own)
    return result


# True positives, false positives and false negatives of a document, by label.
_Counts = Tuple["Counter[str]", "Counter[str]", "Counter[str]"]


def _read(path: Path) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with gzip.open(path, "rt", encoding="utf8") as file:
            head, *rows = map(json.loads, file)
        if head["kind"] != "start" or head["version"] != 1:
            raise ValueError(f"version {head['version']!r}")
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not what `reprtune evaluate` writes, or it is cut off ({error}). Evaluate "
            "again."
        ) from error
    return head, rows


def _count_cats(cats: Mapping[str, Any], head: Mapping[str, Any]) -> _Counts:
    gold, scores, labels = cats["gold"], cats["scores"], head["labels"]
    if head["exclusive"]:
        right = [labels[k] for k, value in enumerate(gold) if value]
        found = [labels[int(numpy.argmax(scores))]]
    else:
        known = [k for k, value in enumerate(gold) if value is not None]
        right = [labels[k] for k in known if gold[k]]
        found = [labels[k] for k in known if scores[k] >= head["threshold"]]
    return _compared(right, found)


def _count_ents(ents: Mapping[str, Any]) -> _Counts:
    gold = {tuple(ent[:3]) for ent in ents["gold"]}
    found = [tuple(ent[:3]) for ent in ents["found"]]
    true, false, missed = Counter(), Counter(), Counter()
    for ent in found:
        (true if ent in gold else false)[ent[2]] += 1
    missed.update(ent[2] for ent in gold - set(found))
    return true, false, missed


def _compared(right: Sequence[str], found: Sequence[str]) -> _Counts:
    true = Counter(label for label in found if label in right)
    false = Counter(label for label in found if label not in right)
    return true, false, Counter(label for label in right if label not in found)


def _resample(
    counted: Sequence[_Counts], labels: Sequence[str]
) -> Tuple[Interval, Interval, Dict[str, Interval]]:
    """Intervals of micro F, macro F and each label's F."""
    n = len(counted)
    counts = numpy.zeros((3, n, len(labels)), dtype="f")
    for i, parts in enumerate(counted):
        for k, part in enumerate(parts):
            for label, count in part.items():
                counts[k, i, labels.index(label)] = count
    # A label that is nowhere counts as 0, as in spaCy's scorer.
    nowhere = int((counts.sum((0, 1)) == 0).sum())
    micro, macro, own = [], [], []
    for weights in _draws(n):
        true, false, missed = weights @ counts[0], weights @ counts[1], weights @ counts[2]
        micro.append(_f(true.sum(1), false.sum(1), missed.sum(1)))
        per_label = _f(true, false, missed)
        seen = (true + false + missed > 0).sum(1) + nowhere
        macro.append(per_label.sum(1) / numpy.maximum(seen, 1))
        own.append(per_label)
    table = numpy.concatenate(own)
    intervals = {label: _interval(table[:, k]) for k, label in enumerate(labels)}
    return _interval(numpy.concatenate(micro)), _interval(numpy.concatenate(macro)), intervals


def _draws(n_docs: int):
    """How often each document is drawn: a row a resample, some at a time."""
    random = numpy.random.default_rng(0)
    at_once = max(1, min(RESAMPLES, _CHUNK // n_docs))
    for start in range(0, RESAMPLES, at_once):
        drawn = random.integers(0, n_docs, size=(min(at_once, RESAMPLES - start), n_docs))
        counts = [numpy.bincount(docs, minlength=n_docs) for docs in drawn]
        yield numpy.stack(counts).astype("f")


def _f(true: NDArray, false: NDArray, missed: NDArray) -> NDArray:
    return 2 * true / numpy.maximum(2 * true + false + missed, 1)


def _interval(samples: NDArray) -> Interval:
    low, high = numpy.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def show_interval(interval: Optional[Interval], digits: int = 3) -> str:
    """RETURNS (str): An interval, or a dash."""
    return "–" if interval is None else f"{interval[0]:.{digits}f} – {interval[1]:.{digits}f}"
