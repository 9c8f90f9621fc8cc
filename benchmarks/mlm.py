"""Masked-language-model pretraining: this project and the Hugging Face `Trainer`.

MiniLM-L6 on sentences of `biomed_text`: the same documents in the same number of steps. Speed is in
real pieces, padding not counted, in turns. Held-out loss is that of the same 15 % of masked pieces
for both, after the same number of pieces from the same random head, to which this project gives the
frequencies of pieces and the first tenth of the steps. `speedup_vs_hf_tuned` gives the
`Trainer` batches grouped by length, the fused AdamW and no dropout.

The gain on a task is the score with the adapted encoder less the score without it, seed by seed.

With `--results FILE` a run that was stopped goes on where it was; with `--work DIR` as well, an
encoder that has been adapted, or half so, is not adapted again.
"""

import argparse
import contextlib
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import ENCODER, encoder_directory, headline_precision, log, mean_std, ratio
from benchmarks.data import folder
from benchmarks.finished import Finished
from benchmarks.mlm_systems import LEARN_RATE, RATE, WARMUP, WEIGHT_DECAY, HFAdapter, Ours
from benchmarks.mlm_text import Text

if TYPE_CHECKING:
    from benchmarks.mlm_tasks import Task

ROOT = Path(__file__).resolve().parents[1]
CHUNK_STEPS, QUICK_CHUNK_STEPS = 20, 2
LOSS_STEPS, QUICK_LOSS_STEPS = 400, 5
LOSS_SEEDS = 3
WARM_UP_STEPS, QUICK_WARM_UP_STEPS = 2, 1
KILLS, QUICK_KILLS = 10, 2
# Of the encoder whose gain on tasks is measured.
ADAPT_EPOCHS, QUICK_ADAPT_STEPS = 2, 4


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=5, repeats=5)
    choices = ("speed", "loss", "kills", "tasks")
    parser.add_argument(
        "--only", choices=choices, nargs="+", help="parts to run; all, but no tasks with --quick"
    )
    parser.add_argument("--work", type=Path, help="directory for what is made on the way, to keep")
    parser.add_argument("--chunk-steps", type=int, default=CHUNK_STEPS, help="of a timed chunk")
    parser.add_argument("--loss-steps", type=int, default=LOSS_STEPS, help="of the compared losses")
    common.add_results(parser)
    args = parser.parse_args(argv)
    text = folder(args, "biomed_text") / "sentences.txt"
    if args.quick:
        args.seeds, args.repeats = 1, min(args.repeats, 2)
        args.chunk_steps, args.loss_steps = QUICK_CHUNK_STEPS, QUICK_LOSS_STEPS
    wanted = args.only or (choices[:3] if args.quick else choices)
    common.fix_threads(args.threads, cores="speed" in wanted)
    figures: Dict[str, Any] = {"precision": headline_precision()}
    # Results of another machine or other settings can share the file and are not used.
    results = Finished(
        args.results,
        machine=common.machine(args.threads)["cpu"],
        threads=args.threads,
        quick=args.quick,
    )
    with contextlib.ExitStack() as stack:
        work = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(args, text, work.resolve(), results)
        parts: Dict[str, Callable[[], Dict[str, Any]]] = {
            "speed": bench.time_chunks,
            "loss": bench.compare_losses,
            "kills": lambda: results.once(bench.kill_and_resume, part="kills"),
            "tasks": bench.measure_gains,
        }
        for name in choices:
            if name in wanted:
                log(f"--- {name}")
                figures.update(parts[name]())
    common.emit("mlm", args, figures)


class Bench:
    """The parts of the benchmark, on one tokenized corpus."""

    def __init__(self, args: argparse.Namespace, text: Path, work: Path, results: Finished) -> None:
        self.args, self.work, self.results = args, work, results
        if args.quick:
            some = work / "some.txt"
            lines = text.read_text(encoding="utf8").splitlines()
            some.write_text("\n".join(lines[::20]), encoding="utf8")
            text = some
        self.text = Text(text, work / "cache", heldout_pieces=3000 if args.quick else 50_000)

    def time_chunks(self) -> Dict[str, Any]:
        """Let each system train on the same documents in turn.

        RETURNS (Dict[str, Any]): Speed-ups, and real pieces a second.
        """
        best, steps = headline_precision(), self.args.chunk_steps
        systems: Dict[str, Any] = {"hf_tuned": self.peer(best, tuned=True, dropout=0.0)}
        # A quick run does without the precision that this machine does not call for.
        for precision in dict.fromkeys([best] if self.args.quick else ["fp32", best]):
            systems[f"ours_{precision}"] = Ours(self.text, precision)
            systems[f"hf_{precision}"] = self.peer(precision)
        n_warm = QUICK_WARM_UP_STEPS if self.args.quick else WARM_UP_STEPS
        warm: List[str] = []
        times: Dict[str, List[float]] = {name: [] for name in systems}
        pieces: List[int] = []

        def one_round(repeat: int) -> Dict[str, Any]:
            # All systems or none: a round compares what ran side by side.
            for name in systems.keys() - set(warm):
                systems[name].train(self.text.chunk(0, n_warm), n_warm, 0)
                warm.append(name)
            part = self.text.chunk(repeat, steps)
            return {
                "pieces": self.text.count(part),
                "seconds": {n: system.train(part, steps, repeat) for n, system in systems.items()},
            }

        for repeat in range(self.args.repeats):
            row = self.results.once(
                lambda r=repeat: one_round(r), part="speed", repeat=repeat, steps=steps
            )
            pieces.append(row["pieces"])
            for name, seconds in row["seconds"].items():
                times[name].append(seconds)
                speed = row["pieces"] / seconds
                log(f"round {repeat + 1}/{self.args.repeats}  {name:<12} {speed:9,.0f} pieces/s")
        figures: Dict[str, Any] = {}
        for name, peer, ours in (
            ("speedup_vs_hf_trainer", f"hf_{best}", f"ours_{best}"),
            ("speedup_vs_hf_trainer_fp32", "hf_fp32", "ours_fp32"),
            ("speedup_vs_hf_tuned", "hf_tuned", f"ours_{best}"),
        ):
            if ours in times:
                figures.update(ratio(name, times[peer], times[ours]))
        figures["pieces_per_second"] = {
            name: round(statistics.median(n / t for n, t in zip(pieces, values, strict=True)))
            for name, values in times.items()
        }
        return figures

    def compare_losses(self) -> Dict[str, Any]:
        """Train both on the same documents, with the same head to begin with.

        RETURNS (Dict[str, Any]): Held-out losses and the seconds that they took.
        """
        import torch

        from spacy_reprtune.pretraining.steps import start_head

        best, steps = headline_precision(), self.args.loss_steps
        part = self.text.chunk(0, steps)
        figures: Dict[str, Any] = {"loss_steps": steps, "loss_pieces": self.text.count(part)}
        peers = {"_hf": None} if self.args.quick else {"_hf": None, "_hf_no_dropout": 0.0}

        def train_ours(seed: int) -> Dict[str, Any]:
            ours = Ours(self.text, best, n_steps=steps, seed=seed)
            random_head = self.text.heldout(ours.lm)
            start_head(ours.lm, part)
            seconds = ours.train(part, steps, seed)
            return {
                "random_head": random_head,
                "before": ours.before,
                "after": self.text.heldout(ours.lm),
                "seconds": seconds,
            }

        def train_peer(seed: int, dropout: Optional[float]) -> Dict[str, Any]:
            # The random head of the same seed, as it was before the frequencies of pieces.
            ours = Ours(self.text, best, n_steps=steps, seed=seed)
            peer = self.peer(best, dropout=dropout)
            peer.model.load_state_dict(ours.lm.model.state_dict())
            seconds = peer.train(part, steps, seed)
            with torch.no_grad():
                ours.lm.model.load_state_dict(peer.model.state_dict())
            return {"after": self.text.heldout(ours.lm), "seconds": seconds}

        losses: Dict[str, List[float]] = {suffix: [] for suffix in ("", *peers)}
        for seed in range(1 if self.args.quick else min(LOSS_SEEDS, self.args.seeds)):
            key = {"part": "loss", "seed": seed, "steps": steps}
            rows = {"": self.results.once(lambda s=seed: train_ours(s), **key)}
            for suffix, dropout in peers.items():
                rows[suffix] = self.results.once(
                    lambda s=seed, d=dropout: train_peer(s, d), **key, system=suffix
                )
            for suffix, row in rows.items():
                losses[suffix].append(row["after"])
            if seed == 0:
                figures["heldout_loss_random_head"] = round(rows[""]["random_head"], 4)
                figures["heldout_loss_before"] = round(rows[""]["before"], 4)
                figures["loss_seconds"] = [round(row["seconds"], 1) for row in rows.values()]
            shown = (f"{name or 'ours'} {values[-1]:.4f}" for name, values in losses.items())
            log(f"seed {seed}  {', '.join(shown)}")
        for suffix, values in losses.items():
            figures.update(mean_std(f"heldout_loss_after{suffix}", values))
        return figures

    def kill_and_resume(self) -> Dict[str, Any]:
        """Kill a run at random moments, go on with it, and compare weights with an unbroken run.

        RETURNS (Dict[str, Any]): How often it was killed, and whether the weights are equal.
        """
        kills = QUICK_KILLS if self.args.quick else KILLS
        for name in ("whole", "killed"):
            # Of an earlier attempt that has no result.
            shutil.rmtree(self.work / name, ignore_errors=True)
        rng = random.Random(0)
        command = [
            *(sys.executable, "-m", "spacy_reprtune.pretraining", str(ROOT / "configs/mlm.cfg")),
            *("--paths.text", str(self.text.path), "--quiet", "--training.keep", "last"),
            *("--training.max_steps", str(10 * kills), "--training.head_steps", "4"),
            *("--training.step_pieces", "512", "--training.batch_pieces", "512"),
            *("--training.eval_every", "4", "--corpus.eval_pieces", "512"),
            *("--corpus.cache_dir", str(self.work / "kill-cache"), "--encoder.dropout", "0.1"),
        ]
        run(command, self.work / "whole").wait()
        done = 0
        killed = self.work / "killed" / "checkpoints"
        while done < kills:
            process = run(command, self.work / "killed")
            seen = max(killed.glob("step-*"), default=None)
            while process.poll() is None and max(killed.glob("step-*"), default=None) == seen:
                time.sleep(0.01)
            time.sleep(rng.random() * 1.5)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        run(command, self.work / "killed").wait()
        names = ("whole", "killed")
        weights = [self.work / name / "encoder" / "model.safetensors" for name in names]
        same = all(path.is_file() for path in weights)
        same = same and weights[0].read_bytes() == weights[1].read_bytes()
        log(f"killed {done} times, weights {'equal' if same else 'DIFFER'}")
        return {"kills": done, "killed_run_has_the_same_weights": same}

    def measure_gains(self) -> Dict[str, Any]:
        """Adapt the encoder to the text of each task, and train the task with it and without it.

        RETURNS (Dict[str, Any]): The gain on each task, with its spread.
        """
        from benchmarks.mlm_tasks import available_tasks

        figures: Dict[str, Any] = {}
        tasks = available_tasks(self.args, self.work, self.text.path)
        for task in tasks:
            adapted = self.work / f"adapted-{task.name}"
            found = self.results.once(lambda t=task: self.adapt(t), part="adapt", task=task.name)
            for key in ("before", "after"):
                figures[f"{task.name}_heldout_loss_{key}"] = found[key]
            gains, scores = [], []
            for seed in range(self.args.seeds):
                pair = []
                for encoder in ("as it came", "adapted"):
                    key = {"part": "tasks", "task": task.name, "encoder": encoder, "seed": seed}
                    name = ENCODER
                    if encoder == "adapted" and not self.results.has(**key):
                        # Done already, unless only its results were kept.
                        self.adapt(task)
                        name = str(adapted / "encoder")
                    row = self.results.once(
                        lambda t=task, n=name, s=seed: {"score": t.score(n, s)}, **key
                    )
                    pair.append(row["score"])
                scores.append([round(score, 4) for score in pair])
                gains.append(pair[1] - pair[0])
                log(f"{task.name} seed {seed}: {pair[0]:.4f} without, {pair[1]:.4f} with")
            figures[f"{task.name}_gain"] = round(statistics.fmean(gains), 4)
            figures[f"{task.name}_gain_spread"] = [round(min(gains), 4), round(max(gains), 4)]
            figures[f"{task.name}_scores"] = scores
        return figures

    def adapt(self, task: "Task") -> Dict[str, float]:
        """Adapt the encoder to the text of a task, or go on with that.

        task (Task): The task.
        RETURNS (Dict[str, float]): Held-out loss before and after.
        """
        output = self.work / f"adapted-{task.name}"
        arguments = [
            *(sys.executable, "-m", "spacy_reprtune.pretraining"),
            *(str(ROOT / "configs/mlm.cfg"), "--quiet", "--corpus.train", task.text),
            *("--corpus.exclude", json.dumps(task.exclude)),
            *("--training.max_epochs", str(ADAPT_EPOCHS)),
        ]
        if self.args.quick:
            arguments += ["--training.max_steps", str(QUICK_ADAPT_STEPS)]
            arguments += ["--training.head_steps", "4", "--training.step_pieces", "4096"]
        if run(arguments, output).wait():
            common.fail(f"pretraining for {task.name} failed")
        report = json.loads((output / "report.json").read_text(encoding="utf8"))
        return {key: report[key]["heldout"] for key in ("before", "after")}

    def peer(self, precision: str, **settings: Any) -> HFAdapter:
        """RETURNS (HFAdapter): The `Trainer`, on the documents of a chunk."""
        from benchmarks.peers.hf_mlm import HFMaskedLM

        return HFAdapter(
            HFMaskedLM(
                encoder_directory(),
                precision=precision,
                learn_rate=LEARN_RATE,
                weight_decay=WEIGHT_DECAY,
                warmup=WARMUP,
                rate=RATE,
                **settings,
            ),
            self.text.tokenizer,
        )


def run(command: List[str], output: Path) -> "subprocess.Popen[bytes]":
    """RETURNS (Popen): A pretraining process."""
    return subprocess.Popen([*command, "--output", str(output)], stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
