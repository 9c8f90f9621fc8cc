"""One of the two text classifiers in a cascade."""

from typing import TYPE_CHECKING, Any, FrozenSet

from thinc.api import Model

from .text_classifier import TextClassifier

if TYPE_CHECKING:
    from .cascade_pipe import Cascade


class CascadePart(TextClassifier):
    """A text classifier whose messages name the cascade that it is a part of, because its users
    know only that. What one part has warned of, the other does not repeat."""

    def __init__(self, cascade: "Cascade", model: Model, part: str, **settings: Any) -> None:
        """Create the classifier.

        cascade (Cascade): The cascade, with its name, vocabulary and scorer.
        model (Model): Docs to logits.
        part (str): "small" or "large".
        settings: See `TextClassifier`.
        """
        self.cascade = cascade
        self.part = f" ({part})"
        super().__init__(cascade.vocab, model, cascade.name, scorer=cascade.scorer, **settings)

    @property
    def warned_of(self) -> FrozenSet[str]:  # type: ignore[override]
        """RETURNS (FrozenSet[str]): What the user has been warned of by either part. Only the
        cascade forgets it, so that initializing the second part does not."""
        return self.cascade.warned_of

    @warned_of.setter
    def warned_of(self, found: FrozenSet[str]) -> None:
        self.cascade.warned_of |= found
