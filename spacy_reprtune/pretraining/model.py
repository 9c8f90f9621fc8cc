"""An encoder and what trains it: loading, running, writing to a directory."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch

from ..bridge.device import configured_device
from ..encoder.cpu import use_cheap_dropout
from ..encoder.families import piece_limit
from ..encoder.freezing import find_blocks, freeze
from ..encoder.load import lack_tensors, load_config, read_weights, resolve_encoder
from ..encoder.pieces import PieceTokenizer
from ..encoder.precision import resolve_precision
from ..files import replaced_directory
from .body import PackedBody, choose_body
from .head import MaskedHead
from .masking import Masked, Masker, seed_of
from .packing import Batch
from .settings import EncoderPart, MaskingPart

logger = logging.getLogger(__name__)

# Not copied from the source: weights and configuration, which are written again, files that could
# run code, and the description of the source.
_REPLACED = ("config.json", "model.safetensors", "model.safetensors.index.json", "README.md")
_COPIED = (".json", ".txt", ".model", ".jinja")
# Files with the old pieces. tokenizer.json has all pieces, and not every version of transformers
# writes these files again.
_VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt")


class Restorer(torch.nn.Module):
    """An encoder that learns by restoring damaged text, its tokenizer, and a head that restores.

    A subclass is an objective: it makes the head, damages batches, and computes their loss.
    """

    # Share of the pieces that pass the encoder.
    encoded = 1.0
    # With the attribute `bias` and a method `flops_per_piece`; see `MaskedHead`.
    head: Any

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PieceTokenizer,
        settings: EncoderPart,
        device: torch.device,
    ) -> None:
        """Put the parts together; `load` does that from settings.

        model (PreTrainedModel): The encoder. What is saved in the end is all of the model.
        tokenizer (PieceTokenizer): Its tokenizer.
        settings (EncoderPart): How to run it.
        device (device): Device to run it on.
        """
        super().__init__()
        self.model, self.tokenizer, self.settings, self.device = model, tokenizer, settings, device
        self.dtype = resolve_precision(settings.precision, device, model.config.model_type)
        self.limit = piece_limit(model, tokenizer.max_pieces)
        model.to(device).eval()
        _set_dropout(model, settings.dropout)
        if device.type == "cpu":
            use_cheap_dropout(model)
        try:
            self.body = choose_body(model.base_model, tokenizer.pad_id)
            self.head = self._make_head()
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(_unfit(model, f"{type(error).__name__}: {error}")) from error
        self.freeze_encoder(False)
        if settings.compile:
            for block in find_blocks(model.base_model):
                block.compile()

    def _make_head(self) -> Any:
        raise NotImplementedError

    def noise(self, masking: MaskingPart) -> Callable[..., Any]:
        """Choose how batches are damaged.

        masking (MaskingPart): The `[masking]` settings.
        RETURNS (Callable[..., Any]): Takes a batch and numbers that select the damage, such as seed
            and epoch. Returns what `loss` takes, with the pieces to restore as `labels`.
        """
        raise NotImplementedError

    def loss(self, batch: Batch, damaged: Any) -> torch.Tensor:
        """Compute the loss of a batch.

        batch (Batch): The batch.
        damaged (Any): The batch after damage, on the device.
        RETURNS (Tensor): The loss, summed over the pieces to restore; a scalar.
        """
        raise NotImplementedError

    @property
    def packed(self) -> bool:
        """RETURNS (bool): Whether windows are computed without padding."""
        return isinstance(self.body, PackedBody)

    def freeze_encoder(self, frozen: bool) -> None:
        """Let only the head train, or what the settings say.

        frozen (bool): Whether the encoder stays as it is.
        """
        base = self.model.base_model
        self.model.requires_grad_(True)
        # A projection that is tied to the embeddings goes with them.
        self._trained = freeze(base, "none" if frozen else self.settings.unfreeze)

    def train(self, mode: bool = True) -> "Restorer":
        """Switch what trains to training; frozen blocks stay in evaluation mode."""
        self.model.eval()
        self.head.train(mode)
        for module in self._trained:
            module.train(mode)
        return self

    def hidden(self, ids: torch.Tensor, lengths: List[int]) -> torch.Tensor:
        """RETURNS (Tensor): Hidden states of the windows of a batch, shape (n, width)."""
        with self._precision():
            return self.body(ids, lengths)

    def weights(self) -> Dict[str, torch.nn.Parameter]:
        """RETURNS (Dict[str, Parameter]): All that may train, by name."""
        return dict(self.model.named_parameters())

    def vectors(self, ids: torch.Tensor, lengths: List[int]) -> torch.Tensor:
        """RETURNS (Tensor): Mean over the hidden states of each window, fp32, shape (n_windows,
        width)."""
        hidden = self.hidden(ids, lengths).float()
        return torch.stack([window.mean(0) for window in hidden.split(lengths)])

    def save_encoder(self, path: Path, source: Path, *, new_vocabulary: bool = False) -> None:
        """Write an encoder directory: weights with head, tokenizer, and the source's pooling.

        path (Path): The directory, replaced as a whole.
        source (Path): The directory that the encoder came from.
        new_vocabulary (bool): Whether the tokenizer differs from the source's.
        """
        left = (*_REPLACED, *_VOCABULARY) if new_vocabulary else _REPLACED
        with replaced_directory(path) as fresh:
            for file in sorted(source.rglob("*")):
                name = file.relative_to(source)
                if file.is_file() and file.suffix in _COPIED and str(name) not in left:
                    (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, fresh / name)
            _copy_modules(source, fresh)
            self.model.save_pretrained(str(fresh), safe_serialization=True)
            if new_vocabulary or not (fresh / "tokenizer.json").is_file():
                for name, content in self.tokenizer.files().items():
                    (fresh / name).write_bytes(content)

    def _precision(self):
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)


class MaskedLM(Restorer):
    """Restores masked pieces with the model's own head."""

    def _make_head(self) -> MaskedHead:
        head = MaskedHead(self.model)
        # Finds heads that need more than hidden states, and encoders that need more than pieces.
        table = self.model.get_input_embeddings().weight
        ids = torch.arange(9, device=self.device) % len(table)
        ids[ids == self.tokenizer.pad_id] = self.tokenizer.tokenizer.mask_token_id
        with torch.no_grad():
            wanted = self.model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None])
            found = head.logits(self.body(ids, [len(ids)]))
        wanted = wanted.logits[0].float()
        # The tolerance allows for rounding to TF32.
        if found.shape != wanted.shape or not bool(
            (found - wanted).abs().max() <= 0.02 * wanted.abs().max()
        ):
            raise ValueError("its head computes other scores outside of the model")
        return head

    def noise(self, masking: MaskingPart) -> Callable[..., Masked]:
        """See `Restorer`."""
        tokenizer = self.tokenizer.tokenizer
        masker = Masker(
            mask_id=tokenizer.mask_token_id,
            special_ids=tokenizer.all_special_ids,
            vocab_size=min(len(tokenizer), len(self.model.get_input_embeddings().weight)),
            rate=masking.rate,
            whole_words=masking.whole_words,
        )
        return lambda batch, *key: masker(batch.ids, batch.index, batch.words, *key)

    def loss(self, batch: Batch, damaged: Masked) -> torch.Tensor:
        """See `Restorer`."""
        hidden = self.hidden(damaged.ids, batch.lengths)
        with self._precision():
            return self.head.loss(hidden[damaged.positions], damaged.labels, self.dtype)


Change = Callable[[torch.nn.Module, PieceTokenizer], PieceTokenizer]


def load(
    settings: EncoderPart,
    *,
    seed: int = 0,
    change: Optional[Change] = None,
) -> Tuple[MaskedLM, Path, bool]:
    """Load the encoder of a run.

    settings (EncoderPart): The `[encoder]` settings.
    seed (int): Seed of a new head.
    change (Optional[Change]): Called with model and tokenizer before they are used; returns the
        tokenizer to use.
    RETURNS (Tuple[MaskedLM, Path, bool]): The model, the directory that it came from, and
        whether its head is new.
    RAISES (ValueError): The encoder can't be loaded or can't be pretrained by masking.
    """
    path = resolve_encoder(settings.name)
    tokenizer = PieceTokenizer.from_directory(path)
    if tokenizer.tokenizer.mask_token_id is None:
        raise ValueError(
            f"The tokenizer of '{settings.name}' has no mask token, so the encoder was not "
            "pretrained by masking and can't be adapted that way. Use an encoder such as BERT, "
            "RoBERTa or MPNet."
        )
    model, new_head = load_with_head(path, seed)
    if change is not None:
        tokenizer = change(model, tokenizer)
    # "cuda" is the device that `processes.join` has chosen.
    return MaskedLM(model, tokenizer, settings, configured_device(settings.device)), path, new_head


def load_with_head(path: Path, seed: int = 0) -> Tuple[torch.nn.Module, bool]:
    """Load an encoder with its head, or with a new one where it has none.

    path (Path): A directory that passed `check_directory`.
    seed (int): Seed of a new head.
    RETURNS (Tuple[PreTrainedModel, bool]): The model in fp32, and whether its head is new.
    RAISES (ValueError): The family has no such head, or weights of the encoder are missing.
    """
    from transformers import AutoModelForMaskedLM

    config = load_config(path)
    try:
        torch.manual_seed(seed_of(seed, 0x4EAD))
        model, info = read_weights(AutoModelForMaskedLM, path, config)
    except ValueError as error:
        raise ValueError(
            f"The encoder in {path} is of the type {config.model_type!r}, for which transformers "
            f"has no masked-language-model head. ({str(error).splitlines()[0]})"
        ) from error
    prefix = model.base_model_prefix + "."
    missing = [key for key in info["missing_keys"] if ".pooler." not in f".{key}"]
    lost = [key for key in missing if key.startswith(prefix)]
    if lost:
        raise ValueError(lack_tensors(path, lost))
    return model, bool(missing)


def _unfit(model: torch.nn.Module, why: str) -> str:
    return (
        f"An encoder of the type {model.config.model_type!r} can't be pretrained here ({why}). Use "
        "one such as BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, DeBERTa or ModernBERT."
    )


def _copy_modules(source: Path, target: Path) -> None:
    """Copy the modules that sentence-transformers runs after the encoder, such as a dense layer."""
    modules = source / "modules.json"
    if not modules.is_file():
        return
    for module in json.loads(modules.read_text(encoding="utf8")):
        folder = target / module["path"]
        # sentence-transformers expects a folder for each module, even if it has no files.
        folder.mkdir(exist_ok=True)
        if not module["path"]:
            continue
        for weights in (source / module["path"]).glob("*.safetensors"):
            shutil.copyfile(weights, folder / weights.name)
        pickled = [p.name for p in (source / module["path"]).glob("*.bin")]
        if pickled and not any(folder.glob("*.safetensors")):
            logger.warning(
                "The weights in %s are a pickle (%s) and are not copied: sentence_transformers "
                "will not load the adapted encoder before you copy that file.",
                source / module["path"],
                pickled[0],
            )


def _set_dropout(model: torch.nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
    for module in model.modules():
        # Dropout of attention is a number or a module inside of it.
        if isinstance(getattr(module, "dropout_prob", None), float):
            module.dropout_prob = 0.0
        if hasattr(module, "query") or hasattr(module, "q_lin"):
            inner = getattr(module, "dropout", None)
            if isinstance(inner, torch.nn.Dropout):
                inner.p = 0.0
