"""A text classifier with a small untrained encoder, for what is measured over many texts."""

import argparse
from pathlib import Path

from benchmarks import common, pipelines
from benchmarks.data import rotten_tomatoes


def small_encoder(folder: Path) -> Path:
    """Save an untrained BERT of one block with 64 columns, and the vocabulary of the other
    benchmarks' encoder.

    RETURNS (Path): The folder.
    """
    from transformers import AutoTokenizer, BertConfig, BertModel

    common.seed_all(0)
    tokenizer = AutoTokenizer.from_pretrained(str(common.encoder_directory()))
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=256, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_pipeline(args: argparse.Namespace, folder: Path, *components: str) -> Path:
    """Save a pipeline with that encoder, or take the one that is there.

    args (argparse.Namespace): The parsed command line.
    folder (Path): Where to save encoder and pipeline.
    components (str): Names of components that come after the classifier.
    RETURNS (Path): Directory of the pipeline.
    """
    from spacy_reprtune.files import replaced_directory

    model = folder / "small"
    if not model.exists():
        nlp = pipelines.reprtune_textcat("fp32", name=str(small_encoder(folder / "encoder")))
        some = rotten_tomatoes(args)["train"].take(list(range(32)))
        examples = pipelines.make_examples(nlp, some)
        nlp.initialize(lambda: examples)
        for component in components:
            nlp.add_pipe(component)
        with replaced_directory(model) as fresh:
            nlp.to_disk(fresh)
    return model
