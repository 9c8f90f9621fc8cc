"""Runs a head on the token vectors of another component."""

from typing import Any, Callable, List, Optional, Tuple

import srsly
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..encoder.token_rows import ListenedEncoder, TokenRows
from .device import configured_device
from .shim import TorchShim


class ListeningShim(TorchShim):
    """Runs, updates, saves and loads a head without its encoder, and gives the input's gradient."""

    def __init__(
        self, build: Callable[[ListenedEncoder, int], torch.nn.Module], *, head_lr: float = 1.0
    ) -> None:
        """Prepare a head.

        build (Callable[[ListenedEncoder, int], Module]): Makes it, given the number of labels.
        head_lr (float): Its learning rate as a multiple of the optimizer's.
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

        inputs (Tuple[Tuple[Floats2d, List[int]], float]): Token vectors and the tokens of each
            doc; and the dropout rate.
        is_train (bool): Whether the second return value will be called.
        RETURNS (Tuple[ndarray, Callable]): The output, and a function from its gradient to that of
            the token vectors.
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
        """RETURNS (TokenRows): Token vectors, in thinc's form, where the head can read them."""
        array = rows.get() if hasattr(rows, "get") else rows
        vectors = torch.as_tensor(array, dtype=torch.float32).to(self.module.encoder.device)
        return TokenRows(vectors.detach(), lengths)

    def overview(self, texts: Optional[List[str]] = None) -> str:
        """RETURNS (str): What is going to train."""
        count = sum(p.numel() for p in self.module.parameters())
        return (
            f"head: {count:,} parameters at {self.head_lr:.3g} x learn_rate. Its vectors of "
            f"{self.width} columns come from another component or model."
        )

    def copy(self) -> "ListeningShim":
        """RETURNS (ListeningShim): The same weights in memory of their own."""
        return ListeningShim(self.build, head_lr=self.head_lr).from_bytes(self.to_bytes())

    def _arguments(self) -> Tuple[Any, ...]:
        return (self.build,)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The sizes and the weights of the head as msgpack."""
        if self._model is None:
            return srsly.msgpack_dumps({})
        saved = {"n_labels": self.n_labels, "width": self.width}
        return srsly.msgpack_dumps({**saved, "head": save_tensors(self._head_tensors())})

    def from_bytes(self, data: bytes) -> "ListeningShim":
        """Load what `to_bytes` gave.

        data (bytes): The bytes.
        RETURNS (ListeningShim): Itself.
        """
        saved = srsly.msgpack_loads(data)
        if saved:
            self._set_head(saved["n_labels"], saved["width"])
            self._load_head(load_tensors(saved["head"]))
        return self

    def _set_head(self, n_labels: int, width: int) -> None:
        self._model = self.build(ListenedEncoder(width, configured_device("auto")), n_labels)
        self._model.eval()
        self.n_labels, self.width = n_labels, width
        self._updater = None
        self._n_backward = 0
        self._n_updates = 0
