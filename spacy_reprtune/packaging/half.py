"""Encoder weights in two bytes each: half the size of a package, read back as fp32.

How precise weights are on disk is a property of their files, and the files say it themselves
(safetensors has a type for each tensor, `config.json` names it for Hugging Face libraries). No
setting of the pipeline has to agree with them: loading gives fp32 whatever the files hold, and a
pipeline that is loaded and saved again is saved in fp32.
"""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import srsly

from .compare import Agreement

# The names that --half takes, and those that Hugging Face's config.json has.
HALVES = {"fp16": "float16", "bf16": "bfloat16"}
_NAMES = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}
_INDEX = "model.safetensors.index.json"


@contextmanager
def with_half_weights(
    model_dir: Path, half: str, texts: Sequence[str] = ()
) -> Iterator[Tuple[Path, Optional[Agreement]]]:
    """Make a copy of a trained pipeline with encoder weights of half the size, for a while.

    model_dir (Path): The trained pipeline, which stays as it is.
    half (str): "fp16" or "bf16".
    texts (Sequence[str]): What to compare the two pipelines on.
    YIELDS (Tuple[Path, Optional[Agreement]]): The copy, and how alike both predict, or None
        without texts.
    RAISES (ValueError): See `halve_weights`.
    """
    import spacy

    from .compare import agreement

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / model_dir.resolve().name
        shutil.copytree(model_dir, copy)
        halve_weights(copy, half)
        alike = None
        if texts:
            alike = agreement(spacy.load(model_dir), spacy.load(copy), texts)
        yield copy, alike


def halve_weights(pipeline_dir: Path, half: str) -> List[Path]:
    """Rewrite the encoders of a saved pipeline with two bytes a weight.

    Heads are some kB and stay in fp32. So do numbers that are no weights.

    pipeline_dir (Path): The saved pipeline, changed in place.
    half (str): "fp16" (11 bits of precision, up to 65,504) or "bf16" (8 bits, the range of fp32).
    RETURNS (List[Path]): The directories of encoders that were rewritten.
    RAISES (ValueError): `half` is neither, there is no encoder, or a weight is beyond fp16.
    """
    if half not in HALVES:
        raise ValueError(f"half = {half!r}. Use {' or '.join(HALVES)}.")
    encoders = find_encoders(pipeline_dir)
    if not encoders:
        raise ValueError(
            f"{pipeline_dir} has no encoder of spacy-reprtune (a directory model/encoder with "
            "safetensors weights in a component), so there is nothing to halve."
        )
    for encoder in encoders:
        for file in sorted(encoder.glob("*.safetensors")):
            _halve_file(file, half)
        config = srsly.read_json(encoder / "config.json")
        # The name depends on the version of transformers that wrote the file.
        config["dtype" if "dtype" in config else "torch_dtype"] = HALVES[half]
        srsly.write_json(encoder / "config.json", config)
        _update_index(encoder)
    return encoders


def say_how_alike(half: str, alike: Agreement) -> str:
    """RETURNS (str): The agreement of a pipeline with its copy in half precision, in a sentence."""
    return (
        f"With {half} weights, {alike.equal:,} of {alike.texts:,} texts "
        f"({100 * alike.share:.4g} %) are annotated as with fp32; the largest difference of a "
        f"score is {alike.largest_difference:.2g}."
    )


def note_in_card(pipeline_dir: Path, half: str, alike: Optional[Agreement]) -> None:
    """Say in the model card of a copy that its weights are not those that were tested.

    pipeline_dir (Path): The copy. Without a README.md nothing happens.
    half (str): "fp16" or "bf16".
    alike (Optional[Agreement]): What was measured, if it was.
    """
    path = pipeline_dir / "README.md"
    if not path.is_file():
        return
    if alike is None:
        measured = "How much that changes was not measured."
    else:
        measured = say_how_alike(half, alike)
    card = path.read_text(encoding="utf8").rstrip("\n")
    note = (
        f"The encoder's weights are stored in {half} and loaded as fp32. The scores above are "
        f"those of the pipeline with fp32 weights. {measured}"
    )
    path.write_text(f"{card}\n\n## Half precision\n\n{note}\n", encoding="utf8")


def find_encoders(pipeline_dir: Path) -> List[Path]:
    """RETURNS (List[Path]): The directories of encoders in a saved pipeline, sorted."""
    found = (path.parent for path in pipeline_dir.glob("*/model/encoder/config.json"))
    return sorted(path for path in found if any(path.glob("*.safetensors")))


def weights_type(encoder_dir: Path) -> str:
    """Say in which type an encoder's weights are on disk.

    encoder_dir (Path): A directory with safetensors.
    RETURNS (str): "fp32", "fp16", "bf16" or "fp64"; several joined by "+" if it holds several.
    """
    types = set()
    for file in encoder_dir.glob("*.safetensors"):
        types |= {_NAMES[t["dtype"]] for t in read_header(file).values() if t["dtype"] in _NAMES}
    return "+".join(sorted(types))


def count_weights(encoder_dir: Path) -> int:
    """RETURNS (int): How many weights the safetensors files of a directory hold."""
    from math import prod

    files = encoder_dir.glob("*.safetensors")
    return sum(prod(tensor["shape"]) for file in files for tensor in read_header(file).values())


def read_header(file: Path) -> Dict[str, Dict[str, Any]]:
    """RETURNS (Dict[str, Dict[str, Any]]): Type and shape of each tensor in a safetensors file,
    without reading any."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = srsly.json_loads(stream.read(size).decode("utf8"))
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _halve_file(file: Path, half: str) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    dtype = getattr(torch, HALVES[half])
    tensors: Dict[str, torch.Tensor] = {}
    with safe_open(str(file), framework="pt") as source:
        # Without {"format": "pt"} transformers does not read the file.
        metadata = source.metadata()
        for name in source.keys():  # noqa: SIM118
            tensor = source.get_tensor(name)
            if not tensor.is_floating_point():
                tensors[name] = tensor
                continue
            tensors[name] = tensor.to(dtype)
            if tensor.isfinite().all() and not tensors[name].isfinite().all():
                raise ValueError(
                    f"A weight of '{name}' is {tensor.abs().max():g}, and fp16 ends at 65,504. "
                    "Use --half bf16, which has the range of fp32."
                )
    temporary = file.with_name(f".{file.name}.tmp")
    save_file(tensors, str(temporary), metadata=metadata)
    temporary.replace(file)


def _update_index(encoder: Path) -> None:
    """An encoder of several files has a table of them, with their size."""
    path = encoder / _INDEX
    if path.is_file():
        index = srsly.read_json(path)
        tensors = [t for f in encoder.glob("*.safetensors") for t in read_header(f).values()]
        spans = (tensor["data_offsets"] for tensor in tensors)
        size = sum(end - start for start, end in spans)
        index.setdefault("metadata", {})["total_size"] = size
        srsly.write_json(path, index)
