"""Read few texts: a sample of a larger corpus, or texts made from the names of labels."""

import logging
import random
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Union

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from spacy.util import registry

logger = logging.getLogger("spacy")

Reader = Callable[[Language], Iterable[Example]]
Labels = Union[List[str], Dict[str, Union[str, List[str]]]]


@registry.readers("spacy_reprtune.FewShot.v1")
def FewShot_v1(path: Optional[Path], *, per_class: int = 16, seed: int = 0) -> Reader:
    """Read some texts of each label of a corpus.

    The sample depends only on the corpus, the number and the seed. With one seed, a smaller sample
    is part of a larger one. If a label has fewer texts than asked for, all of them are read. A
    text with several labels counts for each of them. Texts that are annotated as having no label
    are sampled as if that were a label.

    path (Optional[Path]): A `.spacy` file or a directory of them; null to set it with
        `--paths.train`.
    per_class (int): Texts per label.
    seed (int): Seed of the sample.
    RETURNS (Callable[[Language], Iterable[Example]]): The corpus reader.
    RAISES (ValueError): There is no path, `per_class` is below 1, or nothing is annotated.
    """
    if per_class < 1:
        raise ValueError(f"per_class = {per_class}. Use 1 or more; 8 to 16 are usual.")

    def read(nlp: Language) -> Iterator[Example]:
        if path is None:
            raise ValueError(
                "spacy_reprtune.FewShot.v1 has no path: name a .spacy file in the config, or "
                "with --paths.train FILE."
            )
        examples = list(Corpus(path)(nlp))
        chosen = sample_per_class([eg.reference for eg in examples], per_class, seed)
        if not chosen:
            raise ValueError(f"None of the docs in {path} has any doc.cats to sample by.")
        logger.debug("FewShot: %d of %d docs of %s", len(chosen), len(examples), path)
        yield from (examples[i] for i in chosen)

    return read


def sample_per_class(docs: Sequence[Doc], per_class: int, seed: int) -> List[int]:
    """Choose docs of each label.

    docs (Sequence[Doc]): Docs with gold `doc.cats`. Docs without annotation are never chosen.
    per_class (int): Docs per label.
    seed (int): Seed of the sample.
    RETURNS (List[int]): Indices of the chosen docs, ascending. Of docs with the same text, only the
        first can be chosen.
    """
    chosen = set()
    for label, group in sorted(texts_by_label(docs).items()):
        # One generator per label, so that a label's sample does not depend on the other labels.
        order = random.Random(f"{seed} {label}").sample(group, len(group))
        chosen.update(order[:per_class])
    return sorted(chosen)


def texts_by_label(docs: Iterable[Doc]) -> Dict[str, List[int]]:
    """RETURNS (Dict[str, List[int]]): Indices of the docs of each label, with "" for those
    annotated as having none. Of docs with the same text, only the first counts."""
    groups: Dict[str, List[int]] = {}
    seen = set()
    for i, doc in enumerate(docs):
        if not doc.cats or doc.text in seen:
            continue
        seen.add(doc.text)
        for label in [k for k, value in doc.cats.items() if value > 0] or [""]:
            groups.setdefault(label, []).append(i)
    return groups


@registry.readers("spacy_reprtune.LabelTemplates.v1")
def LabelTemplates_v1(
    labels: Labels,
    *,
    templates: Optional[List[str]] = None,
    corpus: Optional[Reader] = None,
) -> Reader:
    """Make texts from the names of labels, to start without any annotation.

    `setfit.get_templated_dataset` does the same, but repeats each text. Here each text comes once,
    because a batch encodes a text only once anyway. Use several templates or descriptions, so that
    each label has several texts to form pairs from.

    labels (Union[List[str], Dict[str, Union[str, List[str]]]]): The labels, or for each label one
        or several descriptions to put into the templates.
    templates (Optional[List[str]]): Texts with `{}` where the label or description goes; null
        for the library's "This sentence is {}".
    corpus (Optional[Callable[[Language], Iterable[Example]]]): A corpus whose examples are added,
        for example `spacy_reprtune.FewShot.v1`, or null.
    RETURNS (Callable[[Language], Iterable[Example]]): The corpus reader.
    RAISES (ValueError): There are fewer than two labels, a label has no description, a template
        has no `{}`, or two labels result in the same text.
    """
    templates = ["This sentence is {}"] if templates is None else templates
    texts = label_texts(labels, templates)
    names = list(labels)

    def read(nlp: Language) -> Iterator[Example]:
        for text, label in texts.items():
            cats = {name: float(name == label) for name in names}
            yield Example.from_dict(nlp.make_doc(text), {"cats": cats})
        if corpus is not None:
            yield from corpus(nlp)

    return read


def label_texts(labels: Labels, templates: Sequence[str]) -> Dict[str, str]:
    """Fill templates.

    labels, templates: See `LabelTemplates_v1`.
    RETURNS (Dict[str, str]): The label of each text.
    RAISES (ValueError): See `LabelTemplates_v1`.
    """
    if len(labels) < 2:
        raise ValueError(f"labels = {labels!r}: a classifier needs at least two labels.")
    wrong = [template for template in templates if "{}" not in template]
    if wrong or not templates:
        raise ValueError(
            f"templates = {list(templates)!r}: each needs {{}} where the label goes, as in "
            '"This sentence is {}".'
        )
    texts: Dict[str, str] = {}
    for label in labels:
        described = labels[label] if isinstance(labels, dict) else label
        descriptions = [described] if isinstance(described, str) else described
        if not descriptions or not all(text.strip() for text in descriptions):
            raise ValueError(
                f"The description of the label {label!r} is {described!r}. Write what texts with "
                "this label are about, or its name."
            )
        for description in descriptions:
            for template in templates:
                text = template.replace("{}", description)
                if texts.setdefault(text, label) != label:
                    raise ValueError(
                        f"The labels {texts[text]!r} and {label!r} both result in the text "
                        f"{text!r}. Describe them differently."
                    )
    return texts
