"""Annotating and fine-tuning on a GPU beside the peers, and the memory that they take."""

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


def annotate(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Entities and classes of texts beside `pipeline(…)` of transformers
    at its best batch size."""
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
        ours = setup.trained(kind, encoder, texts)
        systems: Dict[str, Callable[[int], Any]] = {"ours": lambda _, n=ours: list(n.pipe(texts))}
        for size in HF_BATCH_SIZES if setup.on_gpu() else (8,):
            systems[f"hf_{size}"] = lambda _, p=peer, s=size: p(texts, batch_size=s)
        for system in systems.values():
            system(0)
        times = interleave(systems, args.repeats)
        best = min((n for n in times if n.startswith("hf")), key=lambda n: sum(times[n]))
        figures.update(ratio(f"{kind}_speedup_vs_hf_pipeline", times[best], times["ours"]))
        figures[f"{kind}_hf_best"] = best
        figures[f"{kind}_words_per_second"] = _speed(texts, times["ours"])
    return figures


def stock(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Words per second of spacy-transformers with spaCy's `ner`, on the
    texts of `annotate`; or why it was not run. It needs a transformers of its own: see
    `benchmarks.gpu.all --peer-site`."""
    texts = setup.some_texts(args, 8000 if setup.on_gpu() else 32)
    nlp = _stock(setup.make_encoder(texts), texts)
    if nlp is None:
        return {"not_run": "spacy-transformers is not installed"}
    systems = {"spacy_transformers": lambda _: list(nlp.pipe(texts))}
    systems["spacy_transformers"](0)
    times = interleave(systems, args.repeats)["spacy_transformers"]
    return {"ner_words_per_second": _speed(texts, times)}


def _speed(texts: List[str], times: List[float]) -> int:
    """RETURNS (int): Words per second."""
    import spacy

    make_doc = spacy.blank("en").make_doc
    return round(sum(len(make_doc(text)) for text in texts) / statistics.median(times))


def fine_tune(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Joint training beside the `Trainer`, both in bf16 on a GPU, with
    short texts and with texts of 512 pieces."""
    figures: Dict[str, Any] = {}
    size = BATCH if setup.on_gpu() else 4
    # So many that what a `Trainer` does once hardly counts.
    n_short, n_long = (200, 40) if setup.on_gpu() else (2, 2)
    short = setup.some_texts(args, n_short * size)
    starts = range(n_long * size)
    long = [" ".join(short[i % len(short)] for i in range(k, k + 40)) for k in starts]
    encoder = setup.make_encoder(short)
    for name, texts, steps in (("short", short, n_short), (str(LONG_PIECES), long, n_long)):
        nlp = setup.trained("textcat", encoder, texts, window=LONG_PIECES)
        examples = setup.examples_of(nlp, texts)
        peer = _HFTrainer(encoder, texts, size)
        systems: Dict[str, Callable[[int], Any]] = {
            "ours": lambda _, n=nlp, e=examples, k=steps: setup.train(n, e, steps=k, size=size),
            "hf_trainer": lambda _, p=peer, k=steps: p.train(k),
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
    nlp = setup.trained("ner", setup.make_encoder(texts), texts)
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
    trained = setup.trained("textcat", setup.make_encoder(texts), rows, window=LONG_PIECES)
    examples = setup.examples_of(trained, rows)
    peak("step_of_64_times_512", lambda: setup.train(trained, examples, steps=1, size=size))
    return figures


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
        self.size = size
        # Once, as ours, which remembers the pieces of training texts.
        rows = self.tokenizer(texts, truncation=True, max_length=LONG_PIECES)
        self.data = [
            {**{name: rows[name][i] for name in rows}, "labels": i % 2} for i in range(len(texts))
        ]

    def train(self, steps: int) -> None:
        from transformers import Trainer, TrainingArguments

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
        Trainer(self.model, arguments, data_collator=self.collate, train_dataset=self.data).train()
