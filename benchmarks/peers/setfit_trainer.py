"""The `setfit` library's own trainer on the benchmarks' encoder, as its documentation uses it.

Only fp32: its `use_amp` does nothing on a CPU (or elsewhere, in 1.2). Pairs in batches of 16, body
learning rate 2e-5, one epoch, scikit-learn's logistic regression as head.
"""

import math
import tempfile
import time
from typing import Any, List, Optional

from benchmarks.common import encoder_directory

BATCH_SIZE = 16


class SetFitPeer:
    """A model of the library and its trainer."""

    def __init__(
        self,
        texts: List[str],
        labels: List[str],
        *,
        num_iterations: Optional[int],
        seed: int,
        max_steps: int = -1,
    ) -> None:
        """Load the encoder and make all pairs.

        texts, labels (List[str]): The training data.
        num_iterations (Optional[int]): Positive and negative pairs per text, or None for the
            library's default, all pairs with the rarer kind repeated.
        seed (int): Seed of the trainer.
        max_steps (int): End after this many steps, or -1 for the whole epoch.
        """
        from datasets import Dataset, disable_progress_bars
        from sentence_transformers import SentenceTransformer
        from setfit import SetFitModel, Trainer, TrainingArguments
        from setfit.logging import set_verbosity_error
        from sklearn.linear_model import LogisticRegression
        from transformers import PrinterCallback, ProgressCallback

        disable_progress_bars()
        set_verbosity_error()
        body = SentenceTransformer(str(encoder_directory()), local_files_only=True, device="cpu")
        self.model = SetFitModel(body, LogisticRegression(), labels=sorted(set(labels)))
        self.directory = tempfile.TemporaryDirectory()
        settings = TrainingArguments(
            output_dir=self.directory.name,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            batch_size=BATCH_SIZE,
            num_iterations=num_iterations,
            max_steps=max_steps,
            seed=seed,
            show_progress_bar=False,
        )
        self.trainer: Any = Trainer(
            model=self.model,
            args=settings,
            train_dataset=Dataset.from_dict({"text": texts, "label": labels}),
            metric=lambda predicted, gold: {},
        )
        for callback in (ProgressCallback, PrinterCallback):
            self.trainer.remove_callback(callback)
        self.texts, self.labels = texts, labels

    def train(self) -> None:
        """Train the body on pairs, then the head."""
        self.trainer.train()
        self.directory.cleanup()

    def train_body(self) -> float:
        """Train only the body.

        RETURNS (float): Seconds of its steps, the making of pairs not included.
        """
        start = time.perf_counter()
        self.trainer.train_embeddings(self.texts, self.labels)
        self.directory.cleanup()
        return time.perf_counter() - start

    def predict(self, texts: List[str]) -> List[str]:
        """RETURNS (List[str]): The best label of each text."""
        return [str(label) for label in self.model.predict(texts, batch_size=128)]


def steps_of(labels: List[str], num_iterations: Optional[int]) -> int:
    """Count the steps of an epoch of the library.

    labels (List[str]): Labels of the training data.
    num_iterations (Optional[int]): See `SetFitPeer`.
    RETURNS (int): Steps of batches of pairs.
    """
    n = len(labels)
    if num_iterations is not None:
        pairs = 2 * num_iterations * n
    else:
        same = sum(labels.count(label) * (labels.count(label) + 1) // 2 for label in set(labels))
        pairs = 2 * max(same, n * (n + 1) // 2 - same)
    return math.ceil(pairs / BATCH_SIZE)
