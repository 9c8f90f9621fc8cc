"""`reprtune next`: choose texts from a pool to be annotated next."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Collection,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy
from numpy.typing import NDArray

from ..data.vectors import load_encoder, text_vectors
from .choose import choose_typical, choose_unsure, without_copies
from .columns import row_of
from .shards import SHARD_ROWS, cut, find_inputs, read_rows

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc


@dataclass
class Choice:
    """A text to annotate.

    id (Any): Id of the text in the pool, or its row number.
    text (str): The text.
    doubt (Optional[float]): How unsure the model is, 0 to 1; None without a model.
    cats (Dict[str, float]): The score of each label.
    labels (List[str]): The labels that the model predicts.
    spans (Optional[List[Dict[str, Any]]]): The entities and labeled spans that it predicts, each
        with start and end in characters, label and score; None if it predicts none of any text.
    """

    id: Any
    text: str
    doubt: Optional[float] = None
    cats: Dict[str, float] = field(default_factory=dict)
    labels: List[str] = field(default_factory=list)
    spans: Optional[List[Dict[str, Any]]] = None


class Pool(NamedTuple):
    """The texts to choose from.

    texts (List[Tuple[Any, str]]): Id and text.
    copies (int): Number of rows left out because they are copies or near copies of earlier ones.
    damaged (int): Number of rows left out because their text or id is missing, blank, too long for
        the pipeline, or not readable.
    """

    texts: List[Tuple[Any, str]]
    copies: int
    damaged: int


def read_pool(paths: Sequence[Path], *, text: str, id: Optional[str], output: Path) -> Pool:
    """Read the texts to choose from.

    paths (Sequence[Path]): Files and folders of Parquet, JSONL, CSV, TSV or txt.
    text (str): Name of the column with the texts.
    id (Optional[str]): Name of the column with the ids, or None for the numbers of the rows.
    output (Path): The file that the chosen texts are written to. It is not part of the pool.
    RETURNS (Pool): The texts, without copies, near copies and damaged rows.
    RAISES (ValueError): An input is wrong, or there is no text.
    """
    found: List[Tuple[Any, str]] = []
    first = 0
    for path in find_inputs(paths, output=output):
        columns = [text] if id is None else [text, id]
        for shard in cut(path, first, columns, SHARD_ROWS):
            rows = read_rows(shard, text=text, id=id)
            found += [
                (row.id, row.text)
                for row in rows
                if row.error is None and isinstance(row.text, str) and row.text.strip()
            ]
            first += len(rows)
    if not found:
        raise ValueError(f"There is no text in {', '.join(map(str, paths))}.")
    texts = [found[row] for row in without_copies([own for _, own in found])]
    return Pool(texts, copies=len(found) - len(texts), damaged=first - len(found))


def without_long_texts(nlp: "Language", pool: Pool) -> Pool:
    """Leave out the texts that a pipeline refuses.

    nlp (Language): The pipeline.
    pool (Pool): The texts to choose from.
    RETURNS (Pool): Those of at most `nlp.max_length` characters. The others count as damaged.
    RAISES (ValueError): All texts are longer.
    """
    texts = [(id, text) for id, text in pool.texts if len(text) <= nlp.max_length]
    if not texts:
        raise ValueError(
            f"All texts have more than {nlp.max_length:,} characters, which is nlp.max_length."
        )
    return pool._replace(texts=texts, damaged=pool.damaged + len(pool.texts) - len(texts))


def choose_next(nlp: "Language", pool: Sequence[Tuple[Any, str]], n: int) -> List[Choice]:
    """Choose texts that a pipeline is unsure of, no two of them alike.

    nlp (Language): The pipeline, with a text classifier, entity recognizer or span classifier of
        this package.
    pool (Sequence[Tuple[Any, str]]): Id and text, none of them longer than `nlp.max_length`.
    n (int): How many texts to choose.
    RETURNS (List[Choice]): The texts with the pipeline's annotation, the least sure first.
    RAISES (ValueError): The pipeline has no such component, or no spans that it could classify.
    """
    from ..components.cascade_pipe import Cascade
    from ..components.entity_recognizer import EntityRecognizer
    from ..components.span_classifier import SpanClassifier
    from ..components.text_classifier import TextClassifier

    kinds = {
        TextClassifier: text_doubts,
        EntityRecognizer: entity_doubts,
        SpanClassifier: span_doubts,
    }
    # Both classifiers of a cascade have the same labels.
    found = [p.large if isinstance(p, Cascade) else p for _, p in nlp.pipeline]
    pipes = {p: find for p in found for kind, find in kinds.items() if isinstance(p, kind)}
    if not pipes:
        raise ValueError(
            "The pipeline has no text classifier, entity recognizer or span classifier of this "
            "package, so it can't say what it is unsure of. Its components are "
            f"{', '.join(nlp.pipe_names)}."
        )
    docs = list(nlp.pipe(text for _, text in pool))
    doubts = numpy.max([find(pipe, docs) for pipe, find in pipes.items()], axis=0)
    encoders = [e for e in map(_own_encoder, [*pipes, *(p for _, p in nlp.pipeline)]) if e]
    if not encoders:
        raise ValueError(
            "The components listen to an encoder of another package, so there are no vectors to "
            "compare texts by. Use a reprtune_encoder, or an encoder for each component."
        )
    vectors = text_vectors(encoders[0], [text for _, text in pool])
    classifiers = [pipe for pipe in pipes if isinstance(pipe, TextClassifier)]
    groups = {pipe.key for pipe in pipes if isinstance(pipe, SpanClassifier)}
    # The entities of other recognizers are all in `doc.ents`.
    groups |= {p.gold_key for p in pipes if isinstance(p, EntityRecognizer) and p.overlapping}
    finds_spans = groups or any(
        "doc.ents" in nlp.get_pipe_meta(name).assigns for name in nlp.pipe_names
    )
    chosen = []
    for i in choose_unsure(vectors, doubts, n):
        choice = Choice(*pool[i], doubt=float(doubts[i]))
        _add_cats(choice, docs[i], classifiers)
        choice.spans = _spans_of(docs[i], groups) if finds_spans else None
        chosen.append(choice)
    return chosen


def choose_first(encoder: str, pool: Sequence[Tuple[Any, str]], n: int) -> List[Choice]:
    """Choose typical texts, when there is no model yet.

    encoder (str): Name of an encoder.
    pool (Sequence[Tuple[Any, str]]): Id and text.
    n (int): How many texts to choose.
    RETURNS (List[Choice]): The texts.
    RAISES (ValueError): There is no such encoder.
    """
    vectors = text_vectors(load_encoder(encoder), [text for _, text in pool])
    return [Choice(*pool[i]) for i in choose_typical(vectors, n)]


def label_doubts(scores: NDArray, *, exclusive: bool) -> NDArray:
    """RETURNS (ndarray): 1 minus the margin between the two best labels, or with independent labels
    the smallest margin between yes and no, given the probabilities in rows; shape (n_rows,)."""
    if exclusive:
        best = numpy.sort(scores, axis=1)
        return 1.0 - (best[:, -1] - best[:, -2])
    return 1.0 - numpy.abs(2.0 * scores - 1.0).min(1)


def text_doubts(pipe: Any, docs: Sequence["Doc"]) -> NDArray:
    """RETURNS (ndarray): The doubt about the labels of each text, shape (n_docs,)."""
    scores = numpy.array([[doc.cats[label] for label in pipe.labels] for doc in docs])
    return label_doubts(scores, exclusive=pipe.exclusive)


def entity_doubts(pipe: Any, docs: Sequence["Doc"]) -> NDArray:
    """RETURNS (ndarray): 1 minus the margin between the two best tags of the least sure token,
    which may belong to an entity that was not found; shape (n_docs,)."""
    from thinc.util import to_numpy

    from ..heads.losses import softmax

    found: List[float] = []
    for block in _blocks(docs):
        scores = pipe.model.predict(block)
        ends = numpy.cumsum(scores.lengths)[:-1]
        for parts in numpy.split(to_numpy(scores.logits), ends):
            # Tokens without a piece have rows of zeros.
            likely = softmax(
                pipe.tags.logits(pipe.layers.unfold(parts[parts.any(1)])) / pipe.temperature
            )
            found.append(float(label_doubts(likely, exclusive=True).max(initial=0.0)))
    return numpy.array(found)


def span_doubts(pipe: Any, docs: Sequence["Doc"]) -> NDArray:
    """RETURNS (ndarray): The doubt about the labels of the least sure span of each text, 0 for a
    text without spans; shape (n_docs,).

    RAISES (ValueError): No doc has the spans that the component classifies, or it has replaced
        them by those that got a label.
    """
    from ..components.span_rows import has_spans

    if pipe.spans == pipe.key and not pipe.kind.exclusive:
        raise ValueError(
            f"'{pipe.name}' classifies the spans in doc.spans[{pipe.key!r}] and replaces them by "
            "those that got a label, so the others can't be looked at. Give it another spans_key."
        )
    if not any(has_spans(doc, pipe.spans) for doc in docs):
        raise ValueError(
            f"None of the texts has the spans that '{pipe.name}' classifies ({pipe.spans}). Add a "
            "component that sets them to the pipeline, in front of it."
        )
    found = [own.scores for block in _blocks(docs) for own in pipe.predict(block)]
    doubts = [label_doubts(scores, exclusive=pipe.kind.exclusive) for scores in found]
    return numpy.array([own.max(initial=0.0) for own in doubts])


def _blocks(docs: Sequence["Doc"]) -> Iterator[List["Doc"]]:
    from ..components.streams import LISTENING_CHARS, LOOK_AHEAD_DOCS, blocks

    return blocks(iter(docs), LOOK_AHEAD_DOCS, LISTENING_CHARS)


def _own_encoder(pipe: Any) -> Any:
    from ..components.encoder_pipe import EncoderPipe

    return pipe.encoder if isinstance(pipe, EncoderPipe) and not pipe.listens else None


def _add_cats(choice: Choice, doc: "Doc", pipes: Sequence[Any]) -> None:
    for pipe in pipes:
        scores = {label: float(doc.cats[label]) for label in pipe.labels}
        choice.cats.update(scores)
        best = max(scores, key=lambda label: scores[label])
        above = [x for x in scores if scores[x] >= pipe.cfg["threshold"]]
        choice.labels += [best] if pipe.exclusive else above


def _spans_of(doc: "Doc", groups: Collection[str]) -> List[Dict[str, Any]]:
    """The entities of a doc and the spans of groups, in order, each once."""
    row = row_of(doc, ["ents", "spans"])
    found = row["ents"] + [span for span in row["spans"] if span.pop("group") in groups]
    by_place = {(span["start"], -span["end"], span["label"]): span for span in found}
    return [by_place[place] for place in sorted(by_place)]
