"""`reprtune_encoder`: one encoder that several components listen to."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

import numpy
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from thinc.types import Floats2d

from .balance import GradientBalance, gradient_norm
from .default_encoder import DEFAULT_ENCODER
from .encoder_pipe import EncoderPipe
from .spacy_calls import resolve_optimizer_variables
from .streams import LISTENING_CHARS


@Language.factory(
    "reprtune_encoder",
    assigns=["doc.tensor"],
    default_config={"model": DEFAULT_ENCODER, "head_weights": {}},
)
def make_encoder(
    nlp: Language,
    name: str,
    model: Model[List[Doc], List[Floats2d]],
    head_weights: Dict[str, float],
) -> "SharedEncoder":
    """Create an encoder for several components, its heads.

    Heads listen with spaCy's own `spacy.Tok2VecListener.v1`. It is the `tok2vec` of a `tagger`,
    `parser`, `ner`, `spancat` or `textcat`, and the `encoder` of this package's heads. Each gets
    one vector per token, the mean of the token's pieces.

    In training, every head has the same influence on the encoder, however large its loss is, and
    no head has to be annotated in every doc.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`.
    head_weights (Dict[str, float]): Influence of heads on the encoder, relative to each other, by
        component name. A head that is not listed has 1.0. With 0.0, a head learns without moving
        the encoder.
    """
    resolve_optimizer_variables(nlp)
    return SharedEncoder(nlp.vocab, model, name, head_weights=head_weights)


@dataclass
class Pass:
    """A batch whose vectors the heads have received, and whose gradients are coming back.

    A head that has nothing to learn from a batch may never answer. So gradients are collected
    here, whichever heads they come from, and the component decides when to use them.

    vectors (List[Floats2d]): The vectors for the heads, one matrix per doc.
    backprop (Callable[[List[Floats2d]], Any]): Takes the sum of their gradients.
    losses (Dict[str, float]): The losses of the update, to which the encoder's loss is added.
    """

    vectors: List[Floats2d]
    backprop: Callable[[List[Floats2d]], Any]
    losses: Dict[str, float]
    gradients: Dict[str, List[Floats2d]] = field(default_factory=dict)
    n_answers: int = 0

    def answer(self, name: str, scale: float, gradients: List[Floats2d]) -> None:
        """Take the gradient of a head.

        name (str): The component that answers.
        scale (float): Factor for its gradient.
        gradients (List[Floats2d]): One matrix per doc.
        """
        self.n_answers += 1
        # spaCy's tagger answers even if a batch has no tags. Zeros hold nothing to learn, but with
        # them momentum and weight decay would move the weights.
        if not any(rows.any() for rows in gradients):
            return
        found = [scale * rows for rows in gradients]
        if name in self.gradients:
            found = [a + b for a, b in zip(self.gradients[name], found, strict=True)]
        self.gradients[name] = found


class SharedEncoder(EncoderPipe, Tok2Vec):
    """spaCy's `Tok2Vec` component around a transformer encoder, with these differences.

    - Gradients reach the encoder whichever of the heads learn from a batch. The stock component
      waits for the last head, and drops the gradients of the others if that one has nothing to
      learn.
    - All heads have the same influence, times their weight: see `GradientBalance`.
    - `nlp.update(…, sgd=optimizer)` updates the encoder with the batch at hand.
    - Look-ahead, error handling and saving are those of this package's other components. The
      encoder is saved as a directory that Hugging Face libraries can read.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], List[Floats2d]],
        name: str = "encoder",
        *,
        head_weights: Optional[Dict[str, float]] = None,
    ) -> None:
        """Create the component.

        vocab (Vocab): The shared vocabulary.
        model (Model[List[Doc], List[Floats2d]]): A `spacy_reprtune.Encoder.v1`.
        name (str): Name of the component.
        head_weights (Optional[Dict[str, float]]): See `make_encoder`.
        RAISES (ValueError): The model is not an encoder of this package.
        """
        if model.name != "reprtune_encoder":
            raise ValueError(
                f"The model of '{name}' is a '{model.name}'. It has to be a "
                "spacy_reprtune.Encoder.v1; for other models, use spaCy's own factory, tok2vec."
            )
        Tok2Vec.__init__(self, vocab, model, name)
        self.head_weights = dict(head_weights or {})
        # The heads by name.
        self._heads: Dict[str, Any] = {}
        self._balance: Optional[GradientBalance] = None
        self._pass: Optional[Pass] = None
        # The optimizer of an update that waits for a gradient.
        self._due: Optional[Optimizer] = None
        # Whether there is a gradient that waits for an update.
        self._waiting = False

    def look_ahead(self, batch_size: int) -> Tuple[int, int]:
        """RETURNS (Tuple[int, int]): The most docs and characters that `pipe` reads at once. Fewer
        characters than elsewhere, because the vectors of all tokens stay in memory."""
        return super().look_ahead(batch_size)[0], LISTENING_CHARS

    def predict(self, docs: Iterable[Doc]) -> List[Floats2d]:
        """Compute the vectors of docs without changing them.

        docs (Iterable[Doc]): The docs.
        RETURNS (List[Floats2d]): One matrix per doc, one row per token.
        """
        self._catch_up()
        return self.current_vectors(docs)

    def current_vectors(self, docs: Iterable[Doc]) -> List[Floats2d]:
        """Compute the vectors of docs with the present weights, for a head that needs other docs
        before the gradients of a batch have come back. `predict` would first make the update that
        waits for the gradients of further heads.

        docs (Iterable[Doc]): The docs.
        RETURNS (List[Floats2d]): One matrix per doc, one row per token.
        """
        # Copies, so that a doc that is kept does not keep the whole batch.
        return [vectors.copy() for vectors in super().predict(list(docs))]

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Send the vectors of a batch to the heads, and wait for their gradients.

        The weights change when the gradients have arrived and `finish_update` has been called, in
        either order.

        examples (Iterable[Example]): The examples.
        drop (float): Not used: the encoder has its own rate.
        sgd (Optional[Optimizer]): The optimizer, or None to accumulate gradients only.
        losses (Optional[Dict[str, float]]): Losses by component name, to which the squared norm of
            the gradient is added.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        self._finish_pass()
        docs = [eg.predicted for eg in examples]
        if not self.listener_map:
            return losses
        n_tokens = sum(len(doc) for doc in docs)
        if n_tokens:
            vectors, backprop = self.model.begin_update(docs)
        else:
            vectors, backprop = super().predict(docs), _no_backprop
        self._pass = Pass(vectors, backprop, losses)
        batch_id = Tok2VecListener.get_batch_id(docs)
        for name, listeners in self.listener_map.items():
            scale = _scale(self._heads[name], len(docs), max(n_tokens, 1))
            for listener in listeners:
                listener.receive(batch_id, vectors, partial(self._answer, name, scale))
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Update the encoder, now or as soon as there is a gradient.

        `spacy train` calls this when all components have learned from a batch. `nlp.update` with
        an optimizer calls it before the first of them has.

        sgd (Optimizer): The optimizer.
        """
        if self._pass is not None and not self._pass.n_answers:
            self._due = sgd
        else:
            self._finish_pass()
        # With accumulate_gradient, the gradient may come from earlier batches.
        if self._waiting:
            self._step(sgd)

    def find_listeners(self, component: Any) -> None:
        """Find the listeners of a component that listens to this one.

        component (Callable): A later component.
        RAISES (ValueError): It expects vectors of another width.
        """
        super().find_listeners(component)
        name = getattr(component, "name", None)
        if name in self.listener_map:
            self._heads = {n: head for n, head in self._heads.items() if n in self.listener_map}
            self._heads[name] = component
            self._check_width(name)
            if few_shot := getattr(component, "few_shot", None):
                few_shot.upstream = self

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Optional[Language] = None
    ) -> None:
        """Load the pretrained encoder, and check the listeners.

        get_examples (Callable[[], Iterable[Example]]): Not used.
        nlp (Optional[Language]): The pipeline.
        RAISES (ValueError): A listener or one of the `head_weights` is wrong.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        self._forget()
        self._balance, self._waiting = None, False
        self.model.initialize()
        for name in self.listener_map:
            self._check_width(name)
        if nlp is not None:
            self._check_heads(nlp)
        self.announce()

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save to a directory, like any of this package's components."""
        self._catch_up()
        super().to_disk(path, exclude=exclude)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "SharedEncoder":
        """RETURNS (SharedEncoder): Itself, loaded from the files that `to_disk` wrote."""
        self._forget()
        super().from_disk(path, exclude=exclude)
        if self.shim.n_labels is not None:
            self.model.set_dim("nO", self.encoder.width, force=True)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """RETURNS (bytes): The component as bytes."""
        self._catch_up()
        return super().to_bytes(exclude=exclude)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle for workers of `nlp.pipe`, without an unfinished batch."""
        self._catch_up()
        self._forget()
        return super().__reduce_ex__(protocol)

    def _answer(self, name: str, scale: float, gradients: List[Floats2d]) -> List[Floats2d]:
        """Receive the gradient of a listener."""
        if self._pass is not None:
            self._pass.answer(name, scale, gradients)
            if self._pass.n_answers == len(self.listeners):
                self._finish_pass()
        return []

    def _finish_pass(self) -> None:
        """Send the gradients of the heads back, and update the encoder if that is due."""
        current, due = self._pass, self._due
        self._forget()
        if current is None or not current.gradients:
            return
        gradients = self._balanced(current)
        squares = sum(float((rows**2).sum()) for rows in gradients)
        current.losses[self.name] = current.losses.get(self.name, 0.0) + squares
        current.backprop(gradients)
        self._waiting = True
        if due is not None:
            self._step(due)

    def _balanced(self, current: Pass) -> List[Floats2d]:
        """RETURNS (List[Floats2d]): The sum of all gradients, each with its weight."""
        given = current.gradients
        weights = dict.fromkeys(given, 1.0)
        if len(self._heads) > 1 and any(p.requires_grad for p in self.head.parameters()):
            norms = {name: gradient_norm(current.vectors, rows) for name, rows in given.items()}
            self._balance = self._balance or GradientBalance()
            weights = self._balance.weights(norms, self._heads)
        total = [numpy.zeros_like(vectors) for vectors in current.vectors]
        for name, gradients in given.items():
            weight = weights[name] * self.head_weights.get(name, 1.0)
            for rows, new in zip(total, gradients, strict=True):
                rows += weight * new
        return total

    def _catch_up(self) -> None:
        """Make an update that still waits for further heads, before the weights are used."""
        if self._due is not None and self._pass is not None and self._pass.n_answers:
            self._finish_pass()

    def _forget(self) -> None:
        self._pass = self._due = None
        for listener in self.listeners:
            # From now on, listeners read the vectors of a doc, not of an earlier batch.
            listener.receive(None, None, None)

    def _step(self, sgd: Optimizer) -> None:
        self._waiting = False
        super().finish_update(sgd)
        for head in self._heads.values():
            if few_shot := getattr(head, "few_shot", None):
                few_shot.encoder_moved(sgd.learn_rate)

    def _check_width(self, name: str) -> None:
        width = self.model.has_dim("nO") and self.model.get_dim("nO")
        for listener in self.listener_map[name] if width else []:
            if listener.get_dim("nO") != width:
                raise ValueError(
                    f"The listener of '{name}' has width = {listener.get_dim('nO')}, but the "
                    f"vectors of '{self.name}' have {width} columns: set width = {width}. If "
                    f"'{name}' listens to another component, name that one as its upstream."
                )

    def _check_heads(self, nlp: Language) -> None:
        unknown = sorted(set(self.head_weights) - set(self.listener_map))
        if unknown:
            raise ValueError(
                f"head_weights of '{self.name}' has {', '.join(unknown)}, but the components that "
                f"listen are {', '.join(self.listener_map) or 'none'}. Remove or rename the weight."
            )
        names = nlp.pipe_names
        start = names.index(self.name) + 1 if self.name in names else len(names)
        for head in set(self.listener_map).intersection(names):
            for name, pipe in nlp.pipeline[start : names.index(head)]:
                if isinstance(pipe, Tok2Vec):
                    raise ValueError(
                        f"'{head}' listens to '{self.name}', but '{name}' comes between them and "
                        f"overwrites the vectors in doc.tensor. Move '{head}' before '{name}', or "
                        f"name '{name}' as its upstream."
                    )


def _scale(head: Any, n_docs: int, n_tokens: int) -> float:
    """RETURNS (float): The factor that turns the gradient of a head's loss into that of a mean.

    spaCy's components sum the loss over everything they classify. With hundreds of tokens per
    batch, that is hundreds of times the mean, so a text classifier beside a tagger would have no
    influence.
    """
    if isinstance(head, EncoderPipe):
        return 1.0
    return 1.0 / n_docs if isinstance(head, TextCategorizer) else 1.0 / n_tokens


def _no_backprop(gradients: List[Floats2d]) -> List[Doc]:
    """Replace backprop if there are no tokens."""
    return []
