"""Learning from few texts: the encoder is trained on pairs of them, and the head is fitted whenever
a prediction is wanted (Tunstall et al. 2022, Efficient Few-Shot Learning Without Prompts).
"""

import logging
import random
import warnings
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example
from thinc.util import to_numpy

from ..bridge.sentence_classifier import PooledScores
from ..heads.contrastive import LOSSES, all_pairs_cosine, pair_masks, supervised_contrastive
from .few_shot_checks import check_support, check_training
from .support_set import SupportSet, unique_texts

if TYPE_CHECKING:
    from ..heads.probe import Probe
    from ..training.setfit.trainer import SetFitTrainer
    from .text_classifier import TextClassifier

logger = logging.getLogger("spacy")

# C of the logistic regression, for vectors scaled to unit variance. On this scale the library's is
# about 0.0025 (scikit-learn's default of 1, for vectors of length 1 and 384 dimensions), and leaves
# all scores near the labels' frequencies. The C with the lowest log loss on held-out folds is far
# higher with so few texts, and gets fewer of them right; docs/recipes.md has the figures.
HEAD_STRENGTH = 0.01
# The head of a loaded component is only fitted again with this many texts per label, or with as
# many as it was fitted to, if those were fewer. 8 is the lower end of what SetFit is used with.
ENOUGH_TEXTS = 8


class FewShotTrainer:
    """What a `TextClassifier` has that learns from few texts: a support set, a contrastive loss,
    and a head that is fitted.

    `update` encodes each text of a batch once and takes the contrastive loss over all pairs among
    them. The head is a logistic regression on the support set, all annotated texts that the
    component has been given. It is fitted again when the encoder has moved and a prediction, a
    score or a saved model is wanted, so it is never older than the encoder.
    """

    def __init__(
        self,
        *,
        contrastive: str = "cosine",
        supcon_temperature: float = 0.1,
        cross_entropy: float = 0.0,
        trainer: Optional["SetFitTrainer"] = None,
    ) -> None:
        """Prepare to train.

        contrastive (str): See `make_setfit`, as for the other settings.
        supcon_temperature (float): Number that "supcon" divides cosines by.
        cross_entropy (float): Share of the loss that is the classifier's own.
        trainer (Optional[SetFitTrainer]): The library's trainer, to train instead of this one.
        RAISES (ValueError): A setting is out of range.
        """
        if contrastive not in LOSSES:
            raise ValueError(f"contrastive = {contrastive!r}. Use one of {', '.join(LOSSES)}.")
        if not supcon_temperature > 0.0:
            raise ValueError(f"supcon_temperature = {supcon_temperature}. Use a value above 0.")
        if not 0.0 <= cross_entropy < 1.0:
            raise ValueError(
                f"cross_entropy = {cross_entropy}. It is the share of the loss that is not "
                "contrastive: use a value from 0 up to, not with, 1. To train with nothing but "
                "cross-entropy use reprtune_textcat."
            )
        self.contrastive = contrastive
        self.supcon_temperature = supcon_temperature
        self.cross_entropy = cross_entropy
        self.trainer = trainer
        self.forget()

    def forget(self) -> None:
        """Begin with an empty support set."""
        self.support = SupportSet()
        # Chooses the texts that fill up a batch.
        self._rng = random.Random(0)
        # Whether the encoder has moved since the head was fitted.
        self._stale = False
        # With cross-entropy, the weight and bias that training goes on with: those of the fitted
        # head only take their place for predictions, or evaluating would change the training.
        self._trained_head: Optional[Tuple[NDArray, ...]] = None

    def check(self, pipe: "TextClassifier") -> None:
        """Check the settings of a component.

        pipe (TextClassifier): The component.
        RAISES (ValueError): The component has a model without vectors, or settings that the
            library's trainer does not know.
        """
        if pipe.model.name != "reprtune_sentence_classifier":
            raise ValueError(
                f"The model of '{pipe.name}' is a '{pipe.model.name}'. Few-shot training needs "
                f"vectors as well as logits: [components.{pipe.name}.model] @architectures = "
                '"spacy_reprtune.SentenceClassifier.v1".'
            )
        own = {
            "class_weights": pipe.class_weights is not None,
            "contrastive": self.contrastive != "cosine",
            "cross_entropy": self.cross_entropy > 0.0,
        }
        if self.trainer is not None and any(own.values()):
            names = ", ".join(name for name, changed in own.items() if changed)
            raise ValueError(
                f"'{pipe.name}' is trained by the setfit library (trainer), which does not "
                f"know {names}. Leave it at its default, or take the trainer away."
            )

    def begin(
        self, pipe: "TextClassifier", examples: List[Example], nlp: Optional[Language]
    ) -> None:
        """Take the training texts as the support set.

        pipe (TextClassifier): The component, with its labels.
        examples (List[Example]): The training examples.
        nlp (Optional[Language]): The pipeline, for its training settings.
        RAISES (ValueError): See `check_training`, `unique_texts` and `check_support`.
        """
        check_training(nlp, pipe.name)
        settings = pipe.shim.settings
        if self.trainer is not None and settings.unfreeze != "all":
            raise ValueError(
                f"The setfit library trains the whole encoder, but '{pipe.name}' has unfreeze = "
                f"{settings.unfreeze!r}. Set it to 'all', or take the trainer away."
            )
        self.forget()
        self.support.add(unique_texts(pipe.annotated(examples), pipe.kind, pipe.name))
        check_support(self.support, pipe.read_gold, pipe.labels, pipe.name)

    def prepare_head(self, pipe: "TextClassifier") -> None:
        """Let the head train only with cross-entropy: otherwise it is only fitted.

        pipe (TextClassifier): The component, with its model.
        """
        pipe.head.output.requires_grad_(self.cross_entropy > 0.0)

    def fit_first_head(self, pipe: "TextClassifier") -> None:
        """Fit the head to the untouched encoder, or let the library train both.

        pipe (TextClassifier): The component, with its model.
        """
        examples = self.support.examples
        # As long as the encoder is untouched, held-out texts are unseen. Training lets it learn
        # the labels of all texts by heart.
        probe = self.fit_head(pipe, examples, scored=True)
        if numpy.isnan(probe.score):
            logger.info("'%s' has too few texts to hold any out for a linear probe.", pipe.name)
        else:
            logger.info(
                "'%s' before any training: a linear probe on %d texts gets %.3f of the held-out "
                "gold values right.",
                pipe.name,
                len(examples),
                probe.score,
            )
        if self.trainer is not None:
            texts = [eg.reference.text for eg in examples]
            gold, known = pipe.read_gold(examples)
            shim = pipe.shim
            self.trainer.train(shim, texts, gold, known, exclusive=pipe.exclusive)

    def batch(self, pipe: "TextClassifier", examples: List[Example]) -> List[Example]:
        """Make a batch in which every text occurs once and has another to be compared with.

        pipe (TextClassifier): The component.
        examples (List[Example]): The annotated examples of a batch.
        RETURNS (List[Example]): The examples, with more of the support set where they make no
            positive pairs, or no negative ones. Nothing if there is no pair at all, or if the
            library has trained the component.
        RAISES (ValueError): Two annotations of a text contradict each other, or the gradients of
            an earlier batch have not been applied.
        """
        if self.trainer is not None:
            return []
        if pipe.shim.n_backward:
            raise ValueError(
                f"'{pipe.name}' was given a second batch before the gradients of the first were "
                "applied. Its loss is over the pairs within a batch, so parts of a batch do not "
                "add up to it: set [training] accumulate_gradient = 1, and for less memory lower "
                "the size in [training.batcher]."
            )
        batch = unique_texts(examples, pipe.kind, pipe.name)
        self.support.add(batch)
        if not batch:
            return []
        batch = [*batch, *self.support.partners(batch, pipe.read_gold, self._rng)]
        positive, negative = _pairs_within(*pipe.read_gold(batch))
        if not (positive.any() or negative.any()):
            return []
        self._take_trained_head(pipe)
        self.prepare_head(pipe)
        return batch

    def get_loss(
        self, pipe: "TextClassifier", examples: Sequence[Example], scores: PooledScores
    ) -> Tuple[float, PooledScores]:
        """Compute the loss and its gradient.

        pipe (TextClassifier): The component.
        examples (Sequence[Example]): The examples.
        scores (PooledScores): The vectors and logits that the model returned.
        RETURNS (Tuple[float, PooledScores]): The contrastive loss, mixed with cross-entropy by the
            share that the setting gives it, and the gradient in the form of `scores`.
        """
        vectors, logits = to_numpy(scores.vectors), to_numpy(scores.logits)
        positive, negative = _pairs_within(*pipe.read_gold(examples))
        if self.contrastive == "supcon":
            loss, d_vectors = supervised_contrastive(
                vectors, positive, negative, temperature=self.supcon_temperature
            )
        else:
            loss, d_vectors = all_pairs_cosine(vectors, positive, negative)
        d_logits = numpy.zeros_like(logits)
        share = self.cross_entropy
        if share:
            entropy, d_logits = pipe.cross_entropy(examples, logits)
            loss = (1.0 - share) * loss + share * entropy
        asarray = pipe.model.ops.asarray2f
        return loss, PooledScores(asarray((1.0 - share) * d_vectors), asarray(share * d_logits))

    def before_step(self, pipe: "TextClassifier") -> None:
        """Note that the encoder is about to move.

        pipe (TextClassifier): The component.
        """
        if pipe.shim.n_backward:
            # An annotating component has predicted since the gradients were computed.
            self._take_trained_head(pipe)
            self._stale = True

    def refit(self, pipe: "TextClassifier") -> None:
        """Fit the head to the support set, if the encoder has moved since it was fitted.

        A component that was loaded to be trained further has not seen all of its texts. The head
        that it came with stays until the support set is as large as the one that this head was
        fitted to, or has `ENOUGH_TEXTS` per label: a head on two texts is worse than one on many,
        even if these were encoded by an earlier state of the encoder.

        pipe (TextClassifier): The component.
        """
        if not self._stale:
            return
        examples = self.support.examples
        fewest, label = _fewest_texts(pipe, examples)
        enough = min(ENOUGH_TEXTS, pipe.cfg.get("texts_per_label", ENOUGH_TEXTS))
        if fewest < enough:
            if "few texts" not in pipe.warned_of:
                pipe.warned_of |= {"few texts"}
                warnings.warn(
                    f"'{pipe.name}' keeps the head that it was loaded with, although its encoder "
                    f"was trained further: it has been given {fewest} texts of {label!r} since, "
                    f"and fits a new head from {enough} texts per label on. Update it with more "
                    "texts, best with those of the first training as well.",
                    stacklevel=4,
                )
            return
        if self.cross_entropy:
            output = pipe.head.output
            self._trained_head = tuple(
                tensor.detach().cpu().numpy().copy() for tensor in (output.weight, output.bias)
            )
        self.fit_head(pipe, examples)
        self._stale = False

    def fit_head(
        self, pipe: "TextClassifier", examples: Sequence[Example], *, scored: bool = False
    ) -> "Probe":
        """Fit the head to texts.

        pipe (TextClassifier): The component.
        examples (Sequence[Example]): The texts with their gold values.
        scored (bool): Whether to score the head on held-out folds as well.
        RETURNS (Probe): The head, which the component has now.
        RAISES (ValueError): The vectors of the texts are not finite.
        """
        vectors = pipe.head.vectors([eg.reference.text for eg in examples])
        if not numpy.isfinite(vectors).all():
            raise ValueError(
                f"The encoder of '{pipe.name}' gives vectors that are not finite, so training "
                "stops here: the last update has destroyed its weights. Lower "
                "[training.optimizer] learn_rate, and start again from the last saved pipeline."
            )
        gold, known = pipe.read_gold(examples)
        probe = pipe.kind.fit_head(
            vectors, gold, known, weights=pipe.weights, strength=HEAD_STRENGTH, scored=scored
        )
        pipe.head.set_output(probe.weight, probe.bias)
        pipe.cfg["texts_per_label"] = _fewest_texts(pipe, examples)[0]
        return probe

    def _take_trained_head(self, pipe: "TextClassifier") -> None:
        if self._trained_head is not None:
            pipe.head.set_output(*self._trained_head)
            self._trained_head, self._stale = None, True


def _pairs_within(gold: NDArray, known: NDArray) -> Tuple[NDArray, NDArray]:
    positive, negative = pair_masks(gold, known, gold, known)
    numpy.fill_diagonal(positive, False)
    numpy.fill_diagonal(negative, False)
    return positive, negative


def _fewest_texts(pipe: "TextClassifier", examples: Sequence[Example]) -> Tuple[int, str]:
    """RETURNS (Tuple[int, str]): Texts of the label that has the fewest, and that label."""
    gold, known = pipe.read_gold(examples)
    counts = (gold * known).sum(0)
    rarest = int(counts.argmin())
    return int(counts[rarest]), pipe.labels[rarest]
