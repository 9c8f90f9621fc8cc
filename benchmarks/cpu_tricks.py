"""What each measure of `encoder.cpu` gains: with and without it, in turns, on the same sentences.

MiniLM-L6 and 16 sentences of rotten_tomatoes: a training step from text to updated weights, and a
prediction in bf16. Seconds are of the process's CPU time, so other programs matter less.
"""

import statistics
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, List, Optional
from unittest import mock

from benchmarks import common
from benchmarks.data import Texts, rotten_tomatoes
from benchmarks.pipelines import BATCH_SIZE, adam, make_examples, reprtune_textcat, train_steps

if TYPE_CHECKING:
    from spacy.language import Language


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, repeats=60)
    parser.set_defaults(threads=1)
    args = parser.parse_args(argv)
    train = rotten_tomatoes(args)["train"]
    texts = train.take(common.order(len(train), 0)[:BATCH_SIZE])
    common.fix_threads(args.threads)
    repeats = 5 if args.quick else args.repeats
    systems = {
        "training": {
            "all": training_step(texts),
            "no_sparse_gradients": training_step(texts, sparse=False),
            "no_cheap_dropout": training_step(texts, dropout=False),
        },
        "prediction": {
            "all": prediction(texts),
            "no_packed_layers": prediction(texts, packed=False),
        },
    }
    figures: Dict[str, Any] = {"texts": len(texts), "repeats": repeats}
    for part, calls in systems.items():
        figures.update(gains(part, cpu_seconds(calls, repeats)))
    common.emit("cpu_tricks", args, figures)


def cpu_seconds(calls: Dict[str, Callable[[], None]], repeats: int) -> Dict[str, List[float]]:
    """RETURNS (Dict[str, List[float]]): CPU seconds of each call in each of the rounds, after two
    rounds that do not count."""
    times: Dict[str, List[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 2):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if repeat >= 2:
                times[name].append(time.process_time() - start)
    return times


def gains(part: str, times: Dict[str, List[float]]) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Minimum and median of each system in milliseconds, and the share
    of the time without a measure that the measure saves, by minima and by medians."""
    figures = {}
    for label, middle in (("min", min), ("median", statistics.median)):
        value = {name: middle(seconds) for name, seconds in times.items()}
        for name, seconds in value.items():
            figures[f"{part}_{name}_{label}_ms"] = round(1000 * seconds, 2)
            if name != "all":
                gain = 1 - value["all"] / seconds
                figures[f"{part}_gain_{name[3:]}_{label}"] = round(gain, 3)
    return figures


def initialized(texts: Texts, precision: str) -> "Language":
    """RETURNS (Language): A text classifier whose encoder trains as a whole, without a cache."""
    common.seed_all(0)
    nlp = reprtune_textcat(precision, cache_mb=0)
    nlp.initialize(lambda: make_examples(nlp, texts))
    return nlp


def training_step(texts: Texts, *, sparse: bool = True, dropout: bool = True) -> Callable:
    """RETURNS (Callable): A training step in the precision that this CPU calls for."""
    import torch

    from spacy_reprtune.encoder.cpu import CheapDropout

    nlp = initialized(texts, common.headline_precision())
    module = nlp.get_pipe("textcat").model.shims[0].module
    module.encoder.model.get_input_embeddings().sparse = sparse
    attention: Callable[[], ContextManager] = nullcontext
    if not dropout:
        attention = plain_attention
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if isinstance(child, CheapDropout):
                    setattr(parent, name, torch.nn.Dropout(child.p))
    optimizer = adam(10_000)

    def step() -> None:
        with attention():
            train_steps(nlp, optimizer, [make_examples(nlp, texts)])

    step()
    return step


def plain_attention() -> ContextManager:
    """RETURNS (ContextManager): A context in which attention has torch's own dropout."""
    from spacy_reprtune.encoder import passes

    return mock.patch.object(passes, "CheapAttentionDropout", nullcontext)


def prediction(texts: Texts, *, packed: bool = True) -> Callable:
    """RETURNS (Callable): A prediction in bf16."""
    from spacy_reprtune.encoder import cpu

    nlp = initialized(texts, "bf16")

    def predict() -> None:
        list(nlp.pipe(texts.texts))

    unpacked = mock.patch.object(cpu, "pack_linear_layers", lambda model: False)
    with nullcontext() if packed else unpacked:
        # The bf16 copy is made here.
        predict()
    return predict


if __name__ == "__main__":
    main()
