"""`spacy_reprtune.JsonlLogger.v1`: spaCy's table, and one JSON object per line for programs."""

import json
import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Callable, Deque, Dict, Optional, Tuple, Union

import spacy
from spacy.training.loggers import console_logger_v3
from spacy.util import registry

from .. import __version__
from ..memory import peak_memory_mb
from ..progress import bar

if TYPE_CHECKING:
    from spacy.language import Language

LogStep = Callable[[Optional[Dict[str, Any]]], None]
Setup = Callable[["Language", IO, IO], Tuple[LogStep, Callable[[], None]]]

# The times when the last two loggers were made. `spacy train` makes one before it initializes the
# pipeline and one when it trains, so the first of them tells when initialization began.
_made: Deque[float] = deque(maxlen=2)


@registry.loggers("spacy_reprtune.JsonlLogger.v1")
def JsonlLogger_v1(path: Optional[Union[str, Path]] = None) -> Setup:
    """Print the table of `spacy.ConsoleLogger.v3`, and write its rows and more to a JSONL file.

    On a terminal, a progress bar below the table shows the time left. Losses are means over the
    updates since the last evaluation, unlike the sums of spaCy's loggers. The file begins with
    {"kind": "start", ...} and has {"kind": "evaluation", "step", "epoch", "seconds", "losses",
    "scores", "score", "words"} for each evaluation. Its last line is {"kind": "end", "seconds",
    "peak_memory_mb", ...}, which is missing if the training was killed. Seconds count from the
    start of training; the time for initializing (for example for a probe) is in the first line.

    path (Optional[Union[str, Path]]): The file, or null for none. An earlier file is replaced.
    RETURNS (Setup): The logger.
    RAISES (ValueError): The path is a directory.
    """
    target = Path(path) if path is not None else None
    if target is not None and target.is_dir():
        raise ValueError(f"[training.logger] path = {str(path)!r} is a directory. Name a file.")
    _made.append(time.perf_counter())

    def setup(
        nlp: "Language", stdout: IO = sys.stdout, stderr: IO = sys.stderr
    ) -> Tuple[LogStep, Callable[[], None]]:
        log = _Log(nlp, target, stdout, stderr)
        return log.step, log.finish

    return setup


class _Log:
    def __init__(self, nlp: "Language", path: Optional[Path], stdout: IO, stderr: IO) -> None:
        self.started = time.perf_counter()
        self.handled = sys.exc_info()[1]
        before = self.started - _made[0] if _made else 0.0
        _made.clear()
        training = nlp.config.interpolate()["training"]
        self.pipes = [n for n, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False)]
        self.columns = [name for name, w in training["score_weights"].items() if w is not None]
        self.max_epochs, self.every = training["max_epochs"], training["eval_frequency"]
        self.steps = self.logged = 0
        self.file: Optional[IO] = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("w", encoding="utf8")
        self._write(
            kind="start",
            pipeline=nlp.pipe_names,
            trains=self.pipes,
            max_steps=training["max_steps"],
            max_epochs=self.max_epochs,
            eval_frequency=self.every,
            seed=training["seed"],
            initialize_seconds=round(before, 2),
            versions={"spacy": spacy.__version__, "spacy_reprtune": __version__},
        )
        self.print_row, _ = console_logger_v3()(nlp, stdout, stderr)
        total = training["max_steps"] or None
        # Without smoothing, evaluations are part of the mean, and so of the time left.
        self.bar = bar(total=total, unit="steps", what="Training", smoothing=0, file=stderr)

    def step(self, info: Optional[Dict[str, Any]]) -> None:
        """Log a step.

        info (Optional[Dict[str, Any]]): State of spaCy's loop, or None between evaluations.
        """
        self.steps += 1
        if info is not None:
            self._evaluation(info)
        # spaCy counts steps from 0 and stops after the one with the number max_steps.
        if self.bar.total is None or self.bar.n < self.bar.total:
            self.bar.update()
        self.bar.set_description("Training" if self.steps % self.every else "Evaluating")

    def finish(self) -> None:
        """Close the bar and the file."""
        self.bar.close()
        # spaCy also calls this after a failed training.
        error = sys.exc_info()[1]
        error = None if error is self.handled else error
        self._write(
            kind="end",
            seconds=self._seconds(),
            steps=self.steps,
            error=None if error is None else f"{type(error).__name__}: {error}",
            **peak_memory(),
        )
        if self.file is not None:
            self.file.close()
            self.file = None

    def _evaluation(self, info: Dict[str, Any]) -> None:
        if "elapsed" in info:
            # An evaluation before a kill, which `reprtune train` repeats for a new logger.
            self.started = time.perf_counter() - info["elapsed"]
        # spaCy sums losses, so those of one step and of a hundred steps can't be compared.
        updates, self.logged = self.steps - self.logged, self.steps
        losses = {name: float(info["losses"].get(name, 0.0)) / updates for name in self.pipes}
        scores = info["other_scores"]
        self._write(
            kind="evaluation",
            step=info["step"],
            epoch=info["epoch"],
            seconds=self._seconds(),
            losses={name: _number(loss) for name, loss in losses.items()},
            scores={name: _number(s) for name, s in scores.items() if _is_number(s)},
            score=_number(info["score"]),
            words=info["words"],
        )
        # spaCy's table refuses a score of None, which some of its scorers return.
        shown = {
            name: s if _is_number(s := scores.get(name)) else math.nan for name in self.columns
        }
        self.bar.clear()
        self.print_row({**info, "losses": losses, "other_scores": shown})
        if self.bar.total is None and self.max_epochs > 0 and info["epoch"]:
            # An evaluation can be anywhere in its epoch; on average, it is in the middle.
            self.bar.total = round(info["step"] * self.max_epochs / (info["epoch"] + 0.5))

    def _write(self, **content: Any) -> None:
        if self.file is not None:
            self.file.write(json.dumps(content, ensure_ascii=False) + "\n")
            # So that the file can be followed during training.
            self.file.flush()

    def _seconds(self) -> float:
        return round(time.perf_counter() - self.started, 2)


def peak_memory() -> Dict[str, Optional[float]]:
    """RETURNS (Dict[str, Optional[float]]): `peak_memory_mb` of the process so far, None if the
    system does not report it; with CUDA also `peak_gpu_memory_mb` of PyTorch's tensors."""
    peak = {"peak_memory_mb": peak_memory_mb()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return peak


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, bool)


def _number(value: Any) -> Optional[float]:
    """Round a number. NaN and infinity become None, because JSON can't express them."""
    value = float(value)
    return round(value, 6) if math.isfinite(value) else None
