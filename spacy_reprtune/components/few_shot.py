"""Learn from few texts: the encoder is trained on pairs of texts, and the head is fitted whenever
a prediction is needed (Tunstall et al. 2022, Efficient Few-Shot Learning Without Prompts).
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

from ..bridge.listening import listeners, token_rows
from ..bridge.sentence_classifier import PooledScores
from ..heads.contrastive import LOSSES, all_pairs_cosine, pairs_within, supervised_contrastive
from .few_shot_checks import check_support, check_training
from .few_shot_probe import ProbeOnDev
from .streams import LISTENING_CHARS, LOOK_AHEAD_DOCS, blocks
from .support_set import SupportSet, unique_texts

if TYPE_CHECKING:
    from ..heads.probe import Probe
    from ..training.setfit.trainer import SetFitTrainer
    from .shared_encoder import SharedEncoder
    from .text_classifier import TextClassifier

logger = logging.getLogger("spacy")

# C of the logistic regression, for vectors scaled to unit variance. On this scale, the setfit
# library has a C of about 0.0025 (scikit-learn's default of 1, for vectors of length 1 and 384
# dimensions), which leaves all scores near the labels' frequencies. With so few texts, the C with
# the lowest log loss on held-out folds is far higher, but gets fewer texts right; docs/recipes.md
# has the figures.
HEAD_STRENGTH = 0.01
# The head of a loaded component is only fitted again with this many texts per label, or with as
# many as it was fitted to, if that is less. SetFit is usually used with at least 8.
ENOUGH_TEXTS = 8


class FewShotTrainer:
    """The part of a `TextClassifier` that learns from few texts: a support set, a contrastive loss,
    and a head that is fitted.

    `update` encodes each text of a batch once and computes the contrastive loss over all pairs of
    them. The head is a logistic regression on the support set, which holds all annotated texts that
    the component has been given. When the encoder has moved, the head is fitted again before the
    next prediction, evaluation or saving, so it is never older than the encoder.
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
        cross_entropy (float): Share of the classifier's cross-entropy in the loss.
        trainer (Optional[SetFitTrainer]): The setfit library's trainer, to train instead of this.
        RAISES (ValueError): A setting is out of range.
        """
        if contrastive not in LOSSES:
            raise ValueError(f"contrastive = {contrastive!r}. Use one of {', '.join(LOSSES)}.")
        if not supcon_temperature > 0.0:
            raise ValueError(f"supcon_temperature = {supcon_temperature}. Use a value above 0.")
        if not 0.0 <= cross_entropy < 1.0:
            raise ValueError(
                f"cross_entropy = {cross_entropy}. It is the share of the loss that is not "
                "contrastive: use at least 0 and less than 1. To train only with cross-entropy, "
                "use reprtune_textcat."
            )
        self.contrastive = contrastive
        self.supcon_temperature = supcon_temperature
        self.cross_entropy = cross_entropy
        self.trainer = trainer
        # The shared encoder that the component listens to, which sets this.
        self.upstream: Optional[SharedEncoder] = None
        self.forget()

    def forget(self) -> None:
        """Start with an empty support set."""
        self.support = SupportSet()
        self.probe = ProbeOnDev()
        # Chooses the texts that fill up a batch.
        self._rng = random.Random(0)
        # Whether the encoder has moved since the head was fitted.
        self._stale = False
        # With cross-entropy, the weight and bias that training continues with. The fitted head
        # replaces them only for predictions, or else an evaluation would change the training.
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
                f"support {names}. Leave it at its default, or remove the trainer."
            )

    def begin(
        self, pipe: "TextClassifier", examples: List[Example], nlp: Optional[Language]
    ) -> None:
        """Make a support set of the training texts.

        pipe (TextClassifier): The component, with its labels.
        examples (List[Example]): The training examples.
        nlp (Optional[Language]): The pipeline, for its training settings.
        RAISES (ValueError): See `check_training`, `unique_texts` and `check_support`.
        """
        check_training(nlp, pipe.name)
        self._check_upstream(pipe)
        if self.trainer is not None and pipe.listens:
            raise ValueError(
                f"The setfit library trains the component's own encoder, but '{pipe.name}' listens "
                "to another one. Remove the trainer, or give the component a "
                "spacy_reprtune.Encoder.v1."
            )
        if self.trainer is not None and pipe.shim.settings.unfreeze != "all":
            raise ValueError(
                f"The setfit library trains the whole encoder, but '{pipe.name}' has unfreeze = "
                f"{pipe.shim.settings.unfreeze!r}. Set it to 'all', or remove the trainer."
            )
        self.forget()
        self.support.add(unique_texts(pipe.annotated(examples), pipe.kind, pipe.name), pipe.kind)
        check_support(self.support, pipe.read_gold, pipe.labels, pipe.name)

    def prepare_head(self, pipe: "TextClassifier") -> None:
        """Let the head train if there is cross-entropy. Otherwise it is only fitted.

        pipe (TextClassifier): The component, with its model.
        """
        pipe.head.output.requires_grad_(self.cross_entropy > 0.0)

    def fit_first_head(self, pipe: "TextClassifier") -> None:
        """Fit the head to the untouched encoder, or let the library train both.

        pipe (TextClassifier): The component, with its model.
        """
        examples = self.support.examples
        # As long as the encoder is untouched, held-out texts are unseen. Training lets it
        # memorize the labels of all texts.
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
        """Make a batch in which every text occurs once and has another one to be compared with.

        A component that listens has vectors only for the given batch, so nothing is added to it.

        pipe (TextClassifier): The component.
        examples (List[Example]): The annotated examples of a batch.
        RETURNS (List[Example]): The examples, and texts of the support set if the examples make no
            positive or no negative pairs. Empty if there is no pair at all, or if the setfit
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
        self.support.add(batch, pipe.kind)
        if not batch:
            return []
        if not pipe.listens:
            batch += self.support.partners(batch, pipe.read_gold, self._rng)
        positive, negative = pairs_within(*pipe.read_gold(batch))
        if pipe.listens and not (positive.any() and negative.any()):
            _warn_of_pairs(pipe, "without a label" if positive.any() else "with a label")
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
        examples (Sequence[Example]): The examples. Those without annotation do not count, and
            those with the same text count once.
        scores (PooledScores): The vectors and logits that the model returned.
        RETURNS (Tuple[float, PooledScores]): The contrastive loss, mixed with the share of
            cross-entropy that is set, and the gradient in the form of `scores`.
        """
        batch = unique_texts(pipe.annotated(examples), pipe.kind, pipe.name)
        # The last row of each text. Identical texts have identical vectors.
        places = {eg.reference.text: row for row, eg in enumerate(examples)}
        rows = [places[eg.reference.text] for eg in batch]
        outputs = to_numpy(scores.vectors), to_numpy(scores.logits)
        vectors, logits = (output[rows] for output in outputs)
        positive, negative = pairs_within(*pipe.read_gold(batch))
        # Without both kinds "supcon" has no gradient, or only evens out the positive pairs.
        if self.contrastive == "supcon" and positive.any() and negative.any():
            loss, d_vectors = supervised_contrastive(
                vectors, positive, negative, temperature=self.supcon_temperature
            )
        else:
            loss, d_vectors = all_pairs_cosine(vectors, positive, negative)
        d_logits = numpy.zeros_like(logits)
        share = self.cross_entropy
        if share:
            entropy, d_logits = pipe.cross_entropy(batch, logits)
            loss = (1.0 - share) * loss + share * entropy
        gradients = [numpy.zeros_like(output) for output in outputs]
        gradients[0][rows] = (1.0 - share) * d_vectors
        gradients[1][rows] = share * d_logits
        return loss, PooledScores(*map(pipe.model.ops.asarray2f, gradients))

    def encoder_moved(self, rate: float) -> None:
        """Note that the encoder has moved, whichever of its heads made it move.

        rate (float): Learning rate of the step.
        """
        self.probe.step(rate)
        self._stale = True

    def before_step(self, pipe: "TextClassifier", rate: float) -> None:
        """Note that the encoder is about to move.

        pipe (TextClassifier): The component.
        rate (float): Learning rate of the step.
        """
        if pipe.shim.n_backward:
            self.probe.step(rate)
            # As an annotating component, it may have predicted since the gradients were computed.
            self._take_trained_head(pipe)
            self._stale = True

    def refit(self, pipe: "TextClassifier") -> None:
        """Fit the head to the support set, if the encoder has moved since it was fitted.

        A component that was loaded to be trained further has not seen all of its texts again. It
        keeps the loaded head until the support set is as large as the one that this head was fitted
        to, or has `ENOUGH_TEXTS` per label: a head fitted to two texts is worse than one fitted to
        many, even if an earlier state of the encoder computed their vectors.

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
                    f"and needs {enough} texts per label to fit a new head. Update it with more "
                    "texts, ideally including those of the first training.",
                    stacklevel=4,
                )
            return
        if self.cross_entropy and self._trained_head is None:
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
        RETURNS (Probe): The head, which the component now has.
        RAISES (ValueError): The vectors of the texts are not finite.
        """
        vectors = self._vectors(pipe, examples)
        if not numpy.isfinite(vectors).all():
            raise ValueError(
                f"The encoder of '{pipe.name}' computes vectors that are not finite, so training "
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

    def _vectors(self, pipe: "TextClassifier", examples: Sequence[Example]) -> NDArray:
        if not pipe.listens:
            return pipe.head.vectors([eg.reference.text for eg in examples])
        self._check_upstream(pipe)
        parts = []
        copies = (eg.predicted.copy() for eg in examples)
        for docs in blocks(copies, LOOK_AHEAD_DOCS, LISTENING_CHARS):
            if self.upstream is not None:
                self.upstream.set_annotations(docs, self.upstream.current_vectors(docs))
            parts.append(pipe.head.vectors(token_rows(pipe.model, docs)))
        return numpy.concatenate(parts)

    def _check_upstream(self, pipe: "TextClassifier") -> None:
        if not listeners(pipe.model):
            # The component has its own encoder, which may have replaced a listener.
            self.upstream = None
        elif self.upstream is None:
            raise ValueError(
                f"'{pipe.name}' listens, but there is no reprtune_encoder before it. Its head is "
                "fitted to the vectors of the support set, and no other component computes them on "
                "request. Add a reprtune_encoder before it (listeners name it as upstream), or "
                "give the component its own spacy_reprtune.Encoder.v1."
            )

    def _take_trained_head(self, pipe: "TextClassifier") -> None:
        if self._trained_head is not None:
            pipe.head.set_output(*self._trained_head)
            self._trained_head, self._stale = None, True


def _warn_of_pairs(pipe: "TextClassifier", lacking: str) -> None:
    if "pairs" in pipe.warned_of:
        return
    pipe.warned_of |= {"pairs"}
    warnings.warn(
        f"A batch for '{pipe.name}' has no two texts {lacking} in common. The component listens to "
        "a shared encoder, so it compares only the texts of the batch and can't add any from its "
        "support set. Use the batcher spacy_reprtune.batch_by_class.v1, which puts several texts "
        "per label into each batch, or larger batches.",
        stacklevel=5,
    )


def _fewest_texts(pipe: "TextClassifier", examples: Sequence[Example]) -> Tuple[int, str]:
    """RETURNS (Tuple[int, str]): The lowest number of texts of any label, and the label."""
    gold, known = pipe.read_gold(examples)
    counts = (gold * known).sum(0)
    rarest = int(counts.argmin())
    return int(counts[rarest]), pipe.labels[rarest]
