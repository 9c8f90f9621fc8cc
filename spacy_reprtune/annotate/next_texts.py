"""`reprtune next`: choose texts from a pool to be annotated next."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

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
    ents (List[Dict[str, Any]]): The entities that it predicts, each with start and end in
        characters, label and score.
    """

    id: Any
    text: str
    doubt: Optional[float] = None
    cats: Dict[str, float] = field(default_factory=dict)
    labels: List[str] = field(default_factory=list)
    ents: List[Dict[str, Any]] = field(default_factory=list)


def read_pool(paths: Sequence[Path], *, text: str, id: Optional[str]) -> List[Tuple[Any, str]]:
    """Read the texts to choose from.

    paths (Sequence[Path]): Files and folders of Parquet, JSONL, CSV, TSV or txt.
    text (str): Name of the column with the texts.
    id (Optional[str]): Name of the column with the ids, or None for the numbers of the rows.
    RETURNS (List[Tuple[Any, str]]): Id and text, without copies, near copies and blank texts.
    RAISES (ValueError): An input is wrong, or there is no text.
    """
    found: List[Tuple[Any, str]] = []
    first = 0
    for path in find_inputs(paths):
        columns = [text] if id is None else [text, id]
        for shard in cut(path, first, columns, SHARD_ROWS):
            rows = read_rows(shard, text=text, id=id)
            found += [(r.id, r.text) for r in rows if isinstance(r.text, str) and r.text.strip()]
            first += len(rows)
    if not found:
        raise ValueError(f"There is no text in {', '.join(map(str, paths))}.")
    return [found[row] for row in without_copies([own for _, own in found])]


def choose_next(nlp: "Language", pool: Sequence[Tuple[Any, str]], n: int) -> List[Choice]:
    """Choose texts that a pipeline is unsure of, no two of them alike.

    nlp (Language): The pipeline, with a text classifier or entity recognizer of this package.
    pool (Sequence[Tuple[Any, str]]): Id and text.
    n (int): How many texts to choose.
    RETURNS (List[Choice]): The texts with the pipeline's annotation, the least sure first.
    RAISES (ValueError): The pipeline has no such component.
    """
    from ..components.entity_recognizer import EntityRecognizer
    from ..components.text_classifier import TextClassifier

    pipes = [p for _, p in nlp.pipeline if isinstance(p, (TextClassifier, EntityRecognizer))]
    if not pipes:
        raise ValueError(
            "The pipeline has no text classifier or entity recognizer of this package, so it can't "
            f"say what it is unsure of. Its components are {', '.join(nlp.pipe_names)}."
        )
    docs = list(nlp.pipe(text for _, text in pool))
    doubts = numpy.zeros(len(docs))
    for pipe in pipes:
        find = label_doubts if isinstance(pipe, TextClassifier) else entity_doubts
        doubts = numpy.maximum(doubts, find(pipe, docs))
    encoders = [e for e in map(_own_encoder, [*pipes, *(p for _, p in nlp.pipeline)]) if e]
    if not encoders:
        raise ValueError(
            "The components listen to an encoder of another package, so there are no vectors to "
            "compare texts by. Use a reprtune_encoder, or an encoder for each component."
        )
    vectors = text_vectors(encoders[0], [text for _, text in pool])
    return [_choice(pool[i], docs[i], doubts[i], pipes) for i in choose_unsure(vectors, doubts, n)]


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


def label_doubts(pipe: Any, docs: Sequence["Doc"]) -> NDArray:
    """RETURNS (ndarray): 1 minus the margin between the two best labels, or with independent labels
    the smallest margin between yes and no; shape (n_docs,)."""
    scores = numpy.array([[doc.cats[label] for label in pipe.labels] for doc in docs])
    if pipe.exclusive:
        best = numpy.sort(scores, axis=1)
        return 1.0 - (best[:, -1] - best[:, -2])
    return 1.0 - numpy.abs(2.0 * scores - 1.0).min(1)


def entity_doubts(pipe: Any, docs: Sequence["Doc"]) -> NDArray:
    """RETURNS (ndarray): 1 minus the margin between the two best tags of the least sure token,
    which may belong to an entity that was not found; shape (n_docs,)."""
    from thinc.util import to_numpy

    from ..components.streams import LISTENING_CHARS, LOOK_AHEAD_DOCS, blocks
    from ..heads.losses import softmax

    found: List[float] = []
    for block in blocks(iter(docs), LOOK_AHEAD_DOCS, LISTENING_CHARS):
        scores = pipe.model.predict(block)
        ends = numpy.cumsum(scores.lengths)[:-1]
        for parts in numpy.split(to_numpy(scores.logits), ends):
            # Tokens without a piece have rows of zeros.
            likely = softmax(
                pipe.tags.logits(pipe.layers.unfold(parts[parts.any(1)])) / pipe.temperature
            )
            best = numpy.sort(likely, axis=1)
            found.append(float(1.0 - (best[:, -1] - best[:, -2]).min(initial=1.0)))
    return numpy.array(found)


def _own_encoder(pipe: Any) -> Any:
    from ..components.encoder_pipe import EncoderPipe

    return pipe.encoder if isinstance(pipe, EncoderPipe) and not pipe.listens else None


def _choice(item: Tuple[Any, str], doc: "Doc", doubt: float, pipes: Sequence[Any]) -> Choice:
    choice = Choice(*item, doubt=float(doubt), ents=row_of(doc, ["ents"])["ents"])
    for pipe in pipes:
        if hasattr(pipe, "kind"):
            scores = {label: float(doc.cats[label]) for label in pipe.labels}
            choice.cats.update(scores)
            best = max(scores, key=lambda label: scores[label])
            above = [x for x in scores if scores[x] >= pipe.cfg["threshold"]]
            choice.labels += [best] if pipe.exclusive else above
    return choice
