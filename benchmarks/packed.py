"""Packed windows beside padded ones: `nlp.pipe` and training, with short and with long texts.

    python -m benchmarks.packed [--shape minilm|base] [--quick]

Both have the same random weights, texts and batches. On a CPU the seconds are those of the process,
summed over threads, which other processes do not change much; on a GPU they are those of the clock.
"""

import argparse
import time
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import ratio
from benchmarks.gpu import setup

BATCH = 16
# Sentences in a long text: 25 pieces each, so that it has a few hundred.
SENTENCES = (4, 40)


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    parser.add_argument("--shape", choices=list(setup.SHAPES), default="minilm", help="encoder")
    parser.add_argument("--texts", type=int, default=256, help="short texts; of long ones a tenth")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    figures = measure(args, setup.SHAPES[args.shape], 32 if args.quick else args.texts)
    common.emit(f"packed_{args.shape}", args, figures)


def packed(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The figures of a GPU, or dry ones."""
    return measure(args, None, 4000 if setup.on_gpu() else 16)


def measure(args: argparse.Namespace, shape: Optional[Dict[str, int]], n: int) -> Dict[str, Any]:
    """Compare both.

    args (argparse.Namespace): The command line.
    shape (Optional[Dict[str, int]]): Sizes of the encoder, or None for those of the device.
    n (int): Number of short texts.
    RETURNS (Dict[str, Any]): Times of padded rows over those of packed ones, with their spread.
    """
    short = setup.some_texts(args, n)
    least, most = SENTENCES
    starts = range(0, n, 10)
    long = [
        " ".join(short[(start + i) % n] for i in range(least + start % (most - least)))
        for start in starts
    ]
    encoder = setup.make_encoder(setup.some_texts(args, 2000), shape)
    figures: Dict[str, Any] = {}
    for name, texts, batch in (("short", short, BATCH), ("long", long, BATCH // 4)):
        tasks: Dict[str, Dict[str, Callable[[int], Any]]] = {"pipe": {}, "training": {}}
        for system in ("packed", "padded"):
            nlp = setup.trained("textcat", encoder, texts, packed=system == "packed")
            examples = setup.examples_of(nlp, texts[: 4 * batch])
            tasks["pipe"][system] = lambda _, n=nlp, t=texts: list(n.pipe(t))
            tasks["training"][system] = lambda _, n=nlp, e=examples, size=batch: setup.train(
                n, e, steps=2, size=size
            )
        for task, systems in tasks.items():
            times = _in_turn(systems, args.repeats)
            key = f"{task}_{name}_padded_over_packed"
            figures.update(ratio(key, times["padded"], times["packed"]))
            common.log(f"{task} {name}: {figures[key]}")
    return figures


def _in_turn(systems: Dict[str, Callable[[int], Any]], repeats: int) -> Dict[str, List[float]]:
    import torch

    cuda = setup.on_gpu()
    clock = time.perf_counter if cuda else time.process_time
    times: Dict[str, List[float]] = {name: [] for name in systems}
    for repeat in range(repeats + cuda):
        for name, system in systems.items():
            start = clock()
            system(repeat)
            if cuda:
                torch.cuda.synchronize()
            times[name].append(clock() - start)
    # A GPU's first round compiles kernels.
    return {name: own[cuda:] for name, own in times.items()}


if __name__ == "__main__":
    main()
