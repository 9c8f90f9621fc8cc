"""To how many texts a head that starts from a probe has to be fitted before the encoder trains.

Each training is joint and has the same steps. The systems differ in the start of the head: random,
or a probe on so many texts. Accuracy on test right after the start and after training, and seconds
of `nlp.initialize`. With `--corpus DIR` the set is a converted corpus, `train.spacy` and
`test.spacy`; without, it is rotten_tomatoes.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from benchmarks import common, data

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

STEPS, RATE = 250, 1e-4
# 0 stands for a random head, and the last one for all texts.
SIZES = (0, 1000, 2000, 1_000_000)


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=1)
    parser.add_argument("--corpus", type=Path)
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    runs: Dict[int, List[Dict[str, float]]] = {size: [] for size in SIZES}
    for seed in common.seed_range(args):
        for size in SIZES:
            runs[size].append(measure(args, size, seed))
            common.log(f"{size} texts, seed {seed}: {runs[size][-1]}")
    figures: Dict[str, Any] = {"precision": "fp32", "steps": 2 if args.quick else STEPS}
    for size, found in runs.items():
        for key in found[0]:
            figures.update(common.mean_std(f"{size}_texts_{key}", [run[key] for run in found]))
    common.emit("probe_start", args, figures)


def measure(args: Any, size: int, seed: int) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Accuracy before and after training, seconds to initialize."""
    from benchmarks.pipelines import adam, batches_by_length, reprtune_textcat, train_steps
    from spacy_reprtune.components import probe_start

    probe_start.PROBE_TEXTS = size
    common.seed_all(seed)
    nlp = reprtune_textcat("fp32", head_init="probe" if size else "random")
    train, test = examples(args, nlp)
    start = time.perf_counter()
    nlp.initialize(lambda: train)
    seconds = time.perf_counter() - start
    before = nlp.evaluate(test)["cats_micro_f"]
    steps = 2 if args.quick else STEPS
    batches: List[List[Example]] = []
    while len(batches) < steps:
        batches += batches_by_length(train, 1000 * seed + len(batches))
    train_steps(nlp, adam(steps, RATE), batches[:steps])
    after = nlp.evaluate(test)["cats_micro_f"]
    return {"start": before, "trained": after, "initialize_s": round(seconds, 1)}


def examples(args: Any, nlp: "Language") -> Tuple[List["Example"], List["Example"]]:
    """RETURNS (Tuple[List[Example], List[Example]]): What is trained on, and what is scored."""
    from spacy.tokens import DocBin
    from spacy.training import Example

    from benchmarks.pipelines import make_examples

    found = []
    texts = None if args.corpus else data.rotten_tomatoes(args)
    for split in ("train", "test"):
        if texts is None:
            docs = DocBin().from_disk(args.corpus / f"{split}.spacy").get_docs(nlp.vocab)
            own = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
        else:
            own = make_examples(nlp, texts[split])
        found.append([own[i] for i in common.order(len(own), 0)[: 64 if args.quick else None]])
    return found[0], found[1]


if __name__ == "__main__":
    main()
