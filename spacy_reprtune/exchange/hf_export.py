"""Export of components as Hugging Face checkpoints that load without this package."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from .hf_checkpoint import FAMILY_HEADS, TEXT, TOKEN, head_layers

if TYPE_CHECKING:
    import torch


def export_huggingface(pipe: Any, path: Union[str, Path]) -> None:
    """Write a component as a directory that transformers' pipelines load.

    pipe (TrainablePipe): A trained `reprtune_textcat`, `reprtune_textcat_multilabel` or
        `reprtune_ner` with an encoder of its own.
    path (Union[str, Path]): The directory. It has to be new or empty.
    RAISES (ValueError): The head has no counterpart in the encoder's family; the message says why
        and how to train one that has. Or the directory is not empty.
    """
    from ..files import replaced_directory

    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not empty. Name a new directory.")
    model = getattr(pipe, "model", None)
    name = getattr(model, "name", None)
    if name not in ("reprtune_text_classifier", "reprtune_token_classifier"):
        raise ValueError(
            f"A {type(pipe).__name__} can't be written as a Hugging Face checkpoint. A "
            "reprtune_textcat, reprtune_textcat_multilabel or reprtune_ner can."
        )
    if model.layers:
        raise ValueError(
            f"'{pipe.name}' reads vectors of tokens, as heads on a shared encoder do, and a "
            "checkpoint's head reads pieces. Train it with a spacy_reprtune.Encoder.v1 of its own."
        )
    module = model.shims[0].module
    if name == "reprtune_text_classifier":
        exported = _text_classifier(pipe, module)
    else:
        exported = _token_classifier(pipe, module)
    with replaced_directory(path) as folder:
        exported.save_pretrained(str(folder), safe_serialization=True)
        for file, content in module.encoder.tokenizer.files().items():
            (folder / file).write_bytes(content)


def _text_classifier(pipe: Any, module: "torch.nn.Module") -> "torch.nn.Module":
    from ..heads.pooling import pooling_name

    family = module.encoder.model.config.model_type
    head = FAMILY_HEADS.get(family)
    if head is None:
        raise ValueError(
            f"The head of {TEXT} is not known for encoders of the type {family!r}. Known are "
            f"{', '.join(FAMILY_HEADS)}."
        )
    width = module.encoder.width
    hidden = module.hidden.out_features if module.hidden is not None else None
    found = (pooling_name(module.pooling), hidden, module.activation if hidden else None)
    wanted = ("cls", width, head.activation)
    if found != wanted:
        raise ValueError(
            f"transformers' head for {family!r} reads the first piece through a hidden layer, and "
            f"that of '{pipe.name}' is another function (pooling, hidden_width, activation: "
            f"{found}), which no weights of theirs can express. To export a classifier, train it "
            f'with pooling = "cls", hidden_width = {width} and activation = "{head.activation}" in '
            f"[components.{pipe.name}.model]. To share this one, use `reprtune push`."
        )
    problem = "single_label" if pipe.exclusive else "multi_label"
    exported = _with_encoder(TEXT, module.encoder.model, pipe.labels, f"{problem}_classification")
    dense, output = head_layers(exported)
    dense.load_state_dict(module.hidden.state_dict())
    _set_linear(output, module.output.weight, module.output.bias, pipe.temperature)
    return exported


def _token_classifier(pipe: Any, module: "torch.nn.Module") -> "torch.nn.Module":
    import torch

    if module.transitions is not None:
        raise ValueError(
            f"'{pipe.name}' has learned transitions between tags, and transformers has no place "
            "for them. Train with learned_transitions = false to export."
        )
    if pipe.overlapping:
        raise ValueError(
            f"'{pipe.name}' has overlapping = true, and transformers' token classifier gives one "
            "tag per token. Train with overlapping = false to export."
        )
    if module.piece_pooling != "first":
        raise ValueError(
            f"'{pipe.name}' reads the mean of a token's pieces, and transformers classifies each "
            'piece by itself. Train with piece_pooling = "first" to export.'
        )
    tags = pipe.tags
    exported = _with_encoder(TOKEN, module.encoder.model, tags.names)
    # A tag's logit is the sum of those of its parts, which is one linear layer again.
    parts = torch.from_numpy(tags.parts.T.copy())
    weight, bias = parts @ module.output.weight.cpu(), parts @ module.output.bias.cpu()
    _set_linear(exported.classifier, weight, bias, pipe.temperature)
    return exported


def _with_encoder(
    kind: str, encoder: "torch.nn.Module", labels: Sequence[str], problem: Optional[str] = None
) -> "torch.nn.Module":
    """Build transformers' model with the weights of an encoder and a head to be filled in."""
    import transformers

    config = copy.deepcopy(encoder.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = problem
    model = getattr(transformers, f"AutoModel{kind}").from_config(config)
    # The pooler of some families belongs to the head, and is filled in with it.
    missing, _ = model.base_model.load_state_dict(encoder.state_dict(), strict=False)
    missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise ValueError(f"transformers' class needs weights that the encoder lacks: {missing[0]}.")
    return model.float().eval()


def _set_linear(layer: "torch.nn.Linear", weight: Any, bias: Any, temperature: float) -> None:
    """Fill in a layer. transformers has no temperature, so the weights are divided by it."""
    import torch

    with torch.no_grad():
        layer.weight.copy_(weight.detach() / temperature)
        layer.bias.copy_(bias.detach() / temperature)
