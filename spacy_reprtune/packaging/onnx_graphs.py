"""Export the torch modules of a component as ONNX graphs, with torch's exporter."""

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Dict, Iterator, Sequence, Tuple

import torch

from ..encoder.token_vectors import add_rows, mean_of, read_rows
from ..heads.token_classifier import TokenClassifier

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..heads.text_classifier import TextClassifier

# Smaller differences from torch's vectors come from the order of additions.
TOLERANCE = 1e-4
# A serialized model has to be smaller. Everything except the weights is far less than the rest.
MOST_BYTES = 2_000_000_000
_ANY = torch.export.Dim.DYNAMIC


def export_encoder(model: "PreTrainedModel") -> bytes:
    """Export an encoder, and compare its vectors with torch's.

    model (PreTrainedModel): The bare encoder, in fp32 and evaluation mode.
    RETURNS (bytes): The graph, from `ids` and `mask` to vectors of pieces.
    RAISES (ValueError): It can't be exported, is too large, or computes different vectors.
    """
    kind = model.config.model_type
    if sum(p.numel() * p.element_size() for p in model.parameters()) > MOST_BYTES:
        raise ValueError("it has more than 2 GB of weights, and an ONNX file can't")
    module = _Encoder(model)
    try:
        graph = _export(module, _pieces(model, 2, 8), ({0: _ANY, 1: _ANY},) * 2)
        session = session_of(graph)
        largest = 0.0
        for size in ((3, 11), (1, 5)):
            ids, mask = _pieces(model, *size)
            names = [given.name for given in session.get_inputs()]
            given = dict(zip(names, (ids.numpy(), mask.numpy()), strict=True))
            found = torch.from_numpy(session.run(None, given)[0])
            with torch.no_grad():
                expected = module(ids, mask)
            largest = max(largest, float((found - expected)[mask.bool()].abs().max()))
    except Exception as error:
        # The exporter, onnxruntime and each family's code fail in their own ways.
        reason = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"its family ({kind}) can't be exported ({type(error).__name__}: {reason[0][:200]})"
        ) from error
    if not largest <= TOLERANCE:
        raise ValueError(
            f"its family ({kind}) gives vectors that differ by {largest:.2g} when exported"
        )
    return graph


def export_head(head: torch.nn.Module) -> Dict[str, bytes]:
    """Export the head of an encoder.

    head (Module): A `TextClassifier` or a `TokenClassifier`.
    RETURNS (Dict[str, bytes]): The graphs "windows" and "results" of `OnnxHead`.
    RAISES (ValueError): A custom pooling can't be exported.
    """
    vectors = torch.zeros(2, 8, head.encoder.width)
    two = torch.tensor([0, 1])
    if isinstance(head, TokenClassifier):
        rows = torch.zeros(6, head.output.out_features)
        source, tokens, counts = torch.arange(5), torch.tensor([0, 1, 2, 3, 3]), torch.ones(4)
        windows = _export(
            _PieceRows(head), (vectors, torch.arange(6)), ({0: _ANY, 1: _ANY}, {0: _ANY})
        )
        given = (rows, source, tokens, counts.long())
        return {"windows": windows, "results": _export(_TokenMeans(), given, ({0: _ANY},) * 4)}
    try:
        keep = torch.ones(2, 8, dtype=torch.bool)
        windows = _export(_WindowStates(head), (vectors, keep), ({0: _ANY, 1: _ANY},) * 2)
        states = tuple(state.detach() for state in head.pooling.reduce(vectors, keep))
        given = (states, two, torch.zeros(3))
        shapes = (tuple({0: _ANY} for _ in states), {0: _ANY}, {0: _ANY})
        return {"windows": windows, "results": _export(_Texts(head), given, shapes)}
    except Exception as error:
        raise ValueError(
            f"its pooling ({type(head.pooling).__name__}) can't be exported "
            f"({type(error).__name__}: {str(error).strip()[:200]})"
        ) from error


def session_of(graph: bytes) -> Any:
    """RETURNS (InferenceSession): The loaded graph."""
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress log messages and warnings of the libraries that export and quantize."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _export(module: torch.nn.Module, given: Tuple[Any, ...], shapes: Sequence[Any]) -> bytes:
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(), given, dynamo=True, dynamic_shapes=tuple(shapes), verbose=False
        )
    return program.model_proto.SerializeToString()


def _pieces(model: "PreTrainedModel", rows: int, length: int) -> Tuple[torch.Tensor, torch.Tensor]:
    ids = torch.arange(3, 3 + rows * length).reshape(rows, length) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[-1, length // 2 + 1 :] = 0
    return ids, mask


class _Encoder(torch.nn.Module):
    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, attention_mask=mask)[0]


class _WindowStates(torch.nn.Module):
    def __init__(self, head: "TextClassifier") -> None:
        super().__init__()
        self.pooling = head.pooling

    def forward(self, vectors: torch.Tensor, keep: torch.Tensor) -> Tuple[torch.Tensor, ...]:
        return self.pooling.reduce(vectors, keep)


class _Texts(torch.nn.Module):
    def __init__(self, head: "TextClassifier") -> None:
        super().__init__()
        # Without the encoder, whose weights would be part of the graph.
        self.pooling, self.hidden, self.output = head.pooling, head.hidden, head.output
        self._finish, self._classify = head.finish, head.classify

    def forward(
        self, states: Tuple[torch.Tensor, ...], texts: torch.Tensor, each: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        vectors = self._finish(self.pooling.combine(tuple(states), texts, each.shape[0]))
        return vectors, self._classify(vectors)


class _PieceRows(torch.nn.Module):
    def __init__(self, head: TokenClassifier) -> None:
        super().__init__()
        self.output = head.output

    def forward(self, vectors: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return self.output(read_rows(vectors, places))


class _TokenMeans(torch.nn.Module):
    def forward(
        self, rows: torch.Tensor, source: torch.Tensor, tokens: torch.Tensor, counts: torch.Tensor
    ) -> torch.Tensor:
        total = rows.new_zeros(counts.shape[0], rows.shape[1])
        return mean_of(add_rows(total, rows, source, tokens), counts)
