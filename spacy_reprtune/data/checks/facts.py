"""Read a split once, and gather everything that the checks need, with no text kept in memory."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterable, List, Optional, Set, Tuple

import numpy

from ...copies import Signatures, Signer, runs_of, words_of
from ...pretraining.text import find_files, read_documents
from ..spool import Spool
from .finding import Cases
from .pieces import PieceCounter

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

# Characters that are invisible or come from a wrong decoding: "naÃ¯ve", "donâ€™t".
_ODD = re.compile(
    "[\u200b-\u200d\u2060\ufeff\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|Ã[\x80-\xbf©¨¯¤¶¼]|â€[™œ\x9d“”¦]"
)
_MARKUP = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d+);|</?(?:p|br|div|span|b|i|a|li|ul)\b[^>]*>")
_SNIPPET = 60
# Words per run. Runs are looked up in the text for pretraining.
GRAM = 8
# The default of nlp.max_length.
MAX_LENGTH = 1_000_000


@dataclass
class GroupFacts:
    """Facts about a group of `doc.spans` in a split.

    Counts are numbers of spans.
    """

    labels: "Counter[str]" = field(default_factory=Counter)
    n_spans: int = 0
    # Spans with the borders of a sentence that spaCy's sentencizer finds.
    n_sentences: int = 0
    overlapping: int = 0
    # Whether each span has exactly one label.
    exclusive: bool = True


@dataclass
class Facts:
    """Facts about a split.

    Counts are numbers of texts, unless they say otherwise.
    """

    split: str
    n_docs: int = 0
    n_tokens: int = 0
    signatures: Optional[Signatures] = None
    snippets: List[str] = field(default_factory=list)
    blank: Cases = field(default_factory=Cases)
    odd: Cases = field(default_factory=Cases)
    markup: Cases = field(default_factory=Cases)
    # Labels of texts: the id of each text's set of labels; -1 without categories.
    label_sets: List[int] = field(default_factory=list)
    label_names: Dict[Tuple[str, ...], int] = field(default_factory=dict)
    n_cats: int = 0
    labels: "Counter[str]" = field(default_factory=Counter)
    known: "Counter[str]" = field(default_factory=Counter)
    held: "Counter[int]" = field(default_factory=Counter)
    bad_scores: Cases = field(default_factory=Cases)
    several: Cases = field(default_factory=Cases)
    none_held: Cases = field(default_factory=Cases)
    without_cats: Cases = field(default_factory=Cases)
    # Entities.
    n_ents: int = 0
    n_annotated: int = 0
    ents: "Counter[str]" = field(default_factory=Counter)
    surfaces: Dict[str, "Counter[str]"] = field(default_factory=lambda: defaultdict(Counter))
    without_ents: Cases = field(default_factory=Cases)
    white: Cases = field(default_factory=Cases)
    misaligned: Cases = field(default_factory=Cases)
    crossing: Cases = field(default_factory=Cases)
    # Span groups.
    groups: Dict[str, GroupFacts] = field(default_factory=lambda: defaultdict(GroupFacts))
    nested: Cases = field(default_factory=Cases)
    # Texts that spaCy refuses to tokenize.
    too_long: Cases = field(default_factory=Cases)
    # Words of each text, and which of them are in an entity, to be read again.
    words: Optional[Spool] = None
    pieces: Optional[PieceCounter] = None
    # Runs of words of each text, to compare with the text for pretraining.
    grams: Dict[int, Set[int]] = field(default_factory=dict)

    @property
    def exact(self):
        """RETURNS (NDArray[uint64]): Hash of each text."""
        return self.signatures.exact


def gather(
    split: str,
    docs: Iterable["Doc"],
    nlp: "Language",
    *,
    with_grams: bool = False,
    words: Optional[Spool] = None,
    pieces: Optional[PieceCounter] = None,
) -> Facts:
    """Read a split.

    split (str): Name of the split.
    docs (Iterable[Doc]): Docs of the split.
    nlp (Language): Pipeline with the tokenizer that entities have to fit.
    with_grams (bool): Whether to keep runs of words.
    words (Optional[Spool]): Receives the number of each doc, its words, whether a space follows
        each word, and whether it is in an entity.
    pieces (Optional[PieceCounter]): Counts the pieces of the texts.
    RETURNS (Facts): Facts about the split.
    """
    facts = Facts(split, words=words, pieces=pieces)
    signer = Signer()
    for number, doc in enumerate(docs, start=1):
        where = f"{split} {number}"
        text = doc.text
        facts.n_docs += 1
        facts.n_tokens += len(doc)
        signer.add(text)
        facts.snippets.append(" ".join(text[: 2 * _SNIPPET].split())[:_SNIPPET])
        case = f"{where}: {facts.snippets[-1]}"
        if not text.strip():
            facts.blank.add(where)
        if _ODD.search(text):
            facts.odd.add(f"{where}: …{_around(text, _ODD)}…")
        if _MARKUP.search(text):
            facts.markup.add(f"{where}: …{_around(text, _MARKUP)}…")
        _gather_cats(facts, doc, case)
        _gather_ents(facts, doc, nlp, where, case)
        _gather_spans(facts, doc, nlp, where)
        if len(text) > MAX_LENGTH:
            facts.too_long.add(case)
        if pieces is not None:
            pieces.add(text)
        if words is not None and doc.has_annotation("ENT_IOB"):
            spaces = [bool(token.whitespace_) for token in doc]
            marked = [bool(token.ent_type) for token in doc]
            words.add((number, [token.text for token in doc], spaces, marked))
        if with_grams:
            facts.grams[number - 1] = _grams(text)
    facts.signatures = signer.finish()
    return facts


def find_in_text(facts: Iterable[Facts], path: Path) -> Dict[str, Cases]:
    """Find the texts of a corpus in the text for pretraining.

    facts (Iterable[Facts]): Facts about the splits, gathered with runs of words.
    path (Path): File or folder that `reprtune mlm` reads. Plain text is read line by line.
    RETURNS (Dict[str, Cases]): For each split, the texts with at least half of their runs there.
    RAISES (ValueError): It can't be read.
    """
    facts = list(facts)
    wanted = {gram for part in facts for runs in part.grams.values() for gram in runs}
    seen: Set[int] = set()
    for file in find_files([path]):
        before: List[str] = []
        for document in read_documents(file):
            words = words_of(document)
            # A text that is wrapped has runs that go on in the next line.
            across = runs_of([*before, *words[: GRAM - 1]], GRAM)
            seen.update({hash(run) for run in (*runs_of(words, GRAM), *across)} & wanted)
            before = [*before, *words][1 - GRAM :]
    found: Dict[str, Cases] = {}
    for part in facts:
        cases = found.setdefault(part.split, Cases())
        for index, runs in part.grams.items():
            if runs and 2 * len(runs & seen) >= len(runs):
                cases.add(f"{part.split} {index + 1}: {part.snippets[index]}")
    return found


def _grams(text: str) -> Set[int]:
    """Hashes of the runs of words of a text, which take less memory than the words."""
    words = words_of(text)
    return {hash(run) for run in runs_of(words, GRAM)} if words else set()


def _gather_cats(facts: Facts, doc: "Doc", case: str) -> None:
    if not doc.cats:
        facts.label_sets.append(-1)
        facts.without_cats.add(case)
        return
    facts.n_cats += 1
    facts.known.update(doc.cats.keys())
    held = tuple(sorted(label for label, score in doc.cats.items() if score >= 0.5))
    facts.labels.update(held)
    facts.held[len(held)] += 1
    facts.label_sets.append(facts.label_names.setdefault(held, len(facts.label_names)))
    for label, score in doc.cats.items():
        if not 0 <= score <= 1:
            facts.bad_scores.add(f"{case} → {label}: {score}")
    if len(held) > 1:
        facts.several.add(f"{case} → {', '.join(held)}")
    elif not held:
        facts.none_held.add(case)


def _gather_ents(facts: Facts, doc: "Doc", nlp: "Language", where: str, case: str) -> None:
    # An empty group says that a text has no spans.
    if len(doc.spans) or doc.has_annotation("ENT_IOB"):
        facts.n_annotated += 1
    else:
        facts.without_ents.add(case)
    if not doc.ents:
        return
    starts, ends = _token_borders(nlp, doc.text)
    sentences = doc.has_annotation("SENT_START")
    for ent in doc.ents:
        facts.n_ents += 1
        facts.ents[ent.label_] += 1
        facts.surfaces[ent.text][ent.label_] += 1
        shown = f"{where}: {ent.label_} [{ent.text}]"
        if ent.text != ent.text.strip():
            facts.white.add(f"{where}: {ent.label_} [{ent.text!r}]")
        elif ent.start_char not in starts or ent.end_char not in ends:
            facts.misaligned.add(shown)
        if sentences and any(token.is_sent_start for token in ent[1:]):
            facts.crossing.add(shown)


def _gather_spans(facts: Facts, doc: "Doc", nlp: "Language", where: str) -> None:
    sentences = _sentence_borders(nlp, doc.text) if any(map(len, doc.spans.values())) else set()
    for key, group in doc.spans.items():
        own = facts.groups[key]
        labels: Dict[Tuple[int, int], Set[str]] = defaultdict(set)
        last = None
        for span in sorted(group, key=lambda s: (s.start, -s.end)):
            borders = span.start_char, span.end_char
            again = borders in labels and borders in sentences
            labels[borders].update({span.label_} - {""})
            own.labels.update({span.label_} - {""})
            own.n_spans += 1
            own.n_sentences += borders in sentences
            # Several labels of a sentence do not overlap: a classifier gives them.
            if last is not None and span.start < last.end and not again:
                shown = f"{last.label_} [{last.text}] and {span.label_} [{span.text}]"
                facts.nested.add(f"{where}: {shown}")
                own.overlapping += 1
            if last is None or span.end > last.end:
                last = span
        own.exclusive &= all(len(held) == 1 for held in labels.values())


def _sentence_borders(nlp: "Language", text: str) -> Set[Tuple[int, int]]:
    """First character of each sentence and the one after its last, as `sentencizer` finds them."""
    from spacy.pipeline import Sentencizer

    return {(sent.start_char, sent.end_char) for sent in Sentencizer()(nlp.make_doc(text)).sents}


def _token_borders(nlp: "Language", text: str) -> Tuple[Set[int], Set[int]]:
    tokens = nlp.make_doc(text)
    return {token.idx for token in tokens}, {token.idx + len(token) for token in tokens}


def _around(text: str, pattern: "re.Pattern[str]", width: int = 20) -> str:
    match = pattern.search(text)
    part = text[max(0, match.start() - width) : match.end() + width]
    return part.encode("unicode_escape").decode() if not part.isprintable() else part


def label_array(facts: Facts, ids: Dict[Tuple[str, ...], int]) -> "numpy.ndarray":
    """RETURNS (NDArray[int64]): Id of each text's set of labels, the same in all splits."""
    names = {index: held for held, index in facts.label_names.items()}
    return numpy.array(
        [-1 if k < 0 else ids.setdefault(names[k], len(ids)) for k in facts.label_sets],
        dtype=numpy.int64,
    )
