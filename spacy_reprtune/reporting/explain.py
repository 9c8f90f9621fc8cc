"""Explain predictions: the contribution of each token to a label or an entity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span

from ..components.encoder_pipe import EncoderPipe
from ..components.entities import gold_entities, has_gold, read_score
from ..components.entity_recognizer import EntityRecognizer
from ..components.text_classifier import TextClassifier

if TYPE_CHECKING:
    import torch

    from ..heads.attribution import TracedEncoder


@dataclass
class Explanation:
    """Why a component predicts a label for a text, or for an entity in it.

    component (str): Name of the component.
    label (str): The label.
    score (float): Its probability.
    span (Optional[Tuple[int, int]]): Index of the entity's first token and of the token after its
        last; None for the label of a text.
    tokens (List[str]): The tokens of the doc, each with the white space after it.
    contributions (ndarray): How much each token adds to the log odds of the label, fp64, shape
        (n_tokens,); below 0 where it speaks against it.
    """

    component: str
    label: str
    score: float
    span: Optional[Tuple[int, int]]
    tokens: List[str]
    contributions: NDArray

    def to_dict(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The explanation for a JSON file."""
        return {
            "component": self.component,
            "label": self.label,
            "score": round(self.score, 4),
            "span": None if self.span is None else list(self.span),
            "tokens": self.tokens,
            "contributions": [round(float(value), 4) for value in self.contributions],
        }


def explain(
    nlp: Language, doc: Doc, *, component: Optional[str] = None, label: Optional[str] = None
) -> List[Explanation]:
    """Compute the contribution of each token to the predictions for a doc.

    Integrated gradients over the vectors of word pieces, with `heads.attribution.STEPS` forward
    passes for each explanation.

    nlp (Language): The pipeline.
    doc (Doc): A doc that the pipeline has annotated.
    component (Optional[str]): Name of a text classifier or entity recognizer of this package; by
        default, all are explained.
    label (Optional[str]): The label to explain: only entities with this label are explained. By
        default, all entities, and the label of the text with the highest score, or, if labels are
        independent, all that reach the threshold.
    RETURNS (List[Explanation]): One for each label and entity.
    RAISES (ValueError): There is no such component or label, or the component listens to an
        encoder that is not of this package.
    """
    pipes = {
        name: pipe
        for name, pipe in nlp.pipeline
        if isinstance(pipe, (TextClassifier, EntityRecognizer)) and component in (None, name)
    }
    if not pipes:
        named = f" named '{component}'" if component else ""
        raise ValueError(
            f"The pipeline has no text classifier or entity recognizer of this package{named}. "
            f"Its components are {', '.join(nlp.pipe_names)}."
        )
    known = sorted({own for pipe in pipes.values() for own in pipe.labels})
    if label is not None and label not in known:
        raise ValueError(f"There is no label {label!r}. The labels are {', '.join(known)}.")
    found: List[Explanation] = []
    for pipe in pipes.values():
        if isinstance(pipe, TextClassifier):
            found += [_explain_label(nlp, pipe, doc, own) for own in _labels(pipe, doc, label)]
        else:
            found += [
                _explain_entity(nlp, pipe, doc, (ent.start, ent.end, ent.label_))
                for ent in _entities(pipe, doc)
                if ent.label_ in pipe.labels and label in (None, ent.label_)
            ]
    return found


def _entities(pipe: EntityRecognizer, doc: Doc) -> Iterable[Span]:
    return doc.spans.get(pipe.spans_key, ()) if pipe.overlapping else doc.ents


def _labels(pipe: TextClassifier, doc: Doc, label: Optional[str]) -> List[str]:
    if label is not None:
        return [label] if label in pipe.labels else []
    scores = {own: doc.cats.get(own, 0.0) for own in pipe.labels}
    best = max(scores, key=lambda own: scores[own])
    if pipe.exclusive:
        return [best]
    return [own for own in pipe.labels if scores[own] >= pipe.cfg["threshold"]] or [best]


def _explain_label(nlp: Language, pipe: TextClassifier, doc: Doc, label: str) -> Explanation:
    column = pipe.labels.index(label)

    def score(traced: "TracedEncoder", n: int) -> "torch.Tensor":
        from ..heads.attribution import on_encoder

        if pipe.listens:
            logits = pipe.head.classify(pipe.head.pool(_rows(traced, doc, n)))
        else:
            head = on_encoder(pipe.head, traced)
            logits = head.classify(head.pool([doc.text] * n))
        return _log_odds(logits / pipe.temperature, column, pipe.exclusive)

    values = _contributions(_encoder_of(nlp, pipe), doc, score)
    return _explanation(pipe, doc, label, doc.cats.get(label, 0.0), None, values)


def _explain_entity(
    nlp: Language, pipe: EntityRecognizer, doc: Doc, entity: Tuple[int, int, str]
) -> Explanation:
    import torch

    from ..heads.attribution import on_encoder

    start, end, label = entity
    scheme = pipe.tags
    columns, number = pipe.layers.columns(label)
    tags = scheme.tags([(start, end, number)], len(doc))
    parts = torch.from_numpy(scheme.parts)

    def score(traced: "TracedEncoder", n: int) -> "torch.Tensor":
        from ..bridge.encoder import token_spans

        if pipe.listens:
            rows, _ = pipe.head(_rows(traced, doc, n))
        else:
            rows, _ = on_encoder(pipe.head, traced)([token_spans(doc)] * n)
        logits = rows[:, columns] @ parts.to(rows.device) / pipe.temperature
        by_copy = logits.view(n, len(doc), -1)
        odds = [_log_odds(by_copy[:, i], int(tags[i]), True) for i in range(start, end)]
        return torch.stack(odds).mean(0)

    values = _contributions(_encoder_of(nlp, pipe), doc, score)
    probability = read_score(doc[start:end]) or 0.0
    if pipe.overlapping:
        group = doc.spans[pipe.spans_key]
        own = [(span.start, span.end, span.label_) for span in group].index(entity)
        probability = float(group.attrs["scores"][own])
    return _explanation(pipe, doc, label, probability, (start, end), values)


def _log_odds(logits: "torch.Tensor", column: int, exclusive: bool) -> "torch.Tensor":
    if not exclusive:
        return logits[:, column]
    others = [k for k in range(logits.shape[1]) if k != column]
    return logits[:, column] - logits[:, others].logsumexp(1)


def _rows(traced: "TracedEncoder", doc: Doc, n: int) -> Any:
    """The token vectors that a listening head gets for n copies of a doc."""
    from ..bridge.encoder import token_spans
    from ..encoder.token_rows import TokenRows
    from ..encoder.token_vectors import TokenVectors
    from ..heads.attribution import on_encoder

    module = on_encoder(TokenVectors(traced.encoder), traced)
    return TokenRows(module([token_spans(doc)] * n), [len(doc)] * n)


def _encoder_of(nlp: Language, pipe: EncoderPipe) -> Any:
    if not pipe.listens:
        return pipe.encoder
    for _, other in nlp.pipeline:
        heads = getattr(other, "listening_components", ())
        if isinstance(other, EncoderPipe) and pipe.name in heads:
            return other.encoder
    raise ValueError(
        f"'{pipe.name}' listens to a component that is not a reprtune_encoder of this pipeline, so "
        "its predictions can't be explained."
    )


def _contributions(
    encoder: Any, doc: Doc, score: "Callable[[TracedEncoder, int], torch.Tensor]"
) -> NDArray:
    from ..bridge.encoder import token_spans
    from ..encoder.align import align
    from ..heads.attribution import integrated_gradients

    spans = token_spans(doc)
    (pieces,) = encoder.tokenize([doc.text], offsets=True)
    values = integrated_gradients(encoder, len(pieces), score)
    pairs = align(spans.starts, spans.ends, pieces.offsets, doc.text)
    # A piece that reaches into several tokens is shared among them.
    shares = numpy.bincount(pairs.pieces, minlength=len(pieces))
    found = numpy.zeros(len(doc))
    numpy.add.at(found, pairs.tokens, values[pairs.pieces] / shares[pairs.pieces])
    return found


def _explanation(
    pipe: EncoderPipe,
    doc: Doc,
    label: str,
    score: float,
    span: Optional[Tuple[int, int]],
    values: NDArray,
) -> Explanation:
    tokens = [token.text_with_ws for token in doc]
    return Explanation(pipe.name, label, float(score), span, tokens, values)


def explain_errors(nlp: Language, docs: List[Doc], *, most: int = 10) -> List[Dict[str, Any]]:
    """Explain the most confident errors of each component of this package.

    nlp (Language): The pipeline.
    docs (List[Doc]): Annotated docs.
    most (int): Errors per component.
    RETURNS (List[Dict[str, Any]]): Explanations for a JSON file, each with its "text" and "gold",
        the most confident first.
    """
    predicted = list(nlp.pipe(nlp.make_doc(doc.text) for doc in docs))
    found = []
    for _, pipe in nlp.pipeline:
        wrong: List[Tuple[float, int, Any, str]] = []
        for i, (doc, gold) in enumerate(zip(predicted, docs, strict=True)):
            if isinstance(pipe, TextClassifier) and pipe.is_answered(gold.cats):
                wrong += [(score, i, label, own) for score, label, own in _errors(pipe, doc, gold)]
            if isinstance(pipe, EntityRecognizer) and has_gold(gold, pipe.gold_key):
                entities = gold_entities(gold, pipe.gold_key)
                right = {(e.start_char, e.end_char, e.label_) for e in entities}
                wrong += [
                    (read_score(e) or 0.0, i, (e.start, e.end, e.label_), _overlapping(e, entities))
                    for e in _entities(pipe, doc)
                    if (e.start_char, e.end_char, e.label_) not in right and e.label_ in pipe.labels
                ]
        wrong.sort(key=lambda item: -item[0])
        for _, i, what, gold_text in wrong[:most]:
            run = _explain_label if isinstance(pipe, TextClassifier) else _explain_entity
            explanation = run(nlp, pipe, predicted[i], what)
            found.append({"text": docs[i].text, "gold": gold_text, **explanation.to_dict()})
    return found


def _errors(pipe: TextClassifier, doc: Doc, gold: Doc) -> List[Tuple[float, str, str]]:
    """The wrong labels predicted for a text: score, label, and the right labels."""
    scores = {label: doc.cats[label] for label in pipe.labels}
    right = ", ".join(label for label, value in gold.cats.items() if value > 0)
    if pipe.exclusive:
        best = max(scores, key=lambda label: scores[label])
        wrong = [] if gold.cats.get(best, 0.0) > 0 else [best]
    else:
        threshold = pipe.cfg["threshold"]
        wrong = [x for x in scores if scores[x] >= threshold and gold.cats.get(x) == 0.0]
    return [(scores[label], label, right or "no label") for label in wrong]


def _overlapping(entity: Span, gold: Iterable[Span]) -> str:
    inside = [
        f"{own.text} ({own.label_})"
        for own in gold
        if own.start_char < entity.end_char and own.end_char > entity.start_char
    ]
    return ", ".join(inside) or "no entity"
