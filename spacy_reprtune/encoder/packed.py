"""Windows of a batch in one row without padding, for every family that gives the same vectors."""

import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Union

import torch

from .attention import Layout, NotPackable, PackedAttention, reach_mask
from .families import local_reach
from .transfer import transfer
from .windows import places_of


class Packing:
    """How to call an encoder with windows in one row."""

    def __init__(self, model: torch.nn.Module, first_position: int) -> None:
        """Prepare for an encoder.

        model (PreTrainedModel): The bare encoder.
        first_position (int): Position of a window's first piece. RoBERTa and related families
            begin above 0.
        RAISES (NotPackable): The encoder takes no positions.
        """
        takes = inspect.signature(model.forward).parameters
        if "position_ids" not in takes:
            raise NotPackable
        self.first_position = first_position
        # Passed to the encoder, because it would slice its own from a buffer that is only as long
        # as its positions.
        self._has_types = "token_type_ids" in takes and bool(
            getattr(model.config, "type_vocab_size", 0)
        )
        self._masks: Optional[Dict[str, Optional[torch.Tensor]]] = None
        reach = local_reach(model.config)
        if reach is not None:
            self._masks = {"full_attention": None, "sliding_attention": reach_mask(reach)}

    def __call__(
        self, model: Callable[..., Any], ids: torch.Tensor, layout: Layout
    ) -> torch.Tensor:
        """Run the encoder, or a part of it in a shell.

        model (Callable): The encoder or the shell.
        ids (Tensor): Piece ids of all windows, shape (1, n).
        layout (Layout): The windows.
        RETURNS (Tensor): Hidden states, shape (1, n, width).
        RAISES (NotPackable): Its attention is not plain torch attention over the pieces.
        """
        inputs: Dict[str, Any] = {
            "input_ids": ids,
            "position_ids": (layout.positions + self.first_position)[None],
        }
        if self._has_types:
            inputs["token_type_ids"] = torch.zeros_like(ids)
        if self._masks is not None:
            inputs["attention_mask"] = self._masks
        with PackedAttention(layout) as attention:
            hidden = model(**inputs)[0]
        if not attention.called:
            raise NotPackable
        return hidden


@dataclass(frozen=True)
class PackedRow:
    """The windows of a batch in one row, and their places in the padded rows of the batch.

    packing (Packing): How to call the encoder.
    layout (Layout): The windows.
    ids (Tensor): Their pieces, shape (1, n).
    places (Tensor): Place of each piece in the padded rows, counted row by row, shape (n,).
    """

    packing: Packing
    layout: Layout
    ids: torch.Tensor
    places: torch.Tensor

    @classmethod
    def of(cls, packing: Packing, ids: torch.Tensor, lengths: List[int]) -> "PackedRow":
        """RETURNS (PackedRow): The row of windows, given their padded ids and their lengths."""
        (places,) = transfer([places_of(lengths, ids.shape[1])], ids.device)
        return cls(packing, Layout.of(lengths, ids.device), ids.flatten()[places][None], places)

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """RETURNS (Tensor): Hidden states in one row, shape (1, n, width), given padded ones."""
        return padded.flatten(0, 1).index_select(0, self.places)[None]

    def unpack(self, hidden: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Spread hidden states over padded rows.

        hidden (Tensor): Shape (1, n, width).
        like (Tensor): Padded ids, shape (n_windows, length).
        RETURNS (Tensor): Shape (n_windows, length, width), with zeros for padding.
        """
        rows = hidden.new_zeros(like.numel(), hidden.shape[2])
        return rows.index_copy(0, self.places, hidden[0]).view(*like.shape, -1)


def run(
    model: Callable[..., Any], ids: torch.Tensor, windows: Union[torch.Tensor, PackedRow]
) -> torch.Tensor:
    """Run an encoder, or a part of it in a shell, over padded rows or a packed one.

    model (Callable): The encoder or the shell.
    ids (Tensor): Piece ids, shape (n_rows, length).
    windows (Union[Tensor, PackedRow]): The mask of padded rows, or the packed row.
    RETURNS (Tensor): Hidden states, shape (n_rows, length, width).
    """
    if isinstance(windows, PackedRow):
        return windows.packing(model, ids, windows.layout)
    return model(input_ids=ids, attention_mask=windows)[0]


def find_packing(model: torch.nn.Module, pad_id: int) -> Optional[Packing]:
    """Find out how to pack, if an encoder computes the same vectors packed and padded.

    A few windows are tried, some of them longer than the reach of local attention.

    model (PreTrainedModel): The bare encoder, in evaluation mode.
    pad_id (int): Id of the padding piece.
    RETURNS (Optional[Packing]): How to pack, or None if vectors differ by more than 1e-5 of the
        largest number in them.
    """
    lengths = [4, 8, 8, (local_reach(model.config) or 0) + 9]
    ids = sample_ids(model, pad_id, sum(lengths))
    with torch.no_grad(), full_precision():
        padded = torch.nn.utils.rnn.pad_sequence(list(ids.split(lengths)), True, pad_id)
        mask = torch.arange(max(lengths), device=ids.device) < ids.new_tensor(lengths)[:, None]
        try:
            wanted = model(input_ids=padded, attention_mask=mask.long())[0][mask]
            bound = 1e-5 * max(1.0, float(wanted.abs().max()))
            for first in (0, pad_id + 1):
                packing = _attempt(model, first, ids, lengths, wanted, bound)
                if packing is not None:
                    return packing
        except (RuntimeError, TypeError, ValueError, IndexError):
            # More pieces than the encoder takes, or an encoder that needs other inputs.
            return None
    return None


def _attempt(
    model: torch.nn.Module,
    first: int,
    ids: torch.Tensor,
    lengths: List[int],
    wanted: torch.Tensor,
    bound: float,
) -> Optional[Packing]:
    try:
        packing = Packing(model, first)
        found = packing(model, ids[None], Layout.of(lengths, ids.device))[0]
    except (NotPackable, RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return None
    return packing if bool((found - wanted).abs().max() <= bound) else None


def sample_ids(model: torch.nn.Module, pad_id: int, n: int) -> torch.Tensor:
    """RETURNS (Tensor): Piece ids to try an encoder with, the same ones each time, shape (n,)."""
    table = model.get_input_embeddings().weight
    ids = torch.randint(1, len(table), (n,), generator=torch.Generator().manual_seed(0))
    # Shifted so that none of them is the padding piece, wherever that is in the vocabulary.
    return ((ids + pad_id) % len(table)).to(table.device)


@contextmanager
def full_precision() -> Iterator[None]:
    """Within this context, products are not rounded to TF32, whose errors would be larger than the
    differences that are tested for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
