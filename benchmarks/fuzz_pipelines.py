"""Small pipelines for `benchmarks.fuzz`: every kind of component on every family of tokenizers."""

from pathlib import Path
from typing import Any, Callable, Dict, List

FAMILIES = ("wordpiece", "byte-bpe", "unigram")
KINDS = ("separate", "shared", "setfit")
_WORDS = "the a film actor scene was is lovely dull great never warm and of in".split()
_LABELED = (
    ("the lovely film", 1.0, [(11, 15, "FILM")]),
    ("a dull actor", 0.0, [(7, 12, "ACTOR")]),
    ("great and warm", 1.0, []),
    ("never in the scene", 0.0, []),
)


def save_pipeline(path: Path, kind: str, encoder: Path) -> None:
    """Make a pipeline whose heads are initialized, and write it.

    path (Path): Directory of the pipeline.
    kind (str): "textcat", "ner", "separate" (both, with an encoder each), "shared" (both listen to
        one encoder) or "setfit".
    encoder (Path): Directory of the encoder.
    """
    import spacy
    from spacy.training import Example

    # English has 1,300 exceptions of the tokenizer, which take longer to load than all else here.
    nlp = spacy.blank("xx")
    own = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": str(encoder),
        "precision": "fp32",
        "device": "cpu",
    }
    heads = {"reprtune_textcat": "TextClassifier", "reprtune_ner": "TokenClassifier"}
    if kind == "setfit":
        heads = {"reprtune_setfit": "SentenceClassifier"}
    elif f"reprtune_{kind}" in heads:
        heads = {f"reprtune_{kind}": heads[f"reprtune_{kind}"]}
    block: Dict[str, Any] = own
    if kind == "shared":
        block = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}
        nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": own})
    for factory, head in heads.items():
        model = {"@architectures": f"spacy_reprtune.{head}.v1", "encoder": block}
        nlp.add_pipe(factory, name=factory.partition("_")[2], config={"model": model})
    examples = [
        Example.from_dict(
            nlp.make_doc(text), {"cats": {"good": good, "bad": 1.0 - good}, "entities": entities}
        )
        for text, good, entities in _LABELED * 2
    ]
    nlp.initialize(lambda: examples)
    nlp.to_disk(path)


def load_english(path: Path) -> Any:
    """RETURNS (Language): A saved pipeline with the English tokenizer instead of its own."""
    import spacy

    return spacy.load(path, config={"nlp.lang": "en"}, exclude=["tokenizer"])


def save_encoder(path: Path, family: str) -> None:
    """Write a random encoder of two blocks with a tokenizer of a family.

    path (Path): The directory.
    family (str): "wordpiece" (BERT), "byte-bpe" (RoBERTa) or "unigram" with byte fallback (as
        multilingual encoders have it).
    """
    import torch
    from tokenizers import processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = _TOKENIZERS[family](special)
    ids = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    names = dict(zip(keys, special, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


_LETTERS = [chr(k) for k in range(97, 123)]


def _wordpiece(special: List[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = dict.fromkeys([*special, *_WORDS, *_LETTERS, *(f"##{x}" for x in _LETTERS)])
    vocabulary = {piece: k for k, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _byte_bpe(special: List[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = {piece: k for k, piece in enumerate([*special, *alphabet, "th", "the"])}
    merges = [("t", "h"), ("th", "e")]
    backend = Tokenizer(models.BPE(vocab=pieces, merges=merges, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return backend


def _unigram(special: List[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    scored = [(piece, 0.0) for piece in special]
    scored += [(f"<0x{k:02X}>", -9.0) for k in range(256)]
    scored += [(piece, -3.0) for piece in (*_LETTERS, "▁", *(f"▁{word}" for word in _WORDS))]
    backend = Tokenizer(models.Unigram(scored, unk_id=1, byte_fallback=True))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend


_TOKENIZERS: Dict[str, Callable[[List[str]], Any]] = {
    "wordpiece": _wordpiece,
    "byte-bpe": _byte_bpe,
    "unigram": _unigram,
}
