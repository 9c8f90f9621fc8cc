"""Run a head that was exported to ONNX behind a thinc model. It predicts, and can't be trained."""

import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Tuple

import srsly
from spacy.tokens import Doc
from thinc.api import Shim

from ..encoder.pieces import PieceTokenizer
from ..heads.onnx_head import GRAPHS, OnnxHead, OnnxSettings

SETTINGS, TOKENIZER = "onnx.json", "tokenizer.json"
FILES = (SETTINGS, TOKENIZER, *(f"{name}.onnx" for name in GRAPHS))
_AGAIN = "Install the package again."


class OnnxShim(Shim):
    """Runs, saves and loads an exported head; `TorchShim` describes the purpose of its methods."""

    trains = False
    announced = True

    def __init__(self, run: str, *, threads: Optional[int] = None) -> None:
        """Prepare a head; its files come with one of the `from_` methods.

        run (str): The method of `OnnxHead` that computes the output, "texts" or "tokens".
        threads (Optional[int]): See `OnnxHead`.
        """
        super().__init__(None)
        self.run = run
        self.threads = threads
        self.n_labels: Optional[int] = None
        self._files: Dict[str, bytes] = {}
        self._process = os.getpid()
        self._of_parent: Any = None

    @property
    def module(self) -> NoReturn:
        """Not available: no torch module is loaded.

        RAISES (ValueError): Always.
        """
        raise ValueError(
            "This pipeline runs in ONNX Runtime: it can predict, and nothing else. Use the "
            "pipeline that it was packaged from, which has the weights."
        )

    def take_one_thread_after_fork(self) -> None:
        """In a worker of `nlp.pipe`, load the graphs again, with one thread: the parent's graphs
        would wait for threads that a fork does not copy."""
        if self._model is not None and os.getpid() != self._process:
            # The parent's graphs are kept: destroying them would join those threads, and crash.
            self._of_parent = self._model
            self.threads = 1
            self.from_files(self._files)

    def batches(self, docs: Iterator[List[Doc]], predict: Callable) -> Iterator[List[Doc]]:
        """RETURNS (Iterator[List[Doc]]): The same batches: on a CPU, none is started ahead."""
        return docs

    def started(self, docs: List[Doc]) -> None:
        """RETURNS (None): Nothing, because no batch is started ahead."""

    def __call__(self, inputs: Tuple[Any, float], is_train: bool) -> Tuple[Any, Callable]:
        """Compute the output.

        inputs (Tuple[Any, float]): The texts, with their tokens or without; and a dropout rate.
        is_train (bool): Has to be false.
        RETURNS (Tuple[Any, Callable]): The output, and a function that raises an error.
        RAISES (ValueError): No files have been loaded, or `is_train` is true.
        """
        if is_train or self._model is None:
            self.initialize()
        self.take_one_thread_after_fork()
        return getattr(self._model, self.run)(inputs[0]), self.initialize

    def initialize(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not possible: there is nothing to train.

        RAISES (ValueError): Always.
        """
        raise ValueError(
            "A spacy_reprtune.OnnxModel.v1 can't be trained: `reprtune package --runtime onnx` "
            "makes it from a trained pipeline, and spacy.load loads it."
        )

    finish_update = initialize

    def to_device(self, device_type: str, device_id: int) -> None:
        """Not needed: the graphs run on the CPU."""

    def copy(self) -> "OnnxShim":
        """RETURNS (OnnxShim): The same graphs, loaded again."""
        return OnnxShim(self.run, threads=self.threads).from_files(self._files)

    def __reduce__(self) -> Tuple[Callable[..., "OnnxShim"], Tuple[Any, ...]]:
        """Pickle for workers of `nlp.pipe` that are not forked (Windows, macOS)."""
        return _remake, (self.run, self.threads, self._files)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The files as msgpack."""
        return srsly.msgpack_dumps(self._files)

    def from_bytes(self, data: bytes) -> "OnnxShim":
        """Load the result of `to_bytes`.

        data (bytes): The bytes.
        RETURNS (OnnxShim): Itself.
        """
        return self.from_files(srsly.msgpack_loads(data))

    def to_directory(self, path: Path) -> None:
        """Save to a directory.

        path (Path): The directory, created if it does not exist.
        """
        path.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (path / name).write_bytes(content)

    def from_directory(self, path: Path) -> "OnnxShim":
        """Load the files that `to_directory` wrote.

        path (Path): The directory.
        RETURNS (OnnxShim): Itself.
        RAISES (ValueError): A file is missing or damaged.
        """
        missing = [name for name in FILES if not (path / name).is_file()]
        if missing:
            raise ValueError(f"{path / missing[0]} is missing. {_AGAIN}")
        return self.from_files({name: (path / name).read_bytes() for name in FILES})

    def from_files(self, files: Dict[str, bytes]) -> "OnnxShim":
        """Load a head.

        files (Dict[str, bytes]): The content of each of `FILES`; empty to load nothing.
        RETURNS (OnnxShim): Itself.
        RAISES (ValueError): A file is damaged.
        """
        if not files:
            return self
        try:
            settings = OnnxSettings.from_json(files[SETTINGS])
        except ValueError as error:
            raise ValueError(f"{SETTINGS} is damaged: {error}. {_AGAIN}") from error
        try:
            text = files[TOKENIZER].decode("utf8")
            tokenizer = PieceTokenizer.from_json(text, settings.pad_id)
        except Exception as error:
            # The tokenizers library raises plain exceptions.
            raise ValueError(f"{TOKENIZER} is damaged: {error}. {_AGAIN}") from error
        graphs = {name: files[f"{name}.onnx"] for name in GRAPHS}
        self._model = OnnxHead(graphs, tokenizer, settings, threads=self.threads)
        self.n_labels = settings.n_labels
        self._files = files
        self._process = os.getpid()
        return self


def _remake(run: str, threads: Optional[int], files: Dict[str, bytes]) -> OnnxShim:
    return OnnxShim(run, threads=threads).from_files(files)
