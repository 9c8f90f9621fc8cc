"""Integrated gradients: how much each piece of a text contributes to a head's score of the text.

Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks". The vectors of all pieces
move together from a baseline to their actual values, and the gradients along this path are summed.
The contributions add up to the difference between the scores of the text and of the baseline.
"""

import copy
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import numpy
import torch
from numpy.typing import NDArray

from ..encoder.batches import WindowBatch
from ..encoder.module import Encoder
from ..encoder.pieces import Pieces

# Points on the path at which the gradient is computed, with a forward pass each. Gauss-Legendre
# quadrature places them, and needs a third of the points that equal spacing would need.
STEPS = 16


class TracedEncoder:
    """An encoder that mixes the vectors of pieces with a baseline, and traces scores back to them.

    Each text has its own share of the mixture.
    """

    def __init__(self, encoder: Encoder, shares: torch.Tensor) -> None:
        """Wrap an encoder.

        encoder (Encoder): The encoder. Its weights need no gradient.
        shares (Tensor): How far each text is from the baseline, 0 to 1, shape (n_texts,).
        """
        self.encoder = encoder
        self.shares = shares
        # For each batch: its windows, the mixed vectors, and the difference between the actual
        # vectors and the baseline.
        self.batches: List[Tuple[WindowBatch, torch.Tensor, torch.Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(
        self, pieces: Sequence[Pieces], *, pooling: Any = None
    ) -> Iterator[Tuple[WindowBatch, torch.Tensor]]:
        """See `Encoder.encode`. Windows are never pooled."""
        for batch in self.encoder.batches(pieces):
            yield batch, self._run(batch)

    def _run(self, batch: WindowBatch) -> torch.Tensor:
        table = self.encoder.model.get_input_embeddings()

        def mix(module: torch.nn.Module, args: Any, own: torch.Tensor) -> torch.Tensor:
            # The special pieces stay as they are.
            baseline = module.weight[self._baseline_piece()].detach()
            path = (own.detach() - baseline) * self._inside(batch)[..., None]
            share = self.shares.to(own.device)[batch.texts][:, None, None]
            mixed = (own.detach() - path * (1.0 - share)).requires_grad_()
            self.batches.append((batch, mixed, path))
            return mixed

        handle = table.register_forward_hook(mix)
        try:
            return self.encoder.model(input_ids=batch.ids, attention_mask=batch.mask)[0]
        finally:
            handle.remove()

    def _baseline_piece(self) -> int:
        """A piece without meaning, if possible the one that replaced masked pieces in pretraining.
        A vector of zeros would be far from everything that the encoder has seen."""
        known = self.encoder.tokenizer.tokenizer
        ids = (known.mask_token_id, known.unk_token_id, self.encoder.tokenizer.pad_id)
        return next(piece for piece in ids if piece is not None)

    def _inside(self, batch: WindowBatch) -> torch.Tensor:
        lead, special = len(self.encoder.tokenizer.prefix), len(self.encoder.tokenizer.suffix)
        columns = torch.arange(batch.ids.shape[1], device=batch.ids.device)
        ends = torch.tensor(batch.lengths, device=batch.ids.device) - special
        return (columns >= lead) & (columns < ends[:, None])

    def contributions(self, scores: torch.Tensor, n_pieces: int) -> NDArray:
        """Trace scores back to pieces.

        scores (Tensor): A score for each copy of the text, shape (n_texts,).
        n_pieces (int): Number of pieces in the text.
        RETURNS (ndarray): Products of path and gradient by copy and piece, fp64, shape
            (n_texts, n_pieces).
        """
        mixed = [own for _, own, _ in self.batches]
        gradients = torch.autograd.grad(scores.sum(), mixed)
        found = numpy.zeros((len(scores), n_pieces))
        for (batch, _, path), gradient in zip(self.batches, gradients, strict=True):
            values = (path * gradient).sum(-1).cpu().double().numpy()
            window, column = numpy.nonzero(self._inside(batch).cpu().numpy())
            # Where windows overlap, a piece counts once for each window that it is in.
            piece = batch.first_piece[window] + column
            text = batch.texts.cpu().numpy()[window]
            numpy.add.at(found, (text, piece), values[window, column])
        return found


def on_encoder(module: torch.nn.Module, encoder: TracedEncoder) -> torch.nn.Module:
    """RETURNS (Module): A module with the same weights that reads another encoder."""
    clone = copy.copy(module)
    clone._modules = {name: part for name, part in module._modules.items() if name != "encoder"}
    vars(clone)["encoder"] = encoder
    return clone


def integrated_gradients(
    encoder: Encoder,
    n_pieces: int,
    score: Callable[[TracedEncoder, int], torch.Tensor],
) -> NDArray:
    """Compute the contributions of the pieces of a text to its score.

    encoder (Encoder): The encoder.
    n_pieces (int): Number of pieces in the text.
    score (Callable[[TracedEncoder, int], Tensor]): Scores a number of copies of the text, with the
        given encoder in place of this one; shape (n_copies,).
    RETURNS (ndarray): fp64, shape (n_pieces,). The sum is about the difference between the scores
        of the text and of as many masked pieces.
    """
    if not n_pieces:
        return numpy.zeros(0)
    places, weights = numpy.polynomial.legendre.leggauss(STEPS)
    shares = torch.tensor((places + 1) / 2, dtype=torch.float32)
    traced = TracedEncoder(encoder, shares)
    encoder.eval()
    with torch.enable_grad():
        found = traced.contributions(score(traced, STEPS), n_pieces)
    return (weights / 2) @ found
