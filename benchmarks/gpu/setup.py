"""Encoders with random weights, texts and pipelines for the figures of one GPU.

Speed does not depend on what the weights say, so nothing has to be brought to a machine without a
network. Texts are those of rotten_tomatoes where the data is, else made-up ones of similar lengths.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from benchmarks import data
from benchmarks.gpu.mlm import BASE, TINY, VOCABULARY

PERSON, PLACE = "PERSON", "PLACE"
SHAPES = {
    "base": BASE,
    "minilm": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
}
# Padded pieces at once, as docs/gpu.md advises.
GPU_BATCH_PIECES = 32_768


def on_gpu() -> bool:
    """RETURNS (bool): Whether the figures are of a GPU. Otherwise everything is tiny and dry."""
    import torch

    return torch.cuda.is_available()


def device() -> str:
    """RETURNS (str): The encoder's `device`."""
    return "cuda" if on_gpu() else "cpu"


def some_texts(args: argparse.Namespace, n: int) -> List[str]:
    """RETURNS (List[str]): Texts of about 20 words."""
    root = Path(args.data or os.environ.get("REPRTUNE_DATA") or data.DEFAULT_DATA)
    if (root / "rotten_tomatoes").is_dir():
        found = data.rotten_tomatoes(args)["train"].texts
    else:
        rng = random.Random(0)
        words = ["".join(rng.choices("aeionrstl", k=rng.randint(2, 9))) for _ in range(5000)]
        found = [" ".join(rng.choices(words, k=rng.randint(3, 40))) for _ in range(5000)]
    random.Random(1).shuffle(found)
    return (found * (1 + n // len(found)))[:n]


def make_encoder(texts: List[str], shape: Optional[Dict[str, int]] = None) -> Path:
    """Save a BERT with random weights and a tokenizer for texts.

    texts (List[str]): What the tokenizer is made from.
    shape (Optional[Dict[str, int]]): Sizes; None for base size on a GPU and a tiny one elsewhere.
    RETURNS (Path): A new directory.
    """
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = Path(tempfile.mkdtemp(prefix="gpu-encoder-"))
    torch.manual_seed(0)
    shape = shape or (BASE if on_gpu() else TINY)
    BertModel(BertConfig(vocab_size=VOCABULARY, **shape)).save_pretrained(path)
    backend = BertWordPieceTokenizer()
    backend.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=512)
    tokenizer.save_pretrained(path)
    return path


def encoder_config(path: Path, precision: str, **settings: Any) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): An `Encoder.v1` on the device."""
    return {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": str(path),
        "precision": precision,
        "device": device(),
        **({"batch_pieces": GPU_BATCH_PIECES} if on_gpu() else {}),
        **settings,
    }


def pipeline(kind: str, encoder: Dict[str, Any]) -> Any:
    """Build a pipeline that is not initialized yet.

    kind (str): "textcat", "multilabel", "setfit", "ner", or "shared" for a classifier and a
        recognizer that listen to one encoder.
    encoder (Dict[str, Any]): See `encoder_config`.
    RETURNS (Language): The pipeline.
    """
    import spacy

    nlp = spacy.blank("en")
    heads = {
        "textcat": ("reprtune_textcat", "TextClassifier"),
        "multilabel": ("reprtune_textcat_multilabel", "TextClassifier"),
        "setfit": ("reprtune_setfit", "SentenceClassifier"),
        "ner": ("reprtune_ner", "TokenClassifier"),
    }
    names = ("textcat", "ner") if kind == "shared" else (kind,)
    if kind == "shared":
        nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder})
        width = (BASE if on_gpu() else TINY)["hidden_size"]
        encoder = {
            "@architectures": "spacy.Tok2VecListener.v1",
            "width": width,
            "upstream": "encoder",
        }
    for name in names:
        factory, architecture = heads[name]
        model = {"@architectures": f"spacy_reprtune.{architecture}.v1", "encoder": encoder}
        nlp.add_pipe(factory, name=name, config={"model": model})
    return nlp


def examples_of(nlp: Any, texts: List[str]) -> List[Any]:
    """RETURNS (List[Example]): Texts with labels by their length and entities by their letters,
    which can be learned in a few steps."""
    from spacy.tokens import Span
    from spacy.training import Example

    found = []
    for text in texts:
        doc = nlp.make_doc(text)
        long = float(len(doc) > 18)
        doc.cats = {"LONG": long, "SHORT": 1.0 - long}
        spans = [
            Span(doc, t.i, t.i + 1, label=PERSON if t.text[0] < "m" else PLACE)
            for t in doc
            if len(t.text) > 7 and t.is_alpha
        ]
        doc.set_ents(spans)
        found.append(Example(nlp.make_doc(text), doc))
    return found


def train(nlp: Any, examples: List[Any], *, steps: int, size: int) -> None:
    """Take steps with a rate that random weights learn from."""
    from thinc.api import Adam

    sgd = Adam(5e-5 if on_gpu() else 1e-3, use_averages=False)
    for step in range(steps):
        start = step * size % len(examples)
        nlp.update(examples[start : start + size], sgd=sgd)


def trained(
    kind: str, encoder: Path, texts: List[str], *, precision: str = "auto", **settings: Any
) -> Any:
    """RETURNS (Language): A pipeline after two steps on the first texts."""
    nlp = pipeline(kind, encoder_config(encoder, precision, **settings))
    examples = examples_of(nlp, texts[:64])
    nlp.initialize(lambda: examples)
    train(nlp, examples, steps=2, size=min(16, len(examples)))
    return nlp


def outputs(nlp: Any, texts: List[str]) -> Iterator[Tuple[Dict[str, float], Any, List[float]]]:
    """YIELDS (Tuple): Categories, entities, and scores of these, by text."""
    for doc in nlp.pipe(texts):
        ents = [(ent.start, ent.end, ent.label_) for ent in doc.ents]
        yield dict(doc.cats), ents, [float(ent._.score) for ent in doc.ents if ents]
