"""The directory with the state of a training: safetensors and JSON, no pickle."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Collection, Dict, List, Optional, Tuple

from spacy.language import Language
from thinc.api import Config

from ..files import replaced_file
from .data_digests import data_digests, flat
from .state import Tensors, caches

if TYPE_CHECKING:
    from ..encoder.cache import PrefixCache

STATE_FILE = "state.json"


@dataclass
class Saved:
    """A state that was read.

    tensors (Dict[str, Tensor]): The tensors.
    values (Dict[str, Any]): The rest.
    """

    tensors: Tensors
    values: Dict[str, Any]


class Checkpoint:
    """Writes and reads the state of a training.

    `state.json` is replaced last and names the other files, so a kill leaves the earlier state or
    the later one. The outputs of frozen blocks that an encoder has cached are written, too: if they
    were computed again in another batch, they could differ in the last bit.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        """Find out whether there is a state to resume from.

        folder (Path): The directory, in that of the training's output. It need not exist.
        config (Config): The full config of the training.
        RAISES (ValueError): The directory has the state of another training, or is damaged.
        """
        self.folder = folder
        self.description = describe(config, folder.parent)
        self._content: Optional[Dict[str, Any]] = None
        self._saved: Tuple[Tensors, Dict[int, Any]] = {}, {}
        self._rows: Dict[Tuple[str, str], int] = {}
        self._row_files: List[str] = []
        path = folder / STATE_FILE
        if not path.is_file():
            return
        try:
            self._content = json.loads(path.read_text(encoding="utf8"))
            before = self._content["description"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}). {self._remedy()}") from error
        different = _differences(before, self.description)
        if different:
            raise ValueError(
                f"{folder} has the state of another training: {'; '.join(different)}. To resume "
                f"it, use what it was started with. {self._remedy()}"
            )
        self._saved = self._load(self._content)

    def read(self, nlp: Language, frozen: Collection[str]) -> Optional[Saved]:
        """Fill the caches of the encoders, and return the rest of the state.

        nlp (Language): The initialized pipeline.
        frozen (Collection[str]): Names of the components that do not train.
        RETURNS (Optional[Saved]): The state, or None if there is none.
        """
        if self._content is None:
            return None
        content, self._content = self._content, None
        (tensors, rows), self._saved = self._saved, ({}, {})
        self._row_files = content["row_files"]
        names = [(space, key) for space, key in content["row_names"]]
        self._rows = {name: number for number, name in enumerate(names)}
        for cache, order in zip(caches(nlp, frozen), content["row_order"], strict=True):
            cache.clear()
            for number in order:
                space, key = names[number]
                cache.put(space, [bytes.fromhex(key)], [rows[number].clone()])
        return Saved(tensors, content["values"])

    def write(
        self, tensors: Tensors, values: Dict[str, Any], nlp: Language, frozen: Collection[str]
    ) -> None:
        """Replace the earlier state.

        tensors (Dict[str, Tensor]): The tensors, on the CPU.
        values (Dict[str, Any]): The rest, as values that JSON can express, with the `progress`.
        nlp (Language): The pipeline, for the caches of its encoders.
        frozen (Collection[str]): Names of the components that do not train.
        """
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        step = values["progress"]["step"]
        order = [self._number(cache) for cache in caches(nlp, frozen)]
        new = {str(k): row for numbers in order for k, row in numbers.items() if row is not None}
        if new:
            self._row_files.append(f"rows-{step}.safetensors")
            save_file(new, str(self.folder / self._row_files[-1]))
        name = f"tensors-{step}.safetensors"
        save_file(tensors, str(self.folder / name))
        content = {
            "description": self.description,
            "tensors": name,
            "row_files": self._row_files,
            "row_names": list(self._rows),
            "row_order": [list(numbers) for numbers in order],
            "values": values,
        }
        with replaced_file(self.folder / STATE_FILE) as fresh:
            # Losses of stock components are numpy floats.
            fresh.write_text(json.dumps(content, default=float), encoding="utf8")
        for path in self.folder.iterdir():
            if path.name not in (STATE_FILE, name, *self._row_files):
                path.unlink()

    def _load(self, content: Dict[str, Any]) -> Tuple[Tensors, Dict[int, Any]]:
        """RETURNS (Tuple[Dict[str, Tensor], Dict[int, Tensor]]): The tensors of the state, and the
        rows of the caches."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(str(self.folder / content["tensors"]))
            rows: Dict[int, Any] = {}
            for file in content["row_files"]:
                rows.update({int(k): row for k, row in load_file(str(self.folder / file)).items()})
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(f"{self.folder} is damaged ({error}). {self._remedy()}") from error
        return tensors, rows

    def remove(self) -> None:
        """Remove the directory, at the end of the training."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _number(self, cache: "PrefixCache") -> Dict[int, Any]:
        """RETURNS (Dict[int, Optional[Tensor]]): Numbers of the rows in memory, least recently used
        first. Rows that are already in a file are None."""
        found = {}
        for (space, key), row in cache.rows():
            name = space, key.hex()
            known = name in self._rows
            number = self._rows.setdefault(name, len(self._rows))
            found[number] = None if known else row.contiguous()
        return found

    def _remedy(self) -> str:
        return f"Delete {self.folder}, or name another --output, to start from the beginning."


def describe(config: Config, output: Path) -> Dict[str, Any]:
    """Describe everything that a training depends on.

    config (Config): The full config of the training.
    output (Path): The directory that it writes.
    RETURNS (Dict[str, Any]): All settings by their dotted names, digests of the files and
        directories that it reads, and versions of the libraries.
    """
    import spacy
    import thinc
    import torch
    import transformers

    from .. import __version__

    settings = dict(flat(config.interpolate()))
    data = data_digests(config, [output])
    versions = {
        "spacy": spacy.__version__,
        "spacy_reprtune": __version__,
        "thinc": thinc.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    # Converted to JSON and back, because it is compared with a description from a file.
    return json.loads(json.dumps({"settings": settings, "data": data, "versions": versions}))


def _differences(before: Dict[str, Any], now: Dict[str, Any], most: int = 5) -> List[str]:
    """RETURNS (List[str]): The differences, each as a clause."""
    found = []
    for part in ("settings", "versions", "data"):
        for name in sorted({*before[part], *now[part]}):
            old, new = before[part].get(name), now[part].get(name)
            if old == new:
                continue
            if part == "data":
                found.append(f"the content of {name} has changed")
            else:
                found.append(f"{name} was {old!r} and is {new!r}")
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return found[:most] + more
