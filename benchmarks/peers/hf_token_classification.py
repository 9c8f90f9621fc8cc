"""Hugging Face transformers: token classification as in its documentation and `run_ner.py`.

Words are tokenized with `is_split_into_words`, the first piece of each has the label of its word
and all other pieces have -100, `DataCollatorForTokenClassification` pads each batch to its longest
row. Random batches, `AdamW`, a linear schedule, gradients clipped at norm 1; tags are those with
the highest logit, read as seqeval does by default: an I that continues nothing begins an entity.

`tuned` is what someone in a hurry would add: batches grouped by length, the fused optimizer.
"""

from typing import Any, Dict, List, Tuple

from benchmarks.common import encoder_directory
from benchmarks.data import Tagged, bio_tags, entities_of_tags
from benchmarks.peers.hf_loop import HFLoop, autocast

MAX_LENGTH = 512
PREDICT_BATCH = 128

# Rows for the collator, and which words of each item have a piece in its row.
Encoded = Tuple[List[Dict[str, List[int]]], List[List[int]]]


class HFTokenClassification(HFLoop):
    """`AutoModelForTokenClassification` in the loop."""

    def __init__(
        self,
        precision: str,
        labels: List[str],
        total_steps: int,
        learn_rate: float,
        *,
        tuned: bool = False,
    ) -> None:
        """Load the encoder under a new token classification head.

        precision (str): "fp32" or "bf16".
        labels (List[str]): The labels of entities.
        total_steps (int): Length of the learning rate schedule.
        learn_rate (float): Highest rate of the schedule.
        tuned (bool): See `HFLoop`.
        """
        from transformers import (
            AutoModelForTokenClassification,
            AutoTokenizer,
            DataCollatorForTokenClassification,
        )

        directory = encoder_directory()
        self.tags = ["O", *(f"{kind}-{label}" for label in labels for kind in "BI")]
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self._encoded: Dict[int, Tuple[List[Tagged], Encoded]] = {}
        model = AutoModelForTokenClassification.from_pretrained(
            directory, num_labels=len(self.tags)
        )
        collate = DataCollatorForTokenClassification(self.tokenizer)
        super().__init__(model, collate, precision, total_steps, learn_rate, tuned=tuned)

    def train(self, items: List[Tagged], seed: int) -> None:
        """Update on all items once, starting from words."""
        self.step_through(self._encode(items)[0], seed)

    def predict(self, items: List[Tagged]) -> List[Any]:
        """RETURNS (List[List[Tuple[int, int, str]]]): The entities of each item."""
        import torch

        rows, words = self._encode(items)
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        found: Dict[int, Any] = {}
        self.model.eval()
        with torch.inference_mode(), autocast(self.precision):
            for start in range(0, len(rows), PREDICT_BATCH):
                indices = by_length[start : start + PREDICT_BATCH]
                batch = self.collate([rows[i] for i in indices])
                best = self.model(**batch).logits.argmax(dim=2)
                for i, row, gold in zip(indices, best, batch["labels"], strict=True):
                    # Words without a piece, or beyond the longest input, have no prediction.
                    tags = ["O"] * len(items[i].words)
                    best_tags = row[gold != -100].tolist()
                    for word, tag in zip(words[i], best_tags, strict=True):
                        tags[word] = self.tags[tag]
                    found[i] = entities_of_tags(tags)
        return [found[i] for i in range(len(items))]

    def _encode(self, items: List[Tagged]) -> Encoded:
        """The pieces of each item, and its words that have any; a set is tokenized once."""
        if id(items) not in self._encoded:
            # With the items, which keeps their id from being another list's.
            self._encoded[id(items)] = items, self._tokenize(items)
        return self._encoded[id(items)][1]

    def _tokenize(self, items: List[Tagged]) -> Encoded:
        # padding=False matters: this tokenizer's file asks for a fixed 128.
        encoded = self.tokenizer(
            [item.words for item in items],
            is_split_into_words=True,
            truncation=True,
            max_length=MAX_LENGTH,
            padding=False,
        )
        numbers = {tag: i for i, tag in enumerate(self.tags)}
        rows, words = [], []
        for i, item in enumerate(items):
            # Labels that are not in the training data have no number, and are not predicted.
            tags = [numbers.get(tag, 0) for tag in bio_tags(item)]
            labels, before = [], None
            for word in encoded.word_ids(i):
                labels.append(tags[word] if word is not None and word != before else -100)
                before = word
            row = {key: encoded[key][i] for key in ("input_ids", "attention_mask")}
            rows.append({**row, "labels": labels})
            words.append(sorted({word for word in encoded.word_ids(i) if word is not None}))
        return rows, words
