"""What an encoder that was adapted to a domain gains on the tasks of that domain."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Dict

from benchmarks import common
from benchmarks.common import ENCODER, encoder_directory, log, mean_std
from benchmarks.finished import Finished
from benchmarks.mlm_systems import pretrain
from benchmarks.mlm_tasks import Task, available_tasks

# Of the encoder, and of each training with it.
ADAPT_STEPS, QUICK_ADAPT_STEPS = 500, 4
TASK_STEPS, QUICK_TASK_STEPS = 300, 4
# Steps of the trainings that judge an encoder.
JUDGE_STEPS = 60


class Gains:
    """Trainings of the same tasks from the original encoder and from one that was adapted."""

    def __init__(
        self, args: argparse.Namespace, work: Path, biomed: Path, results: Finished
    ) -> None:
        """Choose what to adapt and how.

        args (argparse.Namespace): The parsed command line.
        work (Path): Where to write encoders and data.
        biomed (Path): Biomedical text.
        results (Finished): What is done already.
        """
        self.args, self.work, self.biomed, self.results = args, work, biomed, results
        self.adapting = {"adapt_steps": args.adapt_steps, "adapt_rate": args.adapt_rate}
        if args.adapt_with:
            self.adapting["adapt_with"] = sorted(args.adapt_with)

    def measure(self) -> Dict[str, Any]:
        """Adapt the encoder to the domain of each task, and train the task with it and without it.

        RETURNS (Dict[str, Any]): The gain on each task, with its spread, and what a probe says.
        """
        figures: Dict[str, Any] = {"task_steps": self.args.task_steps, **self.adapting}
        for task in available_tasks(self.args, self.work, self.biomed):
            found = self.results.once(
                lambda t=task: self.adapt(t), part="adapt", domain=task.domain, **self.adapting
            )
            for key in ("before", "after"):
                figures[f"{task.domain}_heldout_loss_{key}"] = round(found[key], 4)
            pairs = []
            for seed in common.seed_range(self.args):
                pairs.append((self.without(task, seed), self.with_adapted(task, seed)))
                without, adapted = pairs[-1]
                log(f"{task.name} seed {seed}: {without:.4f} without, {adapted:.4f} with")
            gains = [after - before for before, after in pairs]
            figures.update(mean_std(f"{task.name}_gain", gains))
            figures[f"{task.name}_scores"] = [[round(s, 4) for s in pair] for pair in pairs]
            judged = self.results.once(
                lambda t=task: self.judge(t), part="judge", task=task.name, **self.adapting
            )
            trained = self.results.once(
                lambda t=task: self.judge_by_training(t),
                part="judge_by_training",
                task=task.name,
                steps=JUDGE_STEPS,
                **self.adapting,
            )
            for key in ("gain", "interval"):
                figures[f"{task.name}_judged_{key}"] = judged[key]
                figures[f"{task.name}_judged_by_training_{key}"] = trained[key]
        return figures

    def without(self, task: Task, seed: int) -> float:
        """RETURNS (float): The score of a training from the original encoder."""
        return self._score(task, ENCODER, seed, encoder="original")

    def with_adapted(self, task: Task, seed: int) -> float:
        """RETURNS (float): The score of a training from the adapted encoder."""
        key = {"encoder": "adapted", **self.adapting}
        encoder = ""
        if not self.results.has(**self._key(task, seed), **key):
            encoder = self._adapted(task)
        return self._score(task, encoder, seed, **key)

    def judge(self, task: Task) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): What `mlm --judge` says about the task's training docs."""
        from spacy_reprtune.pretraining.judge import Judge
        from spacy_reprtune.pretraining.model import load
        from spacy_reprtune.pretraining.settings import EncoderPart

        judge = Judge(Path(task.overrides["paths.train"]), batch_pieces=4096)
        before, after = (
            judge.counts(load(EncoderPart(name=name, device="cpu"))[0])
            for name in (ENCODER, self._adapted(task))
        )
        return judge.report(before, after, after, step=self.args.adapt_steps, evaluations=1)

    def judge_by_training(self, task: Task) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): What `mlm --judge-recipe` says about the task's training docs,
        with the task's config and few steps."""
        import torch
        from spacy.util import load_config

        from spacy_reprtune.pretraining.judge import Judge
        from spacy_reprtune.pretraining.judge_training import TrainingJudge, compared

        judge = Judge(Path(task.overrides["paths.train"]), batch_pieces=4096)
        config = load_config(task.config, interpolate=False)
        steps = 4 if self.args.quick else JUDGE_STEPS
        config["training"].update(max_steps=steps, eval_frequency=steps)
        with tempfile.TemporaryDirectory() as folder:
            config.to_disk(Path(folder) / task.config.name)
            trained = TrainingJudge(
                Path(folder) / task.config.name,
                [item.doc for item in judge.docs],
                texts=judge.kind == "texts",
                exclusive=judge.exclusive,
            )
        counts = [
            trained.counts(encoder, torch.device("cpu"))
            for encoder in (encoder_directory(), Path(self._adapted(task)))
        ]
        return compared(task.config.name, *counts, step=self.args.adapt_steps)

    def adapt(self, task: Task) -> Dict[str, float]:
        """Adapt the encoder to the domain of a task, or go on with that.

        task (Task): The task.
        RETURNS (Dict[str, float]): Held-out loss before and after.
        """
        output = self._output(task)
        arguments = [
            *("--corpus.train", task.text, "--corpus.exclude", json.dumps(task.exclude)),
            *("--training.max_epochs", "0", "--training.max_steps", str(self.args.adapt_steps)),
        ]
        if self.args.adapt_rate:
            arguments += ["--training.learn_rate", str(self.args.adapt_rate)]
        for setting in self.args.adapt_with:
            name, _, value = setting.partition("=")
            arguments += [f"--{name}", value]
        if self.args.quick:
            arguments += ["--training.head_steps", "4", "--training.step_pieces", "4096"]
        if pretrain(arguments, output).wait():
            common.fail(f"pretraining on {task.domain} text failed")
        report = json.loads((output / "report.json").read_text(encoding="utf8"))
        return {key: report[key]["heldout"] for key in ("before", "after")}

    def _adapted(self, task: Task) -> str:
        if not (self._output(task) / "report.json").is_file():
            # Its result was kept, its directory was not.
            self.adapt(task)
        return str(self._output(task) / "encoder")

    def _output(self, task: Task) -> Path:
        parts = [f"adapted-{task.domain}-{self.args.adapt_steps}"]
        parts += [f"{self.args.adapt_rate:g}"] if self.args.adapt_rate else []
        return self.work / "-".join(parts + sorted(self.args.adapt_with))

    def _key(self, task: Task, seed: int) -> Dict[str, Any]:
        return {"part": "tasks", "task": task.name, "steps": self.args.task_steps, "seed": seed}

    def _score(self, task: Task, encoder_name: str, seed: int, **key: Any) -> float:
        row = self.results.once(
            lambda: {"score": task.score(encoder_name, seed)}, **self._key(task, seed), **key
        )
        return float(row["score"])
