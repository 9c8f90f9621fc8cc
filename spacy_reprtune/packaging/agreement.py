"""Compare the predictions and scores of two pipelines on the same texts."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence

from ..components.entities import read_score

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc


@dataclass(frozen=True)
class Agreement:
    """The agreement of two pipelines.

    texts (int): Number of texts.
    equal (int): Texts on which both predict the same labels, entities, spans and tags, even if the
        scores differ.
    largest_difference (float): Largest difference between the scores of a label, or of an entity
        that both found.
    first (Optional[int]): Index of the first text on which they differ.
    """

    texts: int
    equal: int
    largest_difference: float
    first: Optional[int] = None

    @property
    def share(self) -> float:
        """RETURNS (float): The share of texts with equal predictions, 1 if there are none."""
        return self.equal / self.texts if self.texts else 1.0


def predictions(nlp: "Language", texts: Iterable[str]) -> List[Dict[str, Any]]:
    """Annotate texts and keep what `compare` needs, as plain values for JSON.

    nlp (Language): The pipeline.
    texts (Iterable[str]): The texts.
    RETURNS (List[Dict[str, Any]]): One object per text: "cats" (label to score), "labels" (the
        predicted labels), "ents" (index of the first character, index after the last, label, score
        or None), and "rest", all other annotation.
    """
    return [_annotation(nlp, doc) for doc in nlp.pipe(texts)]


def compare(one: Sequence[Dict[str, Any]], other: Sequence[Dict[str, Any]]) -> Agreement:
    """Compare the predictions of two pipelines.

    one, other (Sequence[Dict[str, Any]]): Results of `predictions` for the same texts.
    RETURNS (Agreement): Their agreement.
    RAISES (ValueError): They have different labels.
    """
    equal, largest, first = 0, 0.0, None
    for k, (a, b) in enumerate(zip(one, other, strict=True)):
        if a["cats"].keys() != b["cats"].keys():
            raise ValueError(
                f"The pipelines have different labels: {', '.join(a['cats']) or 'none'}, and "
                f"{', '.join(b['cats']) or 'none'}."
            )
        for label, score in a["cats"].items():
            largest = max(largest, abs(score - b["cats"][label]))
        scores = {tuple(ent[:3]): ent[3] for ent in a["ents"]}
        for start, end, label, score in b["ents"]:
            known = scores.get((start, end, label))
            if known is not None and score is not None:
                largest = max(largest, abs(score - known))
        same = a["labels"] == b["labels"] and a["rest"] == b["rest"]
        if same and [ent[:3] for ent in a["ents"]] == [ent[:3] for ent in b["ents"]]:
            equal += 1
        elif first is None:
            first = k
    return Agreement(len(one), equal, largest, first)


def agreement(one: "Language", other: "Language", texts: Sequence[str]) -> Agreement:
    """RETURNS (Agreement): The agreement of two pipelines on some texts."""
    return compare(predictions(one, texts), predictions(other, texts))


def _annotation(nlp: "Language", doc: "Doc") -> Dict[str, Any]:
    found = doc.to_json()
    rest = {k: v for k, v in found.items() if k not in ("text", "cats", "ents")}
    return {
        "cats": dict(doc.cats),
        "labels": _predicted_labels(nlp, doc.cats),
        "ents": [[e.start_char, e.end_char, e.label_, read_score(e)] for e in doc.ents],
        "rest": json.dumps(rest, sort_keys=True),
    }


def _predicted_labels(nlp: "Language", cats: Dict[str, float]) -> List[str]:
    """The predicted labels by each pipe's own rule: the best one, or all above a threshold."""
    found = set()
    for name, pipe in nlp.pipeline:
        own = [label for label in getattr(pipe, "labels", ()) if label in cats]
        if not own or "doc.cats" not in nlp.get_pipe_meta(name).assigns:
            continue
        # The pipes of this package have an attribute for it.
        if getattr(pipe, "exclusive", nlp.get_pipe_meta(name).factory == "textcat"):
            found.add(max(own, key=lambda label: cats[label]))
        else:
            threshold = (getattr(pipe, "cfg", None) or {}).get("threshold", 0.5)
            found.update(label for label in own if cats[label] >= threshold)
    return sorted(found)
