"""What keeping the state of a training costs, as a share of its time.

A training on rotten_tomatoes with the recipe of joint fine-tuning and one of frozen blocks, as
`reprtune train` runs them. Collecting and writing the state is timed inside of the training.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import common
from benchmarks.data import rotten_tomatoes

RECIPES = ("textcat_joint", "textcat_last_blocks")


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES, help="recipes")
    parser.add_argument("--steps", type=int, default=None, help="steps instead of the recipe's")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    figures: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        _write_corpus(args, Path(folder))
        for recipe in args.recipes:
            figures.update(measure(args, recipe, Path(folder)))
    common.emit("resume", args, figures)


def measure(args: argparse.Namespace, recipe: str, folder: Path) -> Dict[str, Any]:
    """Train once.

    RETURNS (Dict[str, Any]): Share of the training's time by the clock and of the processor, which
        other processes do not change, and the size of the state in MB.
    """
    from spacy.training.initialize import init_nlp
    from spacy.util import load_config

    from spacy_reprtune.training import resume
    from spacy_reprtune.training.checkpoint import Checkpoint
    from spacy_reprtune.training.full_config import full_config

    path = Path(__file__).parents[1] / "configs" / f"{recipe}.cfg"
    overrides = {f"paths.{part}": str(folder / f"{part}.spacy") for part in ("train", "dev")}
    overrides["paths.encoder"] = common.ENCODER
    if args.steps:
        overrides["training.max_steps"] = args.steps
    if args.quick:
        overrides.update({"training.max_steps": 20, "training.eval_frequency": 10})
    config = load_config(path, overrides=overrides, interpolate=False)
    checkpoint = Checkpoint(folder / recipe / resume.STATE, full_config(config))
    nlp = init_nlp(config)
    spent: List[Tuple[float, float]] = []
    sizes: List[int] = []
    write, collect = checkpoint.write, resume.collect

    def timed(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter(), time.process_time()
            result = function(*arguments)
            spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
            if checkpoint.folder.exists():
                sizes.append(sum(p.stat().st_size for p in checkpoint.folder.iterdir()))
            return result

        return call

    checkpoint.write = timed(write)  # type: ignore[method-assign]
    resume.collect = timed(collect)
    try:
        start = time.perf_counter(), time.process_time()
        resume.train(nlp, folder / recipe, checkpoint, stdout=io.StringIO(), stderr=io.StringIO())
        total, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    finally:
        resume.collect = collect
    return {
        f"{recipe}_share_of_time": round(sum(clock for clock, _ in spent) / total, 4),
        f"{recipe}_share_of_cpu_time": round(sum(own for _, own in spent) / cpu, 4),
        f"{recipe}_seconds": round(total, 1),
        f"{recipe}_state_mb": round(max(sizes) / 1e6, 1),
        f"{recipe}_checkpoints": len(spent) // 2,
    }


def _write_corpus(args: argparse.Namespace, folder: Path) -> None:
    import spacy
    from spacy.tokens import DocBin

    from benchmarks.pipelines import make_examples

    nlp = spacy.blank("en")
    texts = rotten_tomatoes(args)
    sizes = {"train": 400, "dev": 50} if args.quick else {"train": 8000, "dev": 500}
    own = {"train": texts["train"], "dev": texts["test"]}
    chosen = {
        part: own[part].take(common.order(len(own[part]), 0)[:size]) for part, size in sizes.items()
    }
    for part, some in chosen.items():
        docs = [eg.reference for eg in make_examples(nlp, some)]
        DocBin(docs=docs).to_disk(folder / f"{part}.spacy")


if __name__ == "__main__":
    main()
