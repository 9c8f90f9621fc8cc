"""A corpus on disk: `train.spacy`, `dev.spacy`, `test.spacy` in a folder, large ones in parts."""

import shutil
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Sequence

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, DocBin
    from spacy.vocab import Vocab

SPLITS = ("train", "dev", "test")
# A part is built in memory, at some 100 bytes per token.
PART_TOKENS = 1_000_000
# The cost of a doc besides its tokens, in tokens.
_DOC = 20
_ATTRS = ("ENT_IOB", "ENT_TYPE", "SENT_START")


@lru_cache(maxsize=1)
def blank_pipeline(lang: str) -> "Language":
    """Get a pipeline that only tokenizes, but texts of any length. It is cached, because making one
    takes longer than converting a short file.

    lang (str): The language.
    RETURNS (Language): The pipeline.
    RAISES (ValueError): spaCy does not know the language.
    """
    import spacy

    try:
        nlp = spacy.blank(lang)
    except ImportError as error:
        raise ValueError(f"spaCy has no language {lang!r}: {error}") from error
    nlp.max_length = 2**40
    return nlp


class SplitWriter:
    """Writes docs to `NAME.spacy`: one file, or a folder of parts if there are many tokens.

    spaCy's own corpus reader accepts a folder wherever it accepts a file, so either will do. The
    old content stays until `close`.
    """

    def __init__(self, folder: Path, split: str, *, part_tokens: int = PART_TOKENS) -> None:
        """Begin a split.

        folder (Path): Folder of the corpus. Created if missing.
        split (str): "train", "dev" or "test".
        part_tokens (int): Number of tokens from which a part is written.
        """
        self.target = folder / f"{split}.spacy"
        self.n_docs = 0
        self._parts = folder / f".{split}.spacy.tmp"
        self._part_tokens = part_tokens
        self._tokens = 0
        self._bin = self._empty()
        self._written: List[Path] = []
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)

    def add(self, doc: "Doc") -> None:
        """doc (Doc): Next doc. Only its bytes are kept."""
        self._bin.add(doc)
        self.n_docs += 1
        self._tokens += len(doc) + _DOC
        if self._tokens >= self._part_tokens:
            self._flush()

    def close(self) -> Path:
        """RETURNS (Path): The file or folder, which now has its new content."""
        if len(self._bin) or not self._written:
            self._flush()
        if self.target.is_dir():
            shutil.rmtree(self.target)
        if len(self._written) == 1:
            self._written[0].replace(self.target)
            self._parts.rmdir()
        else:
            self.target.unlink(missing_ok=True)
            self._parts.replace(self.target)
        return self.target

    def discard(self) -> None:
        """Drop everything that was added, and keep the old content."""
        shutil.rmtree(self._parts, ignore_errors=True)

    def _flush(self) -> None:
        path = self._parts / f"{len(self._written):05}.spacy"
        self._bin.to_disk(path)
        self._written.append(path)
        self._bin = self._empty()
        self._tokens = 0

    @staticmethod
    def _empty() -> "DocBin":
        from spacy.tokens import DocBin

        return DocBin(attrs=_ATTRS)


def find_splits(folder: Path) -> Dict[str, Path]:
    """Find the splits of a corpus.

    folder (Path): Folder of the corpus.
    RETURNS (Dict[str, Path]): Split to file or folder, train first.
    RAISES (ValueError): The folder has no split.
    """
    found = {
        split: folder / f"{split}.spacy" for split in SPLITS if (folder / f"{split}.spacy").exists()
    }
    if not found:
        raise ValueError(
            f"{folder} is not a corpus: it has none of {', '.join(f'{s}.spacy' for s in SPLITS)}. "
            "`spacy reprtune convert` writes one."
        )
    return found


def read_docs(path: Path, vocab: "Vocab") -> Iterator["Doc"]:
    """Read a split, part by part.

    path (Path): A .spacy file, or a folder of them.
    vocab (Vocab): Vocabulary of the docs.
    YIELDS (Doc): Docs in order.
    RAISES (ValueError): A file is not a DocBin.
    """
    from spacy.tokens import DocBin

    for file in _files(path):
        try:
            docs = DocBin().from_disk(file)
        except Exception as error:
            raise ValueError(f"{file} is not a .spacy file, or is damaged: {error}") from error
        yield from docs.get_docs(vocab)


def read_texts(path: Path, limit: int) -> List[str]:
    """Read the texts of a split without their annotation.

    path (Path): A .spacy file, or a folder of them.
    limit (int): Maximum number of texts.
    RETURNS (List[str]): First texts.
    RAISES (ValueError): A file is not a DocBin, or there is no file.
    """
    from spacy.vocab import Vocab

    if not _files(path):
        raise ValueError(f"The folder {path} has no .spacy files.")
    return [doc.text for doc in islice(read_docs(path, Vocab()), limit)]


def _files(path: Path) -> Sequence[Path]:
    return sorted(path.rglob("*.spacy")) if path.is_dir() else [path]
