"""Find annotations that look wrong, because heads that were fitted to other texts doubt them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.training import Example

from ..components.span_rows import Place, SpanRows, gold_spans
from ..copies import copy_groups
from ..heads.held_out import folds_of, held_out_probabilities
from .checks.labels import EXCLUSIVE
from .corpus import blank_pipeline, find_splits, read_docs
from .entity_suspects import Reading, Scored, entity_suspects
from .vectors import load_encoder, text_vectors, token_vectors
from .word_evidence import mixed, word_probabilities

if TYPE_CHECKING:
    from spacy.tokens import Doc


@dataclass(frozen=True)
class Suspect:
    """An annotation that looks wrong.

    split (str): Split that the text is in.
    text_number (int): Number of the text in its split, from 0.
    kind (str): "label", "entity" or "span".
    doubt (float): How probable it is, to a head that has not seen the text, that the annotation is
        wrong; suspects are sorted by it.
    gold (str): The annotation: a label of a text or span, "not LABEL", entities, or "no entity".
    suggested (str): What the head would annotate instead.
    text (str): The text.
    start, end (int): The characters in question; 0 and the length of the text for its label.
    """

    split: str
    text_number: int
    kind: str
    doubt: float
    gold: str
    suggested: str
    text: str
    start: int
    end: int

    def to_dict(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The suspect for a JSON file."""
        return {**asdict(self), "doubt": round(self.doubt, 4)}


def find_suspects(
    folder: Path,
    *,
    encoder: str,
    device: str = "auto",
    lang: str = "en",
    progress: bool = False,
) -> List[Suspect]:
    """Find the annotations of a corpus that look wrong, in all splits together.

    folder (Path): Folder with train.spacy, dev.spacy, test.spacy.
    encoder (str): Name of the encoder whose vectors the heads read.
    device (str): Where to run it.
    lang (str): Language of the corpus.
    progress (bool): Whether to show progress bars.
    RETURNS (List[Suspect]): The annotations that the heads disagree with, the most doubtful first.
    RAISES (ValueError): There is no corpus or encoder, or too little annotation to learn from.
    """
    nlp = blank_pipeline(lang)
    docs, places = [], []
    for split, path in find_splits(folder).items():
        for number, doc in enumerate(read_docs(path, nlp.vocab)):
            docs.append(doc)
            places.append((split, number))
    with_cats = [i for i, doc in enumerate(docs) if doc.cats]
    with_ents = [i for i, doc in enumerate(docs) if doc.has_annotation("ENT_IOB")]
    if not any(docs[i].ents for i in with_ents):
        with_ents = []
    with_spans = _span_docs(docs)
    if not with_cats and not with_ents and not with_spans:
        raise ValueError(
            f"Nothing in {folder} can be checked: no text has a label or an entity, and no group "
            "of doc.spans has labels in two texts. Annotate some first."
        )
    model = load_encoder(encoder, device)
    found: List[Suspect] = []
    if with_cats:
        chosen = [docs[i] for i in with_cats]
        vectors = text_vectors(model, [doc.text for doc in chosen], progress=progress)
        for row, doubt, gold, suggested in label_suspects(
            vectors, [doc.cats for doc in chosen], [doc.text for doc in chosen]
        ):
            text = chosen[row].text
            place = places[with_cats[row]]
            found.append(Suspect(*place, "label", doubt, gold, suggested, text, 0, len(text)))
    # Entities and spans of the same docs share the vectors of their tokens.
    needed = sorted({*with_ents, *(i for rows in with_spans.values() for i in rows)})
    every = token_vectors(model, [docs[i] for i in needed], progress=progress)
    ends = numpy.cumsum([len(docs[i]) for i in needed])
    tokens = dict(zip(needed, numpy.split(every, ends[:-1]), strict=True)) if needed else {}

    def vectors_of(rows: List[int]) -> NDArray:
        return every if rows == needed else numpy.concatenate([tokens[i] for i in rows])

    if with_ents:
        chosen = [docs[i] for i in with_ents]
        for row, reading in entity_suspects(vectors_of(with_ents), chosen):
            found.append(_entity_suspect(places[with_ents[row]], chosen[row], reading))
    for key, rows in with_spans.items():
        chosen = [docs[i] for i in rows]
        for row, (start, end), doubt, gold, suggested in span_suspects(
            vectors_of(rows), chosen, key
        ):
            span, place = chosen[row][start:end], places[rows[row]]
            where = chosen[row].text, span.start_char, span.end_char
            found.append(Suspect(*place, "span", doubt, gold, suggested, *where))
    return sorted(found, key=lambda suspect: -suspect.doubt)


def span_suspects(
    vectors: NDArray, docs: Sequence["Doc"], key: str
) -> Iterator[Tuple[int, Place, float, str, str]]:
    """Find the labels of spans that heads disagree with that have not seen the text. The borders
    of spans are taken as given.

    vectors (ndarray): fp32 rows for all tokens of all docs in order, shape (n_tokens, width). A
        span has the mean of its tokens.
    docs (Sequence[Doc]): The docs, in two texts or more.
    key (str): Key of `doc.spans`.
    YIELDS (Tuple[int, Tuple[int, int], float, str, str]): Number of the doc, first token of the
        span and the one after its last, doubt, annotation, suggestion.
    """
    golds = [gold_spans(Example(doc, doc), key) for doc in docs]
    labels = sorted({label for own in golds for held in own.values() for label in held})
    places = [(row, place) for row, own in enumerate(golds) for place in own]
    cats = [{x: float(x in golds[row][place]) for x in labels} for row, place in places]
    # Doc by doc, because sums over all tokens in fp64 would take much memory.
    tokens = numpy.split(vectors, numpy.cumsum([len(doc) for doc in docs])[:-1])
    pairs = zip(golds, tokens, strict=True)
    means = [SpanRows([list(own)], [len(rows)], rows).means for own, rows in pairs]
    texts = [docs[row][start:end].text for row, (start, end) in places]
    groups = copy_groups(doc.text for doc in docs)[[row for row, _ in places]]
    for number, *found in label_suspects(numpy.concatenate(means), cats, texts, groups=groups):
        yield (*places[number], *found)


def label_suspects(
    vectors: NDArray,
    cats: Sequence[Dict[str, float]],
    texts: Sequence[str],
    *,
    groups: Optional[NDArray] = None,
) -> List[Tuple[int, float, str, str]]:
    """Find the labels that heads disagree with that have not seen the text.

    vectors (ndarray): fp32, a row for each text or span, shape (n, width).
    cats (Sequence[Dict[str, float]]): The labels of each text or span.
    texts (Sequence[str]): The text of each.
    groups (Optional[ndarray]): Rows that stay in one fold, or else a label would confirm itself:
        the spans of a text. None for texts, of which copies stay together.
    RETURNS (List[Tuple[int, float, str, str]]): Number of the row, doubt, annotation, suggestion.
    """
    labels = sorted({label for own in cats for label in own})
    groups = copy_groups(texts) if groups is None else groups

    def probabilities(classes: NDArray, n_labels: int) -> NDArray:
        of_vectors = held_out_probabilities(vectors, classes, n_labels, groups=groups)
        of_words = word_probabilities(texts, classes, n_labels, folds_of(classes, groups))
        return mixed([of_vectors, of_words], classes)

    held = [[label for label, value in own.items() if value >= 0.5] for own in cats]
    found = []
    classes = numpy.array([labels.index(own[0]) if len(own) == 1 else -1 for own in held])
    single = classes[classes >= 0]
    if len(single) >= EXCLUSIVE * len(held) and len(numpy.unique(single)) > 1:
        likely = probabilities(classes, len(labels))
        for row in numpy.flatnonzero((classes >= 0) & (likely.argmax(1) != classes)):
            best = int(likely[row].argmax())
            doubt = _doubt(likely[row, best], likely[row, classes[row]])
            found.append((int(row), doubt, labels[classes[row]], labels[best]))
        return found
    for label in labels:
        classes = numpy.array([int(own[label] >= 0.5) if label in own else -1 for own in cats])
        if len(numpy.unique(classes[classes >= 0])) < 2:
            continue
        likely = probabilities(classes, 2)
        for row in numpy.flatnonzero((classes >= 0) & (likely.argmax(1) != classes)):
            names = (f"not {label}", label)
            gold = int(classes[row])
            doubt = _doubt(likely[row, 1 - gold], likely[row, gold])
            found.append((int(row), doubt, names[gold], names[1 - gold]))
    return found


def _span_docs(docs: Sequence["Doc"]) -> Dict[str, List[int]]:
    """Key of `doc.spans` to numbers of docs with spans, for the groups that can be judged."""
    found: Dict[str, List[int]] = {}
    for i, doc in enumerate(docs):
        for key in (key for key, group in doc.spans.items() if len(group)):
            found.setdefault(key, []).append(i)
    return {
        key: rows
        for key, rows in found.items()
        # Texts judge each other, so the spans of only one can't be judged.
        if len(set(copy_groups(docs[i].text for i in rows).tolist())) > 1
        and any(span.label for i in rows for span in docs[i].spans[key])
    }


def _doubt(best: float, gold: float) -> float:
    """The probability of the suggestion, if only it or the annotation can be right."""
    return float(best / (best + gold))


def _entity_suspect(place: Tuple[str, int], doc: "Doc", reading: Reading) -> Suspect:
    both = [*reading.gold, *reading.suggested]
    start, end = min(e[0] for e in both), max(e[1] for e in both)
    span = doc[start:end]
    return Suspect(
        *place,
        "entity",
        reading.doubt,
        _entities(doc, reading.gold),
        _entities(doc, reading.suggested),
        doc.text,
        span.start_char,
        span.end_char,
    )


def _entities(doc: "Doc", entities: List[Scored]) -> str:
    named = [f"{doc[start:end].text} ({label})" for start, end, label, _ in entities]
    return ", ".join(named) or "no entity"
