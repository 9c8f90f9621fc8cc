"""What the components share: annotating a stream, updating, and saving without pickle."""

import logging
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

import numpy
import srsly
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.util import SimpleFrozenList
from thinc.api import Model, Optimizer, set_dropout_rate

from ..bridge.listening import pass_nothing_back, token_rows
from ..progress import bar

if TYPE_CHECKING:
    from ..encoder.cache import PrefixCache

logger = logging.getLogger("spacy")

# How far `pipe` reads ahead to sort by length: this many times the batch size, as long as the
# texts together have fewer characters than the second.
LOOK_AHEAD = 16
LOOK_AHEAD_CHARS = 1_000_000
# The same for what keeps the vectors of all tokens in memory, 1.5 kB each at a width of 384.
LISTENING_DOCS = 512
LISTENING_CHARS = 250_000
# Texts that are encoded between two movements of the bar, when a head is solved.
SHOWN_TEXTS = 1024


def settle_optimizer(nlp: Optional[Language]) -> None:
    """Put values in the place of variables in `[training.optimizer]`. spaCy resolves that block by
    itself where it makes an optimizer (`nlp.initialize`, `nlp.resume_training`, `debug data`), and
    variables such as `${training.max_steps}` refer to nothing there.

    nlp (Optional[Language]): The pipeline.
    """
    training = nlp.config.get("training", {}) if nlp is not None else {}
    if "${" in str(training.get("optimizer")):
        training["optimizer"] = nlp.config.interpolate()["training"]["optimizer"]


class EncoderPipe(TrainablePipe):
    """Base class of the components: a pipe whose model runs a torch encoder and a head.

    Subclasses have `vocab`, `model`, `name` and `cfg` as in any `TrainablePipe`, and define
    `predict`, `set_annotations`, `get_loss` and `initialize`.
    """

    model: Model
    name: str
    cfg: Dict[str, Any]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream of docs.

        Docs are read some batches ahead, because texts of like length are cheapest together.
        With a batch size of 1 each doc is annotated as soon as it comes.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs in a batch.
        YIELDS (Doc): The docs in order.
        """
        # Before what comes ahead in the pipeline computes, spaCy's stock transformer above all.
        self._shim.take_one_thread_after_fork()
        for docs in blocks(iter(stream), *self.look_ahead(batch_size)):
            try:
                self.set_annotations(docs, self.predict(docs))
            except Exception:
                # Only the batch that fails is lost, not all that was read ahead.
                yield from self._by_batch(docs, batch_size)
            else:
                yield from docs

    def look_ahead(self, batch_size: int) -> Tuple[int, int]:
        """RETURNS (Tuple[int, int]): Docs and characters that `pipe` reads ahead at most."""
        # A listening head has nothing to sort, and what it reads ahead holds vectors in memory.
        wanted = batch_size > 1 and not self.listens
        return batch_size * LOOK_AHEAD if wanted else batch_size, LOOK_AHEAD_CHARS

    def _by_batch(self, docs: List[Doc], batch_size: int) -> Iterator[Doc]:
        error_handler = self.get_error_handler()
        for start in range(0, len(docs), batch_size):
            batch = docs[start : start + batch_size]
            try:
                self.set_annotations(batch, self.predict(batch))
            except Exception as error:
                error_handler(self.name, self, batch, error)
            else:
                yield from batch

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch of examples.

        examples (Iterable[Example]): The examples. Those without annotation for this component
            are left out; a batch of such alone changes nothing.
        drop (float): Dropout rate of the head, unless its own setting fixes another.
        sgd (Optional[Optimizer]): The optimizer, or None to accumulate gradients only.
        losses (Optional[Dict[str, float]]): Losses by component name, updated.
        RETURNS (Dict[str, float]): The losses.
        RAISES (ValueError): The loss or the gradient is not finite. The weights are as before.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        annotated = self.annotated(examples)
        if not annotated:
            if self.listens:
                pass_nothing_back(self.model, [eg.predicted for eg in examples])
            return losses
        if not self.listens:
            # A listener has vectors for the whole batch; the loss leaves the others out.
            examples = annotated
        self.announce()
        set_dropout_rate(self.model, drop)
        logits, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_logits = self.get_loss(examples, logits)
        if not numpy.isfinite(loss):
            raise ValueError(
                f"The loss of '{self.name}' is {loss}, so training stops here; the weights are "
                "those before this batch. Lower [training.optimizer] learn_rate, or set the "
                f"encoder's precision to 'fp32'. The batch: {_excerpts(examples)}"
            )
        backprop(d_logits)
        if sgd:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def announce(self, texts: Optional[List[str]] = None) -> None:
        """Log what is going to train, once.

        texts (Optional[List[str]]): The training texts, if they are at hand.
        """
        if self._shim.announced:
            return
        self._shim.announced = True
        if logger.isEnabledFor(logging.INFO):
            logger.info("What trains in '%s':\n%s", self.name, self._shim.overview(texts))

    def head_inputs(self, docs: List[Doc], nlp: Optional[Language]) -> numpy.ndarray:
        """Compute what the head gets for docs, without gradient.

        docs (List[Doc]): The docs.
        nlp (Optional[Language]): The pipeline, where the component that this one listens to is.
        RETURNS (ndarray): fp32, one row a doc.
        """
        module = self._shim.module
        if not self.listens:
            return self._vectors([doc.text for doc in docs])
        parts = []
        for block in blocks(iter(docs), 1024, LISTENING_CHARS):
            copies = self.heard([doc.copy() for doc in block], nlp)
            parts.append(module.vectors(token_rows(self.model, copies)))
        return numpy.concatenate(parts)

    def heard(self, docs: List[Doc], nlp: Optional[Language]) -> List[Doc]:
        """Let the components that this one listens to, if it does, annotate docs.

        docs (List[Doc]): The docs.
        nlp (Optional[Language]): The pipeline.
        RETURNS (List[Doc]): The docs, ready to be predicted.
        """
        for _, pipe in nlp.components if nlp is not None and self.listens else []:
            if self.name in getattr(pipe, "listening_components", ()):
                docs = list(pipe.pipe(docs, batch_size=len(docs)))
        return docs

    def _vectors(self, texts: List[str]) -> numpy.ndarray:
        # Slices, so that the bar moves; within one, texts are sorted by length as always.
        parts = []
        with bar(total=len(texts), what=f"Encoding for '{self.name}'", unit="texts") as shown:
            for start in range(0, max(1, len(texts)), SHOWN_TEXTS):
                part = texts[start : start + SHOWN_TEXTS]
                parts.append(self._shim.module.vectors(part))
                shown.update(len(part))
        return numpy.concatenate(parts)

    def annotated(self, examples: List[Example]) -> List[Example]:
        """RETURNS (List[Example]): The examples that have something for this component to learn."""
        return examples

    def finish_update(self, sgd: Optimizer) -> None:
        """Apply the accumulated gradients.

        sgd (Optimizer): The optimizer.
        """
        if sgd.averages is not None:
            warnings.warn(
                "[training.optimizer] use_averages is true, but averages of an encoder's weights "
                f"are not kept: '{self.name}' is evaluated and saved as trained. Set it to false.",
                stacklevel=2,
            )
            sgd.averages = None
        self.model.finish_update(sgd)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()):
        """Save to a directory: settings, the encoder as a Hugging Face directory, the head.

        The directory is written beside an earlier one and takes its place at the end, so that a
        full disk or an interrupt leaves the earlier one as it was.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        """
        from ..files import replaced_directory

        with replaced_directory(Path(path)) as folder:
            if "cfg" not in exclude:
                srsly.write_json(folder / "cfg", self.cfg)
            if "vocab" not in exclude:
                self.vocab.to_disk(folder / "vocab", exclude=exclude)
            if "model" not in exclude and self._shim.n_labels is not None:
                if self.listens:
                    self.model.to_disk(folder / "model")
                else:
                    self._shim.to_directory(folder / "model")
                log_cache(self._shim.module.encoder.cache)

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()):
        """Load what `to_disk` wrote.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (EncoderPipe): Itself.
        """
        path = Path(path)
        if "cfg" not in exclude:
            self.cfg.update(srsly.read_json(path / "cfg"))
        if "vocab" not in exclude and (path / "vocab").exists():
            self.vocab.from_disk(path / "vocab", exclude=exclude)
        if "model" not in exclude and (path / "model").exists():
            if (path / "model").is_file():
                self.model.from_disk(path / "model")
            else:
                self._shim.from_directory(path / "model")
            self.model.set_dim("nO", self._shim.n_labels, force=True)
        return self

    @property
    def listens(self) -> bool:
        """RETURNS (bool): Whether the model reads vectors of tokens: those of another component,
        or of a thinc model of its own."""
        return bool(self.model.layers)

    @property
    def _shim(self):
        return self.model.shims[0]


def blocks(stream: Iterator[Doc], limit: int, limit_chars: int) -> Iterator[List[Doc]]:
    """Cut a stream of docs into blocks.

    stream (Iterator[Doc]): The docs.
    limit (int): Docs of a block at most.
    limit_chars (int): A block ends when it has so many characters.
    YIELDS (List[Doc]): The docs in order.
    """
    block: List[Doc] = []
    chars = 0
    for doc in stream:
        block.append(doc)
        # The end of the last token: doc.text would build the string.
        chars += doc[-1].idx + len(doc[-1]) if len(doc) else 0
        if len(block) >= limit or chars >= limit_chars:
            yield block
            block, chars = [], 0
    if block:
        yield block


def log_cache(cache: Optional["PrefixCache"]) -> None:
    """Log what the cache of frozen blocks has done, if it has done anything.

    cache (Optional[PrefixCache]): The cache.
    """
    if cache is not None and cache.stats.hits:
        stats = cache.stats
        logger.info(
            "Cache of frozen blocks: %d windows, %.0f MB in memory, %.0f MB on disk, %.0f %% "
            "of lookups answered.",
            stats.entries,
            stats.memory_bytes / 1e6,
            stats.disk_bytes / 1e6,
            100 * stats.hit_rate,
        )


def _excerpts(examples: List[Example], n: int = 5) -> str:
    texts = [repr(eg.reference.text[:60]) for eg in islice(examples, n)]
    more = f" and {len(examples) - n} more" if len(examples) > n else ""
    return ", ".join(texts) + more
