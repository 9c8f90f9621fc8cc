"""Entity recognition pipelines of this project, trained as `spacy train` does."""

from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from benchmarks.common import ENCODER
from benchmarks.data import Tagged
from benchmarks.pipelines import SpacyTextcat

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc
    from spacy.training import Example

LEARN_RATE = 1e-4

# Where configs/ner_joint.cfg departs from the defaults.
JOINT: Dict[str, Any] = {"head_init": "probe", "piece_pooling": "first"}
# What may be compared with that: other settings of the component, its model, and its encoder.
VARIANTS: Dict[str, Dict[str, Any]] = {
    "bio": {"scheme": "bio"},
    "bilou_crf": {"learned_transitions": True},
    "bio_crf": {"scheme": "bio", "learned_transitions": True},
    "mean_of_pieces": {"piece_pooling": "mean"},
    "random_head": {"head_init": "random"},
    "own_positions": {"shared_positions": False},
    "bio_own_positions": {"scheme": "bio", "shared_positions": False},
    "plain": {"shared_positions": False, "head_init": "random", "piece_pooling": "mean"},
    # As many pieces as the encoder was itself trained with, instead of as many as it takes.
    "short_windows": {"window": 128},
}


class SpacyNer(SpacyTextcat):
    """The same for entities: items have words, not text."""

    def make_examples(self, items: List[Tagged]) -> "List[Example]":
        """RETURNS (List[Example]): One example per item."""
        return make_examples(self.nlp, items)

    def predict(self, items: List[Tagged]) -> List[Any]:
        """RETURNS (List[List[Tuple[int, int, str]]]): The entities of each item."""
        return find_entities(self.nlp, items)


def reprtune_ner(precision: str, **settings: Any) -> "Language":
    """Build this project's pipeline.

    precision (str): The encoder's precision.
    settings: Settings of the component, its model and its encoder that differ from the joint
        recipe.
    RETURNS (Language): The pipeline, not yet initialized.
    """
    import spacy

    settings = {**JOINT, **settings}
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": ENCODER,
        "precision": precision,
        **_taken(settings, "name", "keep_blocks", "window"),
    }
    model = {
        "@architectures": "spacy_reprtune.TokenClassifier.v1",
        "encoder": encoder,
        **_taken(settings, "learned_transitions", "piece_pooling"),
    }
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": model, **settings})
    return nlp


def _taken(settings: Dict[str, Any], *names: str) -> Dict[str, Any]:
    return {name: settings.pop(name) for name in names if name in settings}


def find_entities(nlp: "Language", items: List[Tagged]) -> List[List[Tuple[int, int, str]]]:
    """RETURNS (List[List[Tuple[int, int, str]]]): The entities of each item, in words."""
    docs = nlp.pipe(make_docs(nlp, items), batch_size=128)
    return [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]


def make_docs(nlp: "Language", items: List[Tagged]) -> "List[Doc]":
    """RETURNS (List[Doc]): Docs with the words of each item, single spaces between them."""
    from spacy.tokens import Doc

    return [Doc(nlp.vocab, words=item.words) for item in items]


def make_examples(nlp: "Language", items: List[Tagged]) -> "List[Example]":
    """RETURNS (List[Example]): One example per item, in its own tokens."""
    from spacy.tokens import Span
    from spacy.training import Example

    examples = []
    pairs = zip(make_docs(nlp, items), make_docs(nlp, items), strict=True)
    for item, (predicted, reference) in zip(items, pairs, strict=True):
        reference.set_ents([Span(reference, a, b, label=name) for a, b, name in item.entities])
        examples.append(Example(predicted, reference))
    return examples
