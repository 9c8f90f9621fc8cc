"""Warn users while a component is trained and evaluated, once for each problem."""

import warnings
from typing import TYPE_CHECKING, Iterable

from spacy.training import Example
from thinc.api import Optimizer

from .spacy_calls import calling_pipeline

if TYPE_CHECKING:
    from .encoder_pipe import EncoderPipe

# Fine-tuning papers use rates from 1e-5 to 5e-4. 1e-3, the rate of spaCy's default optimizer,
# brings a pretrained encoder down to the level of chance within a few steps.
HIGH_RATE = 1e-3
# Entries of `warned_of` that are not labels.
AVERAGES, RATE = "[training.optimizer] use_averages", "[training.optimizer] learn_rate"
PROBE = "[components] head_init"


def warn_of_unknown_labels(
    pipe: "EncoderPipe", examples: Iterable[Example], *, training: bool
) -> None:
    """Warn of gold labels that neither the component has, nor another one in its pipeline that
    annotates the same attribute. If the component would learn something wrong, raise an error.

    pipe (EncoderPipe): The component.
    examples (Iterable[Example]): The examples.
    training (bool): Whether the component will learn from the examples, or has predicted them.
    RAISES (ValueError): The component needs all labels that it learns from.
    """
    unknown = pipe.gold_labels(examples) - set(pipe.labels) - pipe.warned_of
    if not unknown:
        return
    found = unknown.copy()
    nlp = calling_pipeline()
    if nlp is not None:
        for name, other in nlp.components:
            if pipe.attribute in nlp.get_pipe_meta(name).assigns:
                unknown -= set(getattr(other, "labels", ()))
    names = ", ".join(sorted(unknown))
    remedy = (
        f"Add labels with nlp.get_pipe('{pipe.name}').add_label(…) before training, initialize it "
        "again with training data that have examples of these labels, or remove them from the data."
    )
    if unknown and training and pipe.needs_all_labels:
        raise ValueError(
            f"The examples have labels that '{pipe.name}' does not have, so it would learn to "
            f"predict nothing in their place: {names}. {remedy}"
        )
    pipe.warned_of |= found
    if unknown:
        result = "can't learn them" if training else "gets them all wrong"
        warnings.warn(
            f"The examples have labels that '{pipe.name}' does not have, so it {result}: {names}. "
            f"{remedy}",
            stacklevel=3,
        )


def warn_of_optimizer(pipe: "EncoderPipe", sgd: Optimizer) -> None:
    """Warn of optimizer settings that the component ignores, or that its encoder won't survive.

    pipe (EncoderPipe): The component.
    sgd (Optimizer): The optimizer.
    """
    if sgd.averages is not None and AVERAGES not in pipe.warned_of:
        pipe.warned_of |= {AVERAGES}
        warnings.warn(
            "[training.optimizer] use_averages is true, but averages of an encoder's weights are "
            f"not kept: '{pipe.name}' is evaluated and saved with its last weights. Set it to "
            "false, unless another component needs it.",
            stacklevel=3,
        )
    rate = float(sgd.learn_rate)
    if rate < HIGH_RATE or RATE in pipe.warned_of:
        return
    if not pipe.listens and any(p.requires_grad for p in pipe.encoder.parameters()):
        pipe.warned_of |= {RATE}
        warnings.warn(
            f"The learning rate of '{pipe.name}' is {rate:g}. Pretrained encoders rarely survive "
            "0.001 or more: scores fall to the level of chance. Rates from 0.00002 to 0.0003 are "
            "usual: set [training.optimizer] learn_rate, or optimizer.learn_rate in your own loop. "
            "For a head that learns faster, raise head_lr of its model.",
            stacklevel=3,
        )
