"""Read text files with byte order marks, other encodings, or two encodings in one file."""

import codecs
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, Sequence, Tuple

_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# First bytes of files that are not text, and what to do with them.
_PACKED = {
    b"\x1f\x8b": "compressed by gzip. Unpack it first: gunzip",
    b"BZh": "compressed by bzip2. Unpack it first: bunzip2",
    b"\xfd7zXZ\x00": "compressed by xz. Unpack it first: unxz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd. Unpack it first: unzstd",
    b"PK\x03\x04": "a zip archive or a spreadsheet. Unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "a document of an office program. Save it as CSV",
    b"PAR1": "a Parquet file: --format parquet",
    b"%PDF": "a PDF. Save its text first",
}


@contextmanager
def open_text(path: Path, encodings: Sequence[str] = ("utf-8",)) -> Iterator[IO[str]]:
    """Open a text file, with unchanged line ends and without a byte order mark.

    Lines end at a line feed only: other characters that Unicode calls line ends (NEL, LS, PS, VT,
    FF) are text. Only in a file without any line feed, a carriage return ends a line.

    path (Path): Text file.
    encodings (Sequence[str]): Encoding of the file. Bytes that do not fit the first are read in
        the second, if there is one: for example, in a UTF-8 file to which someone appended lines
        in Windows-1252. A byte order mark takes precedence over the first.
    YIELDS (IO[str]): The open file.
    RAISES (ValueError): An encoding is unknown, the bytes do not fit, or it is not a text file.
    """
    for name in encodings:
        try:
            # "hex" and the like are codecs as well, but they do not decode bytes to text.
            b"    ".decode(name, "ignore")
        except (LookupError, UnicodeError):
            raise ValueError(
                f"The encoding {name!r} is unknown. Common ones are utf-8, cp1252, latin-1, utf-16."
            ) from None
    first, errors = encodings[0], "strict"
    with path.open("rb") as file:
        head = file.read(1 << 16)
    for mark, kind in _PACKED.items():
        if head.startswith(mark):
            raise ValueError(f"{path} is {kind}.")
    wide = next((name for mark, name in _WIDE_MARKS.items() if head.startswith(mark)), None)
    # Half of the bytes of Latin letters in UTF-16.
    if not wide and codecs.lookup(first).name == "utf-8" and head.count(0) > 0.3 * len(head) > 0:
        raise ValueError(
            f"{path} has a zero byte beside most letters, as UTF-16 has. Name its encoding: "
            f"--encoding {'utf-16-be' if head[0] == 0 else 'utf-16-le'}"
        )
    if wide:
        first = wide
    elif codecs.lookup(first).name == "utf-8" or head.startswith(codecs.BOM_UTF8):
        first = "utf-8-sig"
        if len(encodings) > 1:
            errors = _fallback(encodings[1])
    end = "\r" if b"\r" in head and b"\n" not in head else "\n"
    with path.open(encoding=first, errors=errors, newline=end) as file:
        try:
            yield file
        except UnicodeError as error:
            raise ValueError(_explain(path, first, error)) from error


def read_text(path: Path, encodings: Sequence[str] = ("utf-8",)) -> str:
    """RETURNS (str): A whole file, as `open_text` reads it."""
    with open_text(path, encodings) as file:
        return file.read()


def read_lines(path: Path, encodings: Sequence[str] = ("utf-8",)) -> Iterator[Tuple[int, str]]:
    """Read a file by lines.

    path (Path): Text file.
    encodings (Sequence[str]): Encodings, as for `open_text`.
    YIELDS (Tuple[int, str]): Number of a line, from 1, and the line without its end.
    """
    with open_text(path, encodings) as file:
        for number, line in enumerate(file, start=1):
            yield number, line.rstrip("\r\n")


def _fallback(encoding: str) -> str:
    """Register an error handler that reads bytes that are not UTF-8 in another encoding."""
    name = f"spacy_reprtune.{codecs.lookup(encoding).name}"

    def decode(error: UnicodeError) -> Tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        wrong = error.object[error.start : error.end]
        return wrong.decode(encoding, errors="replace"), error.end

    codecs.register_error(name, decode)
    return name


def _explain(path: Path, encoding: str, error: UnicodeError) -> str:
    # The error counts from the start of a buffer, so the line is looked up again.
    name = encoding.replace("-sig", "")
    wrong, first, shown = 0, 0, ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding if number == 1 else name)
            except UnicodeError as line_error:
                wrong += 1
                if not first:
                    first, at = number, getattr(line_error, "start", 0)
                    shown = line[max(0, at - 20) : at + 20].decode("cp1252", errors="replace")
    if not first:
        return f"{path} is not encoded in {name}: {error}. Name its encoding: --encoding"
    return (
        f"{path} is not all encoded in {name}: {wrong:,} lines do not fit; the first is line "
        f"{first}, near '{shown.strip()}' (read here as cp1252). If the whole file has another "
        "encoding, name it: --encoding cp1252. If only some lines have another encoding: "
        "--encoding utf-8,cp1252 reads bytes that are not UTF-8 as cp1252."
    )
