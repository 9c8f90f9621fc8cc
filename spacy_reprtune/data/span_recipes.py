"""Choose the recipe for a group of `doc.spans`, and fill in its key."""

import json
from typing import Any, Dict, List, Optional

from .recipes import read_value, sections, set_value

# From this share of spans with the borders of a sentence on, sentences are classified. The others
# are never predicted.
SENTENCES = 0.9


def largest_group(spans: Dict[str, Any]) -> Optional[str]:
    """RETURNS (Optional[str]): The key of `doc.spans` with the most labeled spans in train, or None
    if there are none, given the `spans` of a report of `check`."""
    totals = {
        key: sum(counts.get("train", 0) for counts in group["labels"].values())
        for key, group in spans.items()
    }
    best = max(totals, key=lambda key: totals[key], default=None)
    return best if best is not None and totals[best] else None


def can_classify(group: Dict[str, Any]) -> bool:
    """RETURNS (bool): Whether there is a choice between labels, or between a label and none."""
    return len(group["labels"]) > 1 or not group["exclusive"]


def span_recipe(group: Dict[str, Any]) -> str:
    """RETURNS (str): "sentences" if nearly all spans of a group are sentences, else
    "overlapping"."""
    is_sentences = group["sentences"] >= SENTENCES and can_classify(group)
    return "sentences" if is_sentences else "overlapping"


def explain_spans(spans: Dict[str, Any], task: str, recipe: str) -> List[str]:
    """Say what a recipe does with the groups of a corpus.

    spans (Dict[str, Any]): The `spans` of a report of `check`.
    task (str): What is trained: "spans" or something else.
    recipe (str): Name of the recipe.
    RETURNS (List[str]): Sentences.
    """
    key = largest_group(spans)
    if key is None:
        return []
    others = [f"doc.spans[{other!r}]" for other in spans if spans[other]["labels"]]
    if task != "spans":
        return [f"The spans in {', '.join(others)} are left out; --task spans trains on them."]
    group, name = spans[key], f"doc.spans[{key!r}]"
    others.remove(name)
    found = [
        f"Of the spans in {name}, {group['sentences']:.0%} have exactly the borders of a sentence "
        f"as spaCy's sentencizer finds it; from {SENTENCES:.0%} on they are classified, below that "
        "they are found like entities."
    ]
    if not can_classify(group):
        found.append("They all have the same label, so there is nothing to classify.")
    elif recipe == "sentences" and not group["exclusive"]:
        found.append("Some have several labels or none, so exclusive = false.")
    if others:
        found.append(f"The spans in {', '.join(others)} are fewer and are left out.")
    return found


def fill_spans(text: str, recipe: str, key: str, group: Dict[str, Any]) -> str:
    """Set the key of the spans, in the component and in its scores.

    text (str): Config of the recipe.
    recipe (str): "sentences" or "overlapping".
    key (str): Key of `doc.spans`.
    group (Dict[str, Any]): What `check` reports about this group.
    RETURNS (str): New config.
    """
    block = next(x for x in sections(text) if read_value(text, x, "spans_key") is not None)
    own = json.loads(read_value(text, block, "spans_key") or "")
    text = set_value(text, block, "spans_key", key)
    if recipe == "sentences":
        text = set_value(text, block, "exclusive", group["exclusive"])
    weights = read_value(text, "training", "score_weights")
    if weights is not None:
        # Scores that are null come first, because the new key may be the default one among them.
        pairs = sorted(json.loads(weights).items(), key=lambda item: item[1] is not None)
        renamed = {x.replace(f"spans_{own}_", f"spans_{key}_"): weight for x, weight in pairs}
        text = set_value(text, "training", "score_weights", renamed)
    return text
