"""The text that the pretraining benchmark trains on, in chunks of a number of steps."""

from pathlib import Path
from typing import Any

from benchmarks.common import encoder_directory

# Some 64 sentences: what the peers get as a batch.
STEP_PIECES = 2560


class Text:
    """A tokenized corpus and its held-out part."""

    def __init__(self, path: Path, cache: Path, *, heldout_pieces: int) -> None:
        """Tokenize a corpus.

        path (Path): File of the corpus.
        cache (Path): Where to keep its pieces.
        heldout_pieces (int): Pieces of held-out text that are evaluated.
        """
        from spacy_reprtune.encoder.pieces import PieceTokenizer
        from spacy_reprtune.pretraining.corpus import build_corpus
        from spacy_reprtune.pretraining.settings import CorpusPart

        self.path = path
        self.heldout_pieces = heldout_pieces
        self.tokenizer = PieceTokenizer.from_directory(encoder_directory())
        self.corpus = build_corpus(CorpusPart(str(path), heldout=0.02), self.tokenizer, cache)

    def chunk(self, number: int, steps: int) -> Any:
        """RETURNS (Part): Documents for some steps, other ones for each number."""
        import numpy

        from spacy_reprtune.pretraining.corpus import Part

        train = self.corpus.train
        first = int(number * steps * STEP_PIECES) % max(1, int(train.offsets[-1]) // 2)
        start = int(train.offsets.searchsorted(first))
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        sizes = train.offsets[start + 1 :] - train.offsets[start]
        sizes = sizes + special * numpy.arange(1, len(sizes) + 1)
        # A little less than the budget, so that what batches leave empty is room enough.
        n = int(sizes.searchsorted(steps * STEP_PIECES * 0.985))
        return Part(train.pieces, train.starts, train.offsets[start : start + n + 1])

    def count(self, part: Any) -> int:
        """RETURNS (int): Pieces, special ones included."""
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        return int(part.offsets[-1] - part.offsets[0]) + len(part) * special

    def packer(self, part: Any, seed: int = 0, **settings: Any) -> Any:
        """RETURNS (Packer): Batches of some documents."""
        from spacy_reprtune.pretraining.packing import Packer

        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        return Packer(
            part, limit=512, prefix=prefix, suffix=suffix, seed=seed,
            batch_pieces=STEP_PIECES, **settings,
        )  # fmt: skip

    def heldout(self, lm: Any) -> float:
        """RETURNS (float): Loss on held-out text, the same masked pieces for whatever weights."""
        from spacy_reprtune.pretraining.processes import World
        from spacy_reprtune.pretraining.steps import evaluate

        heldout = self.packer(self.corpus.heldout, max_pieces=self.heldout_pieces)
        return evaluate(lm, heldout, World())
