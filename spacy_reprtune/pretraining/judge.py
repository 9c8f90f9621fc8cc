"""Whether pretraining helps a task: a linear probe on labeled docs, before, during and after.

A probe (logistic regression on the frozen vectors) is fitted to four fifths of the docs and scored
on the others, five times, so that every doc is scored by a probe that has not seen it. The same
folds serve all encoders, so two of them are compared doc by doc: docs are drawn with replacement,
and the interval is that of the difference (paired bootstrap). The best of several evaluations looks
better than it is, so the interval is widened by their number (Bonferroni).
"""

from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

import numpy
import torch
from numpy.typing import NDArray

from ..encoder.align import align
from ..heads.probe import Probe, fit_classes, fit_independent
from .text import find_files

if TYPE_CHECKING:
    from spacy.tokens import Doc

    # Imports transformers; the report of a project only puts the verdict into words.
    from .model import Restorer

FOLDS = 5
RESAMPLES = 2000
# Docs that are judged at most, and tokens of docs with entities: enough for an interval of a few
# points, and the probe stays a matter of seconds.
MOST_DOCS, MOST_TOKENS = 2000, 20_000
OUTSIDE = ""


class _Doc(NamedTuple):
    doc: "Doc"
    # Characters and entity types of the tokens.
    tokens: NDArray
    types: List[str]

    @property
    def text(self) -> str:
        return self.doc.text


class Judge:
    """Labeled docs, and what a probe on an encoder's vectors gets right in them.

    Docs with categories are judged by them, one vector per doc (the mean over its pieces); else
    docs with entities by the types of their tokens, one vector per token.
    """

    def __init__(self, path: Path, *, batch_pieces: int) -> None:
        """Read the docs.

        path (Path): A .spacy file, or a directory of them.
        batch_pieces (int): Pieces that are computed at once.
        RAISES (ValueError): There are too few docs with labels, or only one label.
        """
        docs = _read(path)
        labeled = [item for item in docs if item.doc.cats]
        self.kind = "texts" if labeled else "entities"
        self.batch_pieces = batch_pieces
        if self.kind == "entities":
            labeled = [item for item in docs if item.types]
        order = numpy.random.default_rng(0).permutation(len(labeled))[:MOST_DOCS]
        self.docs = [labeled[i] for i in order]
        if self.kind == "entities":
            total = numpy.cumsum([len(item.types) for item in self.docs])
            self.docs = self.docs[: max(2 * FOLDS, int((total <= MOST_TOKENS).sum()))]
            self.exclusive = True
            of_doc = [set(item.types) for item in self.docs]
            found = names = set().union(*of_doc) - {OUTSIDE}
        else:
            cats = [item.doc.cats for item in self.docs]
            # As probabilities, such as those of a teacher, they need not be 0 or 1.
            self.exclusive = all(abs(sum(values.values()) - 1) < 0.01 for values in cats)
            of_doc = [labels_of(values, exclusive=self.exclusive) for values in cats]
            names = {label for values in cats for label in values}
            found = set().union(*of_doc)
        self.labels = sorted(names)
        # A probe for each fold is fitted to the other docs.
        others = [
            set().union(*(own for i, own in enumerate(of_doc) if i % FOLDS != fold))
            for fold in range(FOLDS)
        ]
        if len(self.docs) < 2 * FOLDS or min(map(len, others)) < 2:
            raise ValueError(
                f"{path} can't be the judge: it has {len(self.docs)} docs with categories or "
                f"entities and the labels {', '.join(sorted(found)) or '(none)'}. It takes at "
                f"least {2 * FOLDS} annotated docs, and two categories or one type of entity, each "
                "in several docs."
            )

    def counts(self, lm: "Restorer") -> NDArray:
        """Count what a probe gets right.

        lm (Restorer): The encoder.
        RETURNS (ndarray): Labels that are right, spurious, and missed, int64, shape
            (n_docs, 3).
        """
        vectors, gold, known, docs = self._rows(lm)
        counts = numpy.zeros((len(self.docs), 3), dtype=numpy.int64)
        fold_of = numpy.arange(len(self.docs))[docs] % FOLDS
        strength = None
        for fold in range(FOLDS):
            train, test = fold_of != fold, numpy.flatnonzero(fold_of == fold)
            probe = self._fit(vectors[train], gold[train], known[train], strength)
            # The strength that suits one fold suits the others.
            strength = probe.strength
            logits = vectors[test] @ probe.weight.T + probe.bias
            if self.exclusive:
                found = numpy.eye(logits.shape[1])[logits.argmax(1)]
            else:
                found = (logits > 0).astype("f")
            if self.kind == "entities":
                # The first column is for tokens outside of entities.
                found[:, 0] = gold[test, 0] = 0
            for column, cells in enumerate(
                (found * gold[test], found * (1 - gold[test]), (1 - found) * gold[test])
            ):
                each = (cells * known[test]).sum(1).astype(numpy.int64)
                numpy.add.at(counts[:, column], docs[test], each)
        return counts

    def report(
        self,
        before: NDArray,
        last: NDArray,
        kept: NDArray,
        *,
        step: int,
        evaluations: int,
        training: Optional[Dict[str, Any]] = None,
    ) -> Dict[str, Any]:
        """Describe what pretraining did for the labels.

        before, last, kept (ndarray): Counts of the original encoder, of the last one, and of the
            one that is kept.
        step (int): The step that the kept one is from, 0 for the original encoder.
        evaluations (int): Encoders that the kept one was chosen from, besides the first.
        training (Optional[Dict[str, Any]]): What the trainings of a recipe say.
        RETURNS (Dict[str, Any]): The scores, the gain of the kept one over the first, and its
            interval.
        """
        interval = gain_interval(before, kept, evaluations)
        scores = [round(score_of(counts), 5) for counts in (before, last, kept)]
        return {
            "kind": self.kind,
            "docs": len(self.docs),
            "score": "accuracy" if self.kind == "texts" and self.exclusive else "micro F",
            "before": scores[0],
            "after": scores[1],
            "kept": scores[2],
            "kept_step": step,
            "gain": round(scores[2] - scores[0], 5),
            "interval": [round(end, 5) for end in interval],
            "training": training,
        }

    def _rows(self, lm: "Restorer") -> Tuple[NDArray, NDArray, NDArray, NDArray]:
        """Vectors, gold values, which of these are known, and the doc of each row."""
        states = _encode(lm, self.docs, self.batch_pieces)
        if self.kind == "texts":
            vectors = numpy.stack([hidden.mean(0) for hidden, _ in states])
            cats = [item.doc.cats for item in self.docs]
            known = numpy.array([[k in values for k in self.labels] for values in cats])
            known |= self.exclusive
            positive = [labels_of(values, exclusive=self.exclusive) for values in cats]
            gold = numpy.array([[k in own for k in self.labels] for own in positive], dtype="f")
            return vectors, gold, known, numpy.arange(len(self.docs))
        rows, types, owners = [], [], []
        names = [OUTSIDE, *self.labels]
        for i, (doc, (hidden, offsets)) in enumerate(zip(self.docs, states, strict=True)):
            pairs = align(*doc.tokens.T, offsets, doc.text)
            sums = numpy.zeros((len(doc.types), hidden.shape[1]), dtype="f")
            n_prefix = len(lm.tokenizer.prefix)
            numpy.add.at(sums, pairs.tokens, hidden[n_prefix + pairs.pieces])
            seen = numpy.flatnonzero(pairs.lengths)
            rows.append(sums[seen] / pairs.lengths[seen, None])
            types += [names.index(doc.types[token]) for token in seen]
            owners += [i] * len(seen)
        gold = numpy.eye(len(names), dtype="f")[types]
        return numpy.concatenate(rows), gold, numpy.ones(gold.shape, bool), numpy.array(owners)

    def _fit(self, vectors: NDArray, gold: NDArray, known: NDArray, strength: Any) -> Probe:
        if not self.exclusive:
            return fit_independent(vectors, gold, known.astype("f"), strength=strength)
        return fit_classes(vectors, gold.argmax(1), gold.shape[1], strength=strength)


def labels_of(cats: Mapping[str, float], *, exclusive: bool) -> Set[str]:
    """RETURNS (Set[str]): The categories that a doc has: its most probable one, or each that is at
    least as probable as not."""
    if exclusive:
        return {max(cats, key=cats.__getitem__)}
    return {label for label, value in cats.items() if value >= 0.5}


def score_of(counts: NDArray) -> float:
    """RETURNS (float): Micro F of counts, which for exclusive categories is the accuracy."""
    right, spurious, missed = counts.sum(0)
    return float(2 * right / max(1, 2 * right + spurious + missed))


def gain_interval(before: NDArray, after: NDArray, comparisons: int) -> Tuple[float, float]:
    """Estimate by how much one encoder is better than another.

    before, after (ndarray): Counts of both, shape (n_docs, 3).
    comparisons (int): How many encoders the second one was chosen from.
    RETURNS (Tuple[float, float]): The interval of 95 % of the difference in micro F.
    """
    n = len(before)
    weights = numpy.random.default_rng(0).multinomial(n, [1 / n] * n, size=RESAMPLES)
    scores = []
    for counts in (before, after):
        right, spurious, missed = (weights @ counts).T
        scores.append(2 * right / numpy.maximum(1, 2 * right + spurious + missed))
    tail = 0.025 / max(1, comparisons)
    low, high = numpy.quantile(scores[1] - scores[0], [tail, 1 - tail])
    return float(low), float(high)


def verdict(judged: Dict[str, Any]) -> str:
    """RETURNS (str): What `Judge.report` says, in words."""
    numbers = (
        f"A probe on {judged['docs']:,} docs with labels has {judged['score']} "
        f"{judged['before']:.3f} before, {judged['after']:.3f} at the end"
    )
    training = judged.get("training")
    if training:
        kept = "that encoder" if judged["kept_step"] else "the original encoder"
        return (
            f"{numbers}. {training['recipe']}, trained on each half of these docs and scored on "
            f"the other, has {training['before']:.3f} with the original encoder and "
            f"{training['after']:.3f} with that of step {training['step']:,}: "
            f"{_gain(training)}. So {kept} is kept."
        )
    if not judged["kept_step"]:
        return (
            f"{numbers}. Pretraining did not help with these labels, so the original "
            "encoder is kept."
        )
    return (
        f"{numbers} and {judged['kept']:.3f} at step {judged['kept_step']:,}, which is kept: "
        f"{_gain(judged)}."
    )


def _gain(compared: Dict[str, Any]) -> str:
    low, high = compared["interval"]
    sure = "beyond chance" if low > 0 or high < 0 else "which may be due to chance"
    return f"{compared['gain']:+.3f} ({low:+.3f} to {high:+.3f}), {sure}"


def _read(path: Path) -> List[_Doc]:
    import spacy
    from spacy.tokens import DocBin

    found = []
    for file in find_files([path]):
        try:
            docs = list(DocBin().from_disk(file).get_docs(spacy.blank("xx").vocab))
        except Exception as error:
            # zlib, msgpack and spaCy raise errors of their own, and none of them names the file.
            name = type(error).__name__
            raise ValueError(f"{file} is not a .spacy file: {name}: {error}") from error
        for doc in docs:
            tokens = numpy.array([(t.idx, t.idx + len(t)) for t in doc]).reshape(-1, 2)
            types = [t.ent_type_ for t in doc] if doc.has_annotation("ENT_IOB") else []
            if len(doc):
                found.append(_Doc(doc, tokens, types))
    return found


def _encode(
    lm: "Restorer", docs: Sequence[_Doc], batch_pieces: int
) -> List[Tuple[NDArray, NDArray]]:
    """Hidden states of the beginning of each doc, special pieces included, and the offsets of the
    other pieces."""
    tokenizer = lm.tokenizer
    room = lm.limit - len(tokenizer.prefix) - len(tokenizer.suffix)
    pieces = tokenizer([doc.text for doc in docs], offsets=True)
    ids = [[*tokenizer.prefix, *own.ids[:room].tolist(), *tokenizer.suffix] for own in pieces]
    found: Dict[int, NDArray] = {}
    lm.train(False)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    while order:
        batch = [order.pop()]
        # Padded or not, it is at most as large as a batch in training.
        while order and len(ids[batch[0]]) * (len(batch) + 1) <= batch_pieces:
            batch.append(order.pop())
        flat = torch.tensor([piece for i in batch for piece in ids[i]], device=lm.device)
        with torch.no_grad():
            hidden = lm.hidden(flat, [len(ids[i]) for i in batch]).float().cpu()
        lengths = [len(ids[i]) for i in batch]
        for i, own in zip(batch, hidden.split(lengths), strict=True):
            found[i] = own.numpy()
    return [(found[i], pieces[i].offsets[:room]) for i in range(len(docs))]
