"""Whether pretraining helps a task: short trainings with the original encoder and the adapted one.

The docs of the judge are cut into halves. The recipe is trained on each and scored on the other, so
that every doc is scored by a pipeline that has not seen it, and both encoders have the same docs,
steps and seeds.
"""

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Set, Tuple

import numpy
import torch
from numpy.typing import NDArray

from .judge import gain_interval, labels_of, score_of

if TYPE_CHECKING:
    from spacy.tokens import Doc

HALVES = 2


class TrainingJudge:
    """A training config, and the docs that its pipelines are trained on and scored on."""

    def __init__(self, path: Path, docs: Sequence["Doc"], *, texts: bool, exclusive: bool) -> None:
        """Read the config.

        path (Path): The training config.
        docs (Sequence[Doc]): Annotated docs, in random order.
        texts (bool): Whether the categories of the docs are scored, and not their entities.
        exclusive (bool): Whether each doc has exactly one category.
        RAISES (ValueError): The config can't be read, has no encoder of this package, or trains
            nothing that the docs have annotations for.
        """
        from spacy.util import load_config, load_model_from_config

        from ..training.sweep import encoder_blocks

        self.docs, self.texts, self.exclusive = docs, texts, exclusive
        try:
            config = load_config(path, interpolate=False)
            nlp = load_model_from_config(config, auto_fill=True)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} can't be the recipe of the judge: {error}") from error
        self.config = nlp.config
        attribute = "doc.cats" if texts else "doc.ents"
        if not any(attribute in nlp.get_pipe_meta(name).assigns for name in nlp.pipe_names):
            raise ValueError(
                f"{path} can't be the recipe of the judge: it has no component that sets "
                f"{attribute}, and that is what the judge's docs have."
            )
        read = self.config.to_str(interpolate=False)
        named = all(f"${{paths.{part}}}" in read for part in ("train", "dev"))
        if not named or not encoder_blocks(self.config):
            raise ValueError(
                f"{path} can't be the recipe of the judge: its corpora have to be ${{paths.train}} "
                "and ${paths.dev}, and a component needs a spacy_reprtune.Encoder.v1 of its own."
            )

    def counts(self, encoder: Path, device: torch.device) -> NDArray:
        """Train with an encoder, and count what the pipelines get right.

        encoder (Path): The encoder's directory.
        device (torch.device): Where to train.
        RETURNS (ndarray): Labels or entities that are right, spurious, and missed, int64, shape
            (n_docs, 3).
        """
        from spacy.tokens import Doc

        counts = numpy.zeros((len(self.docs), 3), dtype=numpy.int64)
        use_gpu = (device.index or 0) if device.type == "cuda" else -1
        for half in range(HALVES):
            scored = self.docs[half::HALVES]
            nlp = self._train(encoder, self.docs[1 - half :: HALVES], scored, use_gpu)
            plain = [
                Doc(nlp.vocab, [t.text for t in doc], [bool(t.whitespace_) for t in doc])
                for doc in scored
            ]
            pairs = zip(nlp.pipe(plain), scored, strict=True)
            counts[half::HALVES] = [self._count(found, gold) for found, gold in pairs]
        return counts

    def _train(
        self, encoder: Path, docs: Sequence["Doc"], scored: Sequence["Doc"], use_gpu: int
    ) -> Any:
        from spacy.tokens import DocBin

        from ..training.experiments import train
        from ..training.sweep import encoder_blocks

        config = copy.deepcopy(self.config)
        with tempfile.TemporaryDirectory() as folder:
            for name, part in (("train", docs), ("dev", scored)):
                path = Path(folder) / f"{name}.spacy"
                DocBin(docs=part).to_disk(path)
                config["paths"][name] = str(path)
            for block in encoder_blocks(config):
                block["name"] = str(encoder)
            seed = config.interpolate()["training"]["seed"] or 0
            return train(config, seed, use_gpu=use_gpu)[0]

    def _count(self, found: "Doc", gold: "Doc") -> Tuple[int, int, int]:
        wanted, got = self._answers(gold, gold), self._answers(found, gold)
        return len(wanted & got), len(got - wanted), len(wanted - got)

    def _answers(self, doc: "Doc", gold: "Doc") -> Set[Any]:
        """The entities of a doc, or its categories, of independent ones those that are annotated
        in the gold doc."""
        if not self.texts:
            return {(span.start, span.end, span.label_) for span in doc.ents}
        found = labels_of(doc.cats, exclusive=self.exclusive)
        return found if self.exclusive else found & set(gold.cats)


def compared(recipe: str, before: NDArray, after: NDArray, *, step: int) -> Dict[str, Any]:
    """Describe what the trainings say.

    recipe (str): Name of the training config.
    before, after (ndarray): Counts with the original encoder and with the adapted one.
    step (int): The step of pretraining that the adapted one is from.
    RETURNS (Dict[str, Any]): Scores, the gain and its interval.
    """
    scores: List[float] = [round(score_of(counts), 5) for counts in (before, after)]
    return {
        "recipe": recipe,
        "before": scores[0],
        "after": scores[1],
        "step": step,
        "gain": round(scores[1] - scores[0], 5),
        "interval": [round(end, 5) for end in gain_interval(before, after, 1)],
    }
