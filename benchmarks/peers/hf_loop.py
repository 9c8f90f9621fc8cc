"""Hugging Face transformers: the fine-tuning loop of its documentation, and the bare encoder.

The loop is the one of "Fine-tuning a model in native PyTorch": tokenize the set once,
`DataCollatorWithPadding` pads each batch to its longest row, `AdamW`, a linear schedule, gradients
clipped at norm 1 as `Trainer` does. bf16 is `torch.autocast`, as `accelerate` does it.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Tuple, Union

from benchmarks.common import encoder_directory, order
from benchmarks.data import LABELS, Texts
from benchmarks.pipelines import BATCH_SIZE, GRAD_CLIP, LEARN_RATE, WARMUP, WEIGHT_DECAY

if TYPE_CHECKING:
    import torch

MAX_LENGTH = 512
# Trainer(group_by_length=True) sorts within this many batches.
GROUP_BATCHES = 50

Window = Dict[str, List[int]]


class HFLoop:
    """A plain torch loop around a model of transformers."""

    def __init__(
        self,
        model: Any,
        collate: Callable[[List[Dict[str, Any]]], Any],
        precision: str,
        total_steps: int,
        learn_rate: float,
        *,
        tuned: bool,
    ) -> None:
        """Prepare the optimizer of what trains, and its schedule.

        model (PreTrainedModel): The model.
        collate (Callable): Pads rows to a batch.
        precision (str): "fp32" or "bf16".
        total_steps (int): Length of the learning rate schedule.
        learn_rate (float): Highest rate of the schedule.
        tuned (bool): Beyond the documentation's loop: group by length and use the fused AdamW.
        """
        import torch
        from transformers import get_linear_schedule_with_warmup

        self.model, self.collate = model, collate
        self.precision, self.tuned = precision, tuned
        self.optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=learn_rate,
            weight_decay=WEIGHT_DECAY,
            fused=True if tuned else None,
        )
        self.schedule = get_linear_schedule_with_warmup(
            self.optimizer, int(WARMUP * total_steps), total_steps
        )

    def step_through(self, rows: List[Dict[str, Any]], seed: int) -> None:
        """Update on all rows once."""
        import torch

        self.model.train()
        for batch in self._batches(rows, seed):
            with autocast(self.precision):
                loss = self.model(**self.collate(batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRAD_CLIP)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()

    def _batches(self, rows: List[Any], seed: int) -> Iterator[List[Any]]:
        indices = order(len(rows), seed)
        if self.tuned:
            indices = group_by_length(indices, [len(row["input_ids"]) for row in rows], seed)
        for start in range(0, len(indices), BATCH_SIZE):
            yield [rows[i] for i in indices[start : start + BATCH_SIZE]]


class HFTextcat(HFLoop):
    """`AutoModelForSequenceClassification` in the loop."""

    def __init__(
        self,
        precision: str,
        total_steps: int,
        tuned: bool = False,
        unfreeze: Union[str, int] = "all",
    ) -> None:
        """Load the encoder under a new classification head.

        precision (str): "fp32" or "bf16".
        total_steps (int): Length of the learning rate schedule.
        tuned (bool): See `HFLoop`.
        unfreeze (Union[str, int]): "all", "none", or how many of the last blocks train; the
            others get `requires_grad = False`, and the pooler trains with the head.
        """
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
        )

        directory = encoder_directory()
        self._encoded: Dict[Tuple[str, ...], List[Window]] = {}
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, num_labels=len(LABELS)
        )
        if unfreeze != "all":
            blocks = model.base_model.encoder.layer
            n_trained = 0 if unfreeze == "none" else int(unfreeze)
            model.base_model.embeddings.requires_grad_(False)
            blocks[: len(blocks) - n_trained].requires_grad_(False)
        collate = DataCollatorWithPadding(self.tokenizer)
        super().__init__(model, collate, precision, total_steps, LEARN_RATE, tuned=tuned)

    def train(self, texts: Texts, seed: int) -> None:
        """Update on all texts once, starting from the raw text."""
        pairs = zip(self.encode(texts.texts), texts.labels, strict=True)
        rows = [{**row, "labels": LABELS.index(label)} for row, label in pairs]
        self.step_through(rows, seed)

    def predict(self, texts: List[str]) -> List[str]:
        """RETURNS (List[str]): The best label of each text."""
        import torch

        rows = self.encode(texts)
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        found: Dict[int, str] = {}
        self.model.eval()
        with torch.inference_mode(), autocast(self.precision):
            for start in range(0, len(rows), 128):
                indices = by_length[start : start + 128]
                logits = self.model(**self.collate([rows[i] for i in indices])).logits
                best = logits.argmax(dim=1).tolist()
                found.update((i, LABELS[row]) for i, row in zip(indices, best, strict=True))
        return [found[i] for i in range(len(texts))]

    def encode(self, texts: List[str]) -> List[Window]:
        """RETURNS (List[Window]): The pieces of each text; a set is tokenized once."""
        key = tuple(texts)
        if key not in self._encoded:
            # padding=False matters: this tokenizer's file asks for a fixed 128.
            encoded = self.tokenizer(texts, truncation=True, max_length=MAX_LENGTH, padding=False)
            self._encoded[key] = [
                {name: encoded[name][i] for name in encoded} for i in range(len(texts))
            ]
        return self._encoded[key]


class BareEncoder:
    """The bare encoder on ready windows: no component on top of it can be faster.

    No tokenizing, no pooling, no classifier, no pooler layer; windows sorted by length and cut
    into batches by padded pieces.
    """

    def __init__(self, precision: str) -> None:
        """Load the encoder.

        precision (str): "fp32"; "bf16" for weights in bf16; "autocast" for fp32 weights
            and products in bf16.
        """
        import torch
        from transformers import AutoModel, AutoTokenizer

        directory = encoder_directory()
        self.precision = "bf16" if precision == "autocast" else "fp32"
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()
        if precision == "bf16":
            self.model.to(torch.bfloat16)

    def batches(self, texts: List[str], budget: int) -> List[Tuple["torch.Tensor", "torch.Tensor"]]:
        """Make the batches ahead of time.

        texts (List[str]): Longer ones are cut into windows of 512 pieces without overlap.
        budget (int): The most padded pieces in a batch.
        RETURNS (List[Tuple[torch.Tensor, torch.Tensor]]): Ids and attention mask of each batch.
        """
        encoded = self.tokenizer(
            texts, truncation=True, max_length=MAX_LENGTH, return_overflowing_tokens=True
        )
        windows = sorted(encoded["input_ids"], key=len)
        groups: List[List[List[int]]] = [[]]
        for window in windows:
            if groups[-1] and (len(groups[-1]) + 1) * len(window) > budget:
                groups.append([])
            groups[-1].append(window)
        padded = [self.tokenizer.pad({"input_ids": g}, return_tensors="pt") for g in groups]
        return [(batch["input_ids"], batch["attention_mask"]) for batch in padded]

    def run(self, batches: List[Tuple["torch.Tensor", "torch.Tensor"]]) -> None:
        """Encode all batches."""
        import torch

        with torch.inference_mode(), autocast(self.precision):
            for ids, mask in batches:
                self.model(input_ids=ids, attention_mask=mask)


def autocast(precision: str) -> AbstractContextManager:
    """RETURNS (AbstractContextManager): CPU autocast for "bf16", nothing for "fp32"."""
    import torch

    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def group_by_length(indices: List[int], lengths: List[int], seed: int) -> List[int]:
    """Sort within blocks of shuffled rows, then shuffle the batches: all but the last one full.

    indices (List[int]): The rows, shuffled.
    lengths (List[int]): Pieces of each row.
    seed (int): Decides the order of the batches.
    RETURNS (List[int]): The rows in the order in which to cut batches.
    """
    block = GROUP_BATCHES * BATCH_SIZE
    batches: List[List[int]] = []
    for start in range(0, len(indices), block):
        rows = sorted(indices[start : start + block], key=lambda i: lengths[i])
        batches.extend(rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE))
    last = [batches.pop()] if len(batches[-1]) < BATCH_SIZE else []
    shuffled = [batches[i] for i in order(len(batches), seed)]
    return [i for batch in shuffled + last for i in batch]
