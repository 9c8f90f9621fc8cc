"""Hidden states of a batch of windows: in one packed row, or in padded rows as a fallback."""

import inspect
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Sequence

import torch

from .attention import Layout, NotPackable, PackedAttention


class PackedBody:
    """Runs an encoder over windows that are packed into a single row."""

    def __init__(self, model: torch.nn.Module, first_position: int) -> None:
        """Prepare to run an encoder.

        model (PreTrainedModel): The bare encoder.
        first_position (int): Position of a window's first piece. RoBERTa and related families
            begin above 0.
        """
        self.model, self.first_position = model, first_position
        self._takes = set(inspect.signature(model.forward).parameters)
        if "position_ids" not in self._takes:
            raise NotPackable

    def __call__(self, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Run the encoder.

        ids (Tensor): Piece ids of all windows, shape (n,).
        lengths (Sequence[int]): Pieces of each window.
        RETURNS (Tensor): Hidden states, shape (n, width).
        RAISES (NotPackable): Its attention is not plain torch attention over the pieces.
        """
        layout = Layout.of(lengths, ids.device)
        inputs: Dict[str, Any] = {
            "input_ids": ids[None],
            "position_ids": (layout.positions + self.first_position)[None],
        }
        if "token_type_ids" in self._takes and _has_types(self.model):
            # Made here: encoders slice theirs from a table that is as long as their positions.
            inputs["token_type_ids"] = torch.zeros_like(ids)[None]
        with PackedAttention(layout) as attention:
            hidden = self.model(**inputs)[0][0]
        if not attention.called:
            raise NotPackable
        return hidden


class PaddedBody:
    """Runs an encoder over windows in padded rows of similar length."""

    def __init__(self, model: torch.nn.Module, pad_id: int) -> None:
        """Prepare to run an encoder.

        model (PreTrainedModel): The bare encoder.
        pad_id (int): Id of the padding piece.
        """
        self.model, self.pad_id = model, pad_id

    def __call__(self, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Run the encoder; see `PackedBody`."""
        found: List[torch.Tensor] = []
        for rows in _split_rows(list(ids.split(list(lengths)))):
            padded = torch.nn.utils.rnn.pad_sequence(rows, True, self.pad_id)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], True)
            hidden = self.model(input_ids=padded, attention_mask=mask)[0]
            found.append(hidden[mask.bool()])
        return torch.cat(found)


def choose_body(model: torch.nn.Module, pad_id: int, vocab_size: int):
    """Choose packing if the encoder computes the same hidden states packed and padded.

    That is tried on a few windows.

    model (PreTrainedModel): The bare encoder, in evaluation mode.
    pad_id (int): Id of the padding piece.
    vocab_size (int): Ids below this are pieces.
    RETURNS (Union[PackedBody, PaddedBody]): The body to run it with.
    RAISES (ValueError): The hidden states of a window depend on its padding.
    """
    padded = PaddedBody(model, pad_id)
    device = next(model.parameters()).device
    # The last three make one batch, and two of them are padded.
    lengths = [4, 8, 8, 9]
    generator = torch.Generator().manual_seed(0)
    # Shifted so that none of them is the padding piece, wherever that is in the vocabulary.
    ids = torch.randint(1, vocab_size, (sum(lengths),), generator=generator)
    ids = ((ids + pad_id) % vocab_size).to(device)
    with torch.no_grad(), _full_precision():
        wanted = padded(ids, lengths)
        single = torch.cat([padded(window, [len(window)]) for window in ids.split(lengths)])
        # FNet, for example, mixes padding in. Kernels for other shapes differ by far less.
        if (single - wanted).abs().max() > 1e-3 * wanted.abs().max():
            raise ValueError("padding changes its hidden states")
        for first in (0, pad_id + 1):
            try:
                packed = PackedBody(model, first)
                found = packed(ids, lengths)
            except (NotPackable, RuntimeError, TypeError, ValueError, IndexError):
                continue
            if torch.allclose(found, wanted, atol=1e-4):
                return packed
    return padded


@contextmanager
def _full_precision() -> Iterator[None]:
    # Rounding to TF32 would make larger differences than those that are looked for.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _split_rows(rows: List[torch.Tensor]) -> List[List[torch.Tensor]]:
    # Windows are sorted; a new group starts where padding would exceed an eighth.
    groups: List[List[torch.Tensor]] = []
    for row in rows:
        if groups and len(row) <= len(groups[-1][0]) * 9 // 8:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _has_types(model: torch.nn.Module) -> bool:
    return bool(getattr(model.config, "type_vocab_size", 0))
