"""Run a head on the token vectors of another component."""

from typing import Any, Callable, List, Optional, Tuple

import srsly
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from thinc.util import to_numpy

from ..encoder.token_rows import ListenedEncoder, TokenRows
from .device import configured_device
from .shim import TorchShim


class ListeningShim(TorchShim):
    """Runs, updates, saves and loads a head without an encoder, and returns the input gradient."""

    def __init__(
        self, build: Callable[[ListenedEncoder, int], torch.nn.Module], *, head_lr: float = 1.0
    ) -> None:
        """Prepare a head.

        build (Callable[[ListenedEncoder, int], Module]): Builds the head, given a stand-in for the
            encoder and the number of labels.
        head_lr (float): Learning rate of the head as a multiple of the optimizer's.
        """
        super().__init__(None, build, head_lr=head_lr)  # type: ignore[arg-type]
        self.width: Optional[int] = None

    def initialize(self, n_labels: int, *, width: int) -> None:  # type: ignore[override]
        """Make a new head.

        n_labels (int): Columns of the output.
        width (int): Width of the token vectors.
        """
        self._set_head(n_labels, width)

    def __call__(self, inputs: Tuple[Any, float], is_train: bool) -> Tuple[Any, Callable]:
        """Run the head.

        inputs (Tuple[Tuple[Floats2d, List[int]], float]): Token vectors and the number of tokens
            of each doc; and the dropout rate.
        is_train (bool): Whether the second return value will be called.
        RETURNS (Tuple[ndarray, Callable]): The output, and a function that takes its gradient and
            returns the gradient of the token vectors.
        """
        (rows, lengths), rate = inputs
        given = self.token_rows(rows, lengths)
        leaf = given.vectors.requires_grad_(is_train)
        output, backward = super().__call__((given, rate), is_train)

        def backward_to_rows(d_output: Any) -> Any:
            backward(d_output)
            gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            return gradient.cpu().numpy()

        return output, backward_to_rows

    def token_rows(self, rows: Any, lengths: List[int]) -> TokenRows:
        """RETURNS (TokenRows): Token vectors on the head's device, given thinc's arrays."""
        vectors = torch.as_tensor(to_numpy(rows), dtype=torch.float32)
        return TokenRows(vectors.to(self.module.encoder.device).detach(), lengths)

    def overview(self, texts: Optional[List[str]] = None) -> str:
        """RETURNS (str): A description of what is going to train."""
        count = sum(p.numel() for p in self.module.parameters())
        return (
            f"head: {count:,} parameters at {self.head_lr:.3g} x learn_rate. Its vectors of "
            f"{self.width} columns come from another component or model."
        )

    def _arguments(self) -> Tuple[Any, ...]:
        return (self.build,)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The sizes and the weights of the head as msgpack."""
        if self._model is None:
            return srsly.msgpack_dumps({})
        saved = {"n_labels": self.n_labels, "width": self.width}
        return srsly.msgpack_dumps({**saved, "head": save_tensors(self._head_tensors())})

    def from_bytes(self, data: bytes) -> "ListeningShim":
        """Load the result of `to_bytes`.

        data (bytes): The bytes.
        RETURNS (ListeningShim): Itself.
        """
        saved = srsly.msgpack_loads(data)
        if saved:
            self._set_head(saved["n_labels"], saved["width"])
            self._load_head(load_tensors(saved["head"]))
        return self

    def _set_head(self, n_labels: int, width: int) -> None:
        self.width = width
        self._set_module(ListenedEncoder(width, configured_device("auto")), n_labels)
