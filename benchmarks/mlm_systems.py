"""What the pretraining benchmark trains: this project's steps, and the Hugging Face `Trainer`."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List

from benchmarks.common import ENCODER
from benchmarks.mlm_text import STEP_PIECES, Text

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "mlm.cfg"
RATE = 0.15
LEARN_RATE, WEIGHT_DECAY, WARMUP = 1e-4, 0.01, 0.06
# Share of the steps of a run in which only the new head trains.
HEAD_SHARE = 0.1


# Longest row of the `Trainer`: 64 rows padded to a sentence of 480 pieces are 4 GB of logits, which
# it holds several times.
ROW_PIECES = 254


class HFAdapter:
    """Gives the `Trainer` the documents of a chunk as rows, the few long ones in several."""

    def __init__(self, peer: Any, tokenizer: Any) -> None:
        self.peer, self.tokenizer, self.model = peer, tokenizer, peer.model

    def train(self, part: Any, steps: int, seed: int) -> float:
        """RETURNS (float): Seconds of an epoch in this many steps."""
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        rows = [
            [*prefix, *map(int, part.pieces[start : min(start + ROW_PIECES, end)]), *suffix]
            for begin, end in zip(part.offsets[:-1], part.offsets[1:], strict=True)
            for start in range(int(begin), int(end), ROW_PIECES)
        ]
        return self.peer.train(rows, -(-len(rows) // steps), seed)


class Ours:
    """This project's steps, without the run around them."""

    def __init__(self, text: Text, precision: str, n_steps: int = 0, seed: int = 0) -> None:
        from spacy_reprtune.pretraining.model import load
        from spacy_reprtune.pretraining.processes import World
        from spacy_reprtune.pretraining.settings import settings_from
        from spacy_reprtune.pretraining.steps import Trainer

        self.text = text
        self.settings = settings_from(
            {
                "encoder": {"name": ENCODER, "precision": precision, "device": "cpu"},
                "corpus": {"train": str(text.path)},
                "masking": {"rate": RATE, "whole_words": False},
                "training": {
                    "step_pieces": STEP_PIECES,
                    "batch_pieces": STEP_PIECES,
                    "learn_rate": LEARN_RATE,
                    "weight_decay": WEIGHT_DECAY,
                    "warmup": WARMUP,
                    "final_rate": 0.0,
                    "seed": seed,
                },
            }
        )
        self.lm = load(self.settings.encoder, seed=seed)[0]
        # Speed is measured without the cheap steps of a frozen encoder.
        self.head_steps = round(HEAD_SHARE * n_steps)
        self.trainer = Trainer(
            self.lm,
            self.settings,
            head_steps=self.head_steps,
            n_steps=max(1, n_steps - self.head_steps),
            world=World(),
        )
        self.before = float("nan")

    def train(self, part: Any, steps: int, seed: int) -> float:
        """RETURNS (float): Seconds of an epoch; the held-out loss of a new head is left out."""
        packer = self.text.packer(part, seed)
        start, paused = time.perf_counter(), 0.0
        for step in range(packer.n_steps(0)):
            if step == self.head_steps and step:
                begun = time.perf_counter()
                self.before = self.text.heldout(self.lm)
                paused = time.perf_counter() - begun
            # One order for the head's steps and the others: an epoch is an epoch for both.
            self.trainer.step(_OneOrder(packer), step, 0, step)
        return time.perf_counter() - start - paused


class _OneOrder:
    def __init__(self, packer: Any) -> None:
        self.packer = packer

    def step(self, epoch: int, number: int, rank: int, world: int) -> Any:
        return self.packer.step(0, number, rank, world)


def pretrain(arguments: List[str], output: Path) -> "subprocess.Popen[bytes]":
    """RETURNS (Popen): A pretraining process with this project's config, from the command line."""
    command = [sys.executable, "-m", "spacy", "reprtune", "mlm", str(CONFIG), "--quiet"]
    return subprocess.Popen(
        [*command, "--output", str(output), *arguments], stdout=subprocess.DEVNULL
    )
