"""Import and export of saved `setfit` models. The library is not needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy
import spacy
from spacy.language import Language

if TYPE_CHECKING:
    from ..components.text_classifier import TextClassifier


def import_setfit(
    path: Union[str, Path],
    *,
    trust_pickle: bool = False,
    name: str = "textcat",
    lang: str = "en",
    **encoder_settings: Any,
) -> Language:
    """Make a pipeline from a model that `SetFitModel.save_pretrained` wrote.

    Vectors and probabilities equal those of the library, except for texts that are longer than it
    reads: it cuts them off, and here they get several windows.

    path (Union[str, Path]): The model's directory.
    trust_pickle (bool): Whether to load the head, a pickle, which runs any code that it contains.
    name (str): Name of the component.
    lang (str): Language of the pipeline.
    encoder_settings (Any): More settings of `spacy_reprtune.Encoder.v1`.
    RETURNS (Language): A pipeline that is ready to use, to save, or to train further.
    RAISES (ValueError): The head is a pickle that is not trusted, or a part of the model has no
        counterpart.
    """
    from ..training.setfit.files import read_body, read_head

    path = Path(path)
    body = read_body(path)
    head = read_head(path, trust_pickle=trust_pickle)
    nlp = spacy.blank(lang)
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": str(path),
        "window": body.max_pieces,
        **encoder_settings,
    }
    model = {
        "@architectures": "spacy_reprtune.SentenceClassifier.v1",
        "pooling": body.pooling,
        "normalize": body.normalize,
        "encoder": encoder,
    }
    settings = {"exclusive": head.exclusive, "model": model}
    pipe: Any = nlp.add_pipe("reprtune_setfit", name=name, config=settings)
    for label in head.labels:
        pipe.add_label(label)
    sample = numpy.zeros((1, len(head.labels)), dtype="f")
    pipe.model.initialize(X=[nlp.make_doc("")], Y=sample)
    pipe.head.set_output(head.weight, head.bias)
    return nlp


def export_setfit(pipe: "TextClassifier", path: Union[str, Path]) -> None:
    """Write a component as a directory that `SetFitModel.from_pretrained` reads.

    The head becomes a pickle, because the library reads no other format.

    pipe (TextClassifier): The component.
    path (Union[str, Path]): The directory. If it holds a setfit model, that is replaced.
    RAISES (ValueError): The component is not a `reprtune_setfit`, has no encoder of its own, has
        fewer than two labels, or has a pooling that the library lacks; or `path` holds something
        else.
    """
    from ..components.text_classifier import TextClassifier
    from ..files import replaced_directory
    from ..training.setfit.files import CONFIG_FILE, Head, write_body, write_head

    if not isinstance(pipe, TextClassifier) or pipe.few_shot is None:
        raise ValueError(
            f"'{pipe.name}' can't be written as a setfit model; a reprtune_setfit component can."
        )
    if pipe.listens:
        raise ValueError(
            f"'{pipe.name}' reads vectors of tokens, as heads on a shared encoder do, and a setfit "
            "model reads pieces. Train it with a spacy_reprtune.Encoder.v1 of its own."
        )
    if len(pipe.labels) < 2:
        raise ValueError(
            f"'{pipe.name}' has only the label {pipe.labels[0]!r}, and a setfit model needs at "
            "least two."
            if pipe.labels
            else f"'{pipe.name}' has no labels yet: train it first."
        )
    path = Path(path)
    replaceable = (path / CONFIG_FILE).exists() or (path.is_dir() and not any(path.iterdir()))
    if path.exists() and not replaceable:
        raise ValueError(
            f"{path} exists and is not a setfit model, so it is not replaced. Name a new directory."
        )
    pipe.before_save()
    output = pipe.head.output
    # The library has no temperature. Dividing weights and bias by it divides the logits.
    weight = output.weight.detach().cpu().numpy() / pipe.temperature
    bias = output.bias.detach().cpu().numpy() / pipe.temperature
    with replaced_directory(path) as folder:
        write_body(pipe.shim, folder)
        write_head(Head(weight, bias, list(pipe.labels), pipe.exclusive), folder)
