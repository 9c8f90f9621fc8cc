"""Heads that start as a linear probe, fitted to a sample of the training data."""

import logging
from typing import TYPE_CHECKING, List, Optional, Tuple

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from ..bridge.encoder import token_spans
from ..heads.probe import Probe, fit_classes
from .encoder_pipe import NEW_LABEL, EncoderPipe
from .encoding import head_inputs
from .label_kinds import LabelKind
from .notices import PROBE
from .tag_rows import gold_tags

if TYPE_CHECKING:
    from .entity_recognizer import EntityRecognizer

logger = logging.getLogger("spacy")

# Texts that the head of a text classifier is fitted to before the whole encoder trains, and texts
# per label: enough for a good start (docs/recipes.md).
PROBE_TEXTS = 1000
TEXTS_PER_LABEL = 50
# The most tokens that are encoded for a head on tokens, and the most that are used, both outside of
# entities and inside: enough for a good start, and few enough to take only seconds.
READ_TOKENS = 100_000
USED_TOKENS = 10_000


def check_head_init(head_init: str) -> None:
    """Check the setting.

    head_init (str): "random" or "probe".
    RAISES (ValueError): It is something else.
    """
    if head_init not in ("random", "probe"):
        raise ValueError(f"head_init = {head_init!r}. Use 'random' or 'probe'.")


def start_from(pipe: EncoderPipe, probe: Optional[Probe], *, what: str, lacking: str) -> None:
    """Let a head start from a probe.

    pipe (EncoderPipe): The component.
    probe (Optional[Probe]): The head, or None if nothing could be fitted.
    what (str): What the score of the probe counts, for the log.
    lacking (str): Why nothing could be fitted, for a warning.
    """
    if probe is None:
        if PROBE not in pipe.warned_of:
            pipe.warned_of |= {PROBE}
            # For example, because it sees only the first texts of a stream.
            logger.warning(
                "'%s' can't start from a linear probe, because %s: its head starts at random.",
                pipe.name,
                lacking,
            )
        return
    pipe.head.set_output(probe.weight, probe.bias)
    pipe.encoder.weights_changed()
    logger.info(
        "'%s'%s starts from a linear probe: %.3f of the held-out %s right with C = %g.",
        pipe.name,
        pipe.part,
        probe.score,
        what,
        probe.strength,
    )


def can_fit(kind: LabelKind, gold: NDArray) -> bool:
    """RETURNS (bool): Whether a probe can be fitted to rows of gold values: there are some, and
    with exclusive labels they differ."""
    return len(gold) > 0 and (not kind.exclusive or len(set(gold.argmax(1))) > 1)


def sample_texts(gold: NDArray) -> NDArray[numpy.int64]:
    """Choose texts to fit the head of a text classifier to.

    gold (ndarray): The gold values of texts, shape (n_texts, n_labels).
    RETURNS (NDArray[int64]): Rows, in order: a sample of all texts, and enough texts per label.
    """
    order = numpy.random.default_rng(0).permutation(len(gold))
    chosen = [order[:PROBE_TEXTS]]
    chosen += [order[column[order] > 0][:TEXTS_PER_LABEL] for column in gold.T]
    return numpy.unique(numpy.concatenate(chosen))


def sample_examples(examples: List[Example]) -> List[Example]:
    """RETURNS (List[Example]): Examples to fit a head on tokens to, in order: all of them, or a
    sample with `READ_TOKENS` tokens."""
    order = numpy.random.default_rng(0).permutation(len(examples))
    n_tokens = numpy.cumsum([len(examples[i].predicted) for i in order])
    most = int(numpy.searchsorted(n_tokens, READ_TOKENS)) + 1
    return [examples[i] for i in sorted(order[:most])]


def token_inputs(pipe: EncoderPipe, examples: List[Example], nlp: Optional[Language]) -> NDArray:
    """RETURNS (ndarray): The head's input for all tokens of the predicted docs, without gradient;
    fp32, shape (n_tokens, width)."""
    docs = [eg.predicted for eg in examples]
    return head_inputs(pipe, docs, nlp, read=lambda docs: [token_spans(doc) for doc in docs])


def fit_tags(
    pipe: "EntityRecognizer", examples: List[Example], nlp: Optional[Language]
) -> Optional[Probe]:
    """Fit the head of a recognizer, layer by layer.

    All tokens of rare tags are used, and a sample of those outside of entities, weighted to count
    as much as all of them.

    pipe (EntityRecognizer): The recognizer, with the untouched encoder.
    examples (List[Example]): Training examples.
    nlp (Optional[Language]): The pipeline.
    RETURNS (Optional[Probe]): The head, or None if no layer has two different tags.
    """
    chosen = sample_examples(pipe.training_batch(examples))
    if not chosen:
        return None
    vectors = token_inputs(pipe, chosen, nlp)
    layers, scheme = pipe.layers, pipe.tags
    most = max(USED_TOKENS // len(layers), 2000)
    weight = numpy.zeros((len(layers), scheme.n_parts, vectors.shape[1]), dtype="f")
    # A layer without entities starts as that of a new label does.
    bias = numpy.full((len(layers), scheme.n_parts), NEW_LABEL, dtype="f")
    bias[:, 0] = 0.0
    fitted = []
    for layer, labels in enumerate(layers.labels):
        gold = gold_tags(chosen, vectors, scheme, [labels], pipe.gold_key)
        rows, weights = sample_tokens(gold.tags, len(scheme), most)
        if len(numpy.unique(gold.tags[rows])) > 1:
            inputs, tags = vectors[gold.rows[rows]], gold.tags[rows]
            probe = fit_classes(inputs, tags, len(scheme), weights=weights)
            weight[layer], bias[layer] = scheme.split(probe.weight, probe.bias, NEW_LABEL)
            fitted.append(probe)
    if not fitted:
        return None
    return Probe(
        weight.reshape(-1, vectors.shape[1]),
        bias.ravel(),
        float(numpy.median([probe.strength for probe in fitted])),
        float(numpy.mean([probe.score for probe in fitted])),
    )


def sample_tokens(tags: NDArray, n_tags: int, most: int) -> Tuple[NDArray[numpy.int64], NDArray]:
    """Sample tokens outside of entities and inside, with weights that make up for the sampling.

    tags (NDArray[int64]): Tags of the tokens, -1 where they are not known, shape (n_tokens,).
    n_tags (int): Number of tags.
    most (int): The most tokens outside of entities, and the most inside.
    RETURNS (Tuple[NDArray[int64], NDArray[float64]]): The sampled tokens, in order, and the weight
        of each tag, shape (n_tags,).
    """
    random = numpy.random.default_rng(0)
    weights, used = numpy.ones(n_tags), []
    for kind, of_kind in ((slice(0, 1), tags == 0), (slice(1, None), tags > 0)):
        rows = random.permutation(numpy.flatnonzero(of_kind))
        used.append(rows[:most])
        weights[kind] = len(rows) / max(len(used[-1]), 1)
    return numpy.sort(numpy.concatenate(used)), weights
