"""Domain words as pieces of their own, in the vocabulary itself.

`add_tokens` of the tokenizers library would keep them outside of the vocabulary and search for them
in the raw text, which is slow and ignores where words begin. Here a WordPiece vocabulary gets the
word, and a BPE vocabulary gets the merges that lead to it, after all others.
"""

import json
from collections import Counter
from typing import Any, Dict, Iterable, List, Optional, Tuple

import torch

from ..encoder.pieces import PieceTokenizer, split_long
from .settings import VocabularyPart

# Shorter words are rarely specific to a domain.
MIN_LETTERS = 4


def extend_vocabulary(
    model: torch.nn.Module,
    tokenizer: PieceTokenizer,
    texts: Iterable[str],
    settings: VocabularyPart,
) -> Tuple[PieceTokenizer, Dict[str, Any]]:
    """Add the words that save the most pieces (Hong et al. 2021, AVocaDo, for the score).

    model (PreTrainedModel): The encoder, with its head if it has one. Its tables get new rows, each
        the mean of the rows of the pieces that the word had before.
    tokenizer (PieceTokenizer): Its tokenizer, which is not changed.
    texts (Iterable[str]): The text.
    settings (VocabularyPart): The `[vocabulary]` settings.
    RETURNS (Tuple[PieceTokenizer, Dict]): The new tokenizer, and how many pieces it saves.
    RAISES (ValueError): The tokenizer is of a kind that can't be extended.
    """
    backend = tokenizer.tokenizer.backend_tokenizer
    content = json.loads(backend.to_str())
    kind = content["model"].get("type") or ("BPE" if "merges" in content["model"] else "WordPiece")
    if kind not in ("WordPiece", "BPE"):
        raise ValueError(
            f"[vocabulary] extend = {settings.extend}, but the tokenizer is a {kind} tokenizer, "
            "and only WordPiece and BPE vocabularies can be extended. Set it to 0."
        )
    counts = _count_words(backend, texts)
    pieces = {word: [t.id for t in backend.model.tokenize(word)] for word in counts}
    wanted = _choose(counts, pieces, settings, content["model"].get("unk_token"), backend)
    before = _pieces_per_word(counts, pieces)
    first = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    rows: List[List[int]] = []
    for word in wanted:
        if kind == "WordPiece":
            content["model"]["vocab"][word] = first + len(rows)
            rows.append(pieces[word])
        else:
            rows.extend(
                _add_merges(content["model"], word, backend, pieces[word], first + len(rows))
            )
    new = _with_content(tokenizer, content)
    _add_rows(model, first, rows)
    after = new.tokenizer.backend_tokenizer.model
    new_pieces = {word: [t.id for t in after.tokenize(word)] for word in counts}
    return new, {
        "added": len(rows),
        "words": len(wanted),
        "pieces_per_word_before": round(before, 4),
        "pieces_per_word_after": round(_pieces_per_word(counts, new_pieces), 4),
    }


def _count_words(backend: Any, texts: Iterable[str]) -> Dict[str, int]:
    counts: Counter = Counter()
    for text in texts:
        for part in split_long(text):
            if backend.normalizer is not None:
                part = backend.normalizer.normalize_str(part)
            if backend.pre_tokenizer is None:
                counts.update(part.split())
            else:
                counts.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(part))
    return counts


def _choose(
    counts: Dict[str, int],
    pieces: Dict[str, List[int]],
    settings: VocabularyPart,
    unknown: Optional[str],
    backend: Any,
) -> List[str]:
    unknown_id = backend.token_to_id(unknown) if unknown else None
    saved = {
        word: count * (len(pieces[word]) - 1)
        for word, count in counts.items()
        if count >= settings.min_count
        and len(pieces[word]) > 1
        and unknown_id not in pieces[word]
        and sum(c.isalpha() for c in word) >= MIN_LETTERS
        # A byte-level word begins with the mark of the space before it.
        and word[1:].isalpha()
    }
    # Ties are broken by the word, so that a restart makes the same choice.
    return sorted(saved, key=lambda word: (-saved[word], word))[: settings.extend]


def _add_merges(
    model: Dict[str, Any], word: str, backend: Any, pieces: List[int], first: int
) -> List[List[int]]:
    """RETURNS (List[List[int]]): The old pieces of each new one: of each prefix and of the word."""
    names = [backend.id_to_token(piece) for piece in pieces]
    as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
    known = {pair if as_text else tuple(pair) for pair in model["merges"][-4096:]}
    rows, left = [], names[0]
    for i, right in enumerate(names[1:], start=2):
        pair = f"{left} {right}" if as_text else (left, right)
        left += right
        if left not in model["vocab"]:
            model["vocab"][left] = first + len(rows)
            rows.append(pieces[:i])
        if pair not in known:
            model["merges"].append(pair if as_text else list(pair))
    return rows


def _with_content(tokenizer: PieceTokenizer, content: Dict[str, Any]) -> PieceTokenizer:
    files = tokenizer.files()
    files["tokenizer.json"] = json.dumps(content, ensure_ascii=False).encode("utf8")
    # These are written again from tokenizer.json when the encoder is saved.
    kept = {k: v for k, v in files.items() if k not in ("vocab.txt", "vocab.json", "merges.txt")}
    return PieceTokenizer.from_files(kept)


def _add_rows(model: torch.nn.Module, first: int, rows: List[List[int]]) -> None:
    table = model.get_input_embeddings().weight
    needed = first + len(rows)
    if needed > len(table):
        model.resize_token_embeddings(needed, mean_resizing=False)
    table = model.get_input_embeddings().weight
    tables = [table]
    projection = model.get_output_embeddings()
    if projection is not None and projection.weight is not table:
        tables.append(projection.weight)
    if projection is not None and projection.bias is not None:
        tables.append(projection.bias)
    with torch.no_grad():
        for i, pieces in enumerate(rows):
            for values in tables:
                values[first + i] = values[pieces].mean(0)


def _pieces_per_word(counts: Dict[str, int], pieces: Dict[str, List[int]]) -> float:
    total = sum(counts.values())
    return sum(count * len(pieces[word]) for word, count in counts.items()) / max(total, 1)
