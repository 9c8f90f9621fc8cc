"""Find out what spaCy does not tell a component: who is calling, and from which pipeline."""

import sys
from functools import partial
from types import FrameType
from typing import Callable, Iterable, Iterator, List, Optional

from spacy.language import Language
from spacy.training import Example, validate_get_examples
from spacy.util import registry
from thinc.api import Optimizer


def is_training_evaluation() -> bool:
    """Find out whether `spacy train` is evaluating on dev, to decide about model-best.

    `score` gets the same arguments from `nlp.evaluate(test)` and from spaCy's training loop, and
    only the loop's evaluation may change the component. The loop evaluates in a function `evaluate`
    inside of `spacy.training.loop.create_evaluation_callback`, so this looks for it among the
    callers. Ask once per evaluation.

    RETURNS (bool): Whether the caller is the evaluation of spaCy's training loop.
    """
    return any(
        frame.f_code.co_name == "evaluate" and _module(frame) == "spacy.training.loop"
        for frame in _callers()
    )


def calling_pipeline() -> Optional[Language]:
    """Find the pipeline whose method (`update`, `evaluate`, …) is running.

    A component does not know which pipeline it is in, and it can be moved to another one. Use this
    only for warnings and errors that depend on the other components.

    RETURNS (Optional[Language]): The pipeline, or None if the component was called directly.
    """
    for frame in _callers():
        if _module(frame) == "spacy.language":
            owner = frame.f_locals.get("self")
            if isinstance(owner, Language):
                return owner
    return None


def read_examples(get_examples: Callable[[], Iterable[Example]], method: str) -> List[Example]:
    """Read the examples of `initialize` once: a corpus makes all docs anew in each pass.

    get_examples (Callable[[], Iterable[Example]]): Returns the training examples.
    method (str): Name of the method, for errors.
    RETURNS (List[Example]): The examples.
    RAISES (TypeError, ValueError): There are none, or they are something else.
    """
    examples = list(get_examples() or ()) if callable(get_examples) else None
    validate_get_examples(get_examples if examples is None else lambda: examples, method)
    return examples or []


def resolve_optimizer_variables(nlp: Language) -> None:
    """Let a pipeline make its optimizer from a config with variables.

    `Language.create_optimizer` resolves `[training.optimizer]` on its own, where a variable such
    as `${training.max_steps}` refers to nothing. `nlp.initialize`, `nlp.resume_training` and
    `debug data` would fail on configs that `spacy train` accepts. `nlp.config` keeps its variables,
    so a saved config can be trained again with other settings.

    nlp (Language): The pipeline, whose `create_optimizer` is replaced.
    """
    nlp.create_optimizer = partial(_create_optimizer, nlp)  # type: ignore[method-assign]


def _create_optimizer(nlp: Language) -> Optimizer:
    training = nlp.config.interpolate()["training"]
    return registry.resolve({"optimizer": training["optimizer"]})["optimizer"]


def _callers() -> Iterator[FrameType]:
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")
