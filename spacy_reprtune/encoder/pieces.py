"""Turn texts into word pieces, with a fast tokenizer without truncation and padding."""

import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

# Longer texts are tokenized in parts, cut in front of white space: a fast tokenizer keeps some
# hundred bytes per piece until it is done, which for a book is more than the encoder's weights.
PART_CHARS = 100_000
# Memory for texts whose pieces are remembered during training, and the size of an entry without its
# text and pieces.
CACHED_BYTES = 200_000_000
_ENTRY_BYTES = 400
# Characters of words whose pieces are remembered, which takes some ten megabytes.
WORD_CHARS = 300_000


@dataclass
class Pieces:
    """The word pieces of one text, without special pieces.

    ids (NDArray[int32]): Vocabulary ids, shape (n_pieces,).
    offsets (Optional[NDArray[int32]]): First character and the one after the last, shape
        (n_pieces, 2), where offsets were asked for.
    """

    ids: NDArray[numpy.int32]
    offsets: Optional[NDArray[numpy.int32]] = None

    def __len__(self) -> int:
        return len(self.ids)


class PieceTokenizer:
    """Turns texts into piece ids, in batches. Special pieces are left to the caller.

    A tokenizer file can carry its own truncation and padding (the one of all-MiniLM-L6-v2 cuts at
    128 pieces and pads everything to 128). Both are switched off here, because the encoder makes
    windows and batches itself.
    """

    def __init__(self, tokenizer) -> None:
        """Wrap a tokenizer.

        tokenizer (PreTrainedTokenizerFast): The tokenizer. Its padding and truncation are switched
            off in place.
        RAISES (ValueError): It is not a fast tokenizer.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"The tokenizer {type(tokenizer).__name__} has no fast version, and only those "
                "say which characters a piece covers. Convert it to a tokenizer.json first."
            )
        self.tokenizer = tokenizer
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._wrap(tokenizer.backend_tokenizer, pad_id)

    def _wrap(self, backend, pad_id: int) -> None:
        self._backend = backend
        self._backend.no_padding()
        self._backend.no_truncation()
        self.pad_id = pad_id
        self.prefix, self.suffix = self._special_pieces()
        self._cache: OrderedDict[str, Pieces] = OrderedDict()
        self._cached = 0
        self._words: Optional[_Words] = _Words(backend) if _splits_at_spaces(backend) else None

    @property
    def n_special(self) -> int:
        """RETURNS (int): Number of special pieces around a text."""
        return len(self.prefix) + len(self.suffix)

    @property
    def max_pieces(self) -> Optional[int]:
        """RETURNS (Optional[int]): The longest input that the tokenizer names, if any."""
        # If nobody has set it, transformers puts 1e30 here.
        limit = self.tokenizer.model_max_length
        return int(limit) if limit and limit < 1_000_000 else None

    def __call__(
        self, texts: Sequence[str], *, offsets: bool = False, cached: bool = False
    ) -> List[Pieces]:
        """Tokenize texts.

        texts (Sequence[str]): The texts.
        offsets (bool): Whether to say which characters each piece covers.
        cached (bool): Whether to remember the pieces, for texts that return in every epoch.
        RETURNS (List[Pieces]): One for each text, in order.
        """
        found: Dict[str, Pieces] = {}
        missing = []
        for text in dict.fromkeys(texts):
            known = self._cache.get(text)
            if known is not None and (known.offsets is not None or not offsets):
                self._cache.move_to_end(text)
                found[text] = known
            else:
                missing.append(text)
        for text, pieces in zip(missing, self._tokenize(missing, offsets), strict=True):
            found[text] = pieces
            if cached:
                self._remember(text, pieces)
        return [found[text] for text in texts]

    def check_rows(self, n_rows: int, name: str) -> None:
        """Check that an encoder has a vector for every piece.

        n_rows (int): Rows of the encoder's embedding.
        name (str): What the user called the encoder.
        RAISES (ValueError): The tokenizer has more pieces, or a piece with a higher id.
        """
        n_pieces = self._backend.get_vocab_size(with_added_tokens=True)
        # Ids may have gaps, so even a small vocabulary can have high ids.
        highest = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if max(n_pieces, highest + 1) > n_rows:
            has = f"{n_pieces} pieces"
            has = has if highest < n_pieces else f"a piece with the id {highest}"
            raise ValueError(
                f"The tokenizer of the encoder '{name}' has {has}, but the encoder's "
                f"embedding has {n_rows} rows: they belong to different models, or pieces were "
                "added without model.resize_token_embeddings(len(tokenizer))."
            )

    def files(self) -> Dict[str, bytes]:
        """RETURNS (Dict[str, bytes]): The files that `from_files` needs, by name."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}

    @classmethod
    def from_directory(cls, path: Path) -> "PieceTokenizer":
        """Load the tokenizer in a model directory.

        path (Path): The directory.
        RETURNS (PieceTokenizer): The tokenizer.
        RAISES (ValueError): There is no tokenizer, it is damaged, or it has no fast version.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(path), use_fast=True, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            # If a file is damaged, what transformers tries next hides the cause.
            _check_files(path)
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"Can't load a tokenizer from {path}: {reason[0]} "
                "A directory with weights needs the tokenizer's files (tokenizer.json) beside them."
            ) from error
        return cls(tokenizer)

    @classmethod
    def from_files(cls, files: Dict[str, bytes]) -> "PieceTokenizer":
        """RETURNS (PieceTokenizer): A tokenizer made from the result of `files`."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            return cls.from_directory(Path(folder))

    def to_json(self) -> str:
        """RETURNS (str): The tokenizer as JSON, for `from_json`."""
        return self._backend.to_str()

    @classmethod
    def from_json(cls, text: str, pad_id: int) -> "PieceTokenizer":
        """Make a tokenizer without transformers.

        text (str): Result of `to_json`, or the content of a tokenizer.json.
        pad_id (int): Id of the padding piece.
        RETURNS (PieceTokenizer): The tokenizer, whose `tokenizer` is None.
        """
        from tokenizers import Tokenizer

        made = cls.__new__(cls)
        made.tokenizer = None
        made._wrap(Tokenizer.from_str(text), pad_id)
        return made

    def _special_pieces(self) -> Tuple[List[int], List[int]]:
        # Tokenize an example to see what the template puts around a text: there are too many
        # attributes that name special pieces.
        bare = self._backend.encode("a", add_special_tokens=False).ids
        full = self._backend.encode("a", add_special_tokens=True).ids
        for start in range(len(full) - len(bare) + 1):
            if bare and full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        return [], []

    def _tokenize(self, texts: List[str], offsets: bool) -> List[Pieces]:
        if self._words is not None and not offsets:
            return [Pieces(ids) for ids in self._words(texts)]
        parts, owners = [], []
        for i, text in enumerate(texts):
            for part in split_long(text):
                parts.append(part)
                owners.append(i)
        encode = self._backend.encode_batch if offsets else self._backend.encode_batch_fast
        ids: List[List[NDArray]] = [[] for _ in texts]
        spans: List[List[NDArray]] = [[] for _ in texts]
        position = [0] * len(texts)
        # In slices, so that the encodings of many long texts are never held at once.
        for first, last in _slices(parts):
            encodings = encode(parts[first:last], add_special_tokens=False)
            for k, encoding in zip(range(first, last), encodings, strict=True):
                i = owners[k]
                ids[i].append(numpy.asarray(encoding.ids, dtype=numpy.int32))
                if offsets:
                    span = numpy.asarray(encoding.offsets, dtype=numpy.int32).reshape(-1, 2)
                    spans[i].append(span + position[i])
                    position[i] += len(parts[k])
        return [
            Pieces(_join(ids[i]), _join(spans[i]) if offsets else None) for i in range(len(texts))
        ]

    def _remember(self, text: str, pieces: Pieces) -> None:
        previous = self._cache.pop(text, None)
        self._cached += _nbytes(text, pieces) - (_nbytes(text, previous) if previous else 0)
        self._cache[text] = pieces
        while self._cached > CACHED_BYTES and len(self._cache) > 1:
            self._cached -= _nbytes(*self._cache.popitem(last=False))


class _Words:
    """Remembers the pieces of words, for tokenizers that never look beyond a space. Most words of a
    text have been seen before, and looking them up is faster than tokenizing them."""

    def __init__(self, backend) -> None:
        self.backend = backend
        self.known: Dict[str, List[int]] = {}
        self.chars = 0

    def __call__(self, texts: List[str]) -> Iterator[NDArray[numpy.int32]]:
        """YIELDS (NDArray[int32]): The pieces of each text, shape (n_pieces,)."""
        for first, last in _slices(texts):
            # Another thread may forget all words in the meantime, so this one holds on to them.
            known = self.known
            split = [
                [word for part in split_long(text) for word in part.split(" ") if word]
                for text in texts[first:last]
            ]
            new = [word for word in {w for words in split for w in words} if word not in known]
            encodings = self.backend.encode_batch_fast(new, add_special_tokens=False)
            for word, encoding in zip(new, encodings, strict=True):
                known[word] = encoding.ids
                self.chars += len(word)
            for words in split:
                yield numpy.array([i for word in words for i in known[word]], dtype=numpy.int32)
            if self.chars > WORD_CHARS:
                self.known, self.chars = {}, 0


def _splits_at_spaces(backend) -> bool:
    """RETURNS (bool): Whether the pieces of a text are those of its words, one after the other, as
    with the tokenizers of BERT and its relatives."""
    parts = (backend.normalizer, backend.pre_tokenizer, backend.model)
    kinds = tuple(type(part).__name__ for part in parts)
    return kinds == ("BertNormalizer", "BertPreTokenizer", "WordPiece") and not any(
        " " in token.content for token in backend.get_added_tokens_decoder().values()
    )


def _check_files(path: Path) -> None:
    """Name the file of a tokenizer that can't be read, if there is one."""
    from tokenizers import Tokenizer

    for file in sorted(path.glob("*.json")):
        try:
            content = json.loads(file.read_bytes())
            if "token" in file.name and not isinstance(content, dict):
                raise ValueError("it does not hold an object")
            if file.name == "tokenizer.json":
                Tokenizer.from_file(str(file))
        except Exception as error:
            raise ValueError(
                f"Can't load a tokenizer from {path}: {file} is damaged ({error}). Get the file "
                "again."
            ) from error


def _nbytes(text: str, pieces: Pieces) -> int:
    offsets = 0 if pieces.offsets is None else pieces.offsets.nbytes
    return len(text) + pieces.ids.nbytes + offsets + _ENTRY_BYTES


def split_long(text: str) -> List[str]:
    """Cut a long text in front of white space, which no tokenizer's piece extends across."""
    parts, start = [], 0
    while len(text) - start > PART_CHARS:
        end = _last_space(text, start + PART_CHARS // 2, start + PART_CHARS)
        if end is None:
            break
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]


def _last_space(text: str, first: int, last: int) -> Optional[int]:
    # White space that follows another character, so that runs of white space stay whole. BERT drops
    # control characters, even those that Python counts as white space.
    found = None
    for match in re.finditer(r"(?<=\S)[^\S\x1c-\x1f\x85]", text[first:last]):
        found = first + match.start()
    return found


def _slices(parts: List[str]) -> List[Tuple[int, int]]:
    slices, first, chars = [], 0, 0
    for k, part in enumerate(parts):
        if k > first and chars + len(part) > 4 * PART_CHARS:
            slices.append((first, k))
            first, chars = k, 0
        chars += len(part)
    return [*slices, (first, len(parts))] if parts else []


def _join(arrays: List[NDArray]) -> NDArray:
    return arrays[0] if len(arrays) == 1 else numpy.concatenate(arrays)
