"""An encoder and a head that were exported to ONNX, and predict without torch and transformers.

Three graphs are torch's own modules, exported: `encoder`, from piece ids to vectors of pieces;
`windows`, what the head does to a batch of windows; and `results`, what it does to all windows of
a call. Texts are cut into windows, and pieces aligned with tokens, by the code that torch uses.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from ..encoder.align import Pairs, TokenSpans, align_all, first_pieces
from ..encoder.batches import TextReader
from ..encoder.pieces import PieceTokenizer

GRAPHS = ("encoder", "windows", "results")


@dataclass(frozen=True)
class OnnxSettings:
    """The settings of an exported component, saved beside its graphs and its tokenizer.

    n_labels (int): Columns of the output.
    window (int): Pieces in a window, special pieces included.
    overlap (int): Pieces that neighboring windows share.
    max_pieces (Optional[int]): Pieces of a text that are read; None for all.
    batch_pieces (int): Padded pieces that are computed at once.
    padding (Optional[int]): The most padding of a batch, in pieces; None for any.
    pad_id (int): Id of the padding piece.
    weights (str): The type of the encoder's weights, "fp32" or "int8".
    piece_pooling (str): Vector of a token: the "mean" of its pieces, or the "first".
    transitions (Optional[List[List[float]]]): Learned scores of a tag after another, or None.
    """

    n_labels: int
    window: int
    overlap: int
    max_pieces: Optional[int]
    batch_pieces: int
    padding: Optional[int]
    pad_id: int
    weights: str = "fp32"
    piece_pooling: str = "mean"
    transitions: Optional[List[List[float]]] = None

    def to_json(self) -> bytes:
        """RETURNS (bytes): The settings as JSON."""
        return json.dumps(asdict(self), indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "OnnxSettings":
        """Read settings.

        data (bytes): Result of `to_json`.
        RETURNS (OnnxSettings): The settings.
        RAISES (ValueError): They are damaged.
        """
        saved = json.loads(data)
        names = {field.name for field in fields(cls)}
        if not isinstance(saved, dict) or saved.keys() != names:
            raise ValueError(f"it does not hold exactly {', '.join(sorted(names))}")
        return cls(**saved)


class OnnxHead(TextReader):
    """Computes the same output as the torch module that was exported."""

    caching = False

    def __init__(
        self,
        graphs: Dict[str, bytes],
        tokenizer: PieceTokenizer,
        settings: OnnxSettings,
        *,
        threads: Optional[int] = None,
    ) -> None:
        """Load the graphs.

        graphs (Dict[str, bytes]): A serialized model for each of `GRAPHS`.
        tokenizer (PieceTokenizer): The tokenizer.
        settings (OnnxSettings): The settings.
        threads (Optional[int]): Threads to compute with; None for the environment variable
            OMP_NUM_THREADS, or else one per core.
        RAISES (ImportError): onnxruntime is not installed.
        RAISES (ValueError): A graph is damaged.
        """
        self.tokenizer, self.settings = tokenizer, settings
        self.window, self.padding = settings.window, settings.padding
        self._graphs = {name: _session(name, graphs[name], threads) for name in GRAPHS}
        self._transitions = None
        if settings.transitions is not None:
            self._transitions = numpy.array(settings.transitions, dtype="f")

    def texts(self, texts: Sequence[str]) -> Tuple[NDArray, NDArray]:
        """Compute the vectors and logits of texts.

        texts (Sequence[str]): The texts. Identical texts are computed once.
        RETURNS (Tuple[ndarray, ndarray]): The input of the last layer, one row per text; and
            logits, shape (n_texts, n_labels).
        """
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        numbers = [numpy.zeros(0, dtype=numpy.int64)]
        states = [self._empty()]
        for batch in self.batches(self.tokenize(list(unique))):
            (vectors,) = self._run("encoder", batch.ids, batch.mask)
            numbers.append(batch.texts)
            states.append(self._run("windows", vectors, batch.keep))
        columns = [numpy.concatenate(column) for column in zip(*states, strict=True)]
        each = numpy.zeros(len(unique), dtype="f")
        vectors, logits = self._run("results", *columns, numpy.concatenate(numbers), each)
        rows = [unique[text] for text in texts]
        return vectors[rows], logits[rows]

    def tokens(self, texts: Sequence[TokenSpans]) -> Tuple[NDArray, Optional[NDArray]]:
        """Compute the logits of tokens.

        texts (Sequence[TokenSpans]): The texts with their tokens.
        RETURNS (Tuple[ndarray, Optional[ndarray]]): Logits of all tokens of all texts in order,
            shape (n_tokens, n_tags), with zeros for a token without a piece; and the learned
            transitions, or None.
        """
        pieces = self.tokenize([text.text for text in texts], offsets=True)
        alignment = align_all(texts, pieces)
        if self.settings.piece_pooling == "first":
            alignment = first_pieces(alignment)
        pairs = Pairs(pieces, alignment)
        rows, n_rows = self._empty(), 0
        sources, tokens = [alignment.tokens[:0]], [alignment.tokens[:0]]
        for batch in self.batches(pieces):
            (vectors,) = self._run("encoder", batch.ids, batch.mask)
            rows += self._run("windows", vectors, batch.read.places)
            source, own = pairs.of(batch.read)
            sources.append(source + n_rows)
            tokens.append(own)
            n_rows += len(rows[-1])
        joined = map(numpy.concatenate, (rows, sources, tokens))
        (logits,) = self._run("results", *joined, alignment.lengths)
        return logits, self._transitions

    def _run(self, graph: str, *arrays: NDArray) -> List[NDArray]:
        session = self._graphs[graph]
        names = (given.name for given in session.get_inputs())
        return session.run(None, dict(zip(names, arrays, strict=True)))

    def _empty(self) -> List[NDArray]:
        """The outputs for no windows at all."""
        outputs = self._graphs["windows"].get_outputs()
        return [numpy.zeros((0, *output.shape[1:]), dtype="f") for output in outputs]


def _session(name: str, graph: bytes, threads: Optional[int]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "This pipeline runs in ONNX Runtime, which is not installed here: "
            'pip install "spacy-reprtune[onnx]" (or only: pip install onnxruntime).'
        ) from error
    options = onnxruntime.SessionOptions()
    threads = threads or _from_environment()
    if threads is not None:
        options.intra_op_num_threads = threads
    # Batches have many shapes, and onnxruntime would keep a memory plan for each of them.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's exceptions have no base class of their own.
        raise ValueError(
            f"{name}.onnx is damaged, or needs a newer onnxruntime than {onnxruntime.__version__} "
            f"({str(error).strip()[:300]}). Install the package again."
        ) from error


def _from_environment() -> Optional[int]:
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(given) if given.isdigit() and int(given) else None
