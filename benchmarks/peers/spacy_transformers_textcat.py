"""spacy-transformers: the stock `transformer` and `textcat` of the quickstart.

`spacy init config --pipeline textcat --optimize accuracy --gpu` gives the span getter, the
optimizer and the listener used here. Its classifier, `TextCatEnsemble.v2`, adds a bag of words to
the encoder; `TextCatReduce.v1` over the same listener is the plain classifier of spaCy's
documentation. Only fp32: its `mixed_precision` is CUDA's.
"""

from typing import TYPE_CHECKING, Any, Dict

from benchmarks.common import encoder_directory

if TYPE_CHECKING:
    from spacy.language import Language

TRANSFORMER = {
    "@architectures": "spacy-transformers.TransformerModel.v3",
    "mixed_precision": False,
    "get_spans": {
        "@span_getters": "spacy-transformers.strided_spans.v1",
        "window": 128,
        "stride": 96,
    },
    "tokenizer_config": {"use_fast": True},
    "transformer_config": {},
    "grad_scaler_config": {},
}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "upstream": "*",
    "pooling": {"@layers": "reduce_mean.v1"},
}
HEADS: Dict[str, Dict[str, Any]] = {
    "reduce": {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": True,
        "use_reduce_first": False,
        "use_reduce_last": False,
        "use_reduce_max": False,
        "use_reduce_mean": True,
        "nO": None,
        "tok2vec": LISTENER,
    },
    "ensemble": {
        "@architectures": "spacy.TextCatEnsemble.v2",
        "nO": None,
        "tok2vec": LISTENER,
        "linear_model": {
            "@architectures": "spacy.TextCatBOW.v3",
            "exclusive_classes": True,
            "length": 262144,
            "ngram_size": 1,
            "no_output_layer": False,
            "nO": None,
        },
    },
}


def spacy_transformers_textcat(head: str = "reduce") -> "Language":
    """Make the stock pipeline over the benchmarks' encoder.

    head (str): "reduce" for the mean of the token vectors and a softmax, or "ensemble" for the
        quickstart's.
    RETURNS (Language): The pipeline, to be initialized.
    """
    import spacy

    nlp = spacy.blank("en")
    model = {**TRANSFORMER, "name": str(encoder_directory())}
    nlp.add_pipe("transformer", config={"model": model, "max_batch_items": 4096})
    nlp.add_pipe("textcat", config={"model": HEADS[head], "threshold": 0.0})
    return nlp
