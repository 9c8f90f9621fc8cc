"""The spans that a span classifier reads, and the logits of spans, computed from their tokens."""

from itertools import takewhile
from typing import Dict, List, Sequence, Set, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc, Span
from spacy.training import Example

# First token and the one after the last.
Place = Tuple[int, int]
# Names of spans that are not keys of `doc.spans`.
SENTS, ENTS = "sents", "ents"


def has_spans(doc: Doc, source: str) -> bool:
    """RETURNS (bool): Whether the spans of a doc are set, even if there are none."""
    if source == SENTS:
        return doc.has_annotation("SENT_START")
    return doc.has_annotation("ENT_IOB") if source == ENTS else source in doc.spans


def is_set_before(nlp: Language, pipe: Pipe, source: str) -> bool:
    """RETURNS (bool): Whether a component before this one says that it sets the spans."""
    attribute = {SENTS: "token.is_sent_start", ENTS: "doc.ents"}.get(source, "doc.spans")
    before = takewhile(lambda named: named[1] is not pipe, nlp.components)
    return any(attribute in nlp.get_pipe_meta(name).assigns for name, _ in before)


def places_of(doc: Doc, source: str) -> List[Place]:
    """Find the spans to classify.

    doc (Doc): The doc.
    source (str): "sents", "ents" or a key of `doc.spans`.
    RETURNS (List[Tuple[int, int]]): First token of each span and the one after its last, in order,
        without duplicates and empty spans.
    """
    if not len(doc) or not has_spans(doc, source):
        return []
    spans = {SENTS: lambda: doc.sents, ENTS: lambda: doc.ents}.get(
        source, lambda: doc.spans[source]
    )
    return sorted({(span.start, span.end) for span in spans() if span.start < span.end})


def gold_spans(example: Example, key: str) -> Dict[Place, Set[str]]:
    """Read the labels of spans in the tokens of the predicted doc.

    example (Example): The example.
    key (str): Key of the gold spans.
    RETURNS (Dict[Tuple[int, int], Set[str]]): The labels of each annotated span. The set is empty
        if the span is annotated without a label. Spans that cut tokens are left out.
    """
    reference, predicted = example.reference, example.predicted
    found: Dict[Place, Set[str]] = {}
    spans: Sequence[Span] = reference.spans.get(key, [])
    for span in spans:
        own = predicted.char_span(span.start_char, span.end_char)
        if own is not None and len(own):
            found.setdefault((own.start, own.end), set()).update({span.label_} - {""})
    return found


class SpanRows:
    """The mean logits of spans over their tokens, and the gradient.

    The head is linear, so the mean of the logits of tokens is the logit of the mean vector.
    """

    def __init__(
        self, places: Sequence[Sequence[Place]], lengths: Sequence[int], rows: NDArray
    ) -> None:
        """Note which tokens belong to which span.

        places (Sequence[Sequence[Tuple[int, int]]]): The spans of each doc.
        lengths (Sequence[int]): Number of tokens of each doc.
        rows (ndarray): Logits of all tokens of all docs, shape (n_tokens, n_labels); zeros for a
            token without a piece, which does not count.
        """
        first = numpy.cumsum(lengths) - numpy.asarray(lengths, dtype=numpy.int64)
        pairs = [
            (start + offset, end + offset)
            for own, offset in zip(places, first.tolist(), strict=True)
            for start, end in own
        ]
        self.starts, self.ends = numpy.array(pairs, dtype=numpy.int64).reshape(-1, 2).T
        self.seen = rows.any(1)
        counts = self._sums(self.seen.astype(numpy.float64)[:, None])
        self.counts = numpy.maximum(counts, 1.0)
        self.means = (self._sums(rows) / self.counts).astype("f")

    def gradient(self, d_means: NDArray) -> NDArray:
        """RETURNS (ndarray): The gradient of the logits of tokens, fp32, shape
        (n_tokens, n_labels), given the gradient of the means of spans."""
        shares = d_means / self.counts
        edges = numpy.zeros((len(self.seen) + 1, d_means.shape[1]))
        numpy.add.at(edges, self.starts, shares)
        numpy.subtract.at(edges, self.ends, shares)
        return (edges.cumsum(0)[:-1] * self.seen[:, None]).astype("f")

    def _sums(self, rows: NDArray) -> NDArray:
        # Cumulative sums, in fp64, because spans may overlap and may be as long as the doc.
        total = numpy.zeros((len(rows) + 1, rows.shape[1]))
        numpy.cumsum(rows, axis=0, dtype=numpy.float64, out=total[1:])
        return total[self.ends] - total[self.starts]
