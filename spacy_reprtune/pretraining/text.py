"""Documents from plain text, JSONL and `.spacy` files, single or in directories, also gzipped."""

import gzip
import json
import zlib
from pathlib import Path
from typing import IO, Iterator, List, Sequence

SUFFIXES = (".txt", ".text", ".md", ".jsonl", ".spacy")


def find_files(paths: Sequence[Path]) -> List[Path]:
    """Find the files that documents are read from.

    paths (Sequence[Path]): Files of any name, and directories, searched for known suffixes.
    RETURNS (List[Path]): The files, those of a directory in the order of their names.
    RAISES (ValueError): A path does not exist, or a directory has no such file.
    """
    files: List[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and _kind(p) in SUFFIXES)
            if not found:
                raise ValueError(
                    f"The directory {path} has no file with text. Files are taken by their "
                    f"suffix: {', '.join(SUFFIXES)}, each also with .gz."
                )
            files.extend(found)
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"There is no text at {path}: no such file or directory.")
    return files


def read_documents(path: Path, *, unit: str = "line", text_key: str = "text") -> Iterator[str]:
    """Read the documents of a file.

    path (Path): The file. `.jsonl` has a row per document, `.spacy` is a DocBin, anything else is
        plain text in UTF-8. A `.gz` at the end means that it is compressed.
    unit (str): What a document of plain text is: a "line", a "paragraph" (between empty lines),
        or the "file".
    text_key (str): The field of a JSONL row that holds the text.
    YIELDS (str): The documents, without white space around them. Empty ones are left out.
    RAISES (ValueError): The content does not fit the name; the message names the line.
    """
    kind = _kind(path)
    if kind == ".spacy":
        documents = _docbin(path)
    elif kind == ".jsonl":
        documents = _rows(path, text_key)
    elif unit == "line":
        documents = _lines(path)
    elif unit == "paragraph":
        documents = _paragraphs(path)
    else:
        documents = iter(["\n".join(_lines(path))])
    for text in documents:
        text = text.strip()
        if text:
            yield text


def _kind(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path) -> Iterator[str]:
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if b"\0" in line:
                    raise ValueError(
                        f"{path} is not a text file: there is a zero byte in line {number}. Give "
                        "text in UTF-8, or take the file out of the corpus."
                    )
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    column = error.start + 1
                    raise ValueError(
                        f"{path}, line {number}, byte {column}: not UTF-8 (the byte is "
                        f"0x{line[error.start]:02x}). Convert the file first, for example with "
                        f"iconv -f LATIN1 -t UTF-8 {path.name}"
                    ) from error
                yield text.rstrip("\r\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def _paragraphs(path: Path) -> Iterator[str]:
    lines: List[str] = []
    for line in _lines(path):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
    yield "\n".join(lines)


def _rows(path: Path, key: str) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error.msg}).") from error
        if not isinstance(row, dict) or not isinstance(row.get(key), str):
            keys = ", ".join(map(repr, row)) if isinstance(row, dict) else ""
            has = f"it has {keys or 'none'}" if isinstance(row, dict) else "it is not an object"
            raise ValueError(
                f"{path}, line {number}: a row has to be an object with a string under {key!r}; "
                f"{has}. Name the field with [corpus] text_key."
            )
        if not row[key].isascii():
            try:
                row[key].encode("utf8")
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{path}, line {number}: {error.object[error.start]!r} is half of a character "
                    "(a surrogate without its other half), which UTF-8 does not have. Write the "
                    "file again with the whole character, or without it."
                ) from error
        yield row[key]


def _docbin(path: Path) -> Iterator[str]:
    import spacy
    from spacy.tokens import DocBin

    try:
        with _open(path) as file:
            content = file.read()
        docs = list(DocBin().from_bytes(content).get_docs(spacy.blank("xx").vocab))
    except Exception as error:
        # zlib, msgpack and spaCy raise errors of their own, and none of them names the file.
        raise ValueError(f"{path} is not a .spacy file: {type(error).__name__}: {error}") from error
    return (doc.text for doc in docs)
