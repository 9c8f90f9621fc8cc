"""Hugging Face `Trainer` with `DataCollatorForLanguageModeling`, as its `run_mlm.py` uses them.

Line by line, padded to the longest row of each batch; the tokenizer's own padding to a fixed 128 is
not passed on to it. bf16 is the `Trainer`'s own setting.
"""

import contextlib
import io
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

RATE = 0.15


class HFMaskedLM:
    """A model and the `Trainer` around it."""

    def __init__(
        self,
        directory: Path,
        *,
        precision: str,
        learn_rate: float,
        weight_decay: float,
        warmup: float,
        rate: float = RATE,
        tuned: bool = False,
        dropout: Optional[float] = None,
        model: Any = None,
        tokenizer: Any = None,
    ) -> None:
        """Load the model.

        directory (Path): An encoder directory; a head that it lacks is made as it makes it.
        precision (str): "fp32" or "bf16".
        learn_rate, weight_decay, warmup (float): Settings of its AdamW and linear schedule.
        rate (float): Share of the pieces that are masked.
        tuned (bool): Beyond the example script: batches grouped by length, fused AdamW.
        dropout (Optional[float]): Another rate than the model's own 0.1.
        model, tokenizer (Any): Model and tokenizer to use instead of those in the directory.
        """
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        changed = {} if dropout is None else {
            "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout
        }  # fmt: skip
        self.tokenizer = tokenizer or AutoTokenizer.from_pretrained(directory)
        self.model = model or AutoModelForMaskedLM.from_pretrained(directory, **changed)
        self.precision, self.tuned, self.rate = precision, tuned, rate
        self.learn_rate, self.weight_decay, self.warmup = learn_rate, weight_decay, warmup

    def train(
        self, rows: Sequence[List[int]], batch_size: int, seed: int, *, max_steps: int = -1
    ) -> float:
        """Train on rows once.

        rows (Sequence[List[int]]): Piece ids with special pieces.
        batch_size (int): Rows per step.
        seed (int): Seed of order and masks.
        max_steps (int): Another number of steps than one epoch has.
        RETURNS (float): Seconds from the first step's beginning to the last one's end.
        """
        import torch
        from transformers import (
            DataCollatorForLanguageModeling,
            Trainer,
            TrainerCallback,
            TrainingArguments,
        )

        class Clock(TrainerCallback):
            begun = ended = 0.0

            def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
                self.begun = time.perf_counter()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.ended = time.perf_counter()

        data: List[Dict[str, List[int]]] = [
            {"input_ids": list(row), "attention_mask": [1] * len(row)} for row in rows
        ]
        clock = Clock()
        steps = max_steps if max_steps > 0 else -(-len(data) // batch_size)
        by_length: Dict[str, Any] = {}
        if self.tuned:
            # Renamed by transformers 5.
            old = hasattr(TrainingArguments, "group_by_length")
            sampling = {"train_sampling_strategy": "group_by_length"}
            by_length = {"group_by_length": True} if old else sampling
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            arguments = TrainingArguments(
                output_dir=folder,
                use_cpu=not torch.cuda.is_available(),
                bf16=self.precision == "bf16",
                per_device_train_batch_size=batch_size,
                num_train_epochs=1,
                max_steps=max_steps,
                learning_rate=self.learn_rate,
                weight_decay=self.weight_decay,
                warmup_steps=math.ceil(self.warmup * steps),
                lr_scheduler_type="linear",
                optim="adamw_torch_fused" if self.tuned else "adamw_torch",
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                seed=seed,
                **by_length,
            )
            trainer = Trainer(
                model=self.model,
                args=arguments,
                train_dataset=data,
                data_collator=DataCollatorForLanguageModeling(
                    self.tokenizer, mlm_probability=self.rate
                ),
                callbacks=[clock],
            )
            trainer.train()
        return clock.ended - clock.begun
