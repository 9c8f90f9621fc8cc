"""Score a pipeline as `spacy evaluate` does, and keep its prediction for each document."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from ..components.entities import read_score
from ..memory import peak_memory_mb
from .headline import is_exclusive, trained_for, with_defined_areas
from .predictions import CatsRow, Entity, EntsRow, Predictions, Row

if TYPE_CHECKING:
    from spacy.language import Language
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
    predictions = _predictions(nlp, scores, scorer.kept)
    words = sum(len(example.predicted) for example in scorer.kept)
    seconds = words / scores["speed"] if scores.get("speed") else None
    files = [path for path in Path(nlp.path).rglob("*") if path.is_file()] if nlp.path else []
    size = sum(path.stat().st_size for path in files)
    run = {
        "model": str(model),
        "corpus": str(corpus),
        "trained_for": trained_for(nlp.config["training"].get("score_weights", {})),
        "docs": len(examples),
        "words": words,
        "docs_per_second": round(len(examples) / seconds, 2) if seconds else None,
        "peak_memory_mb": peak_memory_mb(),
        "model_mb": round(size / 1e6, 2) if nlp.path else None,
        **_device(),
    }
    return {**scores, "run": run}, predictions


def _predictions(
    nlp: "Language", scores: Dict[str, Any], examples: Sequence["Example"]
) -> Predictions:
    pipe = _cats_pipe(nlp)
    predictions = Predictions(
        labels=list(pipe.labels) if pipe is not None else [],
        exclusive=is_exclusive(scores),
        scores={key: scores[key] for key in _MARKS if isinstance(scores.get(key), float)},
    )
    threshold = getattr(pipe, "cfg", {}).get("threshold") if pipe is not None else None
    predictions.threshold = 0.5 if threshold is None else float(threshold)
    with_ents = scores.get("ents_f") is not None
    for example in examples:
        row = Row(example.reference.text)
        if predictions.labels:
            row.cats = _cats_row(example, predictions)
        if with_ents and example.reference.has_annotation("ENT_IOB"):
            row.ents = _ents_row(example)
        predictions.rows.append(row)
    return predictions


def _cats_pipe(nlp: "Language") -> Any:
    """The last text classifier, whose scores spaCy reports."""
    for name, pipe in reversed(nlp.pipeline):
        if "doc.cats" in nlp.get_pipe_meta(name).assigns and getattr(pipe, "labels", ()):
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


def _device() -> Dict[str, Any]:
    import torch

    used = torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0
    return {
        "device": torch.cuda.get_device_name() if used else "cpu",
        "threads": torch.get_num_threads(),
        "gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1) if used else None,
    }
