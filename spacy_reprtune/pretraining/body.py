"""Hidden states of a batch of windows: in one packed row, or in padded rows as a fallback."""

from typing import List, Sequence, Union

import torch

from ..encoder.attention import Layout
from ..encoder.packed import Packing, find_packing, full_precision, sample_ids


class PackedBody:
    """Runs an encoder over windows that are packed into a single row."""

    def __init__(self, model: torch.nn.Module, packing: Packing) -> None:
        """Prepare to run an encoder.

        model (PreTrainedModel): The bare encoder.
        packing (Packing): Result of `find_packing`.
        """
        self.model, self.packing = model, packing

    def __call__(self, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Run the encoder.

        ids (Tensor): Piece ids of all windows, shape (n,).
        lengths (Sequence[int]): Pieces of each window.
        RETURNS (Tensor): Hidden states, shape (n, width).
        """
        return self.packing(self.model, ids[None], Layout.of(lengths, ids.device))[0]


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
        for rows in split_rows(list(ids.split(list(lengths)))):
            padded = torch.nn.utils.rnn.pad_sequence(rows, True, self.pad_id)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], True)
            hidden = self.model(input_ids=padded, attention_mask=mask)[0]
            found.append(hidden[mask.bool()])
        return torch.cat(found)


def choose_body(model: torch.nn.Module, pad_id: int) -> Union[PackedBody, PaddedBody]:
    """Choose packing if the encoder computes the same hidden states packed and padded.

    model (PreTrainedModel): The bare encoder, in evaluation mode.
    pad_id (int): Id of the padding piece.
    RETURNS (Union[PackedBody, PaddedBody]): The body to run it with.
    RAISES (ValueError): The hidden states of a window depend on its padding.
    """
    padded, lengths = PaddedBody(model, pad_id), [8, 8, 9]
    ids = sample_ids(model, pad_id, sum(lengths))
    with torch.no_grad(), full_precision():
        # One batch, in which two windows are padded.
        wanted = padded(ids, lengths)
        single = torch.cat([padded(window, [len(window)]) for window in ids.split(lengths)])
        # FNet, for example, mixes padding in. Kernels for other shapes differ by far less.
        if (single - wanted).abs().max() > 1e-3 * wanted.abs().max():
            raise ValueError("padding changes its hidden states")
    packing = find_packing(model, pad_id)
    return padded if packing is None else PackedBody(model, packing)


def split_rows(rows: List[torch.Tensor]) -> List[List[torch.Tensor]]:
    """RETURNS (List[List[Tensor]]): Rows that are sorted by length, in groups whose longest row is
    at most an eighth longer than the shortest."""
    groups: List[List[torch.Tensor]] = []
    for row in rows:
        if groups and len(row) <= len(groups[-1][0]) * 9 // 8:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
