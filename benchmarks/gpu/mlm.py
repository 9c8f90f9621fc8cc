"""Masked-language-model pretraining on a GPU: this project and the Hugging Face `Trainer`.

A model of the shape of BERT-base with random weights, on random pieces in documents of 128 and of
512: speed does not depend on what they say. Both in bf16 with the same documents, real pieces,
masking rate 0.15, in turns. Peak memory is that of training. MFU counts the products of the blocks
and of the projection of masked pieces, and, in `_with_attention`, the scores too; its peak is the
data sheet's in one figure and what a large bf16 product reaches here in the other.

    python -m benchmarks.gpu.mlm [--quick]

With no GPU it runs on the CPU with a tiny model, to see that it runs: its figures mean nothing.
"""

import argparse
import gc
import os
import statistics
import time
from typing import Any, Dict, List, Optional

from benchmarks import common
from benchmarks.common import log, ratio

VOCABULARY = 30_522
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
BASE["intermediate_size"] = 3072
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY["intermediate_size"] = 64
LENGTHS = (128, 512)
BATCH_PIECES, TINY_BATCH_PIECES = 65_536, 1024
STEPS, QUICK_STEPS, WARM_UP_STEPS = 40, 10, 8
RATE = 0.15


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    # One GPU: the `Trainer` spreads its batches over all that it sees.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    import torch

    parser = common.parser(__doc__, seeds=1, repeats=5)
    parser.add_argument("--eager", action="store_true", help="do not compile our blocks")
    args = parser.parse_args(argv)
    cuda = torch.cuda.is_available()
    if not cuda:
        log("no GPU here: a dry run with a tiny model on the CPU")
        common.fix_threads(args.threads)
    torch.set_float32_matmul_precision("high")
    if args.quick or not cuda:
        args.repeats = min(args.repeats, 3)
    figures: Dict[str, Any] = {"dry_run": not cuda, "compiled": cuda and not args.eager}
    if cuda:
        figures["measured_peak_tflops"] = round(measured_peak() / 1e12, 1)
    for length in LENGTHS:
        figures.update(compare(args, length, cuda, figures))
    common.emit("gpu_mlm", args, figures)


def compare(
    args: argparse.Namespace, length: int, cuda: bool, known: Dict[str, Any]
) -> Dict[str, Any]:
    """Time both on documents of a length.

    RETURNS (Dict[str, Any]): Figures with the length at the end of their names.
    """
    import torch

    budget = BATCH_PIECES if cuda else TINY_BATCH_PIECES
    steps = (QUICK_STEPS if args.quick else STEPS) if cuda else 2
    n_warm = WARM_UP_STEPS if cuda else steps
    # One at a time on the device, or the weights of one would count for the other.
    peer = Peer(length, budget, cuda)
    memory = {"hf": warm_up(peer, n_warm, cuda)}
    peer.peer.model.to("cpu")
    ours = Ours(length, budget, cuda, compiled=cuda and not args.eager)
    memory["ours"] = warm_up(ours, n_warm, cuda)
    times: Dict[str, List[float]] = {"ours": [], "hf": []}
    for repeat in range(1, args.repeats + 1):
        for name, system in (("ours", ours), ("hf", peer)):
            if cuda:
                torch.cuda.empty_cache()
            seconds = system.train(steps, repeat)
            times[name].append(seconds)
            log(f"{length:4} {name:5} {steps * budget / seconds:12,.0f} pieces/s")
    figures = ratio(f"speedup_vs_hf_trainer_{length}", times["hf"], times["ours"])
    for name, values in times.items():
        speed = steps * budget / statistics.median(values)
        suffix = f"{length}" if name == "ours" else f"hf_{length}"
        figures[f"pieces_per_second_{suffix}"] = round(speed)
        if cuda:
            figures[f"peak_memory_gb_{suffix}"] = round(memory[name], 2)
            figures.update(mfu(ours.lm, speed, length, suffix, known["measured_peak_tflops"]))
    return figures


def warm_up(system: Any, steps: int, cuda: bool) -> float:
    """Train until all is compiled, then some steps more.

    RETURNS (float): Peak memory of the latter in GB; 0.0 without a GPU.
    """
    import torch

    system.train(steps, 0)
    if not cuda:
        return 0.0
    # Trainers hold themselves in circles.
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    system.train(steps, 0)
    peak = torch.cuda.max_memory_allocated() / 2**30
    gc.collect()
    torch.cuda.empty_cache()
    return peak


def mfu(lm: Any, speed: float, length: int, suffix: str, measured: float) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Utilization against both peaks."""
    from spacy_reprtune.pretraining.speed import flops_per_piece, utilization

    plain = flops_per_piece(lm, RATE)
    scores = 12.0 * lm.model.config.num_hidden_layers * length * lm.model.config.hidden_size
    found = {
        f"mfu_measured_peak_{suffix}": round(speed * plain / (measured * 1e12), 4),
        f"mfu_measured_peak_with_attention_{suffix}": round(
            speed * (plain + scores) / (measured * 1e12), 4
        ),
    }
    sheet = utilization(lm, RATE, speed)
    if sheet is not None:
        found[f"mfu_data_sheet_{suffix}"] = round(sheet, 4)
    return found


def measured_peak() -> float:
    """RETURNS (float): Operations per second of a large dense bf16 product, the best of 30."""
    import torch

    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(30):
        torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * n**3 / best


def make_model(cuda: bool) -> Any:
    """RETURNS (BertForMaskedLM): With random weights and no dropout."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **(BASE if cuda else TINY),
    )
    return BertForMaskedLM(config)


def tokenizer_files() -> Any:
    """RETURNS (PieceTokenizer): The embedded encoder's, which is BERT's."""
    from spacy_reprtune.encoder.pieces import PieceTokenizer

    return PieceTokenizer.from_directory(common.encoder_directory())


class Ours:
    """This project's steps on random documents of one length."""

    def __init__(self, length: int, budget: int, cuda: bool, *, compiled: bool) -> None:
        import numpy
        import torch

        from spacy_reprtune.pretraining.corpus import Part
        from spacy_reprtune.pretraining.model import MaskedLM
        from spacy_reprtune.pretraining.packing import Packer
        from spacy_reprtune.pretraining.processes import World
        from spacy_reprtune.pretraining.settings import settings_from
        from spacy_reprtune.pretraining.steps import Trainer

        settings = settings_from(
            {
                "encoder": {"name": "-", "compile": compiled, "device": "cuda" if cuda else "cpu"},
                "corpus": {"train": "-"},
                "masking": {"rate": RATE, "whole_words": False},
                "training": {"step_pieces": budget, "batch_pieces": budget},
            }
        )
        tokenizer = tokenizer_files()
        device = torch.device("cuda", 0) if cuda else torch.device("cpu")
        self.lm = MaskedLM(make_model(cuda), tokenizer, settings.encoder, device)
        if not self.lm.packed:
            common.fail("the model is not packed")
        steps = STEPS if cuda else 2
        n = steps * budget // length
        pieces = numpy.random.default_rng(0).integers(1000, VOCABULARY, n * (length - 2))
        offsets = numpy.arange(n + 1, dtype=numpy.int64) * (length - 2)
        part = Part(pieces.astype(numpy.uint16), numpy.ones(len(pieces), numpy.uint8), offsets)
        self.packer = Packer(
            part,
            limit=512,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            batch_pieces=budget,
            fill=tokenizer.tokenizer.mask_token_id if compiled else -1,
        )
        self.trainer = Trainer(self.lm, settings, head_steps=0, n_steps=1000, world=World())

    def train(self, steps: int, seed: int) -> float:
        """RETURNS (float): Seconds."""
        import torch

        start = time.perf_counter()
        for step in range(steps):
            self.trainer.step(self.packer, step, seed, step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start


class Peer:
    """The `Trainer` on documents of one length, which need no padding."""

    def __init__(self, length: int, budget: int, cuda: bool) -> None:
        from benchmarks.peers.hf_mlm import HFMaskedLM

        self.length, self.rows = length, budget // length
        self.peer = HFMaskedLM(
            common.encoder_directory(),
            precision="bf16",
            learn_rate=1e-4,
            weight_decay=0.01,
            warmup=0.06,
            rate=RATE,
            tuned=True,
            model=make_model(cuda),
            tokenizer=tokenizer_files().tokenizer,
        )

    def train(self, steps: int, seed: int) -> float:
        """RETURNS (float): Seconds."""
        import numpy

        size = steps * self.rows, self.length
        rows = numpy.random.default_rng(seed).integers(1000, VOCABULARY, size)
        return self.peer.train(rows.tolist(), self.rows, seed)


if __name__ == "__main__":
    main()
