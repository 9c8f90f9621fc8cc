"""Annotating and fine-tuning on a GPU beside the peers, and where the time of a pipeline goes."""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from benchmarks import common
from benchmarks.common import interleave, ratio
from benchmarks.gpu import setup

HF_BATCH_SIZES = (32, 128, 512)
BATCH = 64
LONG_PIECES = 512


def host(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Words per second of each part of `nlp.pipe`, and of the whole."""
    texts = setup.some_texts(args, 20_000 if setup.on_gpu() else 64)
    nlp = _recognizer(texts, precision="auto")
    pipe = nlp.get_pipe("ner")
    docs = [nlp.make_doc(text) for text in texts]
    words = sum(len(doc) for doc in docs)
    list(nlp.pipe(texts[:BATCH]))
    predicted = pipe.predict(docs)
    steps: Dict[str, Callable[[int], Any]] = {
        "make_doc": lambda _: [nlp.make_doc(text) for text in texts],
        "tokenize": lambda _: pipe.encoder.tokenizer(texts, offsets=True),
        "tokenize_compute_decode": lambda _: _wait(pipe.predict(docs)),
        "annotate": lambda _: pipe.set_annotations(docs, predicted),
        "pipe": lambda _: list(nlp.pipe(texts)),
    }
    times = interleave(steps, args.repeats)
    speeds = {name: words / statistics.median(own) for name, own in times.items()}
    return {
        **{f"{name}_words_per_second": round(speed) for name, speed in speeds.items()},
        "pipe_share_of_make_doc": round(speeds["pipe"] / speeds["make_doc"], 3),
    }


def annotate(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Entities and classes of texts beside `pipeline(…)` of transformers
    at its best batch size, and beside spacy-transformers where it is installed."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        pipeline,
    )

    texts = setup.some_texts(args, 8000 if setup.on_gpu() else 32)
    encoder = setup.make_encoder(texts)
    figures: Dict[str, Any] = {}
    for task, head in (
        ("text-classification", AutoModelForSequenceClassification),
        ("token-classification", AutoModelForTokenClassification),
    ):
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        model = head.from_pretrained(encoder, num_labels=5)
        settings = {"model": model, "tokenizer": tokenizer, "device": setup.device()}
        if setup.on_gpu():
            model.bfloat16()
        if task == "token-classification":
            settings["aggregation_strategy"] = "first"
        peer = pipeline(task, **settings)
        kind = "textcat" if task == "text-classification" else "ner"
        ours = _trained(kind, encoder, texts)
        systems: Dict[str, Callable[[int], Any]] = {"ours": lambda _, n=ours: list(n.pipe(texts))}
        for size in HF_BATCH_SIZES if setup.on_gpu() else (8,):
            systems[f"hf_{size}"] = lambda _, p=peer, s=size: p(texts, batch_size=s)
        stock = _stock(encoder, texts) if kind == "ner" else None
        if stock is not None:
            systems["spacy_transformers"] = lambda _, n=stock: list(n.pipe(texts))
        for system in systems.values():
            system(0)
        times = interleave(systems, args.repeats)
        best = min((n for n in times if n.startswith("hf")), key=lambda n: sum(times[n]))
        figures.update(ratio(f"{kind}_speedup_vs_hf_pipeline", times[best], times["ours"]))
        figures[f"{kind}_hf_best"] = best
        if stock is not None:
            peers = times["spacy_transformers"]
            figures.update(ratio("ner_speedup_vs_spacy_transformers", peers, times["ours"]))
    return figures


def fine_tune(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Joint training beside the `Trainer`, both in bf16 on a GPU, with
    short texts and with texts of 512 pieces."""
    figures: Dict[str, Any] = {}
    steps = 30 if setup.on_gpu() else 2
    size = BATCH if setup.on_gpu() else 4
    short = setup.some_texts(args, steps * size)
    long = [" ".join(short[i % len(short)] for i in range(k, k + 40)) for k in range(steps * size)]
    encoder = setup.make_encoder(short)
    for name, texts in (("short", short), (str(LONG_PIECES), long)):
        nlp = _trained("textcat", encoder, texts, window=LONG_PIECES)
        examples = setup.examples_of(nlp, texts)
        peer = _HFTrainer(encoder, texts, size)
        systems: Dict[str, Callable[[int], Any]] = {
            "ours": lambda _, n=nlp, e=examples: setup.train(n, e, steps=steps, size=size),
            "hf_trainer": lambda _, p=peer: p.train(steps),
        }
        for system in systems.values():
            system(0)
        times = interleave(systems, args.repeats)
        figures.update(ratio(f"speedup_vs_trainer_{name}", times["hf_trainer"], times["ours"]))
    return figures


def memory(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Peak memory of the device in GB for a long document, and for a
    training step of 64 texts of 512 pieces."""
    import torch

    texts = setup.some_texts(args, 256)
    words = 1_000_000 if setup.on_gpu() else 2000
    nlp = _recognizer(texts, precision="auto")
    nlp.max_length = 10**9
    long = " ".join(texts * (1 + words // sum(len(text.split()) for text in texts)))
    figures: Dict[str, Any] = {}

    def peak(name: str, call: Callable[[], Any]) -> None:
        if setup.on_gpu():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        call()
        used = torch.cuda.max_memory_allocated() / 2**30 if setup.on_gpu() else 0.0
        figures[f"{name}_gb"] = round(used, 2)

    peak("document_of_a_million_words", lambda: nlp(" ".join(long.split()[:words])))
    size = BATCH if setup.on_gpu() else 2
    rows = [" ".join(texts[k : k + 40]) for k in range(size)]
    trained = _trained("textcat", setup.make_encoder(texts), rows, window=LONG_PIECES)
    examples = setup.examples_of(trained, rows)
    peak("step_of_64_times_512", lambda: setup.train(trained, examples, steps=1, size=size))
    return figures


def _wait(found: Any) -> Any:
    import torch

    if setup.on_gpu():
        torch.cuda.synchronize()
    return found


def _recognizer(texts: List[str], *, precision: str) -> Any:
    return _trained("ner", setup.make_encoder(texts), texts, precision=precision)


def _trained(
    kind: str, encoder: Path, texts: List[str], *, precision: str = "auto", **settings: Any
) -> Any:
    nlp = setup.pipeline(kind, setup.encoder_config(encoder, precision, **settings))
    examples = setup.examples_of(nlp, texts[:64])
    nlp.initialize(lambda: examples)
    setup.train(nlp, examples, steps=2, size=min(16, len(examples)))
    return nlp


def _stock(encoder: Path, texts: List[str]) -> Any:
    """RETURNS (Optional[Language]): spacy-transformers with spaCy's `ner`, if it is here."""
    try:
        import spacy_transformers  # noqa: F401
    except ImportError:
        common.log("spacy-transformers is not installed: left out")
        return None
    import spacy

    if setup.on_gpu():
        # Without CuPy its model stays on the CPU, which would be no comparison.
        spacy.require_gpu()
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": {"name": str(encoder)}})
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    nlp.add_pipe("ner", config={"model": {"tok2vec": listener}})
    examples = setup.examples_of(nlp, texts[:64])
    nlp.initialize(lambda: examples)
    return nlp


class _HFTrainer:
    """`Trainer` as its documentation has it, with bf16 on a GPU."""

    def __init__(self, encoder: Path, texts: List[str], size: int) -> None:
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
        )

        self.tokenizer = AutoTokenizer.from_pretrained(encoder)
        self.model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
        self.collate = DataCollatorWithPadding(self.tokenizer)
        self.texts, self.size = texts, size

    def train(self, steps: int) -> None:
        from transformers import Trainer, TrainingArguments

        # From raw text on, as ours.
        rows = self.tokenizer(self.texts, truncation=True, max_length=LONG_PIECES)
        data = [
            {**{name: rows[name][i] for name in rows}, "labels": i % 2}
            for i in range(len(self.texts))
        ]
        arguments = TrainingArguments(
            tempfile.mkdtemp(prefix="gpu-trainer-"),
            per_device_train_batch_size=self.size,
            max_steps=steps,
            learning_rate=5e-5,
            bf16=setup.on_gpu(),
            use_cpu=not setup.on_gpu(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        Trainer(self.model, arguments, data_collator=self.collate, train_dataset=data).train()
