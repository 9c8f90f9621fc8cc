"""A Hugging Face checkpoint with a classification head: its kind, its labels, its layers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

if TYPE_CHECKING:
    import torch

TEXT = "ForSequenceClassification"
TOKEN = "ForTokenClassification"


@dataclass(frozen=True)
class FamilyHead:
    """The classification head of a family: a dense layer on the first piece, then a linear one.

    dense (str): Name of the dense layer's module. "{base}" stands for that of the encoder.
    output (str): Name of the linear layer's module.
    activation (str): Activation between them, as in `spacy_reprtune.TextClassifier.v1`.
    """

    dense: str
    output: str
    activation: str


_BERT = FamilyHead("{base}.pooler.dense", "classifier", "tanh")
_ROBERTA = FamilyHead("classifier.dense", "classifier.out_proj", "tanh")
_DEBERTA = FamilyHead("pooler.dense", "classifier", "gelu")

# By `model_type`. A head for token classification is one linear layer in all of these families.
FAMILY_HEADS: Dict[str, FamilyHead] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": _ROBERTA,
    "distilbert": FamilyHead("pre_classifier", "classifier", "relu"),
    "electra": FamilyHead("classifier.dense", "classifier.out_proj", "gelu"),
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be imported.

    path (Path): The directory.
    config (Dict[str, Any]): Content of its config.json.
    labels (List[str]): The labels in the order of the logits, without white space around them.
    """

    path: Path
    config: Dict[str, Any]
    labels: List[str]

    @property
    def is_token_classifier(self) -> bool:
        """RETURNS (bool): Whether it classifies tokens rather than texts."""
        return self.config["architectures"][0].endswith(TOKEN)

    @property
    def exclusive(self) -> bool:
        """RETURNS (bool): Whether logits go through one softmax, or each through a sigmoid."""
        return self.config.get("problem_type") != "multi_label_classification"

    @property
    def dropout(self) -> float:
        """RETURNS (float): Dropout rate in front of the head, as transformers chooses it."""
        names = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout")
        if self.config["model_type"].startswith("deberta") and not self.is_token_classifier:
            names = ("cls_dropout", "hidden_dropout_prob")
        rates = [self.config[name] for name in names if self.config.get(name) is not None]
        return float(rates[0]) if rates else 0.1


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's description, and find what stands in the way of importing it.

    path (Path): The directory.
    RETURNS (Checkpoint): The checkpoint.
    RAISES (ValueError): A file is missing or damaged, or the checkpoint is of a kind that can't be
        imported. The message names the file and the remedy.
    """
    file = path / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf8"))
    except FileNotFoundError:
        raise ValueError(
            f"There is no {file}. Name a directory that save_pretrained wrote, or the id of a "
            "model on the Hugging Face hub."
        ) from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}). Copy the checkpoint again.") from error
    _check_kind(file, config)
    labels = _labels(file, config)
    _check_problem(file, config, labels)
    _check_weights(path, config["architectures"][0])
    return Checkpoint(path, config, labels)


def load_model(checkpoint: Checkpoint) -> "torch.nn.Module":
    """Load transformers' own model.

    checkpoint (Checkpoint): The checkpoint.
    RETURNS (PreTrainedModel): The model in fp32, in evaluation mode.
    RAISES (ValueError): Weights are missing.
    """
    import torch
    import transformers
    from transformers.utils import logging

    name = "AutoModel" + (TOKEN if checkpoint.is_token_classifier else TEXT)
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, info = getattr(transformers, name).from_pretrained(
            str(checkpoint.path),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            torch_dtype=torch.float32,
        )
    finally:
        logging.set_verbosity(level)
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(
            f"The weights in {checkpoint.path} lack {len(missing)} tensors that its config.json "
            f"asks for (the first is '{missing[0]}'), so transformers would make them up. Save the "
            "trained model again with save_pretrained."
        )
    return model.eval()


def _check_kind(file: Path, config: Dict[str, Any]) -> None:
    if config.get("auto_map"):
        raise ValueError(
            f"The model of {file} brings its own code (auto_map, trust_remote_code), which is "
            "never run here. Use a checkpoint of a class that transformers has."
        )
    kind = (config.get("architectures") or ["none"])[0]
    family = config.get("model_type")
    if not kind.endswith((TEXT, TOKEN)):
        raise ValueError(
            f"{file} names the architecture {kind}, which has no head that can be imported. One "
            f"that ends in {TEXT} or {TOKEN} has. An encoder without a head can be trained: name "
            "the directory as [….encoder] name."
        )
    if family not in FAMILY_HEADS:
        raise ValueError(
            f"{file} names the model_type {family!r}, whose head is not known here. Known are "
            f"{', '.join(FAMILY_HEADS)}. You can still train on its encoder: name the directory as "
            "[….encoder] name."
        )


def _labels(file: Path, config: Dict[str, Any]) -> List[str]:
    named = config.get("id2label")
    if not named:
        # transformers leaves out what equals its default.
        named = {i: f"LABEL_{i}" for i in range(config.get("num_labels") or 2)}
    try:
        by_row = {int(key): str(label).strip() for key, label in named.items()}
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f'id2label in {file} has to be an object such as {{"0": "NO", "1": "YES"}}, but it is '
            f"{named!r}."
        ) from error
    if sorted(by_row) != list(range(len(by_row))):
        raise ValueError(
            f"id2label in {file} has the ids {sorted(by_row)}. They have to be the numbers from 0 "
            "on, one per label."
        )
    labels = [by_row[i] for i in range(len(by_row))]
    same = {label for label in labels if labels.count(label) > 1 or not label}
    if same:
        raise ValueError(
            f"id2label in {file} has the label {min(same)!r} more than once, up to white space, or "
            "an empty label. Give each id a label of its own in that file."
        )
    return labels


def _check_problem(file: Path, config: Dict[str, Any], labels: List[str]) -> None:
    if config["architectures"][0].endswith(TOKEN):
        return
    problem = config.get("problem_type")
    if problem == "regression":
        raise ValueError(
            f"{file} has problem_type 'regression': its output is a number, and a text classifier "
            "has labels. There is no component for regression."
        )
    if len(labels) == 1 and problem is None:
        raise ValueError(
            f"{file} has one label and no problem_type, which transformers trains as a regression. "
            'If it is a classifier, write "problem_type": "multi_label_classification" there.'
        )


def _check_weights(path: Path, kind: str) -> None:
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickled = sorted(path.glob("*.bin"))
        found = f"only as a pickle ({pickled[0].name})" if pickled else "nowhere"
        raise ValueError(
            f"{path} has its weights {found}. A pickle can run any code when it is read, so it is "
            "not loaded. If you trust its author, convert it once: "
            f"transformers.{kind}.from_pretrained(directory).save_pretrained(new_directory)"
        )
    for file in files:
        try:
            with safe_open(str(file), "pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file} is damaged or incomplete ({error}). Copy or download it again."
            ) from error


def head_layers(model: "torch.nn.Module") -> "Tuple[torch.nn.Linear, torch.nn.Linear]":
    """Find the head of transformers' model for text classification.

    model (PreTrainedModel): The model.
    RETURNS (Tuple[Linear, Linear]): The dense layer and the linear one after it.
    """
    head = FAMILY_HEADS[model.config.model_type]
    dense = model.get_submodule(head.dense.format(base=model.base_model_prefix))
    return dense, model.get_submodule(head.output)
