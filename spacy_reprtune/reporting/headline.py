"""Find the headline score of a text classifier, and the keys of spans, in a file of scores."""

from typing import Any, Dict, List, Mapping, Optional, Tuple

from .values import number

_NAMES = {"cats_macro_f": "macro F", "cats_macro_auc": "macro AUC", "cats_micro_f": "micro F"}


def is_exclusive(scores: Mapping[str, Any]) -> bool:
    """RETURNS (bool): Whether each document has exactly one label, as the choice of spaCy's scorer
    shows."""
    return scores.get("cats_score_desc") != "macro AUC"


def headline(scores: Mapping[str, Any]) -> Tuple[str, Optional[float]]:
    """Choose the score that the pipeline was trained for, according to `[training.score_weights]`.

    scores (Mapping[str, Any]): Scores of `reprtune evaluate`, or of `spacy evaluate`. The latter
        do not name this score, so spaCy's choice is used.
    RETURNS (Tuple[str, Optional[float]]): Its name and value: "macro F", "accuracy", "micro F",
        "macro AUC" or "F (LABEL)".
    """
    run = scores.get("run")
    key = run.get("trained_for") if isinstance(run, dict) else None
    if isinstance(key, str) and key in _NAMES and number(scores.get(key)) is not None:
        name = "accuracy" if key == "cats_micro_f" and is_exclusive(scores) else _NAMES[key]
        return name, number(scores[key])
    name, value = scores.get("cats_score_desc"), number(scores.get("cats_score"))
    if value is None or not isinstance(name, str):
        return "macro F", number(scores.get("cats_macro_f"))
    return name, value


def span_keys(scores: Mapping[str, Any]) -> List[str]:
    """RETURNS (List[str]): The keys of `doc.spans` that have a score, "KEY" for "spans_KEY_f",
    without that of overlapping entities, which have the same scores as "ents_f". A file of
    `reprtune evaluate` names it."""
    found = [
        name[len("spans_") : -len("_f")]
        for name in scores
        if name.startswith("spans_") and name.endswith("_f") and number(scores[name]) is not None
    ]
    run = scores.get("run")
    overlapping = run.get("overlapping") if isinstance(run, dict) else None
    return [key for key in found if key != overlapping]


def score_kinds(scores: Mapping[str, Any]) -> List[str]:
    """RETURNS (List[str]): What the keys of scores may begin with: "cats", "ents", "spans_KEY"."""
    return ["cats", "ents", *(f"spans_{key}" for key in span_keys(scores))]


def labels_key(kind: str) -> str:
    """RETURNS (str): spaCy's key of the scores per label, given "cats", "ents" or "spans_KEY"."""
    return "cats_f_per_type" if kind == "cats" else f"{kind}_per_type"


def trained_for(weights: Mapping[str, Any]) -> Optional[str]:
    """RETURNS (Optional[str]): The score of a text classifier that has the largest weight."""
    known = {key: number(weights.get(key)) or 0.0 for key in ("cats_score", *_NAMES)}
    best = max(known, key=lambda key: known[key])
    return best if known[best] > 0 else None


def with_defined_areas(scores: Mapping[str, Any]) -> Dict[str, Any]:
    """Take the mean area under the ROC curve over the labels that have one.

    A label without both a yes and a no in the test set has no area. spaCy counts it as 0.

    scores (Mapping[str, Any]): Result of spaCy's scorer.
    RETURNS (Dict[str, Any]): The same, with "cats_macro_auc" and "cats_score" corrected.
    """
    result = dict(scores)
    areas = scores.get("cats_auc_per_type")
    if isinstance(areas, dict) and None in areas.values():
        known = [area for area in map(number, areas.values()) if area is not None]
        result["cats_macro_auc"] = sum(known) / len(known) if known else None
        if not is_exclusive(scores):
            result["cats_score"] = result["cats_macro_auc"]
    return result
