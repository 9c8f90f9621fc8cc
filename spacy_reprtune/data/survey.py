"""Count what is in the files while they are read, before the records are written."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from .formats.tags import name_scheme
from .formats.tokens import set_spaces, word_entities
from .record import Record, printable
from .spacing import Evidence, restore_spaces

SHOWN = 5


@dataclass
class Source:
    """Facts about one input.

    evidence (Evidence): How the tokenizer of its words treated hyphens and the like.
    prefixes (Counter[str]): Prefixes of its tags.
    begun_inside (int): Number of entities that begin with an I, E or L tag.
    """

    evidence: Evidence = field(default_factory=Evidence)
    prefixes: "Counter[str]" = field(default_factory=Counter)
    begun_inside: int = 0

    def add(self, record: Record) -> None:
        """record (Record): Next record of the input."""
        self.prefixes.update(record.prefixes)
        self.begun_inside += record.begun_inside
        if record.words is not None and record.spaces is None:
            self.evidence.add(record.words)

    @property
    def scheme(self) -> Optional[str]:
        """RETURNS (Optional[str]): Name of the scheme of its tags; None without tags."""
        return name_scheme(self.prefixes, self.begun_inside) if self.prefixes else None


@dataclass
class Survey:
    """Counts over all inputs.

    texts_in (int): Number of texts in the files.
    dropped (Counter[str]): Number of texts that are left out, by reason.
    spans_dropped (int): Number of entities in dropped texts.
    ignored (Counter[str]): Annotations of kinds that are not read, such as relations.
    labels (Counter[str]): Number of texts per label.
    span_labels (Counter[str]): Number of entities per label, in the texts that stay.
    kept (Counter[str]): Texts that stay, by the split that the files give them.
    cases (Dict[str, List[str]]): Some of the dropped texts, by reason.
    notes (List[str]): Warnings about the files.
    """

    texts_in: int = 0
    dropped: "Counter[str]" = field(default_factory=Counter)
    spans_dropped: int = 0
    ignored: "Counter[str]" = field(default_factory=Counter)
    labels: "Counter[str]" = field(default_factory=Counter)
    span_labels: "Counter[str]" = field(default_factory=Counter)
    kept: "Counter[str]" = field(default_factory=Counter)
    cases: Dict[str, List[str]] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    def add(self, record: Record) -> bool:
        """Count a record.

        record (Record): Next record.
        RETURNS (bool): Whether it stays.
        """
        self.texts_in += 1
        for kind, count in record.ignored.items():
            self.ignored[printable(kind)] += count
        if record.note and record.note not in self.notes:
            self.notes.append(record.note)
        reason = record.why_not()
        if reason:
            self.dropped[reason] += 1
            self.spans_dropped += record.n_spans
            cases = self.cases.setdefault(reason, [])
            if len(cases) < SHOWN:
                cases.append(printable(record.case or record.where))
            return False
        for label, score in (record.cats or {}).items():
            self.labels[label] += score >= 0.5
        self.span_labels.update(label for _, _, label in record.spans or ())
        self.kept[record.split or ""] += 1
        return True

    def settle(self, record: Record) -> None:
        """Decide what empty annotation means: no label in files of labels, no entity in others.

        record (Record): Changed in place.
        """
        if record.cats == {} and record.spans == []:
            if not self.span_labels and self.labels:
                record.spans = None
            elif not self.labels:
                record.cats = None


def pack(record: Record, source: str) -> Tuple[Any, ...]:
    """Make a record small enough to keep until all files have been read.

    record (Record): Record that stays.
    source (str): Name of its input.
    RETURNS (Tuple[Any, ...]): Values for `unpack`.
    """
    return (source, *(getattr(record, name) for name in _FIELDS))


def unpack(packed: Iterable[Tuple[Any, ...]], sources: Dict[str, Source]) -> Iterator[Record]:
    """Make records again, with the spaces between their words restored.

    packed (Iterable[Tuple[Any, ...]]): Results of `pack`, in order.
    sources (Dict[str, Source]): Facts about the inputs, by name.
    YIELDS (Record): Records in order.
    """
    joining = {name: source.evidence.joining for name, source in sources.items()}
    for source, *values in packed:
        record = Record(**dict(zip(_FIELDS, values, strict=True)))
        if record.words is not None and record.spaces is None:
            entities = word_entities(record)
            set_spaces(record, restore_spaces(record.words, joining[source]), entities)
        yield record


_FIELDS = (
    "text where cats complete spans spans_complete lost words spaces sent_starts group split"
).split()
