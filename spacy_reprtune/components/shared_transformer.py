"""The `transformer` component around a shared encoder. Imports spacy-transformers, so it is itself
imported by `SharedEncoder.v1` alone."""

import functools
import logging
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Union

import numpy
import srsly
from spacy.pipeline import TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.util import SimpleFrozenDict, SimpleFrozenList, replace_model_node
from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from spacy_transformers.layers import TransformerListener
from spacy_transformers.pipeline_component import Transformer, install_extensions
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d, Ragged
from transformers.file_utils import ModelOutput

from .balance import GradientBalance, gradient_norm
from .encoder_pipe import LISTENING_CHARS, LOOK_AHEAD, EncoderPipe, blocks, log_cache

logger = logging.getLogger("spacy")

# Of the model by which a shared encoder is known.
NAME = "reprtune_shared_encoder"
NO_PIECES = WordpieceBatch.empty()


class TokenVectors(list):
    """The vectors of a batch of docs, a matrix each, in the form that listeners read as well."""

    @property
    def doc_data(self) -> List[TransformerData]:
        """RETURNS (List[TransformerData]): The same for spacy-transformers: as if each token had
        one piece. What it does not have is the pieces themselves, which no listener reads."""
        return [_transformer_data(vectors) for vectors in self]


class Pass:
    """One batch on its way: out to the listeners, and their gradients back.

    A component that has nothing to learn from a batch never answers. So gradients are collected
    here, whoever they come from, and the component decides when to go on with them.
    """

    def __init__(
        self,
        vectors: TokenVectors,
        backprop: Callable[[List[Floats2d]], Any],
        losses: Dict[str, float],
    ) -> None:
        """Begin a pass.

        vectors (TokenVectors): What the listeners get.
        backprop (Callable[[List[Floats2d]], Any]): Takes a gradient for each doc.
        losses (Dict[str, float]): Where the loss is logged.
        """
        self.vectors = vectors
        self.backprop = backprop
        self.losses = losses
        self.gradients: Dict[str, List[Floats2d]] = {}
        self.n_answers = 0

    def answer(self, name: str, scale: float, gradients: Sequence[TransformerData]) -> None:
        """Take the gradient of a listener.

        name (str): The component that it belongs to.
        scale (float): What to multiply it with.
        gradients (Sequence[TransformerData]): A matrix for each doc that has tokens.
        """
        self.n_answers += 1
        # spaCy's tagger answers to a batch without tags as well. Zeros teach nothing, but momentum
        # and weight decay would go on.
        if not any(g.model_output.last_hidden_state.any() for g in gradients):
            return
        rows = iter(gradients)
        found = [
            # Listeners leave empty docs out.
            scale * next(rows).model_output.last_hidden_state[0] if len(vectors) else vectors
            for vectors in self.vectors
        ]
        if name in self.gradients:
            found = [a + b for a, b in zip(self.gradients[name], found, strict=True)]
        self.gradients[name] = found


class SharedTransformer(Transformer):
    """The stock component, with these differences.

    Gradients reach the encoder whichever of the listening components learn from a batch; the stock
    component waits for the last one, and drops what the others gave if that one has nothing to
    learn. All components have the same say, times their `grad_factor`: see `GradientBalance`.
    `nlp.update(…, sgd=optimizer)` updates the encoder with the batch in hand. Errors go to the
    error handler. The encoder is saved as a directory that Hugging Face libraries read.
    """

    _pass: Optional[Pass] = None
    # The optimizer of an update that waits for its gradient.
    _due: Optional[Optimizer] = None
    # Whether there is a gradient that waits for its update.
    _waiting = False
    _balance: Optional[GradientBalance] = None
    # The components that listen, by name.
    _components: Dict[str, Any] = SimpleFrozenDict()

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream of docs with the vectors of their tokens.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs in a batch; some batches are read ahead, to sort by length.
        YIELDS (Doc): The docs in order.
        """
        install_extensions()
        error_handler = self.get_error_handler()
        look_ahead = batch_size * LOOK_AHEAD if batch_size > 1 else 1
        for docs in blocks(iter(stream), look_ahead, LISTENING_CHARS):
            try:
                self.set_annotations(docs, self.predict(docs))
            except Exception as error:
                error_handler(self.name, self, docs, error)
            else:
                yield from docs

    def predict(self, docs: Iterable[Doc]) -> TokenVectors:
        """Compute the vectors of docs without changing them.

        docs (Iterable[Doc]): The docs.
        RETURNS (TokenVectors): A matrix a doc, one row a token.
        """
        docs = list(docs)
        self._catch_up()
        if not any(len(doc) for doc in docs):
            width = self.model.get_dim("nO")
            return TokenVectors(self.model.ops.alloc2f(0, width) for _ in docs)
        # Copies, so that a doc that is kept does not keep the whole batch.
        return TokenVectors(vectors.copy() for vectors in self.model.predict(docs))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Hand the vectors of a batch to the components that listen, and wait for gradients.

        The weights change when these have come and `finish_update` has been called, in whichever
        order that happens.

        examples (Iterable[Example]): The examples.
        drop (float): Not used: the encoder has its own rate.
        sgd (Optional[Optimizer]): The optimizer, or None to accumulate gradients only.
        losses (Optional[Dict[str, float]]): Losses by component name; gets the squared norm of the
            gradient.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        self._finish_pass()
        docs = [eg.predicted for eg in examples]
        if not self.listener_map or not any(len(doc) for doc in docs):
            return losses
        set_dropout_rate(self.model, drop)
        vectors, backprop = self.model.begin_update(docs)
        self._pass = Pass(vectors, backprop, losses)
        batch_id = TransformerListener.get_batch_id(docs)
        data = vectors.doc_data
        n_tokens = sum(len(doc) for doc in docs)
        for name, listeners in self.listener_map.items():
            scale = _scale(self._components.get(name), len(docs), n_tokens)
            for listener in listeners:
                answer = functools.partial(self._answer, name, scale)
                answer.needs_no_answer = True  # type: ignore[attr-defined]
                listener.receive(batch_id, data, answer)
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Update the encoder, now or as soon as there is a gradient.

        `spacy train` calls this when all components have learned from a batch, `nlp.update` with
        an optimizer before the first of them has.

        sgd (Optimizer): The optimizer.
        """
        if self._pass is not None and not self._pass.n_answers:
            self._due = sgd
        else:
            self._finish_pass()
        # Perhaps of batches before this one, with accumulate_gradient.
        if self._waiting:
            self._step(sgd)

    def find_listeners(self, component: Any) -> None:
        """Find the listeners of a component that listens to this one.

        component (Callable): A component behind this one.
        """
        super().find_listeners(component)
        name = getattr(component, "name", None)
        if name in self.listener_map:
            known = {n: c for n, c in self._components.items() if n in self.listener_map}
            self._components = {**known, name: component}

    def drop_pooling(self, listener: TransformerListener) -> None:
        """Put a listener in the place of the pair of itself and what pools its rows.

        listener (TransformerListener): A listener to this component.
        RAISES (ValueError): The pooling has weights, or there is something else behind it.
        """
        for component in self._components.values():
            for node in component.model.walk():
                pair = [layer.name for layer in node.layers]
                if listener not in node.layers or pair[1:] != ["trfs2arrays"]:
                    continue
                if not any(layer.param_names for layer in node.layers[1].walk()):
                    replace_model_node(component.model, node, listener)
                    return
        raise ValueError(
            "Only a spacy-transformers.TransformerListener.v1 with a pooling without weights, "
            "such as reduce_mean.v1, can be replaced by a copy of a shared encoder."
        )

    def initialize(self, get_examples: Callable, *, nlp: Any = None) -> None:
        """Load the pretrained encoder, and find the components that listen.

        get_examples (Callable[[], Iterable[Example]]): Not used.
        nlp (Optional[Language]): The pipeline.
        """
        self._forget()
        self._balance = None
        super().initialize(get_examples, nlp=nlp)
        if logger.isEnabledFor(logging.INFO):
            logger.info("What trains in '%s':\n%s", self.name, self._shim.overview())

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save to a directory: settings, and the encoder as a Hugging Face directory.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        """
        from ..files import replaced_directory

        self._catch_up()
        with replaced_directory(Path(path)) as folder:
            if "cfg" not in exclude:
                srsly.write_json(folder / "cfg", self.cfg)
            if "vocab" not in exclude:
                self.vocab.to_disk(folder / "vocab", exclude=exclude)
            if "model" not in exclude and self._shim.n_labels is not None:
                self._shim.to_directory(folder / "model")
                log_cache(self._shim.module.encoder.cache)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "SharedTransformer":
        """Load what `to_disk` wrote.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (SharedTransformer): Itself.
        """
        path = Path(path)
        self._forget()
        if "cfg" not in exclude:
            self.cfg.update(srsly.read_json(path / "cfg"))
        if "vocab" not in exclude and (path / "vocab").exists():
            self.vocab.from_disk(path / "vocab", exclude=exclude)
        if "model" not in exclude and (path / "model").exists():
            self._shim.from_directory(path / "model")
            width = self._shim.module.encoder.width
            for node in self.model.walk():
                node.set_dim("nO", width, force=True)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """RETURNS (bytes): The component as bytes."""
        self._catch_up()
        return super().to_bytes(exclude=exclude)

    def _answer(self, name: str, scale: float, gradients: Sequence[TransformerData]) -> None:
        """What a listener calls with its gradient."""
        if self._pass is None:
            return
        self._pass.answer(name, scale, gradients)
        if self._pass.n_answers == len(self.listeners):
            self._finish_pass()

    def _finish_pass(self) -> None:
        """Send back what the listeners gave, and update the encoder if that is due."""
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
        heads = {name: self._components[name] for name in self.listener_map}
        weights = dict.fromkeys(given, 1.0)
        if len(heads) > 1 and any(p.requires_grad for p in self._shim.module.parameters()):
            # Without the user's own factor, which thereby stays in what is weighted.
            norms = {
                name: gradient_norm(current.vectors, gradients) / self._grad_factor(name)
                for name, gradients in given.items()
            }
            self._balance = self._balance or GradientBalance()
            weights = self._balance.weights(norms, heads)
        total = [numpy.zeros_like(vectors) for vectors in current.vectors]
        for name, gradients in given.items():
            for rows, new in zip(total, gradients, strict=True):
                rows += weights[name] * new
        return total

    def _grad_factor(self, name: str) -> float:
        """RETURNS (float): How large that is by which a component multiplies its gradient."""
        listeners = self.listener_map[name]
        pairs = [node.layers for node in self._components[name].model.walk()]
        factors = [
            abs(pair[1].attrs["grad_factor"])
            for pair in pairs
            if [layer.name for layer in pair[1:]] == ["trfs2arrays"] and pair[0] in listeners
        ]
        return max(factors, default=1.0) or 1.0

    def _catch_up(self) -> None:
        """Before anyone looks: make an update that still waits for further listeners."""
        if self._due is not None and self._pass is not None and self._pass.n_answers:
            self._finish_pass()

    def _forget(self) -> None:
        self._pass = self._due = None
        for listener in self.listeners:
            # Whoever asks now gets what the doc has, not what is left of an earlier batch.
            listener.receive(None, None, None)

    def _step(self, sgd: Optimizer) -> None:
        self._waiting = False
        self.model.finish_update(sgd)

    @property
    def _shim(self):
        return self.model.layers[0].shims[0]


def adopt_shared_encoders() -> None:
    """Have the stock `transformer` factory make a `SharedTransformer` for a shared encoder.

    Nothing that the stock component calls tells its model who listens, so an architecture alone
    can't collect gradients from them, and a factory's name can't be registered twice. Components
    with other models stay as they are.
    """
    stock = Transformer.__init__
    if getattr(stock, "adopts_shared_encoders", False):
        return

    @functools.wraps(stock)
    def __init__(self: Transformer, vocab: Any, model: Model, *args: Any, **kwargs: Any) -> None:
        stock(self, vocab, model, *args, **kwargs)
        if type(self) is Transformer and model.name == NAME:
            self.__class__ = SharedTransformer

    __init__.adopts_shared_encoders = True  # type: ignore[attr-defined]
    Transformer.__init__ = __init__  # type: ignore[method-assign]


def _scale(component: Any, n_docs: int, n_tokens: int) -> float:
    """What makes the gradient of a component that of a mean loss.

    spaCy's components sum over what they classify, which with hundreds of tokens a batch is
    hundreds of times a mean: a text classifier beside a tagger would have no say.
    """
    if isinstance(component, EncoderPipe):
        return 1.0
    if isinstance(component, TextCategorizer):
        return 1.0 / n_docs
    return 1.0 / n_tokens


def _transformer_data(vectors: Floats2d) -> TransformerData:
    if not len(vectors):
        return TransformerData.empty()
    n_tokens = len(vectors)
    align = Ragged(numpy.arange(n_tokens, dtype="i"), numpy.ones(n_tokens, dtype="i"))
    output = ModelOutput(last_hidden_state=vectors[None])
    return TransformerData(wordpieces=NO_PIECES, model_output=output, align=align)
