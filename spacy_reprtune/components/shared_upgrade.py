"""Convert pipelines of version 0.1.0 with a shared encoder as the model of a `transformer`.

python -m spacy_reprtune.components.shared_upgrade OLD_PIPELINE NEW_PIPELINE
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.util import load_config, load_model_from_config, registry, replace_model_node
from srsly import read_json
from thinc.api import Model

OLD_ENCODER = "spacy_reprtune.SharedEncoder.v1"
OLD_LISTENER = "spacy-transformers.TransformerListener.v1"


@registry.architectures(OLD_ENCODER)
def SharedEncoder_v1(encoder: Model) -> Model:
    """The shared encoder of version 0.1.0, now the component `reprtune_encoder`.

    encoder (Model): A `spacy_reprtune.Encoder.v1`.
    RAISES (ValueError): Always; the message says how to change a config or a saved pipeline.
    """
    raise ValueError(
        f"{OLD_ENCODER} is now a component, reprtune_encoder. A saved pipeline is converted by\n"
        "    python -m spacy_reprtune.components.shared_upgrade OLD_PIPELINE NEW_PIPELINE\n"
        "In a config for training, change these lines:\n"
        '1. In [components.transformer], write factory = "reprtune_encoder", and remove '
        "max_batch_items and set_extra_annotations.\n"
        "2. Remove the block [components.transformer.model], and call the block "
        "[components.transformer.model.encoder] [components.transformer.model].\n"
        '3. In each listener, write @architectures = "spacy.Tok2VecListener.v1" and the width of '
        "the encoder's vectors, such as width = 384; remove grad_factor and the block .pooling."
    )


def upgrade(old: Path, new: Path) -> None:
    """Convert a saved pipeline. Its predictions stay the same.

    old (Path): A directory that version 0.1.0 saved.
    new (Path): Where the converted pipeline is saved.
    RAISES (ValueError): There is nothing to convert, or spacy-transformers is not installed, which
        loads the old listeners.
    """
    config = load_config(old / "config.cfg")
    encoders = [
        name
        for name, block in config["components"].items()
        if block.get("model", {}).get("@architectures") == OLD_ENCODER
    ]
    if not encoders:
        raise ValueError(f"{old / 'config.cfg'} has no component with a {OLD_ENCODER}.")
    if find_spec("spacy_transformers") is None:
        raise ValueError(
            "The old listeners are made with spacy-transformers, which is not installed: "
            'pip install "spacy-reprtune[spacy-transformers]"'
        )
    for name in encoders:
        model = config["components"][name]["model"]["encoder"]
        config["components"][name] = {"factory": "reprtune_encoder", "model": model}
    nlp = load_model_from_config(config, meta=read_json(old / "meta.json")).from_disk(old)
    weights: Dict[str, Dict[str, float]] = {name: {} for name in encoders}
    for name, pipe in nlp._components:
        for block in list(_listeners(config["components"][name])):
            upstream = block.get("upstream", "*")
            source = upstream if upstream in encoders else encoders[0]
            width = nlp.get_pipe(source).model.get_dim("nO")
            if block.get("grad_factor", 1.0) != 1.0:
                weights[source][name] = block["grad_factor"]
            block.clear()
            block.update({"@architectures": "spacy.Tok2VecListener.v1"})
            block.update({"width": width, "upstream": upstream})
        for node in list(pipe.model.walk()) if isinstance(getattr(pipe, "model", 0), Model) else []:
            # A Tok2VecListener.v1 replaces the listener and the layer that pools its rows.
            if [layer.name for layer in node.layers] == ["transformer-listener", "trfs2arrays"]:
                listener = Tok2VecListener(node.layers[0].upstream_name, width)
                replace_model_node(pipe.model, node, listener)
    for name in encoders:
        config["components"][name]["head_weights"] = weights[name]
    nlp.to_disk(new)
    config.to_disk(new / "config.cfg")


def _listeners(block: Any) -> Iterator[Dict[str, Any]]:
    """YIELDS (Dict[str, Any]): The blocks of old listeners inside a block."""
    if isinstance(block, dict):
        if block.get("@architectures") == OLD_LISTENER:
            yield block
        for value in block.values():
            yield from _listeners(value)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(str(__doc__))
    upgrade(Path(sys.argv[1]), Path(sys.argv[2]))
