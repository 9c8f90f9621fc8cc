"""A run, from text to an adapted encoder directory: starts, resumes where it was killed, ends."""

import json
import logging
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy
import torch

from ..encoder.pieces import PieceTokenizer
from ..progress import bar
from .checkpoint import Checkpoints, RunState
from .corpus import Corpus, Part, build_corpus, read_texts
from .denoising import load_denoiser
from .judge import Judge, score_of
from .judge_training import TrainingJudge, compared
from .model import load
from .output import claim, prepare
from .packing import Packer
from .processes import World, join, leave
from .report import Log, fill_masks, perplexity, plot_log, read_log, write_json, write_page
from .settings import Settings, paths_of
from .speed import utilization
from .steps import HEAD_EPOCH, Step, Trainer, evaluate, start_head
from .text import find_files
from .vocabulary import extend_vocabulary

logger = logging.getLogger(__name__)


def pretrain(
    settings: Settings, output: Path, *, fresh: bool = False, progress: bool = False
) -> Dict[str, Any]:
    """Adapt an encoder to text, or resume a run that was interrupted.

    settings (Settings): All settings.
    output (Path): Gets `encoder/`, the adapted encoder; `report.json` and `report.md`,
        `log.jsonl` and `loss.png`; `checkpoints/` while it runs.
    fresh (bool): Whether to delete what an earlier run left there, instead of resuming from it.
    progress (bool): Whether to show a progress bar.
    RETURNS (Dict[str, Any]): The report.
    RAISES (ValueError): The text, the encoder or the settings can't be used; or `output` holds
        something else, or a run with other settings or text.
    """
    world = join(settings.encoder.device)
    try:
        return _Run(settings, output, fresh, progress and world.is_first, world).go()
    finally:
        leave(world)


class _Run:
    def __init__(
        self, settings: Settings, output: Path, fresh: bool, progress: bool, world: World
    ) -> None:
        self.settings, self.output, self.world = settings, output, world
        self.progress = progress
        training = settings.training
        n_batches = training.step_pieces // training.batch_pieces
        if n_batches % world.size:
            raise ValueError(
                f"A step has {n_batches} batches ([training] step_pieces / batch_pieces), which "
                f"{world.size} processes can't share evenly. Make it a multiple of {world.size}."
            )
        self.judge: Optional[Judge] = None
        if settings.judge.corpus:
            if training.keep != "best":
                raise ValueError(
                    "[judge] corpus decides which weights become the result, so [training] keep "
                    f"has to be 'best', and is {training.keep!r}."
                )
            self.judge = Judge(Path(settings.judge.corpus), batch_pieces=training.batch_pieces)
        self.recipe: Optional[TrainingJudge] = None
        if settings.judge.recipe and self.judge is not None:
            self.recipe = TrainingJudge(
                Path(settings.judge.recipe),
                [item.doc for item in self.judge.docs],
                texts=self.judge.kind == "texts",
                exclusive=self.judge.exclusive,
            )
        if world.is_first:
            prepare(output, settings, fresh=fresh)
        world.wait()
        self.vocabulary: Optional[Dict[str, Any]] = None
        load_for = load_denoiser if training.objective == "tsdae" else load
        self.lm, self.source, self.new_head = load_for(
            settings.encoder,
            seed=training.seed,
            change=self._extend_vocabulary if settings.vocabulary.extend else None,
        )
        self.corpus = self._corpus()
        self.packer = self._packer(self.corpus.train, step_batches=n_batches)
        n_pieces = settings.corpus.eval_pieces
        self.heldout = {"heldout": self._packer(self.corpus.heldout, max_pieces=n_pieces)}
        if self.corpus.general is not None:
            self.heldout["general"] = self._packer(self.corpus.general, max_pieces=n_pieces)
        self.head_steps = training.head_steps if self.new_head else 0
        # Epochs with other seeds may have a step more or less, which the schedule need not know.
        by_epochs = training.max_epochs * self.packer.n_steps(0)
        self.n_steps = min(n for n in (by_epochs, training.max_steps) if n)
        self.trainer = Trainer(
            self.lm, settings, head_steps=self.head_steps, n_steps=self.n_steps, world=world
        )
        if self.new_head:
            start_head(self.lm, self.corpus.train)
        self.checkpoints = Checkpoints(output / "checkpoints")
        self.state = RunState()

    def go(self) -> Dict[str, Any]:
        claim(
            self.output,
            self.settings,
            source=self.source,
            text=self.corpus.path.name,
            write=self.world.is_first,
        )
        self.world.wait()
        report = self.output / "report.json"
        if report.is_file() and (self.output / "encoder").is_dir():
            logger.info("%s is complete: nothing to do.", self.output)
            return json.loads(report.read_text(encoding="utf8"))
        found = self.checkpoints.load_latest()
        if found is not None:
            self.state, weights, moments = found
            self._set_weights(weights)
            self.trainer.set_moments(moments)
            logger.info("Going on after step %d.", self.state.step)
        self._train()
        return self._finish()

    def _train(self) -> None:
        state, every = self.state, self.settings.training.eval_every
        log = Log(self.output / "log.jsonl", state.step) if self.world.is_first else None
        shown = bar(
            what="Pretraining",
            total=self.head_steps + self.n_steps,
            initial=state.step,
            unit="steps",
            shown=self.progress,
            # The mean over the whole run, so that evaluations are part of the time left.
            smoothing=0,
        )
        started, logged, pieces = time.perf_counter() - state.seconds, time.perf_counter(), 0
        while not state.done:
            if state.step == self.head_steps and not state.before:
                # No weight of the encoder has changed yet, only those of a new head.
                state.before = self._losses(log)
                if self.judge is not None:
                    state.judged.update(dict.fromkeys(("before", "best"), state.judged["last"]))
                state.fill_before = fill_masks(self.lm, self.settings.report.fill_mask)
                state.best_step, state.best = state.step, state.before
                if self.recipe is not None:
                    state.first_step = state.step
                self._save()
            epoch = state.epoch
            result = self._step()
            pieces += result.pieces
            shown.update()
            if state.step % self.settings.report.log_every == 0 or state.done:
                now = time.perf_counter()
                speed = pieces / (now - logged)
                logged, pieces = now, 0
                shown.set_postfix(self._shown(result.loss, speed))
                if log:
                    log.write(
                        step=state.step,
                        epoch=epoch,
                        loss=round(result.loss, 5),
                        learn_rate=result.rate,
                        gradient_norm=round(result.norm, 5),
                        pieces_per_second=round(speed, 1),
                        **self._mfu(speed),
                    )
            after_head = state.step - self.head_steps
            if after_head > 0 and (after_head % every == 0 or state.done):
                self._evaluate(log)
                state.seconds = round(time.perf_counter() - started, 2)
                self._save()
                logged, pieces = time.perf_counter(), 0
            elif after_head < 0 and state.step % every == 0:
                self._save()
        shown.close()

    def _step(self) -> Step:
        """Take the next step of the head or of all that trains, and move the state on."""
        state, training = self.state, self.settings.training
        epoch, number = state.epoch, state.number
        head = state.step < self.head_steps
        if head:
            turn, number = divmod(state.step, self.packer.n_steps(HEAD_EPOCH))
            epoch = HEAD_EPOCH + turn
        result = self.trainer.step(self.packer, state.step, epoch, number)
        state.step += 1
        state.pieces += result.pieces
        if not head:
            state.number += 1
            if state.number >= self.packer.n_steps(epoch):
                state.epoch, state.number = epoch + 1, 0
        state.done = bool(
            (training.max_steps and state.step - self.head_steps >= training.max_steps)
            or (training.max_epochs and state.epoch >= training.max_epochs)
        )
        return result

    def _losses(self, log: Optional[Log]) -> Dict[str, float]:
        losses = {
            name: evaluate(self.lm, packer, self.world) for name, packer in self.heldout.items()
        }
        if self.judge is not None:
            counts = numpy.zeros((len(self.judge.docs), 3), dtype=numpy.int64)
            if self.world.is_first:
                counts = self.judge.counts(self.lm)
            # All processes have to come to the same decision.
            total = self.world.total(counts.ravel().tolist(), self.lm.device)
            counts = numpy.array(total, dtype=numpy.int64).reshape(-1, 3)
            losses["judge"] = score_of(counts)
            self.state.judged["last"] = counts.tolist()
        if log:
            log.write(step=self.state.step, **_rounded(losses))
        return losses

    def _evaluate(self, log: Optional[Log]) -> None:
        state, patience = self.state, self.settings.training.patience
        state.last = self._losses(log)
        heldout, better = state.last["heldout"], state.last["heldout"] < state.best["heldout"]
        if self.judge is not None:
            better = state.last["judge"] > state.best["judge"]
        if better:
            state.best_step, state.best, state.worse = state.step, state.last, 0
            if self.judge is not None:
                state.judged["best"] = state.judged["last"]
        else:
            state.worse += 1
            state.done = state.done or (0 < patience <= state.worse)
        logger.info(
            "step %d: held-out loss %.4f, perplexity %.2f", state.step, heldout, perplexity(heldout)
        )

    def _finish(self) -> Dict[str, Any]:
        state, settings = self.state, self.settings
        step = state.step
        if settings.training.keep == "best" and state.best_step != step:
            try:
                _, weights, _ = self.checkpoints.load(state.best_step)
            except ValueError as error:
                logger.warning("%s The last weights are the result instead of the best.", error)
            else:
                self._set_weights(weights)
                step = state.best_step
        step, training = self._by_training(step)
        moment = "best" if step == state.best_step else "last"
        if step == state.first_step:
            moment = "before"
        judged = self._judged(step, moment, training)
        sentences = settings.report.fill_mask
        filled = zip(sentences, state.fill_before, fill_masks(self.lm, sentences), strict=True)
        report = {
            "objective": settings.training.objective,
            "corpus": {k: v for k, v in self.corpus.meta.items() if k != "dtype"},
            "steps": state.step - self.head_steps,
            "head": "new" if self.new_head else "own",
            "head_steps": self.head_steps,
            "result_step": step - self.head_steps,
            "learn_rate": settings.training.learn_rate,
            "pieces": state.pieces,
            "seconds": state.seconds,
            "packed": self.lm.packed,
            "packing_efficiency": round(self.packer.efficiency(0), 4),
            "before": _rounded(state.before),
            "after": _rounded(getattr(state, moment)),
            "fill_mask": [{"sentence": s, "before": b, "after": a} for s, b, a in filled],
            "vocabulary": self.vocabulary,
            "judge": judged,
        }
        if self.world.is_first:
            self._save_encoder(self.output / "encoder")
            plot_log(read_log(self.output / "log.jsonl"), self.output / "loss.png")
            write_page(report, self.output / "report.md")
            # Last, because a run that has this file is complete.
            write_json(report, self.output / "report.json")
        self.world.wait()
        return report

    def _by_training(self, step: int) -> Tuple[int, Optional[Dict[str, Any]]]:
        """Train the recipe with the original encoder and with an adapted one, and take the better.

        step (int): The step whose weights are the result so far.
        RETURNS (Tuple[int, Optional[Dict[str, Any]]]): The step whose weights are the result now,
            and what the trainings say; None without a recipe.
        """
        if self.recipe is None:
            return step, None
        first = self.state.first_step
        adapted = self.state.step if step == first else step
        counts = numpy.zeros((2, len(self.recipe.docs), 3), dtype=numpy.int64)
        if self.world.is_first:
            what = "Judging by training"
            steps = bar((first, adapted), what=what, unit="encoders", shown=self.progress)
            for i, candidate in enumerate(steps):
                self._take(candidate)
                with tempfile.TemporaryDirectory() as folder:
                    self._save_encoder(Path(folder) / "encoder")
                    counts[i] = self.recipe.counts(Path(folder) / "encoder", self.lm.device)
        self.world.wait()
        total = self.world.total(counts.ravel().tolist(), self.lm.device)
        before, after = numpy.array(total, dtype=numpy.int64).reshape(counts.shape)
        name = Path(self.settings.judge.recipe or "").name
        found = compared(name, before, after, step=adapted - self.head_steps)
        kept = adapted if found["gain"] > 0 else first
        self._take(kept)
        return kept, found

    def _take(self, step: int) -> None:
        _, weights, _ = self.checkpoints.load(step)
        self._set_weights(weights)

    def _save_encoder(self, path: Path) -> None:
        self.lm.save_encoder(path, self.source, new_vocabulary=self.vocabulary is not None)

    def _judged(
        self, step: int, moment: str, training: Optional[Dict[str, Any]]
    ) -> Optional[Dict[str, Any]]:
        if self.judge is None:
            return None
        counts = {name: numpy.array(rows) for name, rows in self.state.judged.items()}
        steps = self.state.step - self.head_steps
        return self.judge.report(
            counts["before"],
            counts["last"],
            counts[moment],
            step=step - self.head_steps,
            evaluations=math.ceil(steps / self.settings.training.eval_every),
            training=training,
        )

    def _save(self) -> None:
        if self.world.is_first:
            self.checkpoints.save(self.state, self.lm.weights(), self.trainer.moments())
        self.world.wait()

    def _set_weights(self, weights: Dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.lm.weights().items():
                parameter.copy_(weights[name])

    def _corpus(self) -> Corpus:
        corpus = self.settings.corpus
        folder = Path(corpus.cache_dir) if corpus.cache_dir else self.output / "corpus"
        if self.world.is_first:
            build_corpus(corpus, self.lm.tokenizer, folder, progress=self.progress)
        self.world.wait()
        return build_corpus(corpus, self.lm.tokenizer, folder)

    def _packer(
        self, part: Part, *, step_batches: int = 1, max_pieces: Optional[int] = None
    ) -> Packer:
        tokenizer, training = self.lm.tokenizer, self.settings.training
        static = self.settings.encoder.compile and self.lm.packed
        return Packer(
            part,
            limit=self.lm.limit,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            batch_pieces=training.batch_pieces,
            step_batches=step_batches,
            seed=training.seed,
            max_pieces=max_pieces,
            # Not the padding piece: transformers looks for it and warns that it is not masked.
            fill=tokenizer.tokenizer.mask_token_id if static else -1,
        )

    def _extend_vocabulary(
        self, model: torch.nn.Module, tokenizer: PieceTokenizer
    ) -> PieceTokenizer:
        corpus, vocabulary = self.settings.corpus, self.settings.vocabulary
        texts = read_texts(corpus, find_files(paths_of(corpus.train)))
        tokenizer, self.vocabulary = extend_vocabulary(model, tokenizer, texts, vocabulary)
        return tokenizer

    def _shown(self, loss: float, speed: float) -> Dict[str, str]:
        shown = {"loss": f"{loss:.3f}"}
        heldout = (self.state.last or self.state.before).get("heldout")
        if heldout is not None:
            shown.update(heldout=f"{heldout:.3f}", perplexity=f"{perplexity(heldout):.1f}")
        shown["pieces/s"] = f"{speed:,.0f}"
        return {**shown, **{key: f"{share:.0%}" for key, share in self._mfu(speed).items()}}

    def _mfu(self, speed: float) -> Dict[str, float]:
        share = utilization(self.lm, self.settings.masking.rate, speed / self.world.size)
        return {} if share is None else {"mfu": round(share, 4)}


def _rounded(losses: Dict[str, float]) -> Dict[str, float]:
    return {name: round(loss, 5) for name, loss in losses.items()}
