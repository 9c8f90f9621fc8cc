"""Score a pipeline as `spacy evaluate` does, and keep its prediction for each document."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..components.entities import gold_entities, group_scores, has_gold, read_gold, read_score
from ..components.entity_recognizer import EntityRecognizer
from ..components.span_classifier import SpanClassifier
from ..memory import peak_memory_mb
from .headline import is_exclusive, span_keys, trained_for, with_defined_areas
from .predictions import CatsRow, Entity, EntsRow, Predictions, Row

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span
    from spacy.training import Example

# The scores by which predictions know their evaluation.
_MARKS = ("cats_score", "cats_macro_f", "cats_micro_f", "ents_f")


def evaluate(
    model: str, corpus: Path, *, use_gpu: int = -1, silent: bool = True
) -> Tuple[Dict[str, Any], Predictions]:
    """Evaluate a pipeline.

    model (str): Directory or name of the pipeline.
    corpus (Path): A .spacy file or a folder of them.
    use_gpu (int): GPU ID, or -1 for the CPU.
    silent (bool): Whether to print nothing about the device.
    RETURNS (Tuple[Dict[str, Any], Predictions]): The scores that `spacy evaluate --output` writes,
        computed by the same code with the same seed, and the predictions. The scores have one
        more key, `run`: speed, memory and size. The mean area under the ROC curve leaves out labels
        that have none.
    RAISES (ValueError): The corpus has no document.
    """
    from spacy.cli._util import setup_gpu
    from spacy.scorer import Scorer
    from spacy.training import Corpus
    from spacy.util import load_model
    from thinc.api import fix_random_seed

    class KeepingScorer(Scorer):
        """Keeps the examples: `Language.evaluate` predicts on copies of the given ones."""

        kept: Sequence["Example"] = ()

        def score(self, examples: Any, **kwargs: Any) -> Dict[str, Any]:
            self.kept = list(examples)
            return super().score(self.kept, **kwargs)

    fix_random_seed()
    setup_gpu(use_gpu, silent=silent)
    nlp = load_model(model)
    examples = list(Corpus(corpus)(nlp))
    if not examples:
        raise ValueError(f"{corpus} has no document to evaluate on.")
    scorer = KeepingScorer(nlp=nlp)
    scores = with_defined_areas(nlp.evaluate(examples, scorer=scorer))
    nested = _nested_key(nlp)
    predictions = _predictions(nlp, scores, scorer.kept, nested)
    words = sum(len(example.predicted) for example in scorer.kept)
    seconds = words / scores["speed"] if scores.get("speed") else None
    files = [path for path in Path(nlp.path).rglob("*") if path.is_file()] if nlp.path else []
    size = sum(path.stat().st_size for path in files)
    run = {
        "model": str(model),
        "corpus": str(corpus),
        "trained_for": trained_for(nlp.config["training"].get("score_weights", {})),
        "overlapping": nested,
        "annotated": annotation_of(examples),
        "docs": len(examples),
        "words": words,
        "docs_per_second": round(len(examples) / seconds, 2) if seconds else None,
        "peak_memory_mb": peak_memory_mb(),
        "model_mb": round(size / 1e6, 2) if nlp.path else None,
        **_device(),
    }
    return {**scores, "run": run}, predictions


def annotation_of(examples: Sequence["Example"]) -> List[str]:
    """RETURNS (List[str]): The attributes that gold docs are annotated with, as in Python."""
    found: Dict[str, None] = {}
    for gold in (example.reference for example in examples):
        found.update({"doc.cats": None} if gold.cats else {})
        found.update({"doc.ents": None} if gold.has_annotation("ENT_IOB") else {})
        found.update((f"doc.spans[{key!r}]", None) for key in gold.spans)
    return sorted(found)


def is_scored(scores: Mapping[str, Any], predictions: Predictions) -> bool:
    """RETURNS (bool): Whether a text has annotation that the pipeline predicts, of any kind. spaCy
    reports a score of 0 for a text classifier otherwise."""
    if any(row.cats or row.ents or row.spans for row in predictions.rows):
        return True
    others = [v for k, v in scores.items() if not k.startswith(("cats_", "token_", "speed"))]
    return any(isinstance(value, float) for value in others)


def _predictions(
    nlp: "Language",
    scores: Dict[str, Any],
    examples: Sequence["Example"],
    nested: Optional[str],
) -> Predictions:
    pipe = _last(nlp, "doc.cats")
    keys = [key for key in span_keys(scores) if key != nested]
    predictions = Predictions(
        labels=list(pipe.labels) if pipe is not None else [],
        exclusive=is_exclusive(scores),
        scores={
            name: scores[name]
            for name in (*_MARKS, *(f"spans_{key}_f" for key in keys))
            if isinstance(scores.get(name), float)
        },
    )
    threshold = getattr(pipe, "cfg", {}).get("threshold") if pipe is not None else None
    predictions.threshold = 0.5 if threshold is None else float(threshold)
    with_ents = scores.get("ents_f") is not None
    for example in examples:
        row = Row(example.reference.text)
        if predictions.labels:
            row.cats = _cats_row(example, predictions)
        if with_ents and has_gold(example.reference, nested):
            row.ents = _ents_row(example) if nested is None else _nested_row(example, nested)
        predictions.rows.append(row)
    for key in keys:
        annotated = [i for i, eg in enumerate(examples) if key in eg.reference.spans]
        scored = _scored(nlp, [examples[i] for i in annotated], key)
        for i, one in zip(annotated, scored, strict=True):
            predictions.rows[i].spans[key] = _spans_row(one, key)
    return predictions


def _nested_key(nlp: "Language") -> Optional[str]:
    """The key of the spans that the scores of entities are of, if these may overlap."""
    pipe = _last(nlp, "doc.ents")
    return pipe.spans_key if isinstance(pipe, EntityRecognizer) and pipe.overlapping else None


def _last(nlp: "Language", attribute: str) -> Any:
    """The last component with labels that sets an attribute; the scores are of what it sets."""
    for name, pipe in reversed(nlp.pipeline):
        if attribute in nlp.get_pipe_meta(name).assigns and getattr(pipe, "labels", ()):
            return pipe
    return None


def _cats_row(example: "Example", predictions: Predictions) -> Optional[CatsRow]:
    gold, scores = example.reference.cats, example.predicted.cats
    other = sorted(k for k, value in gold.items() if value > 0 and k not in predictions.labels)
    values: List[Optional[float]] = [gold.get(label) for label in predictions.labels]
    if predictions.exclusive:
        if not other and not any(values):
            return None
        values = [value or 0.0 for value in values]
    elif all(value is None for value in values):
        return None
    return CatsRow(values, [scores.get(label, 0.0) for label in predictions.labels], other)


def _ents_row(example: "Example") -> EntsRow:
    """Entities as spaCy's `get_ner_prf` counts them: predictions are mapped to gold tokens, and
    those in tokens without annotation are left out."""
    gold = example.reference
    to_gold = example.alignment.x2y
    found: List[Entity] = []
    scores: List[Optional[float]] = []
    for entity in example.predicted.ents:
        tokens = to_gold[entity.start : entity.end]
        if not len(tokens):
            continue
        span = gold[int(tokens[0]) : int(tokens[-1]) + 1]
        if all(token.ent_iob != 0 for token in span):
            found.append((span.start_char, span.end_char, entity.label_))
            scores.append(read_score(entity))
    return EntsRow([(e.start_char, e.end_char, e.label_) for e in gold.ents], found, scores)


def _nested_row(example: "Example", key: str) -> EntsRow:
    """Entities that may overlap, as `score_overlapping` counts them."""
    known = read_gold(example, key).known
    found = [
        (span, score)
        for span, score in _with_scores(example.predicted, key)
        if known[span.start : span.end].all()
    ]
    return _row_of(example, gold_entities(example.reference, key), found)


def _scored(nlp: "Language", examples: List["Example"], key: str) -> List["Example"]:
    """Annotated examples as the component that sets the spans scores them."""
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, SpanClassifier) and pipe.key == key:
            return pipe.scored_examples(examples)
    return examples


def _spans_row(example: "Example", key: str) -> EntsRow:
    gold = example.reference.spans.get(key, ())
    return _row_of(example, gold, _with_scores(example.predicted, key))


def _with_scores(doc: "Doc", key: str) -> List[Tuple["Span", Optional[float]]]:
    group = doc.spans.get(key, [])
    return list(zip(group, group_scores(group), strict=True))


def _row_of(
    example: "Example", gold: Iterable["Span"], found: Iterable[Tuple["Span", Optional[float]]]
) -> EntsRow:
    """Spans as spaCy's `Scorer.score_spans` counts them: predictions are mapped to gold tokens, and
    equal ones count once."""
    mapped: Dict[Entity, Optional[float]] = {}
    for span, score in found:
        for own in example.get_aligned_spans_x2y([span], allow_overlap=True) if len(span) else ():
            mapped.setdefault((own.start_char, own.end_char, own.label_), score)
    annotated = dict.fromkeys((s.start_char, s.end_char, s.label_) for s in gold if len(s))
    return EntsRow([*annotated], [*mapped], [*mapped.values()])


def _device() -> Dict[str, Any]:
    import torch

    used = torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0
    return {
        "device": torch.cuda.get_device_name() if used else "cpu",
        "threads": torch.get_num_threads(),
        "gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1) if used else None,
    }
