"""Tokenized text in memory-mapped files, made once for each text and tokenizer."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

import numpy
from numpy.typing import NDArray

from ..copies import runs_of, words_of
from ..encoder.pieces import PieceTokenizer, split_long
from ..files import replaced_directory
from ..progress import bar, on_terminal
from .settings import CorpusPart, paths_of
from .text import find_files, read_documents

logger = logging.getLogger(__name__)

# Part of the key, so that files with another layout are not found.
LAYOUT = 1
# Texts that share this many words in a row count as the same text, as in Brown et al. 2020 (GPT-3,
# appendix C).
SHINGLE = 13
# Characters that are tokenized at once.
SLICE_CHARS = 2_000_000
# How many overlaps with excluded texts are written down for the user to look at.
SHOWN_OVERLAPS = 200
PARTS = ("train", "heldout", "general")


@dataclass(frozen=True)
class Part:
    """Tokenized documents in a row, without special pieces.

    pieces (NDArray): Vocabulary ids of all documents, shape (n_pieces,), mapped from a file.
    starts (NDArray[uint8]): 1 for the first piece of a word, else 0; shape (n_pieces,).
    offsets (NDArray[int64]): Where each document starts, and the end; shape (n_documents + 1,).
    """

    pieces: NDArray
    starts: NDArray[numpy.uint8]
    offsets: NDArray[numpy.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Corpus:
    """The training text, the held-out text, and the general sample if there is one.

    meta: Counts of documents read, dropped and kept, and of pieces, by name.
    """

    path: Path
    train: Part
    heldout: Part
    general: Optional[Part]
    meta: Dict[str, Any]


def build_corpus(
    settings: CorpusPart, tokenizer: PieceTokenizer, cache_dir: Path, *, progress: bool = False
) -> Corpus:
    """Tokenize the text, unless that has been done before.

    settings (CorpusPart): The `[corpus]` settings.
    tokenizer (PieceTokenizer): The encoder's tokenizer.
    cache_dir (Path): The directory that has one directory per text and tokenizer.
    progress (bool): Whether to show a progress bar.
    RETURNS (Corpus): The corpus.
    RAISES (ValueError): A file can't be read as text, there is no text, or no text is held out.
    """
    files = find_files(paths_of(settings.train))
    excluded = find_files(paths_of(settings.exclude))
    general = find_files(paths_of(settings.general))
    path = cache_dir / _key(settings, tokenizer, files, excluded, general)
    if not (path / "meta.json").is_file():
        with replaced_directory(path) as fresh:
            _write(fresh, settings, tokenizer, files, excluded, general, progress)
    meta = json.loads((path / "meta.json").read_text(encoding="utf8"))
    parts = {name: _open(path / name, meta["dtype"]) for name in PARTS if name in meta["pieces"]}
    return Corpus(path, parts["train"], parts["heldout"], parts.get("general"), meta)


def read_texts(settings: CorpusPart, paths: Iterable[Path]) -> Iterator[str]:
    """YIELDS (str): The documents of files, one file after the other."""
    for path in paths:
        yield from read_documents(path, unit=settings.unit, text_key=settings.text_key)


def word_starts(text: str, encoding: Any) -> List[bool]:
    """Find the pieces that begin a word.

    text (str): The text.
    encoding (tokenizers.Encoding): Its pieces. If the tokenizer cuts text into words first, these
        are the words; otherwise words are separated by white space.
    RETURNS (List[bool]): For each piece, whether it begins a word.
    """
    words = encoding.word_ids
    if len(set(words)) > 1 or len(words) < 2:
        # An added piece in the text (None) is a word of its own.
        return [i == 0 or w is None or w != words[i - 1] for i, w in enumerate(words)]
    starts, end = [], 0
    for first, last in encoding.offsets:
        starts.append(not starts or any(c.isspace() for c in text[end : first + 1]))
        end = max(end, last)
    return starts


class _Writer:
    """Appends tokenized documents to the files of a part."""

    def __init__(self, path: Path, tokenizer: PieceTokenizer, dtype: str) -> None:
        path.mkdir()
        self.path, self.dtype = path, dtype
        self._encode = tokenizer.tokenizer.backend_tokenizer.encode_batch
        self._pieces = (path / "pieces.bin").open("wb")
        self._starts = (path / "starts.bin").open("wb")
        self._lengths: List[int] = []
        self._texts: List[str] = []
        self._chars = 0

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._chars += len(text)
        if self._chars >= SLICE_CHARS:
            self._flush()

    def close(self) -> Tuple[int, int]:
        """RETURNS (Tuple[int, int]): Number of documents and of pieces."""
        self._flush()
        self._pieces.close()
        self._starts.close()
        offsets = numpy.cumsum([0, *self._lengths], dtype=numpy.int64)
        numpy.save(self.path / "offsets.npy", offsets, allow_pickle=False)
        return len(self._lengths), int(offsets[-1])

    def _flush(self) -> None:
        parts = [(i, part) for i, text in enumerate(self._texts) for part in split_long(text)]
        # The tokenizers library spreads a batch over all cores.
        encodings = self._encode([part for _, part in parts], add_special_tokens=False)
        lengths = [0] * len(self._texts)
        for (i, part), encoding in zip(parts, encodings, strict=True):
            lengths[i] += len(encoding.ids)
            self._pieces.write(numpy.asarray(encoding.ids, dtype=self.dtype).tobytes())
            self._starts.write(bytes(word_starts(part, encoding)))
        self._lengths.extend(lengths)
        self._texts, self._chars = [], 0


def _overlap(words: List[str], excluded: Set[str], runs: Set[Tuple[str, ...]]) -> Optional[str]:
    """What these words share with a text that must not be trained on, if anything."""
    if " ".join(words) in excluded:
        return "the same text"
    shared = any(run in runs for run in runs_of(words, SHINGLE))
    return f"{SHINGLE} words in a row" if shared else None


def _write(
    path: Path,
    settings: CorpusPart,
    tokenizer: PieceTokenizer,
    files: List[Path],
    excluded_files: List[Path],
    general_files: List[Path],
    progress: bool,
) -> None:
    dtype = "uint16" if len(tokenizer.tokenizer) <= 1 << 16 else "uint32"
    excluded: Set[str] = set()
    runs: Set[Tuple[str, ...]] = set()
    for text in read_texts(settings, excluded_files):
        excluded.add(" ".join(words := words_of(text)))
        runs.update(runs_of(words, SHINGLE))
    meta: Dict[str, Any] = {"dtype": dtype, "read": 0, "duplicates": 0, "excluded": 0}
    writers = {name: _Writer(path / name, tokenizer, dtype) for name in ("train", "heldout")}
    seen: Set[bytes] = set()
    overlaps: List[Dict[str, str]] = []
    texts = read_texts(settings, files)
    total = _count_lines(settings, files) if progress and on_terminal() else None
    for text in bar(texts, what="Tokenizing", unit="texts", total=total, shown=progress):
        meta["read"] += 1
        digest = hashlib.blake2b(text.encode("utf8"), digest_size=16).digest()
        if digest in seen:
            meta["duplicates"] += 1
            continue
        seen.add(digest)
        if excluded and (why := _overlap(words_of(text), excluded, runs)):
            meta["excluded"] += 1
            if len(overlaps) < SHOWN_OVERLAPS:
                overlaps.append({"why": why, "text": text})
            continue
        # Only the text decides, so it stays in its part when others are added or removed.
        share = int.from_bytes(digest[:8], "big") / 2**64
        writers["heldout" if share < settings.heldout else "train"].add(text)
    if general_files:
        writers["general"] = _Writer(path / "general", tokenizer, dtype)
        for text in read_texts(settings, general_files):
            writers["general"].add(text)
    counts = {name: writer.close() for name, writer in writers.items()}
    meta["documents"] = {name: documents for name, (documents, _) in counts.items()}
    meta["pieces"] = {name: pieces for name, (_, pieces) in counts.items()}
    _check(meta, settings)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in overlaps)
    (path / "overlap.jsonl").write_text(lines, encoding="utf8")
    (path / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf8")


def _count_lines(settings: CorpusPart, files: List[Path]) -> Optional[int]:
    """Count the documents, or return None where that takes long: not plain lines."""
    suffixes = {path.suffix.lower() for path in files}
    if settings.unit != "line" or suffixes & {".gz", ".spacy"}:
        return None
    total = 0
    for path in files:
        with path.open("rb") as file:
            total += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return total


def _check(meta: Dict[str, Any], settings: CorpusPart) -> None:
    names = ", ".join(str(path) for path in paths_of(settings.train))
    if not meta["read"] or not sum(meta["pieces"].values()):
        raise ValueError(f"There is no text in {names}: every document is empty.")
    if not meta["pieces"]["train"]:
        raise ValueError(
            f"Nothing is left to train on in {names}: of {meta['read']} documents "
            f"{meta['duplicates']} are duplicates, {meta['excluded']} overlap with excluded texts "
            f"and {meta['documents']['heldout']} are held out."
        )
    if not meta["pieces"]["heldout"]:
        raise ValueError(
            f"Nothing is held out: [corpus] heldout = {settings.heldout} of "
            f"{meta['documents']['train']} documents in {names} comes to none. Raise heldout, or "
            "set unit to 'line' or 'paragraph' so that there are more documents."
        )
    if "general" in meta["pieces"] and not meta["pieces"]["general"]:
        raise ValueError(f"There is no text in the general sample {settings.general}.")


def _open(path: Path, dtype: str) -> Part:
    offsets = numpy.load(path / "offsets.npy", allow_pickle=False)
    if not offsets[-1]:
        return Part(numpy.zeros(0, dtype), numpy.zeros(0, numpy.uint8), offsets)
    pieces = numpy.memmap(path / "pieces.bin", dtype=dtype, mode="r")
    starts = numpy.memmap(path / "starts.bin", dtype=numpy.uint8, mode="r")
    if not len(pieces) == len(starts) == offsets[-1]:
        raise ValueError(f"The tokenized corpus in {path} is damaged: delete the directory.")
    return Part(pieces, starts, offsets)


def _key(settings: CorpusPart, tokenizer: PieceTokenizer, *groups: List[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    how = [LAYOUT, settings.unit, settings.text_key, settings.heldout, SHINGLE]
    digest.update(json.dumps(how).encode("utf8"))
    digest.update(tokenizer.tokenizer.backend_tokenizer.to_str().encode("utf8"))
    for files in groups:
        digest.update(b"\0group")
        for path in files:
            # The suffix decides how a file is read; its place does not matter.
            digest.update(f"\0file{''.join(path.suffixes)}".encode())
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()
