"""Scores of entity types token by token, as tutorials on token classification report them."""

from typing import Any, Callable, Dict, Iterable

from spacy.pipeline.ner import ner_score
from spacy.training import Example
from spacy.util import registry


@registry.scorers("spacy_reprtune.ner_token_scorer.v1")
def ner_token_scorer_v1() -> Callable[..., Dict[str, Any]]:
    """Add scores of single tokens to spaCy's scores of entities.

    RETURNS (Callable): The scorer.
    """
    return ner_token_score


def ner_token_score(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score entities, and the type of each token whatever entity it is in.

    Precision and recall are over the tokens with a type, micro-averaged, as seqeval computes them
    if each token is a sequence of its own. An entity that is found in part counts in part, so these
    scores are higher than those of entities and can't be compared with them.

    examples (Iterable[Example]): The examples. Tokens whose gold type is unknown are left out.
    RETURNS (Dict[str, Any]): spaCy's scores of entities, and `ents_token_p`, `ents_token_r`,
        `ents_token_f` and `ents_token_acc`, the share of all tokens that are right.
    """
    examples = list(examples)
    right = found = wanted = same = seen = 0
    for example in examples:
        gold = example.get_aligned_ner()
        for token, tag in zip(example.predicted, gold, strict=True):
            if tag is None or tag == "-" or token.is_space:
                continue
            kind = tag.partition("-")[2]
            seen += 1
            same += token.ent_type_ == kind
            found += bool(token.ent_type_)
            wanted += bool(kind)
            right += bool(kind) and token.ent_type_ == kind
    precision, recall = _share(right, found), _share(right, wanted)
    return {
        **ner_score(examples, **kwargs),
        "ents_token_p": precision,
        "ents_token_r": recall,
        "ents_token_f": _share(2 * precision * recall, precision + recall),
        "ents_token_acc": _share(same, seen),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
