"""`Annotator`: adds annotation to batches of rows, in any engine."""

import gc
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy
import spacy
from spacy.language import Language
from spacy.util import load_config

from .columns import empty_row, output_columns, row_of
from .resume import model_folder

# Rows that are annotated in one memory zone: enough for `nlp.pipe` to sort texts by length, but few
# enough to hold all of their docs in memory.
ZONE_ROWS = 2048
# Words that a vocabulary may have forgotten before the pipeline is loaded again. A zone frees its
# words, but spaCy's maps keep a place for each: 40 bytes, which is 4 GB per 100 million words.
FORGOTTEN_WORDS = 100_000
# Only one memory zone may be open at a time, and engines may call from several threads.
_zone = threading.Lock()


class Annotated(NamedTuple):
    """The result of annotating texts.

    rows (List[Dict[str, Any]]): The values of each text; all None for a text that failed.
    errors (List[Optional[str]]): Why each text failed, or None.
    """

    rows: List[Dict[str, Any]]
    errors: List[Optional[str]]

    def columns(self, names: Sequence[str]) -> Dict[str, List[Any]]:
        """RETURNS (Dict[str, List[Any]]): The values by column."""
        return {name: [row[name] for row in self.rows] for name in names}


class Annotator:
    """Annotates batches of rows with a pipeline that it loads where it runs.

    The object holds a path and settings, never the pipeline, so it is cheap to pickle: pass it to
    `Dataset.map_batches` of Ray Data, `DataFrame.mapInPandas` of Spark (with `stream`),
    `map_partitions` of Dask, or a process pool. Copies that are unpickled in one process share one
    pipeline there, so engines may send the object with each batch.
    """

    def __init__(
        self,
        path: str,
        *,
        text: str = "text",
        columns: Sequence[str] = ("cats", "ents", "spans"),
        batch_size: int = 128,
        threads: Optional[int] = None,
        disable: Sequence[str] = (),
        keep_failed: bool = False,
        gpu_id: int = -1,
        code: Optional[str] = None,
    ) -> None:
        """Describe the work; nothing is loaded yet.

        path (str): Directory or name of the pipeline.
        text (str): Name of the column with the texts.
        columns (Sequence[str]): The annotation to add: some of "cats", "ents" and "spans".
        batch_size (int): Texts per batch of `nlp.pipe`.
        threads (Optional[int]): Threads that torch computes with, or None to leave them unchanged.
        disable (Sequence[str]): Components that do not run.
        keep_failed (bool): Whether a text that can't be annotated becomes a row of None, with the
            reason in a column named "error", instead of an exception.
        gpu_id (int): The GPU to compute on, or -1 for the CPU.
        code (Optional[str]): Python file with registered functions that the pipeline needs.
        RAISES (ValueError): A setting is out of range.
        """
        output_columns(columns)
        if batch_size < 1 or (threads is not None and threads < 1):
            raise ValueError(
                f"batch_size = {batch_size} and threads = {threads}: use 1 or more for each."
            )
        self.path = str(path)
        self.text = text
        self.columns = tuple(columns)
        self.batch_size = batch_size
        self.threads = threads
        self.disable = tuple(disable)
        self.keep_failed = keep_failed
        self.gpu_id = gpu_id
        self.code = code
        self._loaded: Optional[_Loaded] = None
        # Whether this is a copy that was unpickled.
        self._sent = False

    def __call__(self, batch: Any) -> Any:
        """Annotate a batch of rows.

        batch (Union[Mapping[str, Sequence], pandas.DataFrame, pyarrow.Table, RecordBatch]): The
            rows, by column.
        RETURNS (Union[Dict[str, ndarray], pandas.DataFrame, pyarrow.Table]): All columns of the
            batch and those of `columns`, which replace columns of the same name, in the form of the
            batch: a table for a RecordBatch, arrays of objects and numbers for a mapping.
        RAISES (ValueError): There is no column of texts, or a text can't be annotated and
            `keep_failed` is false.
        """
        texts = self._texts_of(batch)
        done = self.annotate(texts)
        failed = next((i for i, error in enumerate(done.errors) if error is not None), None)
        if failed is not None and not self.keep_failed:
            raise ValueError(
                f"Row {failed} of a batch can't be annotated: {done.errors[failed]} Set "
                "keep_failed = True to keep such rows without annotation."
            )
        added = done.columns(output_columns(self.columns))
        if self.keep_failed:
            added["error"] = list(done.errors)
        return _with_columns(batch, added)

    def stream(self, batches: Any) -> Any:
        """Annotate an iterator of batches, for `mapInPandas` and `mapInArrow` of Spark.

        batches (Iterable[Any]): The batches.
        YIELDS (Any): The result of `__call__` for each batch.
        """
        for batch in batches:
            yield self(batch)

    def annotate(self, texts: Sequence[Any]) -> Annotated:
        """Annotate texts, and continue when one of them fails.

        texts (Sequence[Any]): The texts. Anything that is not a string fails.
        RETURNS (Annotated): The values and errors, in the order of the texts.
        """
        rows: List[Dict[str, Any]] = []
        errors: List[Optional[str]] = []
        for start in range(0, len(texts), ZONE_ROWS):
            part = texts[start : start + ZONE_ROWS]
            with _zone:
                reasons = [self._refusal(text) for text in part]
                # Strings of numpy are a subclass of str, which spaCy refuses.
                good = [
                    str.__str__(text)
                    for text, reason in zip(part, reasons, strict=True)
                    if reason is None
                ]
                with self.nlp.memory_zone():
                    found = iter(self._annotate(good))
                    for reason in reasons:
                        row, error = (empty_row(self.columns), reason) if reason else next(found)
                        rows.append(row)
                        errors.append(error)
                self._pipeline().renew()
        return Annotated(rows, errors)

    @property
    def nlp(self) -> Language:
        """RETURNS (Language): The pipeline, loaded when it is first used, and again when its
        vocabulary has forgotten many words."""
        return self._pipeline().nlp

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_loaded": None, "_sent": True}

    def _pipeline(self) -> "_Loaded":
        if self._loaded is None:
            settings = self.path, self.disable, self.gpu_id, self.code, self.threads
            if self._sent:
                self._loaded = _shared(*settings, _stamp(self.path))
            else:
                self._loaded = _Loaded(*settings)
        return self._loaded

    def _annotate(self, texts: List[str]) -> List[Tuple[Dict[str, Any], Optional[str]]]:
        """Annotate texts together. If that fails, halve them until the failing text is found, so
        that the others are annotated as usual."""
        try:
            docs = self.nlp.pipe(texts, batch_size=self.batch_size)
            found = [(row_of(doc, self.columns), None) for doc in docs]
            if len(found) != len(texts):
                # An error handler has dropped some texts.
                raise ValueError("a component has dropped texts of this batch")
            return found
        except Exception as error:
            if len(texts) == 1:
                return [(empty_row(self.columns), f"{type(error).__name__}: {error}")]
        middle = len(texts) // 2
        return self._annotate(texts[:middle]) + self._annotate(texts[middle:])

    def _refusal(self, text: Any) -> Optional[str]:
        if not isinstance(text, str):
            return f"The text is a {type(text).__name__}, not a string."
        if len(text) > self.nlp.max_length:
            return (
                f"The text has {len(text):,} characters, but nlp.max_length is "
                f"{self.nlp.max_length:,}."
            )
        return None

    def _texts_of(self, batch: Any) -> List[Any]:
        names = _names(batch)
        if self.text not in names:
            raise ValueError(
                f"There is no column {self.text!r}. The columns are {', '.join(map(str, names))}."
            )
        column = batch[self.text]
        return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


class _Loaded:
    """A pipeline in memory."""

    def __init__(
        self,
        path: str,
        disable: Sequence[str],
        gpu_id: int,
        code: Optional[str],
        threads: Optional[int],
    ) -> None:
        from spacy.cli._util import import_code

        import_code(code)
        if gpu_id >= 0:
            spacy.require_gpu(gpu_id)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        check_disabled(path, disable)
        self.path, self.disable = path, disable
        self._nlp: Optional[Language] = spacy.load(path, disable=disable)
        self._stamp = _stamp(self._nlp.path)

    @property
    def nlp(self) -> Language:
        if self._nlp is None:
            self._nlp = spacy.load(self.path, disable=self.disable)
        return self._nlp

    def renew(self) -> None:
        """Load the pipeline again if its vocabulary has forgotten too many words, unless another
        one was saved in its place."""
        # The vocabulary counts every word that it has seen; its strings are those that it has.
        forgotten = len(self.nlp.vocab) - len(self.nlp.vocab.strings)
        if forgotten > FORGOTTEN_WORDS and _stamp(self.nlp.path) == self._stamp:
            # The new one goes into the memory of the old one, which refers to itself, so only the
            # collector frees it.
            self._nlp = None
            gc.collect()
            self._nlp = self.nlp


def check_disabled(path: str, disable: Sequence[str]) -> None:
    """Check that a pipeline has the components that should not run, without loading it.

    path (str): Directory or name of the pipeline.
    disable (Sequence[str]): Names of the components.
    RAISES (ValueError): There is no such component, or no such pipeline.
    """
    if not disable:
        return
    # A package has its pipeline in a folder below its own.
    folder = model_folder(path)
    configs = sorted(folder.rglob("config.cfg"), key=lambda found: len(found.parts))
    names = load_config([*configs, folder / "config.cfg"][0])["nlp"]["pipeline"]
    unknown = [name for name in disable if name not in names]
    if unknown:
        raise ValueError(
            f"disable has {unknown[0]!r}, but the components of the pipeline are "
            f"{', '.join(names) or 'none'}."
        )


@lru_cache(maxsize=1)
def _shared(*settings: Any) -> _Loaded:
    return _Loaded(*settings[:-1])


def _stamp(path: Union[str, Path]) -> Any:
    """RETURNS (Any): A value that changes when a pipeline is saved again in the same place."""
    meta = Path(path) / "meta.json"
    if not meta.exists():
        return None
    found = meta.stat()
    return found.st_ino, found.st_mtime_ns


def _names(batch: Any) -> List[str]:
    if isinstance(batch, Mapping):
        return list(batch)
    return list(batch.columns if _is_frame(batch) else batch.schema.names)


def _is_frame(batch: Any) -> bool:
    """RETURNS (bool): Whether a batch is a pandas DataFrame. Its columns are attributes too, so a
    column could have the name of an attribute of pyarrow, but none hides this method."""
    return hasattr(batch, "assign")


def _with_columns(batch: Any, added: Dict[str, List[Any]]) -> Any:
    if isinstance(batch, Mapping):
        return {**batch, **{name: _array(values) for name, values in added.items()}}
    if _is_frame(batch):
        return batch.assign(**added)
    import pyarrow

    from .tables import arrow_column

    if isinstance(batch, pyarrow.RecordBatch):
        batch = pyarrow.Table.from_batches([batch])
    for name, values in added.items():
        column = arrow_column(name, values)
        if name in batch.column_names:
            batch = batch.set_column(batch.column_names.index(name), name, column)
        else:
            batch = batch.append_column(name, column)
    return batch


def _array(values: List[Any]) -> numpy.ndarray:
    # numpy would make a matrix of lists that have the same length.
    array = numpy.empty(len(values), dtype=object)
    array[:] = values
    return array
