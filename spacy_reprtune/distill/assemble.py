"""Build a cascade from two trained text classifiers."""

from pathlib import Path
from typing import TYPE_CHECKING, Tuple, Union

from ..components.text_classifier import TextClassifier

if TYPE_CHECKING:
    from spacy.language import Language


def assemble_cascade(
    small: Union[str, Path], large: Union[str, Path], *, keep: float = 0.99
) -> "Language":
    """Put a small text classifier before the text classifier of a larger pipeline.

    small (Union[str, Path]): Directory or name of the pipeline with the small classifier.
    large (Union[str, Path]): Directory or name of the pipeline with the large one. Its other
        components stay.
    keep (float): Share of the large classifier's score that both together have to reach.
    RETURNS (Language): The larger pipeline with a `reprtune_cascade` in place of its text
        classifier. Call its `calibrate` with the examples of dev: until then, the large classifier
        answers everything.
    RAISES (ValueError): A pipeline does not have exactly one text classifier of this package, a
        classifier is a few-shot one or listens to another component, or the labels differ.
    """
    from spacy.util import load_model

    pipelines = {"small": load_model(small), "large": load_model(large)}
    found = {part: _text_classifier(nlp, part) for part, nlp in pipelines.items()}
    (name, big), (own_name, little) = found["large"], found["small"]
    if big.labels != little.labels or big.exclusive != little.exclusive:
        raise ValueError(
            "The classifiers of a cascade need the same labels of the same kind. The large one "
            f"has {', '.join(big.labels)}, the small one {', '.join(little.labels)}."
        )
    nlp = pipelines["large"]
    settings = nlp.config["components"][name]
    config = {
        "small": pipelines["small"].config["components"][own_name]["model"],
        "large": settings["model"],
        "exclusive": big.exclusive,
        "keep": keep,
    }
    cascade = nlp.replace_pipe(name, "reprtune_cascade", config=config)
    cascade.small.from_bytes(little.to_bytes())
    cascade.large.from_bytes(big.to_bytes())
    return nlp


def _text_classifier(nlp: "Language", part: str) -> Tuple[str, TextClassifier]:
    found = [(name, pipe) for name, pipe in nlp.components if isinstance(pipe, TextClassifier)]
    if len(found) != 1 or found[0][1].few_shot is not None or found[0][1].listens:
        raise ValueError(
            f"The {part} pipeline needs exactly one reprtune_textcat or "
            f"reprtune_textcat_multilabel with an encoder of its own, but has "
            f"{', '.join(nlp.pipe_names) or 'no component'}."
        )
    return found[0]
