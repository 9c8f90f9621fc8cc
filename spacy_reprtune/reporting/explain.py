"""Explain predictions: the contribution of each token to a label, an entity or a labeled span."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..components.encoder_pipe import EncoderPipe
from ..components.entities import gold_entities, group_scores, has_gold, read_score
from ..components.entity_recognizer import EntityRecognizer
from ..components.span_classifier import SpanClassifier
from ..components.span_rows import gold_spans
from ..components.text_classifier import TextClassifier

if TYPE_CHECKING:
    import torch

    from ..heads.attribution import TracedEncoder

EXPLAINED = (TextClassifier, EntityRecognizer, SpanClassifier)


@dataclass
class Explanation:
    """Why a component predicts a label for a text, or for an entity or span in it.

    component (str): Name of the component.
    label (str): The label.
    score (float): Its probability.
    span (Optional[Tuple[int, int]]): Index of the first token of the entity or span, and of the
        token after its last; None for the label of a text.
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
    component (Optional[str]): Name of a text classifier, entity recognizer or span classifier of
        this package; by default, all are explained.
    label (Optional[str]): The label to explain: only entities and spans with this label are
        explained. By default, all of these, and the label of the text with the highest score, or,
        if labels are independent, all that reach the threshold.
    RETURNS (List[Explanation]): One for each label, entity and labeled span.
    RAISES (ValueError): There is no such component or label, or the component listens to an
        encoder that is not of this package.
    """
    pipes = {
        name: pipe
        for name, pipe in nlp.pipeline
        if isinstance(pipe, EXPLAINED) and component in (None, name)
    }
    if not pipes:
        named = f" named '{component}'" if component else ""
        raise ValueError(
            "The pipeline has no text classifier, entity recognizer or span classifier of this "
            f"package{named}. "
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
                _explain_span(nlp, pipe, doc, (span.start, span.end, span.label_))
                for span in _spans(pipe, doc)
                if span.label_ in pipe.labels and label in (None, span.label_)
            ]
    return found


def _spans(pipe: Union[EntityRecognizer, SpanClassifier], doc: Doc) -> Iterable[Span]:
    if isinstance(pipe, SpanClassifier):
        return doc.spans.get(pipe.key, ())
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


def _explain_span(
    nlp: Language,
    pipe: Union[EntityRecognizer, SpanClassifier],
    doc: Doc,
    span: Tuple[int, int, str],
) -> Explanation:
    odds = _span_odds(pipe, span) if isinstance(pipe, SpanClassifier) else _tag_odds(pipe, span)

    def score(traced: "TracedEncoder", n: int) -> "torch.Tensor":
        from ..bridge.encoder import token_spans
        from ..heads.attribution import on_encoder

        if pipe.listens:
            rows, _ = pipe.head(_rows(traced, doc, n))
        else:
            rows, _ = on_encoder(pipe.head, traced)([token_spans(doc)] * n)
        return odds(rows.view(n, len(doc), -1)[:, span[0] : span[1]])

    values = _contributions(_encoder_of(nlp, pipe), doc, score)
    return _explanation(pipe, doc, span[2], _probability(pipe, doc, span), span[:2], values)


def _tag_odds(
    pipe: EntityRecognizer, entity: Tuple[int, int, str]
) -> "Callable[[torch.Tensor], torch.Tensor]":
    """The log odds of an entity's tags, given the logits of its tokens for each copy of the doc."""
    import torch

    start, end, label = entity
    columns, number = pipe.layers.columns(label)
    tags = pipe.tags.tags([(0, end - start, number)], end - start)
    parts = torch.from_numpy(pipe.tags.parts)

    def odds(tokens: "torch.Tensor") -> "torch.Tensor":
        logits = tokens[..., columns] @ parts.to(tokens.device) / pipe.temperature
        by_token = [_log_odds(logits[:, i], int(tag), True) for i, tag in enumerate(tags)]
        return torch.stack(by_token).mean(0)

    return odds


def _span_odds(
    pipe: SpanClassifier, span: Tuple[int, int, str]
) -> "Callable[[torch.Tensor], torch.Tensor]":
    """The log odds of a span's label, given the logits of its tokens for each copy of the doc."""
    column = pipe.labels.index(span[2])

    def odds(tokens: "torch.Tensor") -> "torch.Tensor":
        # As in `SpanRows`, a token without a piece has zeros and does not count.
        seen = tokens.detach().any(-1).sum(1, keepdim=True).clamp(min=1)
        logits = tokens.sum(1) / seen / pipe.temperature
        return _log_odds(logits, column, pipe.kind.exclusive)

    return odds


def _probability(
    pipe: Union[EntityRecognizer, SpanClassifier], doc: Doc, span: Tuple[int, int, str]
) -> float:
    if isinstance(pipe, EntityRecognizer) and not pipe.overlapping:
        return read_score(doc[span[0] : span[1]]) or 0.0
    group = doc.spans[pipe.key if isinstance(pipe, SpanClassifier) else pipe.spans_key]
    row = [(own.start, own.end, own.label_) for own in group].index(span)
    return group_scores(group)[row] or 0.0


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
        wrong: List[Tuple[float, Doc, Any, str]] = []
        for doc, gold in zip(predicted, docs, strict=True):
            if isinstance(pipe, TextClassifier) and pipe.is_answered(gold.cats):
                wrong += [
                    (score, doc, label, own) for score, label, own in _errors(pipe, doc, gold)
                ]
            if isinstance(pipe, EntityRecognizer) and has_gold(gold, pipe.gold_key):
                entities = gold_entities(gold, pipe.gold_key)
                right = {(e.start_char, e.end_char, e.label_) for e in entities}
                wrong += [
                    (read_score(e) or 0.0, doc, (e.start, e.end, e.label_), _inside(e, entities))
                    for e in _spans(pipe, doc)
                    if (e.start_char, e.end_char, e.label_) not in right and e.label_ in pipe.labels
                ]
        if isinstance(pipe, SpanClassifier):
            pairs = zip(predicted, docs, strict=True)
            for example in pipe.scored_examples([Example(doc, gold) for doc, gold in pairs]):
                wrong += _wrong(pipe, example)
        wrong.sort(key=lambda item: -item[0])
        for _, doc, what, gold_text in wrong[:most]:
            run = _explain_label if isinstance(pipe, TextClassifier) else _explain_span
            explanation = run(nlp, pipe, doc, what)
            found.append({"text": doc.text, "gold": gold_text, **explanation.to_dict()})
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


def _wrong(
    pipe: SpanClassifier, example: Example
) -> List[Tuple[float, Doc, Tuple[int, int, str], str]]:
    """The wrong labels of annotated spans: score, doc, span with the label, right labels."""
    doc, annotated = example.predicted, gold_spans(example, pipe.key)
    found = []
    for span in _spans(pipe, doc):
        place = span.start, span.end, span.label_
        right = annotated.get(place[:2], set())
        if span.label_ not in right:
            gold = ", ".join(sorted(right)) or "no label"
            found.append((_probability(pipe, doc, place), doc, place, gold))
    return found


def _inside(entity: Span, gold: Iterable[Span]) -> str:
    inside = [
        f"{own.text} ({own.label_})"
        for own in gold
        if own.start_char < entity.end_char and own.end_char > entity.start_char
    ]
    return ", ".join(inside) or "no entity"
