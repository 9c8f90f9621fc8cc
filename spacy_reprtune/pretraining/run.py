"""A run, from text to an adapted encoder directory: starts, goes on where it was killed, ends."""

import hashlib
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any, Dict, Optional

import torch

from ..encoder.pieces import PieceTokenizer
from ..progress import bar
from .checkpoint import Checkpoints
from .corpus import Corpus, Part, build_corpus, read_texts
from .model import load
from .packing import Packer
from .processes import World, join, leave
from .report import Log, fill_masks, perplexity, plot_log, read_log, write_json, write_page
from .settings import Settings, paths_of
from .speed import utilisation
from .steps import HEAD_EPOCH, Trainer, evaluate, start_head
from .text import find_files
from .vocabulary import extend_vocabulary

logger = logging.getLogger(__name__)

# May differ when a run goes on: they change nothing in its result.
_FREE = {("encoder", "device"), ("corpus", "cache_dir"), ("report", "log_every")}


def pretrain(
    settings: Settings, output: Path, *, fresh: bool = False, progress: bool = False
) -> Dict[str, Any]:
    """Adapt an encoder to text, or go on with that.

    settings (Settings): All settings.
    output (Path): Gets `encoder/`, the adapted encoder; `report.json` and `report.md`,
        `log.jsonl` and `loss.png`; `checkpoints/` while it runs.
    fresh (bool): Whether to delete what an earlier run left there, instead of going on from it.
    progress (bool): Whether to show a progress bar.
    RETURNS (Dict[str, Any]): The report.
    RAISES (ValueError): The text, the encoder or the settings are of no use; or `output` holds
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
        n_batches = settings.training.step_pieces // settings.training.batch_pieces
        if n_batches % world.size:
            raise ValueError(
                f"A step has {n_batches} batches ([training] step_pieces / batch_pieces), which "
                f"{world.size} processes can't share evenly. Make it a multiple of {world.size}."
            )
        _check_apart(settings, output)
        if world.is_first:
            _check_output(output, fresh)
        world.wait()
        self.vocabulary: Optional[Dict[str, Any]] = None
        self.lm, self.source, self.new_head = load(
            settings.encoder,
            seed=settings.training.seed,
            local_rank=world.local_rank,
            change=self._extend_vocabulary if settings.vocabulary.extend else None,
        )
        self.corpus = self._corpus()
        self.packer = self._packer(self.corpus.train, step_batches=n_batches)
        n_pieces = settings.corpus.eval_pieces
        self.heldout = {"heldout": self._packer(self.corpus.heldout, max_pieces=n_pieces)}
        if self.corpus.general is not None:
            self.heldout["general"] = self._packer(self.corpus.general, max_pieces=n_pieces)
        self.head_steps = settings.training.head_steps if self.new_head else 0
        self.n_steps = self._count_steps()
        self.trainer = Trainer(
            self.lm, settings, head_steps=self.head_steps, n_steps=self.n_steps, world=world
        )
        if self.new_head:
            start_head(self.lm, self.corpus.train)
        self.checkpoints = Checkpoints(output / "checkpoints")
        self.state: Dict[str, Any] = {
            "step": 0,
            "epoch": 0,
            "number": 0,
            "pieces": 0,
            "seconds": 0.0,
            "before": {},
            "fill_before": [],
            "best_step": -1,
            "best": {},
            "last": {},
            "worse": 0,
            "done": False,
        }

    def go(self) -> Dict[str, Any]:
        self._claim()
        report = self.output / "report.json"
        if report.is_file() and (self.output / "encoder").is_dir():
            logger.info("%s is complete: nothing to do.", self.output)
            return json.loads(report.read_text(encoding="utf8"))
        self._resume()
        self._train()
        return self._finish()

    def _claim(self) -> None:
        """Write down what this run is, or make sure that it is what is written down."""
        same = self._fingerprint()
        path = self.output / "run.json"
        if path.is_file():
            _check_same(_read_claim(path), same, self.output)
        elif self.world.is_first:
            write_json(same, path)
        self.world.wait()

    def _resume(self) -> None:
        found = self.checkpoints.load_latest()
        if found is not None:
            self.state, weights, moments = found
            self._set_weights(weights)
            self.trainer.set_moments(moments)
            logger.info("Going on after step %d.", self.state["step"])

    def _train(self) -> None:
        state, training = self.state, self.settings.training
        log = Log(self.output / "log.jsonl", state["step"]) if self.world.is_first else None
        shown = bar(
            what="Pretraining",
            total=self.head_steps + self.n_steps,
            initial=state["step"],
            unit="steps",
            shown=self.progress,
            # Over all, so that evaluations are part of the time left.
            smoothing=0,
        )
        started, logged = time.perf_counter() - state["seconds"], (time.perf_counter(), 0)
        while not state["done"]:
            if state["step"] == self.head_steps and not state["before"]:
                self._before(log)
                self._save()
            epoch, number = state["epoch"], state["number"]
            if state["step"] < self.head_steps:
                turn, number = divmod(state["step"], self.packer.n_steps(HEAD_EPOCH))
                epoch = HEAD_EPOCH + turn
            result = self.trainer.step(self.packer, state["step"], epoch, number)
            state["step"] += 1
            state["pieces"] += result.pieces
            logged = logged[0], logged[1] + result.pieces
            if state["step"] > self.head_steps:
                state["number"] += 1
                if state["number"] >= self.packer.n_steps(epoch):
                    state["epoch"], state["number"] = epoch + 1, 0
            state["done"] = self._is_over()
            shown.update()
            if state["step"] % self.settings.report.log_every == 0 or state["done"]:
                now = time.perf_counter()
                speed = logged[1] / (now - logged[0])
                logged = now, 0
                shown.set_postfix(self._shown(result.loss, speed))
                if log:
                    log.write(
                        step=state["step"],
                        epoch=epoch if epoch < HEAD_EPOCH else 0,
                        loss=round(result.loss, 5),
                        learn_rate=result.rate,
                        gradient_norm=round(result.norm, 5),
                        pieces_per_second=round(speed, 1),
                        **self._mfu(speed),
                    )
            after_head = state["step"] - self.head_steps
            if after_head > 0 and (after_head % training.eval_every == 0 or state["done"]):
                self._evaluate(log)
                state["seconds"] = round(time.perf_counter() - started, 2)
                self._save()
                logged = time.perf_counter(), 0
            elif after_head < 0 and state["step"] % training.eval_every == 0:
                self._save()
        shown.close()
        if log:
            log.close()

    def _before(self, log: Optional[Log]) -> None:
        # Not one weight of the encoder has changed yet: only a head that had to be made.
        state = self.state
        state["before"] = {
            name: evaluate(self.lm, packer, self.world) for name, packer in self.heldout.items()
        }
        state["fill_before"] = fill_masks(self.lm, self.settings.report.fill_mask)
        state["best_step"], state["best"] = state["step"], state["before"]
        if log:
            log.write(step=state["step"], **_rounded(state["before"]))

    def _evaluate(self, log: Optional[Log]) -> None:
        state = self.state
        losses = {
            name: evaluate(self.lm, packer, self.world) for name, packer in self.heldout.items()
        }
        if losses["heldout"] < state["best"]["heldout"]:
            state.update(best_step=state["step"], best=losses, worse=0)
        else:
            state["worse"] += 1
            patience = self.settings.training.patience
            state["done"] = state["done"] or (0 < patience <= state["worse"])
        state["last"] = losses
        logger.info(
            "step %d: held-out loss %.4f, perplexity %.2f",
            state["step"],
            losses["heldout"],
            perplexity(losses["heldout"]),
        )
        if log:
            log.write(step=state["step"], **_rounded(losses))

    def _finish(self) -> Dict[str, Any]:
        state, settings = self.state, self.settings
        step, after = state["step"], state["last"]
        if settings.training.keep == "best" and state["best_step"] != step:
            try:
                _, weights, _ = self.checkpoints.load(state["best_step"])
            except ValueError as error:
                logger.warning("%s The last weights are the result instead of the best.", error)
            else:
                self._set_weights(weights)
                step, after = state["best_step"], state["best"]
        sentences = settings.report.fill_mask
        filled = zip(sentences, state["fill_before"], fill_masks(self.lm, sentences), strict=True)
        report = {
            "corpus": {k: v for k, v in self.corpus.meta.items() if k != "dtype"},
            "steps": state["step"] - self.head_steps,
            "head": "new" if self.new_head else "own",
            "head_steps": self.head_steps,
            "result_step": step - self.head_steps,
            "learn_rate": settings.training.learn_rate,
            "pieces": state["pieces"],
            "seconds": state["seconds"],
            "packed": self.lm.packed,
            "packing_efficiency": round(self.packer.efficiency(0), 4),
            "before": _rounded(state["before"]),
            "after": _rounded(after),
            "fill_mask": [{"sentence": s, "before": b, "after": a} for s, b, a in filled],
            "vocabulary": self.vocabulary,
        }
        if self.world.is_first:
            self.lm.save_encoder(
                self.output / "encoder", self.source, new_vocabulary=self.vocabulary is not None
            )
            plot_log(read_log(self.output / "log.jsonl"), self.output / "loss.png")
            write_page(report, self.output / "report.md")
            # Last: with it the run is complete.
            write_json(report, self.output / "report.json")
        self.world.wait()
        return report

    def _save(self) -> None:
        if self.world.is_first:
            weights = dict(self.lm.model.named_parameters())
            self.checkpoints.save(self.state, weights, self.trainer.moments())
        self.world.wait()

    def _set_weights(self, weights: Dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.lm.model.named_parameters():
                parameter.copy_(weights[name])

    def _is_over(self) -> bool:
        training, after_head = self.settings.training, self.state["step"] - self.head_steps
        if training.max_steps and after_head >= training.max_steps:
            return True
        return bool(training.max_epochs) and self.state["epoch"] >= training.max_epochs

    def _count_steps(self) -> int:
        # The epochs of other seeds may have a step more or less: the schedule need not know.
        training = self.settings.training
        by_epochs = training.max_epochs * self.packer.n_steps(0)
        limits = [n for n in (by_epochs, training.max_steps) if n]
        return min(limits)

    def _corpus(self) -> Corpus:
        cache = self.settings.corpus.cache_dir
        folder = Path(cache) if cache else self.output / "corpus"
        if self.world.is_first:
            build_corpus(self.settings.corpus, self.lm.tokenizer, folder, progress=self.progress)
        self.world.wait()
        return build_corpus(self.settings.corpus, self.lm.tokenizer, folder)

    def _packer(
        self, part: Part, *, step_batches: int = 1, max_pieces: Optional[int] = None
    ) -> Packer:
        tokenizer = self.lm.tokenizer
        static = self.settings.encoder.compile and self.lm.packed
        return Packer(
            part,
            limit=self.lm.limit,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            batch_pieces=self.settings.training.batch_pieces,
            step_batches=step_batches,
            seed=self.settings.training.seed,
            max_pieces=max_pieces,
            # Not the padding piece: transformers looks for it and warns that it is not masked.
            fill=tokenizer.tokenizer.mask_token_id if static else -1,
        )

    def _extend_vocabulary(
        self, model: torch.nn.Module, tokenizer: PieceTokenizer
    ) -> PieceTokenizer:
        corpus = self.settings.corpus
        texts = read_texts(corpus, find_files(paths_of(corpus.train)))
        tokenizer, self.vocabulary = extend_vocabulary(
            model, tokenizer, texts, self.settings.vocabulary
        )
        return tokenizer

    def _shown(self, loss: float, speed: float) -> Dict[str, str]:
        shown = {"loss": f"{loss:.3f}"}
        heldout = (self.state["last"] or self.state["before"]).get("heldout")
        if heldout is not None:
            shown.update(heldout=f"{heldout:.3f}", perplexity=f"{perplexity(heldout):.1f}")
        shown["pieces/s"] = f"{speed:,.0f}"
        shown.update((key, f"{share:.0%}") for key, share in self._mfu(speed).items())
        return shown

    def _mfu(self, speed: float) -> Dict[str, float]:
        share = utilisation(self.lm, self.settings.masking.rate, speed / self.world.size)
        return {} if share is None else {"mfu": round(share, 4)}

    def _fingerprint(self) -> Dict[str, Any]:
        settings = {
            f"[{section}] {name}": value
            for section, values in self.settings.to_dict().items()
            for name, value in values.items()
            if (section, name) not in _FREE
        }
        digest = hashlib.sha256()
        for file in sorted(self.source.glob("*.safetensors")):
            digest.update(file.read_bytes())
        return {**settings, "text": self.corpus.path.name, "encoder weights": digest.hexdigest()}


def _check_apart(settings: Settings, output: Path) -> None:
    corpus, place = settings.corpus, output.resolve()
    for folder in (p for v in (corpus.train, corpus.exclude, corpus.general) for p in paths_of(v)):
        if folder.is_dir() and place.is_relative_to(folder.resolve()):
            raise ValueError(
                f"The output directory {output} is in {folder}, which text is read from: what the "
                "run writes would be text of the next one. Name an output directory elsewhere."
            )


def _check_output(output: Path, fresh: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} is a file. Name a directory.")
    if output.is_dir() and any(output.iterdir()):
        if not (output / "run.json").is_file() and not _is_ours(output):
            raise ValueError(
                f"The output directory {output} holds something else than a pretraining run. "
                "Name one that is empty or does not exist."
            )
        if fresh:
            for name in ("checkpoints", "encoder"):
                shutil.rmtree(output / name, ignore_errors=True)
            for name in ("run.json", "report.json", "report.md", "log.jsonl", "loss.png"):
                (output / name).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    # What a killed process was writing.
    for left in (".encoder.*", "checkpoints/.step-*", "corpus/.*"):
        for path in output.glob(left):
            shutil.rmtree(path, ignore_errors=True)
    (output / ".report.json.part").unlink(missing_ok=True)


def _is_ours(output: Path) -> bool:
    # Killed while the text was tokenized.
    return {path.name for path in output.iterdir()} <= {"corpus", ".run.json.part"}


def _read_claim(path: Path) -> Dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}), so what the run in {path.parent} was is not known. Name "
            "another output directory, or start over with --fresh."
        ) from error


def _check_same(before: Dict[str, Any], now: Dict[str, Any], output: Path) -> None:
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if keys:
        changes = "; ".join(f"{k} was {before.get(k)!r} and is {now.get(k)!r}" for k in keys)
        raise ValueError(
            f"{output} holds a run with other settings or other text: {changes}. Go back to "
            "those, name another output directory, or start over with --fresh."
        )


def _rounded(losses: Dict[str, float]) -> Dict[str, float]:
    return {name: round(loss, 5) for name, loss in losses.items()}
