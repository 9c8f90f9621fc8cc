"""Find faults in the safetensors files of an encoder by reading only their headers."""

import json
import struct
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

INDEX = "model.safetensors.index.json"
# Types of weights that can be computed with, and types of buffers, such as position ids.
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "BOOL")
# Every layer has tensors of its own, and some tensor has each of these sizes. ALBERT's layers share
# their tensors, but even its few tensors outnumber the layers that anybody has trained.
LAYERS = ("num_hidden_layers", "n_layers", "num_layers")
_SIZES = (
    *("hidden_size", "dim", "d_model", "intermediate_size", "hidden_dim", "embedding_size"),
    *("vocab_size", "type_vocab_size"),
)
# With rotary or relative positions no tensor has this size, so it may be larger than any.
_POSITIONS = "max_position_embeddings"
_MOST_POSITIONS = 1_000_000


class Tensor(NamedTuple):
    """The description of a tensor in a header.

    name (str): Its name.
    dtype (str): The type of its elements, in safetensors' spelling.
    shape (List[int]): Its shape.
    """

    name: str
    dtype: str
    shape: List[int]


def weight_files(path: Path) -> List[Path]:
    """List the weight files of a directory.

    path (Path): A directory with `model.safetensors` or the index of several files.
    RETURNS (List[Path]): The files, which all exist.
    RAISES (ValueError): The index is damaged, or names files that are missing.
    """
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    index = read_json_object(path / INDEX)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
        raise ValueError(
            f"{path / INDEX} has no 'weight_map' from tensors to files. Get the file again."
        )
    names = sorted(set(shards.values()))
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise ValueError(
            f"{path / INDEX} names {len(names)} weight files, but {len(missing)} of them are not "
            f"in {path} (the first is '{missing[0]}'). Copy or download the whole directory."
        )
    return [path / name for name in names]


def check_weights(path: Path, config: Dict[str, Any]) -> None:
    """Compare the weights of an encoder with its configuration before allocating memory.

    path (Path): The directory.
    config (Dict[str, Any]): Contents of its `config.json`.
    RAISES (ValueError): A file is damaged, holds numbers of an unknown type, or the configuration
        asks for sizes that no tensor has.
    """
    tensors = [tensor for file in weight_files(path) for tensor in read_header(file)]
    largest = max((size for tensor in tensors for size in tensor.shape), default=0)
    limits = {
        **dict.fromkeys(LAYERS, len(tensors)),
        **dict.fromkeys(_SIZES, largest),
        _POSITIONS: max(largest, _MOST_POSITIONS),
    }
    for key, limit in limits.items():
        value = config.get(key)
        if value is None:
            continue
        number = isinstance(value, int) and not isinstance(value, bool)
        if not number or value > limit or (value < 0 and key in LAYERS + _SIZES):
            raise ValueError(
                f"{path / 'config.json'} says {key} = {value!r}, but the weights beside it have "
                f"{len(tensors)} tensors with dimensions of at most {largest}: the files belong to "
                "different models, or config.json is damaged."
            )


def read_header(file: Path) -> List[Tensor]:
    """List the tensors of a safetensors file.

    file (Path): The file.
    RETURNS (List[Tensor]): Its tensors.
    RAISES (ValueError): It is damaged, or the numbers in it are of an unknown type.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > size:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        tensors = [Tensor(name, t["dtype"], list(t["shape"])) for name, t in header.items()]
        end = 8 + length + max((t["data_offsets"][1] for t in header.values()), default=0)
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{file} is not a safetensors file, or it is damaged ({error}). Get the file again."
        ) from error
    if end != size:
        raise ValueError(
            f"{file} has {size:,} bytes, and its header describes {end:,}: it was cut off or "
            "damaged. Get the file again."
        )
    for tensor in tensors:
        if tensor.dtype not in _DTYPES:
            raise ValueError(
                f"{file} holds numbers of the type {tensor.dtype} ('{tensor.name}'), so its "
                f"weights are quantized. Use weights of one of the types {', '.join(_DTYPES[:4])}."
            )
    return tensors


def read_json_object(file: Path) -> Dict[str, Any]:
    """Read a JSON file that holds an object.

    file (Path): The file.
    RETURNS (Dict[str, Any]): The object.
    RAISES (ValueError): It holds something else.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}). Get the file again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__} instead of an object.")
    return content
