"""Encode docs outside of updates, and log how the cache of frozen blocks was used."""

import logging
from typing import TYPE_CHECKING, Any, Callable, List, Optional

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc

from ..bridge.listening import token_rows
from ..progress import bar
from .streams import LISTENING_CHARS, blocks

if TYPE_CHECKING:
    from ..encoder.cache import PrefixCache
    from .encoder_pipe import EncoderPipe

logger = logging.getLogger("spacy")

# Texts that are encoded between two updates of the progress bar, when a head is fitted.
SHOWN_TEXTS = 1024


def head_inputs(
    pipe: "EncoderPipe",
    docs: List[Doc],
    nlp: Optional[Language],
    *,
    read: Callable[[List[Doc]], Any] = lambda docs: [doc.text for doc in docs],
) -> NDArray:
    """Compute the input of a head for docs, without gradient.

    pipe (EncoderPipe): The component.
    docs (List[Doc]): The docs.
    nlp (Optional[Language]): The pipeline with the component that this one listens to.
    read (Callable[[List[Doc]], Any]): What a head with its own encoder needs of docs; texts if left
        out.
    RETURNS (ndarray): fp32, one row per doc, or for heads on tokens one row per token.
    """
    parts = []
    if pipe.listens:
        for block in blocks(iter(docs), SHOWN_TEXTS, LISTENING_CHARS):
            copies = run_upstream(pipe, [doc.copy() for doc in block], nlp)
            parts.append(pipe.head.vectors(token_rows(pipe.model, copies)))
        return numpy.concatenate(parts)
    # In slices, so that the bar moves. Within a slice, texts are sorted by length as always.
    with bar(total=len(docs), what=f"Encoding for '{pipe.name}'", unit="texts") as shown:
        for start in range(0, max(1, len(docs)), SHOWN_TEXTS):
            part = docs[start : start + SHOWN_TEXTS]
            parts.append(pipe.head.vectors(read(part)))
            shown.update(len(part))
    return numpy.concatenate(parts)


def run_upstream(pipe: "EncoderPipe", docs: List[Doc], nlp: Optional[Language]) -> List[Doc]:
    """Annotate docs with the components that a component listens to, if any.

    pipe (EncoderPipe): The component.
    docs (List[Doc]): The docs.
    nlp (Optional[Language]): The pipeline.
    RETURNS (List[Doc]): The docs, ready to be predicted.
    """
    for _, other in nlp.components if nlp is not None and pipe.listens else []:
        if pipe.name in getattr(other, "listening_components", ()):
            docs = list(other.pipe(docs, batch_size=len(docs)))
    return docs


def log_cache(cache: Optional["PrefixCache"]) -> None:
    """Log how the cache of frozen blocks was used, if it was used at all.

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
