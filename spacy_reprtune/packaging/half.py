"""Store encoder weights in two bytes each: packages of half the size, loaded as fp32.

The precision of weights on disk is a property of the files, which declare it themselves
(safetensors has a type for each tensor, `config.json` names it for Hugging Face libraries). No
setting of the pipeline has to agree with them: loading gives fp32 whatever the files hold, and a
pipeline that is loaded and saved again is saved in fp32.
"""

import shutil
import tempfile
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import srsly

from ..manifest import MANIFEST, write_manifest
from .agreement import Agreement, agreement

# Names of --half, and torch's names.
HALVES = {"fp16": "float16", "bf16": "bfloat16"}
_NAMES = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}


@contextmanager
def with_half_weights(
    model_dir: Path, half: str, texts: Sequence[str] = ()
) -> Iterator[Tuple[Path, Optional[Agreement]]]:
    """Make a temporary copy of a trained pipeline with encoder weights of half the size.

    model_dir (Path): The trained pipeline, which isn't changed.
    half (str): "fp16" or "bf16".
    texts (Sequence[str]): Texts on which the predictions of both are compared.
    YIELDS (Tuple[Path, Optional[Agreement]]): The copy, and the agreement of both, or None
        without texts.
    RAISES (ValueError): See `halve_weights`.
    """
    import spacy

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / model_dir.resolve().name
        shutil.copytree(model_dir, copy)
        halve_weights(copy, half)
        pair = [spacy.load(path) for path in (model_dir, copy)] if texts else []
        yield copy, agreement(*pair, texts) if texts else None


def halve_weights(pipeline_dir: Path, half: str) -> List[Path]:
    """Rewrite the encoders of a saved pipeline with two bytes per weight. Heads stay in fp32.

    pipeline_dir (Path): The saved pipeline, changed in place.
    half (str): "fp16" (11 bits of precision, up to 65,504) or "bf16" (8 bits, the range of fp32).
    RETURNS (List[Path]): The directories of the encoders.
    RAISES (ValueError): `half` is something else, there is no encoder, or a weight is too large
        for fp16.
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
        _halve(encoder, half)
        # From the inside out: the parts of a cascade have their own manifests.
        for folder in encoder.parents:
            if folder == pipeline_dir:
                break
            if (folder / MANIFEST).is_file():
                write_manifest(folder)
    return encoders


def describe_agreement(half: str, measured: Optional[Agreement]) -> str:
    """RETURNS (str): The agreement of a pipeline with its copy in half precision, in a sentence."""
    if measured is None:
        return "The effect on predictions was not measured."
    return (
        f"With {half} weights, {measured.equal:,} of {measured.texts:,} texts "
        f"({100 * measured.share:.4g} %) are annotated as with fp32; the largest difference "
        f"between two scores is {measured.largest_difference:.2g}."
    )


def note_in_card(pipeline_dir: Path, half: str, measured: Optional[Agreement]) -> None:
    """Add a note to a model card that these are not the weights that were tested.

    pipeline_dir (Path): The pipeline. Without a README.md nothing happens.
    half (str): "fp16" or "bf16".
    measured (Optional[Agreement]): The agreement with the trained pipeline, if it was measured.
    """
    effect = describe_agreement(half, measured)
    note = (
        f"The encoder's weights are stored in {half} and loaded as fp32. The scores above are "
        f"those of the pipeline with fp32 weights. {effect}"
    )
    add_to_card(pipeline_dir, "Half precision", note)


def add_to_card(pipeline_dir: Path, heading: str, note: str) -> None:
    """Add a section to a model card.

    pipeline_dir (Path): The pipeline. Without a README.md nothing happens.
    heading (str): Heading of the section.
    note (str): Its text.
    """
    path = pipeline_dir / "README.md"
    if path.is_file():
        card = path.read_text(encoding="utf8").rstrip("\n")
        path.write_text(f"{card}\n\n## {heading}\n\n{note}\n", encoding="utf8")


def find_encoders(pipeline_dir: Path) -> List[Path]:
    """RETURNS (List[Path]): The directories of encoders in a saved pipeline, sorted."""
    # A cascade has its encoders in the directories of its parts.
    patterns = ("*/model/encoder/config.json", "*/*/model/encoder/config.json")
    found = (path.parent for pattern in patterns for path in pipeline_dir.glob(pattern))
    return sorted(path for path in found if any(path.glob("*.safetensors")))


def weights_type(encoder_dir: Path) -> str:
    """Tell the type of an encoder's weights on disk.

    encoder_dir (Path): A directory with safetensors.
    RETURNS (str): "fp32", "fp16", "bf16" or "fp64"; several are joined by "+".
    """
    types = {dtype for dtype, _ in _tensors(encoder_dir)}
    return "+".join(sorted(_NAMES[dtype] for dtype in types if dtype in _NAMES))


def weights_types(pipeline_dir: Path) -> List[str]:
    """RETURNS (List[str]): The types of the encoders' weights in a saved pipeline, "int8" of an
    ONNX graph among them, sorted."""
    from ..bridge.onnx_shim import SETTINGS

    found = {weights_type(path) for path in find_encoders(pipeline_dir)}
    found |= {srsly.read_json(path)["weights"] for path in pipeline_dir.rglob(SETTINGS)}
    return sorted(found)


def count_weights(encoder_dir: Path) -> int:
    """RETURNS (int): Number of weights in the safetensors files of a directory."""
    return sum(prod(shape) for _, shape in _tensors(encoder_dir))


def _tensors(encoder_dir: Path) -> Iterator[Tuple[str, List[int]]]:
    """Type and shape of all tensors."""
    from safetensors import safe_open

    for path in encoder_dir.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
            yield from [(one.get_dtype(), one.get_shape()) for one in slices]


def _halve(encoder_dir: Path, half: str) -> None:
    import torch

    from ..encoder.load import load_pretrained

    model = load_pretrained(encoder_dir)
    for name, weights in model.named_parameters():
        if half == "fp16" and torch.finfo(torch.float16).max < weights.abs().max() < torch.inf:
            raise ValueError(
                f"A weight of '{name}' is {weights.abs().max():g}, but the largest number of "
                "fp16 is 65,504. Use --half bf16, which has the range of fp32."
            )
    # Weights may have been in several files, but are now in one.
    for path in (*encoder_dir.glob("*.safetensors"), *encoder_dir.glob("*.index.json")):
        path.unlink()
    model.to(getattr(torch, HALVES[half])).save_pretrained(encoder_dir)
