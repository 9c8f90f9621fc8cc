"""The spans that a span classifier reads, and the logits of spans, computed from their tokens."""

from itertools import compress, takewhile
from typing import Dict, List, Sequence, Set, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from .entities import group_scores
from .label_kinds import LabelKind

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


def annotated_only(example: Example, key: str, kind: LabelKind) -> Example:
    """Choose the spans that count in a score.

    example (Example): The example.
    key (str): Key of the gold spans and the predicted ones.
    kind (LabelKind): Decides whether a span without a label is annotated.
    RETURNS (Example): Copies of both docs, with only those spans that are annotated and have a
        label.
    """
    given = gold_spans(example, key)
    gold = {place for place, labels in given.items() if labels or not kind.exclusive}
    sides = []
    for doc, places in ((example.predicted, gold), (example.reference, None)):
        own, group = doc.copy(), doc.spans.get(key, [])
        kept = [
            (Span(own, span.start, span.end, label=span.label), score)
            for span, score in zip(group, group_scores(group), strict=True)
            if span.label and (places is None or (span.start, span.end) in places)
        ]
        attrs = {"scores": [score for _, score in kept]}
        spans = [span for span, _ in kept]
        own.spans[key] = SpanGroup(own, name=key, attrs=attrs, spans=spans)
        sides.append(own)
    return Example(*sides)


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
        self.places = places
        first = numpy.cumsum(lengths) - numpy.asarray(lengths, dtype=numpy.int64)
        pairs = [
            (start + offset, end + offset)
            for own, offset in zip(places, first.tolist(), strict=True)
            for start, end in own
        ]
        self.starts, self.ends = numpy.array(pairs, dtype=numpy.int64).reshape(-1, 2).T
        self.seen = rows.any(1)
        counts = self._sums(self.seen.astype(numpy.float64)[:, None])
        # Whether a span has a token with a piece. Nothing is known of any other.
        self.readable = counts[:, 0] > 0
        self.counts = numpy.maximum(counts, 1.0)
        self.means = (self._sums(rows) / self.counts).astype("f")

    def by_doc(self) -> List[Tuple[List[Place], NDArray]]:
        """RETURNS (List[Tuple[List[Tuple[int, int]], ndarray]]): The readable spans of each doc,
        and their means, fp32, shape (n_spans, n_labels)."""
        edges = numpy.cumsum([len(own) for own in self.places])[:-1]
        means, readable = numpy.split(self.means, edges), numpy.split(self.readable, edges)
        return [
            (list(compress(own, kept)), rows[kept])
            for own, kept, rows in zip(self.places, readable, means, strict=True)
        ]

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
