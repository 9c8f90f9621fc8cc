"""A pipe with labels: which there are, and what is said about others."""

import warnings
from typing import Iterable, List, Tuple

from .calibrated_pipe import CalibratedPipe


class LabelledPipe(CalibratedPipe):
    """Base class of components whose head has a fixed set of labels, in `cfg["labels"]`."""

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
        """RETURNS (List[str]): The labels, as `spacy init labels` saves them."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label, before the pipeline is initialized.

        label (str): The label.
        RETURNS (int): 1, or 0 if it was there.
        RAISES (ValueError): It is no label, or the model has its labels already.
        """
        if isinstance(label, str) and label not in self.labels and self.model.has_dim("nO"):
            raise ValueError(
                f"'{self.name}' has its labels already ({', '.join(self.labels)}), so {label!r} "
                "can't be added. Add labels before nlp.initialize(), or initialize again with "
                "examples that have it."
            )
        return self.take_label(label)

    def take_label(self, label: str) -> int:
        """Add a label, whether or not there is a model that knows nothing of it.

        label (str): The label.
        RETURNS (int): 1, or 0 if it was there.
        RAISES (ValueError): It is no label.
        """
        if not isinstance(label, str) or not label:
            raise ValueError(
                f"A label has to be a string that is not empty; '{self.name}' was given {label!r}."
            )
        if label in self.labels:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def warn_of_other_labels(self, gold: Iterable[str], these: str) -> None:
        """Warn of gold labels in evaluated examples that can't be predicted.

        gold (Iterable[str]): Their labels.
        these (str): What has them, in words.
        """
        unknown = sorted(set(gold) - set(self.labels))
        if unknown:
            warnings.warn(
                f"The evaluated examples have labels that '{self.name}' was not trained with: "
                f"{', '.join(unknown)}. {these} Add examples of these labels to the training "
                "data, or remove them from both.",
                stacklevel=3,
            )
