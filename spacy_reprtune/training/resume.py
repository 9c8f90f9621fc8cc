"""`spacy train` that can be resumed after a kill, and ends with the same bytes as an unbroken run.

The loop is that of `spacy.training.loop`, with its state exposed. With each checkpoint, the state
is written to `training-state` beside `model-last`. When the same command finds it there, it
initializes the pipeline again, skips the batches that were trained on, and restores the state.
"""

import random
import shutil
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from timeit import default_timer as timer
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Tuple

from spacy.language import Language
from spacy.training import Example
from thinc.api import constant

from ..files import replaced_directory
from .checkpoint import Checkpoint
from .state import (
    collect,
    python_state,
    random_states,
    replay,
    restore,
    set_random_states,
    trained,
)

STATE = "training-state"
Batch = List[Example]


@dataclass
class Progress:
    """The progress of a training.

    step (int): The last step, counted from 0; -1 before the first.
    words (int): Number of words seen.
    seconds (float): Seconds of training.
    results (List[Tuple[float, int]]): Score and step of each evaluation.
    evaluations (List[Dict[str, Any]]): Information for the logger about each evaluation.
    shuffles (List[Any]): State of Python's random generator at the beginning of each epoch.
    """

    step: int = -1
    words: int = 0
    seconds: float = 0.0
    results: List[Tuple[float, int]] = field(default_factory=list)
    evaluations: List[Dict[str, Any]] = field(default_factory=list)
    shuffles: List[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Restore the tuples, which JSON turns into lists that can't be compared with them."""
        self.results = [(score, step) for score, step in self.results]

    def is_over(self, patience: int, max_steps: int) -> bool:
        """RETURNS (bool): Whether spaCy's loop would stop after this step."""
        if not self.results:
            return False
        _, negative = max((score, -step) for score, step in self.results)
        return bool(
            (patience and self.step + negative >= patience)
            or (max_steps and self.step >= max_steps)
        )


def train(
    nlp: Language,
    output: Path,
    checkpoint: Checkpoint,
    *,
    use_gpu: int = -1,
    stdout: IO,
    stderr: IO,
) -> Path:
    """Train a pipeline, as `spacy.training.loop.train` does, or resume its training.

    nlp (Language): The initialized pipeline with the full config. `check_resumable` has to accept
        it.
    output (Path): The directory for `model-last` and `model-best`.
    checkpoint (Checkpoint): Reads and writes the state.
    use_gpu (int): GPU id, or -1.
    stdout (IO): Stream for messages.
    stderr (IO): Stream for the logger's progress bar.
    RETURNS (Path): The directory of the last pipeline.
    """
    from spacy.schemas import ConfigSchemaTraining
    from spacy.training import loop
    from spacy.util import registry, resolve_dot_names
    from thinc.api import fix_random_seed, set_gpu_allocator
    from wasabi import Printer

    msg = Printer(no_print=True)
    config = nlp.config.interpolate()
    if config["training"]["seed"] is not None:
        fix_random_seed(config["training"]["seed"])
    if use_gpu >= 0 and config["training"]["gpu_allocator"]:
        set_gpu_allocator(config["training"]["gpu_allocator"])
    T = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    train_corpus, dev_corpus = resolve_dot_names(config, [T["train_corpus"], T["dev_corpus"]])
    optimizer, frozen = T["optimizer"], T["frozen_components"]
    annotating = T["annotating_components"]
    evaluate = loop.create_evaluation_callback(nlp, dev_corpus, T["score_weights"])
    before_to_disk = loop.create_before_to_disk_callback(T["before_to_disk"])
    last, best = output / loop.DIR_MODEL_LAST, output / loop.DIR_MODEL_BEST

    def save(is_best: bool) -> None:
        with nlp.use_params(optimizer.averages), replaced_directory(last) as folder:
            before_to_disk(nlp).to_disk(folder)
        if is_best:
            with replaced_directory(best) as folder:
                shutil.copytree(last, folder, dirs_exist_ok=True)

    saved = checkpoint.read(nlp, frozen)
    progress = Progress() if saved is None else Progress(**saved.values.pop("progress"))
    if saved is None:
        loop.clean_output_dir(output)
    stdout.write(msg.info(f"Pipeline: {nlp.pipe_names}") + "\n")
    if frozen:
        stdout.write(msg.info(f"Frozen components: {frozen}") + "\n")
    if annotating:
        stdout.write(msg.info(f"Set annotations on update for: {annotating}") + "\n")
    stdout.write(msg.info(f"Initial learn rate: {optimizer.learn_rate}") + "\n")
    dropouts = constant(T["dropout"]) if isinstance(T["dropout"], float) else T["dropout"]
    batches = _batches(nlp, train_corpus, T["batcher"], T["max_epochs"], progress.shuffles)
    if saved is not None:
        stdout.write(msg.info(f"Going on after step {progress.step} of {checkpoint.folder}") + "\n")
        for _, batch in islice(batches, progress.step + 1):
            next(dropouts)
            optimizer.step_schedules()
            replay(nlp, frozen, batch)
        restore(nlp, optimizer, frozen, saved.tensors, saved.values)
    started = timer() - progress.seconds
    with nlp.select_pipes(disable=frozen):
        log_step, finalize_logger = T["logger"](nlp, stdout, stderr)
    _log_again(log_step, progress)
    losses: Dict[str, float] = {}
    try:
        while not progress.is_over(T["patience"], T["max_steps"]):
            item = next(batches, None)
            if item is None:
                break
            epoch, batch = item
            progress.step += 1
            if T["before_update"]:
                T["before_update"](nlp, {"step": progress.step, "epoch": epoch})
            drop = next(dropouts)
            for part in loop.subdivide_batch(batch, T["accumulate_gradient"]):
                nlp.update(
                    part,
                    drop=drop,
                    losses=losses,
                    sgd=False,  # type: ignore[arg-type]
                    exclude=frozen,
                    annotates=annotating,
                )
            for _, pipe in trained(nlp, frozen):
                pipe.finish_update(optimizer)
            optimizer.step_schedules()
            progress.words += sum(len(eg) for eg in batch)
            if progress.step % T["eval_frequency"]:
                log_step(None)
                continue
            with nlp.use_params(optimizer.averages):
                score, scores = evaluate()
            progress.results.append((score, progress.step))
            progress.seconds = timer() - started
            info = {
                "epoch": epoch,
                "step": progress.step,
                "score": score,
                "other_scores": scores,
                "losses": losses,
                "checkpoints": list(progress.results),
                "seconds": int(progress.seconds),
                "words": progress.words,
            }
            with nlp.select_pipes(disable=frozen):
                loop.update_meta(T, nlp, info)
            save(score == max(progress.results)[0])
            info["output_path"] = str(last)
            kept = {k: v for k, v in info.items() if k != "checkpoints"}
            progress.evaluations.append({**kept, "elapsed": progress.seconds})
            tensors, values = collect(nlp, optimizer, frozen)
            checkpoint.write(tensors, {**values, "progress": asdict(progress)}, nlp, frozen)
            log_step(info)
            losses = {}
    except Exception as error:
        stdout.write(
            msg.warn(f"Aborting and saving the final best model. Encountered exception: {error!r}")
            + "\n"
        )
        raise
    finally:
        finalize_logger()
        save(False)
    checkpoint.remove()
    stdout.write(msg.good("Saved pipeline to output directory", last) + "\n")
    return last


def _batches(
    nlp: Language,
    corpus: Callable[[Language], Iterable[Example]],
    batcher: Callable[[Iterable[Example]], Iterable[Batch]],
    max_epochs: int,
    shuffles: List[Any],
) -> Iterator[Tuple[int, Batch]]:
    """Yield the same batches as `spacy.training.loop.create_train_batches`, but repeatably:
    `shuffles` has the random state at the beginning of each epoch that has begun."""
    if max_epochs < 0:
        yield from _with_own_random(_streamed(nlp, corpus, batcher))
        return
    from spacy.errors import Errors

    examples = list(corpus(nlp))
    if not examples:
        raise ValueError(Errors.E986)
    epoch = 0
    while max_epochs < 1 or epoch != max_epochs:
        if epoch < len(shuffles):
            random.setstate(python_state(shuffles[epoch]))
        else:
            shuffles.append(random.getstate())
        random.shuffle(examples)
        for batch in batcher(examples):
            yield epoch, list(batch)
        epoch += 1


def _streamed(
    nlp: Language,
    corpus: Callable[[Language], Iterable[Example]],
    batcher: Callable[[Iterable[Example]], Iterable[Batch]],
) -> Iterator[Tuple[int, Batch]]:
    epoch = 0
    while True:
        for batch in batcher(corpus(nlp)):
            yield epoch, list(batch)
        epoch += 1


def _with_own_random(batches: Iterator[Tuple[int, Batch]]) -> Iterator[Tuple[int, Batch]]:
    """Let a reader that draws random numbers draw the same ones again in a resumed training,
    whatever the training draws in between."""
    own = random_states()
    while True:
        outer = random_states()
        set_random_states(own)
        try:
            item = next(batches, None)
        finally:
            own = random_states()
            set_random_states(outer)
        if item is None:
            return
        yield item


def _log_again(log_step: Callable[[Any], None], progress: Progress) -> None:
    """Log all earlier steps again, with a new logger."""
    evaluations = {info["step"]: info for info in progress.evaluations}
    for step in range(progress.step + 1):
        info = evaluations.get(step)
        if info is not None:
            seen = [result for result in progress.results if result[1] <= step]
            info = {**info, "checkpoints": seen}
        log_step(info)
