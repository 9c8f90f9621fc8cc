"""Where the time of an entity pipeline goes, step by step, on the host and on the device.

    python -m benchmarks.gpu.host [--shape minilm|base] [--texts N]

Each repeat reads texts that were not seen before, because spaCy's tokenizer remembers words. Steps
are timed one after the other, as if nothing ran at the same time. On a CPU the seconds are those of
the process, which other processes do not change much; on a GPU they are those of the clock.
"""

import argparse
import statistics
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from benchmarks import common
from benchmarks.gpu import setup

# Texts that `nlp.pipe` reads at once.
BLOCK = 512


def main(argv: Optional[List[str]] = None) -> None:
    """Print the table, and the JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    parser.add_argument("--shape", choices=list(setup.SHAPES), default="minilm", help="encoder")
    parser.add_argument("--texts", type=int, default=BLOCK, help="texts per repeat")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    figures = measure(args, setup.SHAPES[args.shape], 32 if args.quick else args.texts)
    print("| step | words per second | share of the time |\n| --- | ---: | ---: |")
    for name, value in figures.items():
        step = name.removesuffix("_words_per_second")
        if step != name:
            print(f"| {step} | {value:,} | {figures.get(f'{step}_share', '')} |")
    common.emit(f"gpu_host_{args.shape}", args, figures)


def host(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The figures of a GPU, or dry ones."""
    return measure(args, None, 4 * BLOCK if setup.on_gpu() else 32)


def measure(
    args: argparse.Namespace, shape: Optional[Dict[str, int]], n_texts: int
) -> Dict[str, Any]:
    """Time each step, and `nlp.pipe` as a whole.

    args (argparse.Namespace): The command line.
    shape (Optional[Dict[str, int]]): Sizes of the encoder, or None for those of the device.
    n_texts (int): Texts per repeat.
    RETURNS (Dict[str, Any]): Words per second of each step and its share of all steps, and how fast
        `nlp.pipe` is beside `nlp.make_doc` by itself.
    """
    texts = setup.some_texts(args, 2 * args.repeats * n_texts)
    encoder = setup.make_encoder(texts[:2000], shape)
    nlp = setup.trained("ner", encoder, texts)
    times: Dict[str, List[float]] = {}
    n_words = []
    for k in range(0, len(texts), 2 * n_texts):
        words = _steps(nlp, texts[k : k + n_texts], times)
        unseen = texts[k + n_texts : k + 2 * n_texts]
        seconds, docs = _timed(lambda unseen=unseen: list(nlp.pipe(unseen, batch_size=BLOCK)))
        # In words of the same number.
        times.setdefault("pipe", []).append(seconds * words / sum(map(len, docs)))
        n_words.append(words)
    speeds = {
        name: statistics.median(n / max(t, 1e-9) for n, t in zip(n_words, own, strict=True))
        for name, own in times.items()
    }
    whole = sum(1.0 / speed for name, speed in speeds.items() if name != "pipe")
    figures: Dict[str, Any] = {}
    for name, speed in speeds.items():
        figures[f"{name}_words_per_second"] = round(speed)
        if name != "pipe":
            figures[f"{name}_share"] = round(1.0 / speed / whole, 4)
    figures["pipe_share_of_make_doc"] = round(speeds["pipe"] / speeds["make_doc"], 4)
    return figures


def _steps(nlp: Any, texts: List[str], times: Dict[str, List[float]]) -> int:
    """Annotate texts step by step; RETURNS (int): the number of words."""
    import torch

    from spacy_reprtune.bridge.encoder import token_spans
    from spacy_reprtune.components.tag_rows import decode
    from spacy_reprtune.encoder.align import align_all
    from spacy_reprtune.heads.lattice import Lattice

    pipe = nlp.get_pipe("ner")
    encoder = pipe.encoder

    def step(name: str, call: Callable[[], Any], *, wait: bool = True) -> Any:
        seconds, found = _timed(call, wait=wait)
        times.setdefault(name, []).append(seconds)
        return found

    docs = step("make_doc", lambda: [nlp.make_doc(text) for text in texts])
    spans = step("read_tokens", lambda: [token_spans(doc) for doc in docs])
    pieces = step("tokenize", lambda: encoder.tokenize([s.text for s in spans], offsets=True))
    step("align", lambda: align_all(spans, pieces))
    batches = step("collate", lambda: list(encoder.batches(pieces)), wait=False)
    # What is left of the copies to the device when the host has made the last batch.
    step("transfer", lambda: None)
    with torch.no_grad():
        step("compute", lambda: [encoder._vectors(batch, None) for batch in batches])
    scores = pipe.model.predict(docs)
    lattice = Lattice(pipe.tags)
    found = step(
        "decode", lambda: decode(docs, scores.logits, lattice, overwrite=False, min_score=0.0)
    )
    step("annotate", lambda: pipe.set_annotations(docs, found))
    return sum(map(len, docs))


def _timed(call: Callable[[], Any], *, wait: bool = True) -> Tuple[float, Any]:
    """RETURNS (Tuple[float, Any]): Seconds of a call, and what it returned."""
    import torch

    clock = time.perf_counter if setup.on_gpu() else time.process_time
    start = clock()
    found = call()
    if wait and setup.on_gpu():
        torch.cuda.synchronize()
    return clock() - start, found


if __name__ == "__main__":
    main()
