"""Integrated gradients: how much each piece of a text contributes to what a head says of it.

Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks". The vectors of all pieces
move together from a baseline to their own, and the gradient on the way is summed up: the
contributions add up to the difference between the score of the text and that of the baseline.
"""

import copy
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import numpy
import torch
from numpy.typing import NDArray

from ..encoder.batches import WindowBatch
from ..encoder.module import Encoder
from ..encoder.pieces import Pieces

# Places on the way at which the gradient is read, with a forward pass each. They are those of Gauss
# and Legendre, which give the sum about as well as fifty equally spaced ones.
STEPS = 16


class TracedEncoder:
    """Stands in for an encoder where a head reads it, and keeps what leads back to the pieces.

    Each text has a share, by which the vectors of its pieces are mixed with the baseline.
    """

    def __init__(self, encoder: Encoder, shares: torch.Tensor) -> None:
        """Wrap an encoder.

        encoder (Encoder): The encoder. Its weights need no gradient.
        shares (Tensor): How far each text is from the baseline, 0 to 1, shape (n_texts,).
        """
        self.encoder = encoder
        self.shares = shares
        # For each batch: its windows, the vectors that the model got, and their way from the
        # baseline.
        self.batches: List[Tuple[WindowBatch, torch.Tensor, torch.Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(
        self, pieces: Sequence[Pieces], *, pooling: Any = None
    ) -> Iterator[Tuple[WindowBatch, torch.Tensor]]:
        """See `Encoder.encode`: the vectors are always those of pieces."""
        for batch in self.encoder.batches(pieces):
            yield batch, self._run(batch)

    def _run(self, batch: WindowBatch) -> torch.Tensor:
        table = self.encoder.model.get_input_embeddings()

        def mix(module: torch.nn.Module, args: Any, own: torch.Tensor) -> torch.Tensor:
            # The special pieces stay as they are.
            nothing = module.weight[self._baseline_piece()].detach()
            way = (own.detach() - nothing) * self._inside(batch)[..., None]
            share = self.shares.to(own.device)[batch.texts][:, None, None]
            mixed = (own.detach() - way * (1.0 - share)).requires_grad_()
            self.batches.append((batch, mixed, way))
            return mixed

        handle = table.register_forward_hook(mix)
        try:
            return self.encoder.model(input_ids=batch.ids, attention_mask=batch.mask)[0]
        finally:
            handle.remove()

    def _baseline_piece(self) -> int:
        """A piece that says nothing, from the place of a piece that was masked in pretraining. A
        vector of zeros would be far from all that the encoder has seen."""
        known = self.encoder.tokenizer.tokenizer
        ids = (known.mask_token_id, known.unk_token_id, self.encoder.tokenizer.pad_id)
        return next(piece for piece in ids if piece is not None)

    def _inside(self, batch: WindowBatch) -> torch.Tensor:
        lead, special = len(self.encoder.tokenizer.prefix), len(self.encoder.tokenizer.suffix)
        columns = torch.arange(batch.ids.shape[1], device=batch.ids.device)
        ends = torch.tensor(batch.lengths, device=batch.ids.device) - special
        return (columns >= lead) & (columns < ends[:, None])

    def contributions(self, scores: torch.Tensor, n_pieces: int) -> NDArray:
        """Go back from scores to pieces.

        scores (Tensor): A score for each text, all of which have the same pieces, shape (n_texts,).
        n_pieces (int): Pieces of the text.
        RETURNS (ndarray): Products of way and gradient by text and piece, fp64, shape
            (n_texts, n_pieces).
        """
        mixed = [own for _, own, _ in self.batches]
        gradients = torch.autograd.grad(scores.sum(), mixed)
        found = numpy.zeros((len(scores), n_pieces))
        for (batch, _, way), gradient in zip(self.batches, gradients, strict=True):
            values = (way * gradient).sum(-1).double().cpu().numpy()
            window, column = numpy.nonzero(self._inside(batch).cpu().numpy())
            # In windows that overlap, a piece counts for each that shows it.
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
    """Compute the contributions of the pieces of a text to a score of it.

    encoder (Encoder): The encoder.
    n_pieces (int): Pieces of the text.
    score (Callable[[TracedEncoder, int], Tensor]): Scores so many copies of the text on an encoder
        that stands in for this one; shape (n_copies,).
    RETURNS (ndarray): fp64, shape (n_pieces,). Their sum is about the score of the text less that
        of as many masked pieces.
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
