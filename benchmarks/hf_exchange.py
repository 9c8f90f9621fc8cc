"""Hugging Face classifiers before and after import-hf: probabilities, and entities of both.

Checkpoints of seven families have random weights, drawn large enough for clear predictions. Two
more are the embedded encoder after training in a plain loop of transformers: polarity of film
reviews, and entities of WNUT 17. Each is imported, and both sides classify the same texts. The
difference in probability is over all labels of all texts or, for tags, over all first pieces of
tokens. Entities are those of `pipeline("token-classification", aggregation_strategy="first")`,
which takes the best tag of each word, and those of the pipeline, the best legal sequence of tags.
Their agreement is the F-score of one side's entities against the other's. Random weights make many
illegal sequences of tags, so for those it says how often the two ways of decoding differ at worst.
Texts are computed in batches here and one by one there; tags one by one on both sides.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from benchmarks import common, data

# Names that two families use for what others call hidden_size and so on.
FAMILIES: Dict[str, Dict[str, int]] = {
    "bert": {},
    "roberta": {},
    "distilbert": {"dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4},
    # What tells these two from BERT and DistilBERT: narrower embeddings, relative positions.
    "electra": {"embedding_size": 32},
    "deberta-v2": {"pooler_hidden_size": 64, "relative_attention": True},
    "xlm-roberta": {},
    "mpnet": {},
}
LABELS = ["NEGATIVE", "NEUTRAL", "POSITIVE"]
TAGS = ["O", "B-PERSON", "I-PERSON", "B-PLACE", "I-PLACE"]
Span = Tuple[int, int, str]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="texts per checkpoint")
    parser.add_argument("--steps", type=int, default=200, help="steps of the plain loops")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    if args.quick:
        args.texts, args.steps = 200, 100
    reviews = data.rotten_tomatoes(args)
    sentences = data.tagged(args, "wnut17")
    texts = reviews["test"].texts + reviews["train"].texts
    words = sentences["test"] + sentences["train"]
    spoken = [" ".join(item.words) for item in words if 4 < len(item.words) < 50]
    figures: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for family in FAMILIES:
            path = _random(family, work / f"{family}-texts", LABELS)
            figures[f"{family}_texts"] = {"difference": _texts(path, texts[: args.texts])}
            path = _random(family, work / f"{family}-tags", TAGS)
            figures[f"{family}_tags"] = _tags(path, spoken[: args.texts])
            common.log(f"{family}: {figures[f'{family}_texts']}, {figures[f'{family}_tags']}")
        path = _train_texts(reviews["train"], work / "trained-texts", args)
        figures["trained_texts"] = {"difference": _texts(path, texts[: args.texts])}
        path = _train_tags(sentences["train"], work / "trained-tags", args)
        figures["trained_tags"] = _tags(path, spoken[: args.texts])
    common.emit("hf_exchange", args, figures)


def _auto(labels: Sequence[str]) -> Any:
    import transformers

    kind = "TokenClassification" if "O" in labels else "SequenceClassification"
    return getattr(transformers, f"AutoModelFor{kind}")


def _names(labels: Sequence[str]) -> Dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {v: i for i, v in enumerate(labels)}}


def _random(family: str, path: Path, labels: Sequence[str]) -> Path:
    """RETURNS (Path): A checkpoint with random weights and the embedded encoder's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    # One seed per family: with the same one, families whose layers have the same shapes would get
    # the same weights, and count as one checkpoint.
    common.seed_all(list(FAMILIES).index(family))
    tokenizer = AutoTokenizer.from_pretrained(common.encoder_directory())
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes = {"vocab_size": len(tokenizer), "intermediate_size": 128, "pad_token_id": 0}
    own = {**small, **sizes, **FAMILIES[family], **_names(labels)}
    model = _auto(labels).from_config(AutoConfig.for_model(family, **own))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.mul_(8.0)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _train_texts(train: data.Texts, path: Path, args: argparse.Namespace) -> Path:
    labels = sorted(set(train.labels))
    batches = [
        (
            [train.texts[i] for i in part],
            lambda _, part=part: [labels.index(train.labels[i]) for i in part],
        )
        for part in _parts(len(train.texts), args.steps)
    ]
    return _train(labels, batches, path, split=False)


def _train_tags(train: List[data.Tagged], path: Path, args: argparse.Namespace) -> Path:
    tags = [data.bio_tags(item) for item in train]
    names = sorted({tag for own in tags for tag in own})

    def gold(encoding: Any, part: List[int]) -> List[List[int]]:
        rows = []
        for row, i in enumerate(part):
            words = encoding.word_ids(row)
            first = [w is not None and w not in words[:k] for k, w in enumerate(words)]
            own = [
                names.index(tags[i][w]) if f else -100 for w, f in zip(words, first, strict=True)
            ]
            rows.append(own)
        return rows

    batches = [
        ([train[i].words for i in part], lambda encoding, part=part: gold(encoding, part))
        for part in _parts(len(train), args.steps)
    ]
    return _train(names, batches, path, split=True)


def _parts(n: int, steps: int, size: int = 16) -> List[List[int]]:
    order = common.order(n, 0)
    return [[order[(s * size + k) % n] for k in range(size)] for s in range(steps)]


def _train(labels: List[str], batches: List[Any], path: Path, *, split: bool) -> Path:
    """Train the embedded encoder with a new head, as the examples of transformers do."""
    import torch
    from transformers import AutoTokenizer

    common.seed_all(0)
    tokenizer = AutoTokenizer.from_pretrained(common.encoder_directory())
    model = _auto(labels).from_pretrained(common.encoder_directory(), **_names(labels)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    settings = {"padding": True, "truncation": True, "max_length": 256, "return_tensors": "pt"}
    for texts, gold in batches:
        encoding = tokenizer(texts, is_split_into_words=split, **settings)
        loss = model(**encoding, labels=torch.tensor(gold(encoding))).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    common.log(f"{path.name}: loss of the last batch {loss.item():.3f}")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _theirs(path: Path, labels: Sequence[str]) -> Tuple[Any, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    # Not the types of BERT's two sentences, which other families do not take.
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return _auto(labels).from_pretrained(path).eval(), tokenizer


def _texts(path: Path, texts: List[str]) -> float:
    """RETURNS (float): Largest difference in the probability of a label of a text."""
    import torch

    from spacy_reprtune.exchange.huggingface import import_huggingface

    nlp = import_huggingface(str(path))
    labels = nlp.get_pipe("textcat").labels  # type: ignore[attr-defined]
    model, tokenizer = _theirs(path, labels)
    worst = 0.0
    for doc in nlp.pipe(texts):
        with torch.no_grad():
            inputs = tokenizer(doc.text, return_tensors="pt")
            wanted = model(**inputs).logits[0].softmax(-1)
        found = torch.tensor([doc.cats[label] for label in labels])
        worst = _worse(worst, found, wanted)
    return worst


def _worse(worst: float, found: Any, wanted: Any) -> float:
    """RETURNS (float): The larger of a difference and that of two tensors."""
    difference = float((found - wanted).abs().max())
    # `max` would pass over NaN.
    assert difference == difference, "A probability is not a number."
    return max(worst, difference)


def _tags(path: Path, texts: List[str]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Largest difference in the probability of a token's tag, agreement
    of entities (None where neither side found any), and how many each side found."""
    import torch
    from transformers import pipeline

    from spacy_reprtune.exchange.huggingface import import_huggingface

    nlp = import_huggingface(str(path))
    pipe: Any = nlp.get_pipe("ner")
    model, tokenizer = _theirs(path, TAGS)
    find = pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first"
    )
    names = [model.config.label2id[tag] for tag in pipe.tags.names]
    worst, n_equal, n_ours, n_theirs = 0.0, 0, 0, 0
    for doc in nlp.pipe(texts):
        inputs = tokenizer(doc.text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        first = [inputs.char_to_token(token.idx) for token in doc]
        seen = [k for k, piece in enumerate(first) if piece is not None]
        wanted = logits[[first[k] for k in seen]][:, names].softmax(-1)
        found = torch.tensor(pipe.model.predict([doc]).logits)[seen].softmax(-1)
        worst = _worse(worst, found, wanted)
        ours = {(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents}
        theirs = {(row["start"], row["end"], row["entity_group"]) for row in find(doc.text)}
        n_equal += len(ours & theirs)
        n_ours += len(ours)
        n_theirs += len(theirs)
    total = n_ours + n_theirs
    agreement = round(2 * n_equal / total, 4) if total else None
    counts = {"entities": n_ours, "entities_of_transformers": n_theirs}
    return {"difference": worst, "equal_entities": agreement, **counts}


if __name__ == "__main__":
    main()
