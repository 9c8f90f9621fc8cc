"""Save a component as a directory: settings, the encoder as a Hugging Face directory, the head."""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Union

import srsly
from spacy.pipeline import TrainablePipe
from spacy.util import SimpleFrozenList

from ..files import replaced_directory
from ..manifest import check_manifest, seal, unseal, write_manifest
from .encoding import log_cache


class SavedPipe(TrainablePipe):
    """Base class of the components: a pipe that is saved without pickle, as a whole or not at
    all."""

    def before_save(self) -> None:
        """Bring the component up to date before it is written, pickled or copied. Predictions must
        stay the same."""

    def after_load(self) -> None:
        """Check the loaded component, and forget everything that belongs to earlier weights.

        RAISES (ValueError): The loaded component does not fit the config.
        """

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """Save to bytes.

        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (bytes): The component.
        """
        self.before_save()
        return seal(super().to_bytes(exclude=exclude))

    def from_bytes(
        self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "SavedPipe":
        """Load what `to_bytes` returned.

        data (bytes): The bytes.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (SavedPipe): Itself.
        RAISES (ValueError): The bytes are damaged, or do not fit the config.
        """
        try:
            super().from_bytes(unseal(data), exclude=exclude)
            self.after_load()
        except ImportError:
            raise
        except Exception as error:
            raise ValueError(
                f"The component '{self.name}' can't be loaded from bytes: {error}. Load the bytes "
                "that `to_bytes` of a component with the same config returned."
            ) from error
        return self

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save to a directory: settings, the encoder as a Hugging Face directory, the head.

        The directory is written beside an earlier one and takes its place at the end, so that a
        full disk or an interrupt leaves the earlier one as it was.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        """
        self.before_save()
        shim: Any = self.model.shims[0]
        with replaced_directory(Path(path)) as folder:
            if "cfg" not in exclude:
                # srsly would round numbers to ten digits.
                text = json.dumps(self.cfg, indent=2, ensure_ascii=False)
                (folder / "cfg").write_text(text, encoding="utf8")
            if "vocab" not in exclude:
                self.vocab.to_disk(folder / "vocab", exclude=exclude)
            if "model" not in exclude and shim.n_labels is not None:
                if self.model.layers:
                    self.model.to_disk(folder / "model")
                else:
                    shim.to_directory(folder / "model")
                if shim.trains:
                    log_cache(shim.module.encoder.cache)
            write_manifest(folder)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "SavedPipe":
        """Load the files that `to_disk` wrote.

        path (Union[str, Path]): The directory.
        exclude (Iterable[str]): What to leave out: "cfg", "vocab", "model".
        RETURNS (SavedPipe): Itself.
        RAISES (ValueError): A file is damaged or missing, or does not fit the config.
        """
        path = Path(path)
        shim: Any = self.model.shims[0]
        with check_manifest(path, self.name, exclude=exclude):
            if "cfg" not in exclude:
                self.cfg.update(_read_cfg(path / "cfg"))
            if "vocab" not in exclude and (path / "vocab").exists():
                self.vocab.from_disk(path / "vocab", exclude=exclude)
            if "model" not in exclude and (path / "model").exists():
                # thinc saves a model that reads vectors of tokens as one file.
                if (path / "model").is_file():
                    self.model.from_disk(path / "model")
                else:
                    shim.from_directory(path / "model")
                self.model.set_dim("nO", self.model.shims[0].n_labels, force=True)
            self.after_load()
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle, for copies and for workers of `nlp.pipe`."""
        self.before_save()
        return super().__reduce_ex__(protocol)


def _read_cfg(path: Path) -> Dict[str, Any]:
    """Read saved settings, and refuse settings that would make predictions meaningless."""
    try:
        cfg = srsly.read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    if not isinstance(cfg, dict):
        raise ValueError(f"{path} holds a {type(cfg).__name__} instead of an object.")
    labels = cfg.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{path} has the labels {labels!r}. They have to be a list of texts.")
    return cfg
