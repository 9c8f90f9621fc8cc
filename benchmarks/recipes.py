"""What each shipped recipe costs: seconds per step, peak memory and size on disk per encoder.

    python -m benchmarks.recipes --encoder DIR

Trains the configs as they are, except for the number of steps, with the embedded encoder and with
the one in DIR: text classifiers on sentences of rotten_tomatoes, the recognizers on WNUT 17. Each
training has a process of its own, so the peak is that of loading, training, evaluating and saving.
The first two steps are not timed: they contain the head's fit and what torch prepares once.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks import common, data

RECIPES = (
    "textcat_joint",
    "textcat_last_blocks",
    "textcat_frozen",
    "textcat_setfit",
    "ner_joint",
    "ner_last_blocks",
)
STEPS = 20
UNTIMED = 2
TEXTS = {"train": 480, "dev": 32}
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    common.add_results(parser)
    parser.add_argument("--encoder", type=Path, help="directory of an encoder to compare")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    if args.worker:
        print(json.dumps(cost_of(args, *args.worker)))
        return
    from benchmarks.finished import Finished

    finished = Finished(args.results, threads=args.threads, quick=args.quick)
    encoders = {"small": common.ENCODER}
    if args.encoder is not None:
        encoders[args.encoder.name] = str(args.encoder.resolve())
    figures: Dict[str, Any] = {}
    for recipe in args.recipes:
        for name, encoder in encoders.items():
            options = ("--worker", recipe, encoder, *(["--quick"] if args.quick else []))
            found = finished.once(
                lambda o=options: common.fresh_process("benchmarks.recipes", args, *o),
                recipe=recipe,
                encoder=encoder,
            )
            common.log(f"{recipe}, {name}: {found}")
            figures[f"{recipe}_{name}"] = found
    common.emit("recipes", args, figures)


def cost_of(args: argparse.Namespace, recipe: str, encoder: str) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Seconds per step, peak memory in MB, and MB on disk."""
    import spacy
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train
    from spacy.util import load_config

    from spacy_reprtune.memory import peak_memory_mb

    steps = 4 if args.quick else STEPS
    began: List[float] = []

    @spacy.registry.callbacks("benchmarks.began")
    def make_clock() -> Any:
        return lambda nlp, info: began.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_corpus(args, work, entities=recipe.startswith("ner"))
        overrides = {
            "paths.train": str(work / "train.spacy"),
            "paths.dev": str(work / "dev.spacy"),
            "paths.encoder": encoder,
            "training.max_steps": steps,
            "training.eval_frequency": steps,
            "training.optimizer.learn_rate.warmup_steps": 1,
        }
        config = load_config(CONFIGS / f"{recipe}.cfg", overrides=overrides, interpolate=False)
        config["training"]["before_update"] = {"@callbacks": "benchmarks.began"}
        nlp = init_nlp(config.interpolate())
        train(nlp, work / "out")
        saved = work / "out" / "model-last"
        size = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
    seconds = [b - a for a, b in pairwise(began)][UNTIMED:]
    return {
        "seconds_per_step": round(statistics.median(seconds or [0.0]), 3),
        "peak_mb": peak_memory_mb() or 0.0,
        "saved_mb": round(size / 1e6, 1),
    }


def write_corpus(args: argparse.Namespace, folder: Path, *, entities: bool) -> None:
    """Write train.spacy and dev.spacy."""
    import spacy
    from spacy.tokens import DocBin

    from benchmarks import ner_pipelines, pipelines

    nlp = spacy.blank("en")
    for part, size in TEXTS.items():
        if entities:
            tagged = data.tagged(args, "wnut17")[part][:size]
            examples = ner_pipelines.make_examples(nlp, tagged)
        else:
            own = data.rotten_tomatoes(args)[part]
            chosen = own.take(common.order(len(own), 0)[:size])
            examples = pipelines.make_examples(nlp, chosen)
        docs = [example.reference for example in examples]
        DocBin(docs=docs).to_disk(folder / f"{part}.spacy")


if __name__ == "__main__":
    main()
