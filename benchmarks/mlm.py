"""Masked-language-model pretraining: this project and the Hugging Face `Trainer`.

MiniLM-L6 on sentences of `biomed_text`: the same documents in the same number of steps. Speed is in
real pieces, padding not counted, in turns. Held-out loss is that of the same 15 % of masked pieces
for both, after the same number of pieces from the same random head, to which this project gives the
frequencies of pieces and the first tenth of the steps. `speedup_vs_hf_tuned` gives the
`Trainer` batches grouped by length, the fused AdamW and no dropout.

The gain on a task is the best score on dev with the adapted encoder less that without it, seed by
seed: the same config, steps and order. Beside it is what `--judge` measures on the training docs,
the gain of a probe, and what `--judge-recipe` measures, the gain of short trainings.

With `--results FILE` a run that was stopped resumes where it stopped; with `--work DIR` as well, an
encoder that has been adapted, or half so, is not adapted again.
"""

import argparse
import contextlib
import random
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import encoder_directory, headline_precision, log, mean_std
from benchmarks.data import folder
from benchmarks.finished import Finished
from benchmarks.mlm_gains import ADAPT_STEPS, QUICK_ADAPT_STEPS, QUICK_TASK_STEPS, TASK_STEPS, Gains
from benchmarks.mlm_systems import LEARN_RATE, RATE, WARMUP, WEIGHT_DECAY, HFAdapter, Ours, pretrain
from benchmarks.mlm_tasks import TASKS
from benchmarks.mlm_text import Text

CHUNK_STEPS, QUICK_CHUNK_STEPS = 20, 2
LOSS_STEPS, QUICK_LOSS_STEPS = 400, 5
LOSS_SEEDS = 3
WARM_UP_STEPS, QUICK_WARM_UP_STEPS = 2, 1
KILLS, QUICK_KILLS = 10, 2


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=5, repeats=5)
    choices = ("speed", "loss", "kills", "tasks")
    parser.add_argument(
        "--only", choices=choices, nargs="+", help="parts to run; all, but no tasks with --quick"
    )
    parser.add_argument("--work", type=Path, help="directory for what is made on the way, to keep")
    parser.add_argument(
        "--chunk-steps", type=int, default=CHUNK_STEPS, help="steps of a timed chunk"
    )
    parser.add_argument(
        "--loss-steps", type=int, default=LOSS_STEPS, help="steps before losses are compared"
    )
    parser.add_argument(
        "--tasks", choices=TASKS, nargs="+", default=TASKS, help="tasks whose gain is measured"
    )
    parser.add_argument(
        "--adapt-steps", type=int, default=ADAPT_STEPS, help="steps of adapting the encoder"
    )
    parser.add_argument(
        "--adapt-rate", type=float, help="learning rate of adapting, if not the config's"
    )
    parser.add_argument(
        "--adapt-with",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="other settings of adapting, such as training.keep_vectors=1",
    )
    parser.add_argument(
        "--task-steps", type=int, default=TASK_STEPS, help="steps of a task's training"
    )
    parser.add_argument(
        "--limit", type=int, help="use only the first N training texts of each task"
    )
    parser.add_argument("--words", type=int, help="cut the texts of topics to this many words")
    common.add_results(parser)
    args = parser.parse_args(argv)
    text = folder(args, "biomed_text") / "sentences.txt"
    if args.quick:
        args.seeds, args.repeats = 1, min(args.repeats, 2)
        args.chunk_steps, args.loss_steps = QUICK_CHUNK_STEPS, QUICK_LOSS_STEPS
        args.adapt_steps, args.task_steps = QUICK_ADAPT_STEPS, QUICK_TASK_STEPS
    wanted = args.only or (choices[:3] if args.quick else choices)
    common.fix_threads(args.threads, cores="speed" in wanted)
    figures: Dict[str, Any] = {"precision": headline_precision()}
    # Results of another machine or other settings can share the file and are not used.
    results = Finished(
        args.results,
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
            "tasks": lambda: Gains(args, work.resolve(), bench.text.path, results).measure(),
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

        RETURNS (Dict[str, Any]): Speed-ups, and real pieces per second.
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
        pairs = {
            "speedup_vs_hf_trainer": (f"hf_{best}", f"ours_{best}"),
            "speedup_vs_hf_trainer_fp32": ("hf_fp32", "ours_fp32"),
            "speedup_vs_hf_tuned": ("hf_tuned", f"ours_{best}"),
        }
        figures = common.ratios(times, pairs)
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
            # What an earlier attempt without a result has left.
            shutil.rmtree(self.work / name, ignore_errors=True)
        rng = random.Random(0)
        arguments = [
            *("--paths.text", str(self.text.path), "--training.keep", "last"),
            *("--training.max_steps", str(10 * kills), "--training.head_steps", "4"),
            *("--training.step_pieces", "512", "--training.batch_pieces", "512"),
            *("--training.eval_every", "4", "--corpus.eval_pieces", "512"),
            *("--corpus.cache_dir", str(self.work / "kill-cache"), "--encoder.dropout", "0.1"),
        ]
        pretrain(arguments, self.work / "whole").wait()
        done = 0
        killed = self.work / "killed" / "checkpoints"
        while done < kills:
            process = pretrain(arguments, self.work / "killed")
            seen = max(killed.glob("step-*"), default=None)
            while process.poll() is None and max(killed.glob("step-*"), default=None) == seen:
                time.sleep(0.01)
            time.sleep(rng.random() * 1.5)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        pretrain(arguments, self.work / "killed").wait()
        names = ("whole", "killed")
        weights = [self.work / name / "encoder" / "model.safetensors" for name in names]
        same = all(path.is_file() for path in weights)
        same = same and weights[0].read_bytes() == weights[1].read_bytes()
        log(f"killed {done} times, weights {'equal' if same else 'DIFFER'}")
        return {"kills": done, "killed_run_has_the_same_weights": same}

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


if __name__ == "__main__":
    main()
