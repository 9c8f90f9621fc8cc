"""Import of Hugging Face classifiers: a fine-tuned checkpoint becomes a pipeline, untrained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import numpy
import spacy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc

from ..heads.losses import sigmoid, softmax
from .hf_checkpoint import FAMILY_HEADS, Checkpoint, head_layers, load_model, read_checkpoint
from .hf_tags import TagRows, read_tags

if TYPE_CHECKING:
    import torch

# Texts that the imported pipeline and transformers' model are compared on.
SAMPLE = ("A short text.", "The second one is longer than the first, and ends here", "x")
# Largest difference between probabilities of the two. Different kernels differ by 1e-6.
TOLERANCE = 1e-4
# Score of a transition that must not be taken; its exponential is 0 in fp64.
_FORBIDDEN = -1e4


def import_huggingface(name: str, *, component: Optional[str] = None, lang: str = "en") -> Language:
    """Make a pipeline from a checkpoint with a head for text or token classification.

    Probabilities of texts that fit into one window equal those of transformers. Longer texts get
    several windows, where transformers cuts them off. Entities are the best legal sequence of tags.

    name (str): A directory, the id of a model on the Hugging Face hub, or a folder in an installed
        package ("package:…").
    component (Optional[str]): Name of the component; "textcat" or "ner" if None.
    lang (str): Language of the pipeline.
    RETURNS (Language): A pipeline that is ready to use, to save, or to train further.
    RAISES (ValueError): A file is missing or damaged, or the checkpoint is of a kind that can't be
        imported. The message names the file and the remedy.
    """
    from ..encoder.load import resolve_encoder
    from ..encoder.pieces import PieceTokenizer

    path = Path(name)
    if not path.is_dir():
        path = resolve_encoder(name)
    checkpoint = read_checkpoint(path)
    try:
        PieceTokenizer.from_directory(path)
    except ValueError as error:
        raise ValueError(
            f"The tokenizer in {path} can't be used: {error} transformers writes a tokenizer.json "
            "with AutoTokenizer.from_pretrained(directory).save_pretrained(directory), if its "
            "class has a fast version."
        ) from error
    model = load_model(checkpoint)
    nlp = spacy.blank(lang)
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": name,
        # What transformers computes in, and what the comparison below is about.
        "precision": "fp32",
    }
    if checkpoint.is_token_classifier:
        _add_recognizer(nlp, component or "ner", checkpoint, model, encoder)
    else:
        _add_text_classifier(nlp, component or "textcat", checkpoint, model, encoder)
    return nlp


def _add_text_classifier(
    nlp: Language, name: str, checkpoint: Checkpoint, model: "torch.nn.Module", encoder: Dict
) -> None:
    dense, output = head_layers(model)
    settings = {
        "@architectures": "spacy_reprtune.TextClassifier.v1",
        "pooling": "cls",
        "hidden_width": dense.out_features,
        "activation": FAMILY_HEADS[checkpoint.config["model_type"]].activation,
        "dropout": checkpoint.dropout,
        "encoder": encoder,
    }
    factory = "reprtune_textcat" if checkpoint.exclusive else "reprtune_textcat_multilabel"
    pipe: Any = nlp.add_pipe(factory, name=name, config={"model": settings})
    module = _build(nlp, pipe, checkpoint.labels, len(checkpoint.labels))
    module.hidden.load_state_dict(dense.state_dict())
    module.output.load_state_dict(output.state_dict())
    docs = list(nlp.pipe(SAMPLE))
    found = numpy.array([[doc.cats[label] for label in checkpoint.labels] for doc in docs])
    logits = numpy.array([_logits(model, pipe, text)[0] for text in SAMPLE])
    wanted = softmax(logits) if checkpoint.exclusive else sigmoid(logits)
    _check_equal(found, wanted, checkpoint)


def _add_recognizer(
    nlp: Language, name: str, checkpoint: Checkpoint, model: "torch.nn.Module", encoder: Dict
) -> None:
    import torch

    tags = read_tags(checkpoint.labels, checkpoint.path / "config.json")
    settings = {
        "@architectures": "spacy_reprtune.TokenClassifier.v1",
        "piece_pooling": "first",
        "learned_transitions": tags.scheme == "io",
        "dropout": checkpoint.dropout,
        "encoder": encoder,
    }
    scheme = "bio" if tags.scheme == "io" else tags.scheme
    config = {"scheme": scheme, "shared_positions": False, "model": settings}
    pipe: Any = nlp.add_pipe("reprtune_ner", name=name, config=config)
    for label in tags.labels:
        pipe.add_label(label)
    names = pipe.tags.names
    module = _build(nlp, pipe, [], len(names))
    rows = torch.tensor([tags.rows[tag] for tag in names])
    with torch.no_grad():
        module.output.weight.copy_(model.classifier.weight[rows])
        if model.classifier.bias is None:
            module.output.bias.zero_()
        else:
            module.output.bias.copy_(model.classifier.bias[rows])
        if tags.scheme == "io":
            module.transitions.copy_(torch.from_numpy(_io_transitions(names)))
    docs = [nlp.make_doc(text) for text in SAMPLE]
    found = pipe.model.predict(docs).logits
    wanted = [row for doc in docs for row in _token_logits(model, pipe, doc, tags, names)]
    _check_equal(softmax(found), softmax(numpy.array(wanted)), checkpoint)


def _build(nlp: Language, pipe: Any, labels: List[str], n_rows: int) -> "torch.nn.Module":
    """Load the encoder, and make a head whose weights are to be replaced."""
    for label in labels:
        pipe.add_label(label)
    pipe.model.initialize(X=[nlp.make_doc("")], Y=numpy.zeros((1, n_rows), dtype="f"))
    return pipe.model.shims[0].module


def _io_transitions(names: List[str]) -> NDArray:
    """With one tag per label, a run of its tokens is one entity, so B never follows B or I."""
    scores = numpy.zeros((len(names), len(names)), dtype="f")
    for i, before in enumerate(names):
        for j, after in enumerate(names):
            if after.startswith("B-") and before[2:] == after[2:]:
                scores[i, j] = _FORBIDDEN
    return scores


def _logits(model: "torch.nn.Module", pipe: Any, text: str) -> NDArray:
    import torch

    tokenizer = pipe.model.shims[0].module.encoder.tokenizer.tokenizer
    with torch.no_grad():
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        return model(**inputs).logits.double().numpy()


def _token_logits(
    model: "torch.nn.Module", pipe: Any, doc: Doc, tags: TagRows, names: List[str]
) -> NDArray:
    tokenizer = pipe.model.shims[0].module.encoder.tokenizer.tokenizer
    encoding = tokenizer(doc.text)
    first = [encoding.char_to_token(token.idx) for token in doc]
    logits = _logits(model, pipe, doc.text)[0]
    return logits[first][:, [tags.rows[tag] for tag in names]]


def _check_equal(found: NDArray, wanted: NDArray, checkpoint: Checkpoint) -> None:
    difference = float(numpy.abs(found - wanted).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"The imported pipeline computes other probabilities than transformers does with the "
            f"checkpoint in {checkpoint.path}: they differ by up to {difference:.2g}. Its head is "
            "not the usual one of its family, so it can't be imported."
        )
