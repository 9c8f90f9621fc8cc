"""`spacy_reprtune.SetFitTrainer.v1`: training with the `setfit` library, as a reference."""

import random
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Optional

import numpy
from numpy.typing import NDArray
from spacy.util import registry

if TYPE_CHECKING:
    from ...bridge.shim import TorchShim


@registry.misc("spacy_reprtune.SetFitTrainer.v1")
def SetFitTrainer_v1(
    *,
    num_iterations: Optional[int] = 20,
    num_epochs: int = 1,
    batch_size: int = 16,
    learn_rate: float = 2e-5,
    seed: int = 42,
) -> "SetFitTrainer":
    """Train with `setfit.Trainer` instead of this package's own steps.

    It runs when the pipeline is initialized, in a temporary directory, without reports, network
    access or progress bars. After that, the pipeline has the library's encoder and head, and
    updates do nothing: `spacy train` with `max_steps = 1` evaluates and saves the result. A GPU
    that torch finds is used whatever `--gpu-id` says, because the library has no setting for it.
    This needs the extra: pip install "spacy-reprtune[setfit]"

    num_iterations (Optional[int]): Positive and negative pairs per text, as in the paper; null for
        the library's default: all pairs, with the rarer kind repeated.
    num_epochs (int): Passes over all pairs.
    batch_size (int): Pairs per batch.
    learn_rate (float): Peak learning rate of the encoder.
    seed (int): Seed for the order of the pairs.
    RETURNS (SetFitTrainer): The trainer.
    RAISES (ValueError): A number is below 1, or the rate is not above 0.
    """
    for name, value in (
        ("num_iterations", num_iterations),
        ("num_epochs", num_epochs),
        ("batch_size", batch_size),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} = {value}. Use 1 or more.")
    if not learn_rate > 0:
        raise ValueError(f"learn_rate = {learn_rate}. Use a rate above 0.")
    return SetFitTrainer(num_iterations, num_epochs, batch_size, learn_rate, seed)


@dataclass(frozen=True)
class SetFitTrainer:
    """See `SetFitTrainer_v1`."""

    num_iterations: Optional[int]
    num_epochs: int
    batch_size: int
    learn_rate: float
    seed: int

    def train(
        self,
        shim: "TorchShim",
        texts: List[str],
        gold: NDArray,
        known: NDArray,
        *,
        exclusive: bool,
    ) -> None:
        """Train a sentence classifier.

        shim (TorchShim): The shim of the classifier, whose weights are replaced.
        texts (List[str]): The texts.
        gold (ndarray): Gold values, 0 or 1; shape (n_texts, n_labels).
        known (ndarray): 1 where `gold` is annotated, else 0; the same shape.
        exclusive (bool): Whether each text has exactly one label.
        RAISES (ValueError): A text lacks the value of a label, or there is only one independent
            label. The library supports neither.
        RAISES (ImportError): The library is not installed.
        """
        from safetensors.torch import load_file

        from .files import head_arrays, write_body

        if not exclusive and not known.all():
            raise ValueError(
                f"{int((known.min(1) == 0).sum())} texts lack the value of some label, but the "
                "setfit library needs all values: set each to 1 or 0, or remove the trainer."
            )
        if not exclusive and gold.shape[1] < 2:
            raise ValueError(
                "The setfit library needs at least two independent labels, but there is one. Add "
                "its opposite as a label and set exclusive = true, or remove the trainer."
            )
        if find_spec("setfit") is None:
            raise ImportError(
                "spacy_reprtune.SetFitTrainer.v1 needs the setfit library: pip install "
                '"spacy-reprtune[setfit]". Without it, remove the trainer from the config: '
                "reprtune_setfit then trains with this package's own steps."
            )
        labels = gold.argmax(1).tolist() if exclusive else gold.astype(int).tolist()
        with tempfile.TemporaryDirectory() as folder, _undisturbed():
            write_body(shim, Path(folder) / "body")
            model = self._fit(Path(folder), texts, labels, exclusive=exclusive)
            model.model_body.save(str(Path(folder) / "trained"), create_model_card=False)
            weights = load_file(str(Path(folder) / "trained" / "model.safetensors"))
        encoder = shim.module.encoder.model
        own = set(encoder.state_dict())
        encoder.load_state_dict({k: v for k, v in weights.items() if k in own})
        head = head_arrays(model.model_head, None)
        shim.module.set_output(head.weight, head.bias)

    def _fit(self, folder: Path, texts: List[str], labels: List[Any], *, exclusive: bool) -> Any:
        from datasets import Dataset
        from sentence_transformers import SentenceTransformer
        from setfit import SetFitModel, Trainer, TrainingArguments
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from transformers import PrinterCallback, ProgressCallback

        head = LogisticRegression()
        strategy = None if exclusive else "one-vs-rest"
        model = SetFitModel(
            model_body=SentenceTransformer(str(folder / "body"), local_files_only=True),
            model_head=head if exclusive else OneVsRestClassifier(head),
            multi_target_strategy=strategy,
        )
        settings = TrainingArguments(
            output_dir=str(folder / "output"),
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            num_iterations=self.num_iterations,
            num_epochs=self.num_epochs,
            batch_size=self.batch_size,
            body_learning_rate=self.learn_rate,
            seed=self.seed,
            show_progress_bar=False,
        )
        trainer = Trainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_dict({"text": texts, "label": labels}),
            # The library would download code for its default metric.
            metric=lambda predicted, true: {"accuracy": float(numpy.mean(predicted == true))},
        )
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        trainer.train()
        return model


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore everything that the library sets for the whole process: seeds, warnings, log
    levels."""
    import torch

    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    with warnings.catch_warnings():
        import datasets
        from setfit import logging
        from transformers.utils import logging as transformers_logging

        warnings.simplefilter("ignore")
        levels = [(log, log.get_verbosity()) for log in (logging, transformers_logging)]
        bars = datasets.are_progress_bars_disabled()
        for log, _ in levels:
            log.set_verbosity_error()
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            for log, level in levels:
                log.set_verbosity(level)
            if not bars:
                datasets.enable_progress_bars()
            random.setstate(states[0])
            numpy.random.set_state(states[1])
            torch.set_rng_state(states[2])
