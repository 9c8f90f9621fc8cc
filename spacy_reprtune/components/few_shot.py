"""What few-shot text classifiers do differently: the encoder is trained by contrast, and the head
is solved whenever someone asks for a prediction.
"""

import logging
import random
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.util import SimpleFrozenList
from thinc.api import Optimizer
from thinc.types import Floats2d
from thinc.util import to_numpy

from ..bridge.sentence_classifier import PooledScores
from ..heads.contrastive import LOSSES, all_pairs_cosine, pair_masks, supervised_contrastive
from .few_shot_checks import check_support
from .support_set import SupportSet, unique_texts
from .textcat import TextClassifier

if TYPE_CHECKING:
    from ..heads.probe import Probe
    from ..training.setfit.trainer import SetFitTrainer

logger = logging.getLogger("spacy")

# C of the logistic regression, for vectors scaled to unit variance. On this scale the library's is
# about 0.0025 (scikit-learn's default of 1, for vectors of length 1 and 384 dimensions), and leaves
# all scores near the labels' frequencies. What has the lowest log loss on held-out folds is far
# more with so few texts, and gets fewer of them right; docs/recipes.md has the figures.
HEAD_STRENGTH = 0.01


class FewShotTextClassifier(TextClassifier):
    """Mixed into a text classifier to learn from few texts: trains the encoder on pairs of them,
    and solves the head.

    `update` encodes the texts of a batch once each and takes the contrastive loss over all pairs
    among them. The head is a logistic regression on the support set, all annotated texts the
    component has been given; it is solved anew when the encoder has moved and a prediction, a
    score or a saved model is wanted, so it is never older than the encoder.
    """

    def __init__(
        self,
        *args: Any,
        contrastive: str = "cosine",
        supcon_temperature: float = 0.1,
        cross_entropy: float = 0.0,
        trainer: Optional["SetFitTrainer"] = None,
        **settings: Any,
    ) -> None:
        """Create the component; see `TextClassifier` for what is not named here.

        contrastive (str): See `make_setfit`.
        supcon_temperature (float): See `make_setfit`.
        cross_entropy (float): See `make_setfit`.
        trainer (Optional[SetFitTrainer]): See `make_setfit`.
        RAISES (ValueError): A setting is out of range.
        """
        if contrastive not in LOSSES:
            raise ValueError(f"contrastive = {contrastive!r}. Use one of {', '.join(LOSSES)}.")
        if not supcon_temperature > 0.0:
            raise ValueError(f"supcon_temperature = {supcon_temperature}. Use a value above 0.")
        if not 0.0 <= cross_entropy < 1.0:
            raise ValueError(
                f"cross_entropy = {cross_entropy}. It is the share of the loss that is not "
                "contrastive: use a value from 0 up to, not with, 1. For cross-entropy alone use "
                "reprtune_textcat."
            )
        super().__init__(*args, **settings)
        if self.model.name != "reprtune_sentence_classifier":
            raise ValueError(
                f"The model of '{self.name}' is a '{self.model.name}'. Few-shot training needs "
                f"vectors as well as logits: [components.{self.name}.model] @architectures = "
                '"spacy_reprtune.SentenceClassifier.v1".'
            )
        if trainer is not None:
            own = {
                "class_weights": self.class_weights is not None,
                "contrastive": contrastive != "cosine",
                "cross_entropy": cross_entropy > 0.0,
            }
            if any(own.values()):
                names = ", ".join(name for name, changed in own.items() if changed)
                raise ValueError(
                    f"'{self.name}' is trained by the setfit library (trainer), which does not "
                    f"know {names}. Leave it at its default, or take the trainer away."
                )
        self.contrastive = contrastive
        self.supcon_temperature = supcon_temperature
        self.cross_entropy = cross_entropy
        self.trainer = trainer
        self._forget()

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Score docs without changing them, after solving the head if the encoder has moved.

        docs (Iterable[Doc]): The docs.
        RETURNS (Floats2d): Probabilities, one row a doc, one column a label.
        """
        self.refit()
        return super().predict(docs)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Train the encoder on all pairs among a batch of texts.

        A batch whose texts make no positive pair, or no negative one, gets texts of the support
        set to make some. A batch that still has no pair at all changes nothing.

        examples (Iterable[Example]): The examples.
        drop (float): Dropout rate of the head, which matters only with `cross_entropy`.
        sgd (Optional[Optimizer]): The optimizer, or None to apply the gradients later with
            `finish_update`, before the next batch.
        losses (Optional[Dict[str, float]]): Losses by component name, updated.
        RETURNS (Dict[str, float]): The losses.
        RAISES (ValueError): The gradients of an earlier batch have not been applied, or the loss
            or the gradient is not finite.
        """
        if self.trainer is not None:
            # Its work is done: see `_initialize_model`.
            losses = {} if losses is None else losses
            losses.setdefault(self.name, 0.0)
            return losses
        if self._shim.n_backward:
            raise ValueError(
                f"'{self.name}' was given a second batch before the gradients of the first were "
                "applied. Its loss is over the pairs within a batch, so parts of a batch do not "
                "add up to it: set [training] accumulate_gradient = 1, and for less memory lower "
                "the size in [training.batcher]."
            )
        self._take_trained_head()
        return super().update(examples, drop=drop, sgd=sgd, losses=losses)

    def announce(self, texts: Optional[List[str]] = None) -> None:
        """Settle what is going to train, and log it once.

        texts (Optional[List[str]]): The training texts, if they are at hand.
        """
        # Without cross-entropy nothing but the next solution changes the head.
        self._shim.module.output.requires_grad_(self.cross_entropy > 0.0)
        super().announce(texts)

    def finish_update(self, sgd: Optimizer) -> None:
        """Apply the accumulated gradients, and note that the head has to be solved anew.

        sgd (Optimizer): The optimizer.
        """
        if self._shim.n_backward:
            # An annotating component has predicted since the gradients were computed.
            self._take_trained_head()
            self._stale = True
        super().finish_update(sgd)

    def get_loss(  # type: ignore[override]
        self, examples: Iterable[Example], scores: PooledScores
    ) -> Tuple[float, PooledScores]:
        """Compute the loss and its gradient.

        examples (Iterable[Example]): The examples.
        scores (PooledScores): The vectors and logits that the model returned.
        RETURNS (Tuple[float, PooledScores]): The contrastive loss, mixed with cross-entropy by
            the share that the setting gives it, and the gradient in the form of `scores`.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        self._check_cats(examples)
        vectors, logits = to_numpy(scores.vectors), to_numpy(scores.logits)
        gold, known = self._gold(examples)
        positive, negative = _pairs_within(gold, known)
        if self.contrastive == "supcon":
            loss, d_vectors = supervised_contrastive(
                vectors, positive, negative, temperature=self.supcon_temperature
            )
        else:
            loss, d_vectors = all_pairs_cosine(vectors, positive, negative)
        d_logits = numpy.zeros_like(logits)
        share = self.cross_entropy
        if share:
            entropy, d_logits = self._loss(logits, gold, known)
            loss = (1.0 - share) * loss + share * entropy
        asarray = self.model.ops.asarray2f
        return loss, PooledScores(asarray((1.0 - share) * d_vectors), asarray(share * d_logits))

    def annotated(self, examples: List[Example]) -> List[Example]:
        """Make a batch of which every text is there once and has something to be compared with.

        examples (List[Example]): The batch.
        RETURNS (List[Example]): Its annotated examples, with more of the support set where they
            make no positive pairs, or no negative ones; nothing if there is no pair at all.
        RAISES (ValueError): Two annotations of a text contradict each other.
        """
        batch = unique_texts(super().annotated(examples), self.name, exclusive=self.exclusive)
        self._support.add(batch)
        if not batch:
            return []
        batch = [*batch, *self._support.partners(batch, self._gold, self._rng)]
        positive, negative = _pairs_within(*self._gold(batch))
        return batch if positive.any() or negative.any() else []

    def refit(self) -> None:
        """Solve the head on the support set, if the encoder has changed since it was solved.

        A pipeline that was loaded to be trained further has not seen all of its labels at first;
        until it has, the head stays as it was loaded.
        """
        if not self._stale:
            return
        examples = self._support.examples
        gold, known = self._gold(examples)
        if len(examples) and ((gold * known).sum(0) > 0).all():
            if self.cross_entropy:
                output = self._shim.module.output
                self._trained_head = tuple(
                    tensor.detach().cpu().numpy().copy() for tensor in (output.weight, output.bias)
                )
            self._solve(examples)
            self._stale = False

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save to a directory; see `EncoderPipe`. The support set is not saved."""
        self.refit()
        super().to_disk(path, exclude=exclude)

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_disk` wrote; see `EncoderPipe`."""
        self._forget()
        return super().from_disk(path, exclude=exclude)

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """RETURNS (bytes): The component without its support set."""
        self.refit()
        return super().to_bytes(exclude=exclude)

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_bytes` gave."""
        self._forget()
        return super().from_bytes(data, exclude=exclude)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """How a worker of `nlp.pipe` that is not forked gets it: with a solved head, because the
        support set stays here."""
        self.refit()
        return super().__reduce_ex__(protocol)

    def _forget(self) -> None:
        self._support = SupportSet()
        # Of the texts that fill batches up.
        self._rng = random.Random(0)
        # Whether the encoder has moved since the head was solved.
        self._stale = False
        # With cross-entropy, the weight and bias that training goes on with: those of the solved
        # head take their place for predictions alone, or evaluating would change the training.
        self._trained_head: Optional[Tuple[numpy.ndarray, ...]] = None

    def _take_trained_head(self) -> None:
        if self._trained_head is not None:
            self._shim.module.set_output(*self._trained_head)
            self._trained_head, self._stale = None, True

    def _solve(self, examples: Sequence[Example], *, scored: bool = False) -> "Probe":
        """Solve the head.

        Its score on held-out texts says something as long as the encoder is untouched: after
        training it has learned the labels of all texts by heart, and none of them is unseen.
        """
        from ..heads.probe import fit_classes, fit_independent

        module = self._shim.module
        vectors = module.vectors([eg.reference.text for eg in examples])
        gold, known = self._gold(examples)
        settings = {"weights": self._weights(), "strength": HEAD_STRENGTH, "scored": scored}
        if self.exclusive:
            probe = fit_classes(vectors, gold.argmax(1), len(self.labels), **settings)
        else:
            probe = fit_independent(vectors, gold, known, **settings)
        module.set_output(probe.weight, probe.bias)
        return probe

    def _initialize_model(
        self, get_examples: Callable[[], Iterable[Example]], nlp: Optional[Language]
    ) -> None:
        if self.trainer is not None and self._shim.settings.unfreeze != "all":
            raise ValueError(
                f"The setfit library trains the whole encoder, but '{self.name}' has unfreeze = "
                f"{self._shim.settings.unfreeze!r}. Set it to 'all', or take the trainer away."
            )
        examples = super().annotated(list(get_examples()))
        self._forget()
        self._support.add(unique_texts(examples, self.name, exclusive=self.exclusive))
        examples = self._support.examples
        check_support(self._support, self._gold, self.labels, self.name)
        super()._initialize_model(get_examples, nlp)
        probe = self._solve(examples, scored=True)
        if numpy.isnan(probe.score):
            logger.info("'%s' has too few texts to hold any out for a linear probe.", self.name)
        else:
            logger.info(
                "'%s' before any training: a linear probe on %d texts gets %.3f of the held-out "
                "gold values right.",
                self.name,
                len(examples),
                probe.score,
            )
        if self.trainer is not None:
            texts = [eg.reference.text for eg in examples]
            gold, known = self._gold(examples)
            self.trainer.train(self._shim, texts, gold, known, exclusive=self.exclusive)


def _pairs_within(gold: numpy.ndarray, known: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
    positive, negative = pair_masks(gold, known, gold, known)
    numpy.fill_diagonal(positive, False)
    numpy.fill_diagonal(negative, False)
    return positive, negative
