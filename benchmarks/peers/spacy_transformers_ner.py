"""spacy-transformers: the stock `transformer` and transition-based `ner` of the quickstart.

`spacy init config --pipeline ner --optimize accuracy --gpu` gives the span getter, the listener and
the parser's settings used here. Only fp32: its `mixed_precision` is CUDA's.
"""

from typing import TYPE_CHECKING

from benchmarks.common import encoder_directory
from benchmarks.peers.spacy_transformers_textcat import LISTENER, TRANSFORMER

if TYPE_CHECKING:
    from spacy.language import Language

PARSER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": False,
    "nO": None,
    "tok2vec": LISTENER,
}


def spacy_transformers_ner() -> "Language":
    """RETURNS (Language): The stock pipeline over the benchmarks' encoder, to be initialized."""
    import spacy

    nlp = spacy.blank("en")
    model = {**TRANSFORMER, "name": str(encoder_directory())}
    nlp.add_pipe("transformer", config={"model": model, "max_batch_items": 4096})
    nlp.add_pipe("ner", config={"model": PARSER})
    return nlp
