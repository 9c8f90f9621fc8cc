"""Check the texts and the training settings for few-shot training."""

import warnings
from typing import Optional, Sequence

from spacy.language import Language

from .support_set import Gold, SupportSet

# With more texts per label than this, the authors of SetFit recommend ordinary fine-tuning.
MANY_TEXTS = 200


def check_support(support: SupportSet, gold_of: Gold, labels: Sequence[str], name: str) -> None:
    """Refuse texts that nothing can be learned from, and warn of too few or very many texts.

    support (SupportSet): The texts.
    gold_of (Callable): Returns the gold values of examples.
    labels (Sequence[str]): The labels.
    name (str): Name of the component, for messages.
    RAISES (ValueError): A label has no text, or all texts share a label.
    """
    gold, known = gold_of(support.examples)
    counts = (gold * known).sum(0).astype(int).tolist()
    missing = [label for label, n in zip(labels, counts, strict=True) if not n]
    if missing:
        raise ValueError(
            f"'{name}' has no example of {', '.join(map(repr, missing))}, so it could "
            "never predict that. Annotate at least one text, remove the label, or make "
            "examples from its name with the corpus reader spacy_reprtune.LabelTemplates.v1."
        )
    positive, negative = support.has_pairs(gold_of)
    if not negative:
        if not known.all():
            raise ValueError(
                f"No two of the {len(gold)} training texts of '{name}' are known to have no label "
                "in common, so there is nothing to tell apart: a label that doc.cats does not "
                "mention could be right or wrong. Set labels that a text does not have to 0.0."
            )
        raise ValueError(
            f"The {len(gold)} training texts of '{name}' all share a label, so there "
            "is nothing to tell apart. Add texts that do not have it."
        )
    single = [label for label, n in zip(labels, counts, strict=True) if n == 1]
    if single:
        which = "no" if not positive else "not every"
        warnings.warn(
            f"'{name}' has only one text of {', '.join(map(repr, single))}: {which} "
            "label has two texts to be drawn together, so such a label is only pushed away "
            "from the others. Two texts per label are enough to learn from; 8 to 16 are usual.",
            stacklevel=2,
        )
    if min(counts) > MANY_TEXTS:
        warnings.warn(
            f"'{name}' has at least {min(counts)} texts per label. Few-shot training works, but "
            f"with more than {MANY_TEXTS}, joint training is the better recipe: "
            "configs/textcat_joint.cfg, or reprtune_textcat.",
            stacklevel=2,
        )


def check_training(nlp: Optional[Language], name: str) -> None:
    """Refuse training settings that split pairs or hide texts.

    nlp (Optional[Language]): The pipeline, with its config; None for nothing to check.
    name (str): Name of the component, for messages.
    RAISES (ValueError): `accumulate_gradient` is above 1, or the corpus is streamed.
    """
    if nlp is None:
        return
    training = nlp.config.interpolate()["training"]
    if training.get("accumulate_gradient", 1) > 1:
        raise ValueError(
            f"[training] accumulate_gradient = {training['accumulate_gradient']}, but the loss "
            f"of '{name}' is over the pairs within a batch, and spaCy would sort the "
            "batch by length and split it: most pairs would be lost. Set it to 1, and for less "
            "memory lower the size in [training.batcher]."
        )
    if training.get("max_epochs", 0) < 0:
        raise ValueError(
            f"[training] max_epochs = {training['max_epochs']} streams the corpus, so spaCy shows "
            f"'{name}' only the first 100 texts, but it needs its whole support set. Set it to 0 "
            "for no limit."
        )
