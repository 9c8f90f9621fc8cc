"""Decoding entities of many labels, on one thread.

Logits of an untrained head, as an evaluation before the first step has them: the best tags of no
document are legal by themselves, so all of them are searched. Tokens per second and the peak of
numpy's memory, by the number of labels.
"""

import tracemalloc
from typing import Any, Dict, List, Optional

from benchmarks import common

LABELS = (18, 66, 139, 300)
DOC_TOKENS = 25


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=5)
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    docs = 20 if args.quick else 400
    decoders = {labels: decoder(labels, docs) for labels in LABELS}
    systems = {str(labels): decode for labels, decode in decoders.items()}
    for decode in decoders.values():
        decode(0)
    times = common.interleave(systems, args.repeats)
    figures: Dict[str, Any] = {
        "tokens_per_second": {
            labels: round(docs * DOC_TOKENS / min(values)) for labels, values in times.items()
        },
        "peak_mb": {str(labels): peak_mb(decode) for labels, decode in decoders.items()},
    }
    common.emit("many_labels", args, figures)


def decoder(n_labels: int, docs: int) -> Any:
    """RETURNS (Callable): What decodes the documents, and finds the probabilities of entities."""
    import numpy

    from spacy_reprtune.heads.lattice import Lattice
    from spacy_reprtune.heads.tags import PartLogits, TagScheme

    scheme = TagScheme([f"L{i}" for i in range(n_labels)], "bilou", shared_positions=True)
    shape = (docs * DOC_TOKENS, scheme.n_parts)
    parts = numpy.random.default_rng(0).normal(size=shape).astype("f")
    logits, lengths = PartLogits(scheme, parts), [DOC_TOKENS] * docs

    def decode(_: int) -> None:
        lattice = Lattice(scheme)
        tags = lattice.decode(logits, lengths)
        lattice.entity_probabilities(logits, lengths, tags)

    return decode


def peak_mb(decode: Any) -> float:
    """RETURNS (float): The most that numpy has allocated at once, in units of 1,000,000 bytes."""
    tracemalloc.start()
    try:
        decode(0)
        return round(tracemalloc.get_traced_memory()[1] / 1e6, 1)
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
