"""Text classification pipelines of this project, and the training loop of `spacy train`.

The loop is shared with the spacy-transformers peer, so that the two differ in their components
and in nothing else.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List

from benchmarks.common import ENCODER, order
from benchmarks.data import LABELS, Texts

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example
    from thinc.api import Optimizer

BATCH_SIZE = 16
LEARN_RATE = 5e-5
WEIGHT_DECAY = 0.01
WARMUP = 0.1
GRAD_CLIP = 1.0
DROPOUT = 0.1

# Called with examples and a seed, gives batches of BATCH_SIZE.
Batcher = Callable[[List["Example"], int], Iterable[List["Example"]]]


class SpacyTextcat:
    """A pipeline and its optimizer, trained as `spacy train` does."""

    def __init__(
        self,
        build: Callable[[], "Language"],
        batcher: Batcher,
        train: Any,
        total_steps: int,
        learn_rate: float = LEARN_RATE,
    ) -> None:
        """Build and initialize a pipeline.

        build (Callable): Makes the pipeline.
        batcher (Batcher): Cuts examples into batches.
        train (Texts): The training data, for `initialize`.
        total_steps (int): Length of the learning rate schedule.
        learn_rate (float): Highest rate of the schedule.
        """
        self.nlp = build()
        self.batcher = batcher
        examples = self.make_examples(train)
        self.nlp.initialize(lambda: examples)
        self.optimizer = adam(total_steps, learn_rate)

    def make_examples(self, texts: Any) -> "List[Example]":
        """RETURNS (List[Example]): One example per text."""
        return make_examples(self.nlp, texts)

    def train(self, texts: Any, seed: int) -> None:
        """Update on all texts once, starting from the raw text."""
        train_steps(self.nlp, self.optimizer, self.batcher(self.make_examples(texts), seed))

    def predict(self, texts: List[Any]) -> List[Any]:
        """RETURNS (List[str]): The best label of each text."""
        return best_labels(self.nlp, texts)


def reprtune_textcat(
    precision: str, *, head_init: str = "random", **encoder_settings: Any
) -> "Language":
    """Build this project's pipeline.

    precision (str): The encoder's precision.
    head_init (str): How the head starts.
    encoder_settings: Other settings of the encoder; by default all of it trains.
    RETURNS (Language): The pipeline, not yet initialized.
    """
    import spacy

    nlp = spacy.blank("en")
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": ENCODER,
        "precision": precision,
        **encoder_settings,
    }
    model = {
        "@architectures": "spacy_reprtune.TextClassifier.v1",
        "pooling": "mean",
        "encoder": encoder,
    }
    settings = {"model": model, "head_init": head_init}
    nlp.add_pipe("reprtune_textcat", name="textcat", config=settings)
    return nlp


def batches_by_length(
    examples: List["Example"], seed: int, size: int = BATCH_SIZE
) -> Iterable[List["Example"]]:
    """Group by length with this project's batcher."""
    return _length_batcher(size)([examples[i] for i in order(len(examples), seed)])


def length_batches(size: int = BATCH_SIZE) -> Batcher:
    """RETURNS (Batcher): `batches_by_length` with a batcher of its own, for a system that is timed
    beside others: a batcher remembers the lengths of the texts it has seen."""
    batcher = _length_batcher.__wrapped__(size)
    return lambda examples, seed: batcher([examples[i] for i in order(len(examples), seed)])


@lru_cache(maxsize=1)
def _length_batcher(size: int) -> Callable[[Iterable["Example"]], Iterator[List["Example"]]]:
    # One for all epochs, as in a training config: it remembers the lengths of texts.
    from spacy import registry

    batcher = registry.batchers.get("spacy_reprtune.batch_by_length.v1")
    return batcher(size=size, encoder=ENCODER)


def random_batches(examples: List["Example"], seed: int) -> Iterator[List["Example"]]:
    """Shuffle and cut."""
    indices = order(len(examples), seed)
    for start in range(0, len(indices), BATCH_SIZE):
        yield [examples[i] for i in indices[start : start + BATCH_SIZE]]


def adam(total_steps: int, learn_rate: float = LEARN_RATE) -> "Optimizer":
    """RETURNS (Optimizer): spaCy's optimizer as the quickstart configures it: linear warm-up,
    then linear decay."""
    from thinc.api import Adam, warmup_linear

    schedule = warmup_linear(learn_rate, int(WARMUP * total_steps), total_steps)
    return Adam(
        schedule,  # type: ignore[arg-type]
        L2=WEIGHT_DECAY,
        grad_clip=GRAD_CLIP,
        use_averages=False,
        L2_is_weight_decay=True,
    )


def train_steps(
    nlp: "Language", optimizer: "Optimizer", batches: Iterable[List["Example"]]
) -> Dict[str, float]:
    """Take one step per batch, in the order of `spacy.training.loop.train_while_improving`.

    `nlp.update(sgd=optimizer)` would step a shared encoder before its listeners have passed
    their gradients back, hence the separate `finish_update`.

    nlp (Language): An initialized pipeline.
    optimizer (Optimizer): The optimizer; its schedules move on by one step per batch.
    batches (Iterable[List[Example]]): The batches.
    RETURNS (Dict[str, float]): The summed losses.
    """
    losses: Dict[str, float] = {}
    for batch in batches:
        nlp.update(batch, drop=DROPOUT, sgd=False, losses=losses)  # type: ignore[arg-type]
        for _, pipe in nlp.pipeline:
            if getattr(pipe, "is_trainable", False):
                pipe.finish_update(optimizer)  # type: ignore[attr-defined]
        optimizer.step_schedules()
    return losses


def make_examples(nlp: "Language", texts: Texts) -> List["Example"]:
    """RETURNS (List[Example]): One example per text, its label's score 1 and the others' 0."""
    from spacy.training import Example

    def cats(gold: str) -> Dict[str, Any]:
        return {"cats": {label: float(label == gold) for label in LABELS}}

    pairs = zip(texts.texts, texts.labels, strict=True)
    return [Example.from_dict(nlp.make_doc(text), cats(label)) for text, label in pairs]


def best_labels(nlp: "Language", texts: List[str]) -> List[str]:
    """RETURNS (List[str]): The label with the highest score of each text."""
    docs = nlp.pipe(texts, batch_size=128)
    return [max(doc.cats, key=doc.cats.get) for doc in docs]  # type: ignore[arg-type]
