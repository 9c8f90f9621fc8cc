"""Turn a record into a `Doc`: align its spans with tokens, and account for those that don't fit."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from .record import Record, Span, printable
from .spacing import join_words

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc
    from spacy.tokens import Span as DocSpan

MODES = ("strict", "contract", "expand")
# Number of cases per reason that are kept to be shown.
SHOWN = 5


@dataclass
class Account:
    """An account of the annotations: in = out + dropped.

    spans_in, spans_out (int): Number of entities in the file, and in the docs.
    dropped (Counter[str]): Entities that are in no doc, by reason.
    moved (Counter[str]): Entities whose borders changed, by reason. They are in `spans_out`.
    cases (Dict[str, List[str]]): Some cases per reason, to be shown.
    """

    spans_in: int = 0
    spans_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    cases: Dict[str, List[str]] = field(default_factory=dict)

    def drop(self, reason: str, case: str) -> None:
        """Count an entity that is left out.

        reason (str): Reason, in a few words.
        case (str): The entity with its place, to be shown.
        """
        self.dropped[reason] += 1
        self._keep(reason, case)

    def move(self, reason: str, case: str) -> None:
        """Count an entity with other borders than in the file."""
        self.moved[reason] += 1
        self._keep(reason, case)

    def _keep(self, reason: str, case: str) -> None:
        cases = self.cases.setdefault(reason, [])
        if len(cases) < SHOWN:
            cases.append(printable(case))


def make_doc(
    record: Record,
    nlp: "Language",
    account: Account,
    *,
    align: str = "strict",
    spans_key: Optional[str] = None,
) -> "Doc":
    """Build a doc with the entities of a record.

    record (Record): Text with its annotation.
    nlp (Language): Pipeline whose tokenizer cuts the text.
    account (Account): Account, changed in place.
    align (str): What to do with a span that cuts a token: "strict" drops it, "contract" uses the
        tokens inside of it, and "expand" all tokens that it touches. With "strict", the words of a
        file become the tokens; with the others, the tokenizer cuts its text.
    spans_key (Optional[str]): Key in `doc.spans` for the spans, which may overlap there; None for
        `doc.ents`.
    RETURNS (Doc): Doc without categories.
    """
    from spacy.tokens import Doc
    from spacy.util import filter_spans

    if record.words is None or align != "strict":
        doc = nlp.make_doc(record.text)
        _set_sentences(doc, record)
    else:
        starts = record.sent_starts
        doc = Doc(nlp.vocab, words=record.words, spaces=record.spaces, sent_starts=starts)
    if record.spans is None:
        return doc
    account.spans_in += record.n_spans
    for reason, case in record.lost:
        account.drop(reason, case)
    found: List[Tuple[int, DocSpan]] = []
    moves: Dict[int, List[Tuple[str, str]]] = {}
    for k, span in enumerate(record.spans):
        moves[k] = []
        aligned = _align(doc, span, record, account, align, moves[k])
        if aligned is not None:
            found.append((k, aligned))
    if spans_key is None:
        found = _without_overlaps(found, record, account)
    kept = [span for _, span in found]
    for reason, case in (move for k, _ in found for move in moves[k]):
        account.move(reason, case)
    if spans_key is None:
        doc.set_ents(kept, default="outside" if record.spans_complete else "missing")
    else:
        if kept or record.spans_complete:
            doc.spans[spans_key] = kept
        if not record.spans_complete:
            # `doc.ents` marks the tokens that nothing is known about.
            doc.set_ents(filter_spans(kept), default="missing")
    account.spans_out += len(kept)
    return doc


def _set_sentences(doc: "Doc", record: Record) -> None:
    """Copy sentence boundaries from the words of a file to the tokens of the tokenizer."""
    if record.sent_starts and record.words and record.spaces:
        _, offsets = join_words(record.words, record.spaces)
        begins = {k for k, start in zip(offsets, record.sent_starts, strict=True) if start}
        for token in doc:
            token.is_sent_start = token.i == 0 or token.idx in begins


def _align(
    doc: "Doc",
    span: Span,
    record: Record,
    account: Account,
    mode: str,
    moves: List[Tuple[str, str]],
) -> "Optional[DocSpan]":
    """The tokens of a span. Adds to `moves` how its borders change: the reason, and the case."""
    start, end, label = span
    text = record.text
    if not label.strip():
        account.drop("no label", _show(record, span))
        return None
    if start >= end:
        account.drop("empty", _show(record, span))
        return None
    if start < 0 or end > len(text):
        account.drop("outside of the text", _show(record, span))
        return None
    if not text[start:end].strip():
        account.drop("only white space", _show(record, span))
        return None
    trimmed_start = start + len(text[start:end]) - len(text[start:end].lstrip())
    trimmed_end = end - (len(text[start:end]) - len(text[start:end].rstrip()))
    if (trimmed_start, trimmed_end) != (start, end):
        moves.append(("white space at the edge trimmed", _show(record, span)))
    aligned = doc.char_span(trimmed_start, trimmed_end, label=label, alignment_mode="strict")
    if aligned is not None:
        return aligned
    case = _show(record, span)
    if mode == "strict":
        account.drop("cuts a token", case)
        return None
    aligned = doc.char_span(trimmed_start, trimmed_end, label=label, alignment_mode=mode)
    if aligned is None or not len(aligned):
        account.drop("cuts a token and has none inside", case)
        return None
    moves.append((f"{mode}ed to whole tokens", f"{case} → '{aligned.text}'"))
    return aligned


def _without_overlaps(
    found: "Sequence[Tuple[int, DocSpan]]", record: Record, account: Account
) -> "List[Tuple[int, DocSpan]]":
    """Of spans that overlap, keep the longest, and of those the first, like `filter_spans`."""
    kept: List[Tuple[int, DocSpan]] = []
    borders: Dict[Tuple[int, int], str] = {}
    taken: set = set()
    for k, span in sorted(found, key=lambda pair: (-len(pair[1]), pair[1].start, pair[0])):
        tokens = range(span.start, span.end)
        if taken.isdisjoint(tokens):
            kept.append((k, span))
            taken.update(tokens)
            borders[(span.start, span.end)] = span.label_
        else:
            label = borders.get((span.start, span.end))
            reason = "overlaps a longer one" if label is None else "another label of the same words"
            reason = "the same entity once more" if label == span.label_ else reason
            account.drop(reason, _show(record, record.spans[k]))
    return sorted(kept, key=lambda pair: pair[1].start)


def _show(record: Record, span: Span) -> str:
    start, end, label = span
    text = record.text
    if not 0 <= start < end <= len(text):
        return f"{record.where}: {label} {start}:{end} of {len(text)} characters"
    before, after = text[max(0, start - 15) : start], text[end : end + 15]
    shown = f"{before}[{text[start:end]}]{after}".replace("\n", "⏎")
    return f"{record.where}: {label} …{shown}…"
