"""The encoder itself: texts in, vectors of pieces out, in batches of bounded size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import torch
from numpy.typing import NDArray
from torch.utils.checkpoint import checkpoint

from .attention import fits_flash
from .batches import CPU_PADDING, TextReader, WindowBatch
from .cache import shared_cache
from .cpu import prepare_for_cpu
from .families import piece_limit, width_of
from .freezing import (
    Unfreeze,
    check_unfreeze,
    find_blocks,
    freeze,
    rate_factors,
    reinitialize_last,
    stage,
)
from .keep_blocks import check_keep_blocks, keep_blocks
from .load import MODEL_TYPE
from .packed import PackedRow, find_packing
from .passes import Passes
from .pieces import Pieces, PieceTokenizer
from .precision import PRECISIONS, resolve_precision
from .prefix import FixedPooling
from .transfer import transfer
from .windows import Windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CPU = torch.device("cpu")
# Batches whose activations a training step keeps for its backward pass. Two of the default size are
# the 16 texts of 512 pieces that encoders are usually fine-tuned with; more are computed twice.
KEPT_BATCHES = 2


@dataclass(frozen=True)
class EncoderSettings:
    """The settings of `spacy_reprtune.Encoder.v1`, whose docstring explains each."""

    name: str
    unfreeze: Unfreeze = "all"
    window: Optional[int] = None
    overlap: int = 0
    batch_pieces: int = 4096
    packed: Union[bool, str] = "auto"
    precision: str = "auto"
    device: str = "auto"
    cache_mb: int = 1000
    cache_dir: Optional[str] = None
    lr_decay: float = 1.0
    unfreeze_every: Optional[int] = None
    reinit_last: int = 0
    max_pieces: Optional[int] = None
    keep_blocks: Optional[Tuple[int, ...]] = None
    # Whether the encoder sees a piece in its context, as recognizing entities needs.
    reads_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_unfreeze(self.unfreeze)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision = {self.precision!r}. Use one of {', '.join(PRECISIONS)}.")
        if self.packed not in ("auto", True, False):
            raise ValueError(f"packed = {self.packed!r}. Use 'auto', true or false.")
        if self.window is not None and self.window < 8:
            raise ValueError(
                f"window = {self.window} pieces. Use at least 8, or null for the encoder's limit."
            )
        if self.max_pieces is not None and self.max_pieces < 8:
            raise ValueError(
                f"max_pieces = {self.max_pieces}. Use at least 8, or null for whole texts."
            )
        if self.overlap < 0 or self.batch_pieces < 1:
            raise ValueError(
                f"overlap = {self.overlap} and batch_pieces = {self.batch_pieces}: the first must "
                "be 0 or more, the second 1 or more."
            )
        if self.cache_mb < 0:
            raise ValueError(f"cache_mb = {self.cache_mb}. Use 1 or more, or 0 for no cache.")
        if not 0.0 < self.lr_decay <= 1.0:
            raise ValueError(f"lr_decay = {self.lr_decay}. Use a factor above 0, at most 1.")
        if self.unfreeze_every is not None and self.unfreeze_every < 1:
            raise ValueError(f"unfreeze_every = {self.unfreeze_every} updates. Use 1 or more.")
        trained = {"all": self.reinit_last, "none": 0}.get(self.unfreeze, self.unfreeze)
        if not 0 <= self.reinit_last <= trained:
            raise ValueError(
                f"reinit_last = {self.reinit_last}, but unfreeze = {self.unfreeze!r}: a block "
                "with new weights has to be trained, so use at most the number of trained blocks."
            )
        if self.keep_blocks is not None:
            check_keep_blocks(self.keep_blocks)

    def prepare(
        self, model: "PreTrainedModel", tokenizer: PieceTokenizer, device: torch.device = CPU
    ) -> "PreTrainedModel":
        """Turn a pretrained encoder into the one that training starts from.

        model (PreTrainedModel): The pretrained encoder; it may be changed.
        tokenizer (PieceTokenizer): Its tokenizer.
        device (device): Where to compute, if anything has to be computed.
        RETURNS (PreTrainedModel): The encoder.
        RAISES (ValueError): It has fewer blocks than the settings ask for, or is only a table.
        """
        if model.config.model_type == MODEL_TYPE:
            raise ValueError(
                f"The encoder '{self.name}' is a table of piece vectors. Use it as the name of a "
                "spacy_reprtune.StaticEncoder.v1."
            )
        if self.keep_blocks is not None:
            keep_blocks(model, self.keep_blocks)
        reinitialize_last(model, self.reinit_last)
        return model

    def rate_factors(self, model: "PreTrainedModel") -> Dict[torch.nn.Parameter, float]:
        """RETURNS (Dict[Parameter, float]): Factor of each parameter's learning rate."""
        return rate_factors(model, self.lr_decay)


class Encoder(torch.nn.Module, TextReader):
    """A pretrained transformer with its tokenizer, windows, batches, freezing and precision.

    `model` holds the weights, always in fp32; `Passes` computes with them.
    """

    def __init__(
        self,
        model,
        tokenizer: PieceTokenizer,
        settings: EncoderSettings,
        device: torch.device = CPU,
    ) -> None:
        """Put the parts together.

        model (PreTrainedModel): The bare encoder.
        tokenizer (PieceTokenizer): Its tokenizer.
        settings (EncoderSettings): How to run it.
        device (torch.device): Where to run it: `settings.device`, resolved.
        RAISES (ValueError): A setting asks for more than this encoder can do.
        """
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.device = device
        self.dtype = resolve_precision(settings.precision, device, model.config.model_type)
        # A table looks up padding at next to no cost, so only other encoders limit it.
        self.padding = CPU_PADDING if device.type == "cpu" and settings.reads_order else None
        self.width: int = width_of(model.config)
        tokenizer.check_rows(len(model.get_input_embeddings().weight), settings.name)
        self.window = self._check_window()
        # Switched on when training begins. A pipeline that only predicts rarely sees a text twice.
        self.caching = False
        self.trainable: List[torch.nn.Module] = []
        self._switched: List[torch.nn.Module] = []
        if self.device.type == "cpu":
            prepare_for_cpu(model)
        self.to(self.device)
        self.packing = find_packing(model, tokenizer.pad_id) if self._packs() else None
        self.cache = None
        if settings.cache_mb:
            self.cache = shared_cache(settings.cache_mb, settings.cache_dir)
        self.passes = Passes(model, self.dtype)
        self.depth = len(find_blocks(model))
        # Raises an error for an impossible setting, even if training starts with fewer blocks.
        freeze(model, settings.unfreeze)
        self._stage: Optional[Unfreeze] = None
        self.begin_step(0)

    def begin_step(self, step: int) -> None:
        """Unfreeze the blocks that are due at a step.

        step (int): Number of updates so far.
        """
        now = stage(self.settings.unfreeze, self.depth, step, self.settings.unfreeze_every)
        if now != self._stage:
            self._stage = now
            self.trainable = freeze(self.model, now)
            self.passes.freeze(self.trainable)
            self.model.eval()
            self.training = False
            self._switched = [m for block in self.trainable for m in block.modules()]

    @property
    def caches(self) -> bool:
        """RETURNS (bool): Whether training reads the output of frozen blocks from a cache."""
        return self.cache is not None and bool(self.passes.cut)

    def rate_factors(self) -> Dict[torch.nn.Parameter, float]:
        """RETURNS (Dict[Parameter, float]): Factor of each parameter's learning rate."""
        return self.settings.rate_factors(self.model)

    def train(self, mode: bool = True) -> "Encoder":
        """Switch the trainable blocks between training and evaluation; frozen ones stay in
        evaluation mode, without dropout.

        mode (bool): Whether the next pass is a training step.
        RETURNS (Encoder): Itself.
        """
        # Most predictions follow another prediction, and for a text of a few words setting the
        # flags would take a noticeable share of the time.
        if mode != self.training:
            for module in [self, *self._switched]:
                module.training = mode
        return self

    def encode(
        self, pieces: Sequence[Pieces], *, pooling: Optional[FixedPooling] = None
    ) -> "Iterator[tuple[WindowBatch, torch.Tensor]]":
        """Run the encoder over texts, batch by batch.

        With gradients on, a step of more than `KEPT_BATCHES` full batches keeps only the inputs of
        each batch and recomputes it in the backward pass, so memory is bounded however long the
        texts are (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost).

        pieces (Sequence[Pieces]): The pieces of each text.
        pooling (Optional[FixedPooling]): Reduction of each window to one vector, if it has no
            weights: where nothing trains, the pooled windows are cached.
        YIELDS (Tuple[WindowBatch, Tensor]): A batch and its vectors, fp32 or bf16, of shape
            (n_windows, length, width), or (n_windows, width) if they are pooled. Rows follow the
            batch, not the texts.
        """
        training = torch.is_grad_enabled() and bool(self.trainable)
        batches = list(self.batches(pieces)) if training else self.batches(pieces)
        # On a CPU many batches may be small, and recomputing a single large window gains nothing.
        kept = KEPT_BATCHES * self.settings.batch_pieces
        recompute = training and len(batches) > KEPT_BATCHES
        recompute = recompute and sum(batch.ids.numel() for batch in batches) > kept
        for batch in batches:
            if recompute:
                # Dropout is the same again on a device only if `checkpoint` sees a tensor there.
                yield batch, checkpoint(self._recomputed, batch.ids, batch, use_reentrant=False)
            else:
                yield batch, self._vectors(batch, pooling)

    def _recomputed(self, ids: torch.Tensor, batch: WindowBatch) -> torch.Tensor:
        return self._vectors(batch, None)

    def _vectors(self, batch: WindowBatch, pooling: Optional[FixedPooling]) -> torch.Tensor:
        cached, row = self.caching and self.cache is not None, batch.row
        if self.passes.cut is None or not (cached or torch.is_grad_enabled()):
            if row is None:
                return self.passes.whole(batch.ids, batch.mask)
            return row.unpack(self.passes.whole(row.ids, row), batch.ids)
        cache = self.cache if cached else None
        if cached and not self.trainable and pooling is not None:
            return self.passes.below(batch, cache, pooling)
        # Padded, because each window comes from the cache, or is computed once to be put there.
        hidden = self.passes.below(batch, cache)
        if row is None:
            return self.passes.above(batch.ids, batch.mask, hidden)
        return row.unpack(self.passes.above(row.ids, row, row.pack(hidden)), batch.ids)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run all blocks over one batch.

        ids (Tensor): Piece ids, shape (n_windows, length).
        mask (Tensor): 1 for pieces, 0 for padding, the same shape.
        RETURNS (Tensor): Vectors, shape (n_windows, length, width).
        """
        return self.passes.whole(ids, mask)

    def collate(self, pieces: Sequence[Pieces], windows: Windows, group: NDArray) -> WindowBatch:
        """See `TextReader`. The batch holds tensors on the encoder's device."""
        batch = super().collate(pieces, windows, group)
        arrays = [batch.texts, batch.ids, batch.mask, batch.keep]
        batch.texts, batch.ids, batch.mask, batch.keep = transfer(arrays, self.device)
        if self.packing is not None:
            batch.row = PackedRow.of(self.packing, batch.ids, batch.lengths)
        return batch

    def weights_changed(self) -> None:
        """Note that an optimizer has changed the trainable weights."""
        self.passes.changed()

    def _packs(self) -> bool:
        """Whether to pack, if the encoder can."""
        if self.settings.packed != "auto":
            return bool(self.settings.packed)
        # Packing pays off with the flash kernel, which computes in half precision on CUDA. It can
        # pay off on a CPU, too (docs/gpu.md), but then vectors would differ in their last bits from
        # those of earlier versions.
        heads = getattr(self.model.config, "num_attention_heads", None) or 1
        return fits_flash(self.device, self.dtype, self.width // heads)

    def _check_window(self) -> int:
        limit = piece_limit(self.model, self.tokenizer.max_pieces)
        window = self.settings.window or limit
        if window > limit:
            raise ValueError(
                f"window = {window} pieces, but the encoder '{self.settings.name}' takes "
                f"{limit} at most."
            )
        special = self.tokenizer.n_special
        if self.settings.overlap > (window - special) // 2:
            raise ValueError(
                f"overlap = {self.settings.overlap} pieces is more than half of what a window of "
                f"{window} holds besides its {special} special pieces."
            )
        return window
