"""Prepare the config of a student, and compare a student with its teacher."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from spacy.language import Language
from thinc.api import Config

from ..files import digest_of


def student_overrides(
    config: Config, teacher: str, corpus: Path, dev: Optional[Path]
) -> Dict[str, Any]:
    """Determine the settings of a student's config that depend on the teacher and its corpus.

    config (Config): The student's training config, not interpolated.
    teacher (str): Directory or name of the teacher.
    corpus (Path): The training data: the labeled pool and gold docs.
    dev (Optional[Path]): Gold docs to choose the best student on, or None for the config's own.
    RETURNS (Dict[str, Any]): Values by "section.name".
    RAISES (ValueError): The config has no `[paths] train`, or no encoder while the teacher has none
        or several.
    """
    paths = config.get("paths", {})
    if "train" not in paths:
        raise ValueError(
            "The student's config has no [paths] train, which will name the labeled pool. Use one "
            "of the recipes, or write one: python -m spacy reprtune init-config."
        )
    overrides: Dict[str, Any] = {"paths.train": str(corpus)}
    if dev is not None:
        overrides["paths.dev"] = str(dev)
    nlp = Language()  # Imports all factories.
    for name, settings in config.get("components", {}).items():
        if _learns_probabilities(nlp, settings.get("factory")):
            overrides[f"components.{name}.soft_labels"] = True
    if "encoder" in paths and not paths["encoder"]:
        overrides["paths.encoder"] = str(_only_encoder(teacher))
    return overrides


def dev_corpus(config: Config) -> Optional[Path]:
    """RETURNS (Optional[Path]): The docs that a full config chooses the best student on, or None
    if their reader has no path.
    RAISES (ValueError): Nothing is at the path."""
    name = config["training"]["dev_corpus"]
    reader: Any = config.interpolate()
    for section in name.split("."):
        reader = reader.get(section) or {}
    path = reader.get("path")
    if "path" in reader and (path is None or not Path(path).exists()):
        raise ValueError(
            f"The student's config chooses the best student on docs at {path!r}, but nothing is "
            f"there. Name a file with --dev, if [{name}] reads [paths] dev, or correct the config."
        )
    return None if path is None else Path(path)


def described(path: Optional[Path]) -> Optional[Dict[str, str]]:
    """RETURNS (Optional[Dict[str, str]]): Path and digest of a file or folder, or None."""
    return None if path is None else {"path": str(path), "sha256": digest_of(path)}


def compare(
    teacher: str, student: Path, corpus: Path, *, use_gpu: int = -1
) -> Dict[str, Dict[str, Any]]:
    """Evaluate teacher and student on the same docs.

    teacher (str): Directory or name of the teacher.
    student (Path): Directory of the student.
    corpus (Path): Gold docs.
    use_gpu (int): GPU ID, or -1 for the CPU.
    RETURNS (Dict[str, Dict[str, Any]]): For "teacher" and "student", the scores by name, words per
        second and the size in MB.
    """
    return {
        "teacher": _measure(teacher, corpus, use_gpu),
        "student": _measure(str(student), corpus, use_gpu),
    }


def rows_of(result: Dict[str, Dict[str, Any]]) -> List[Tuple[str, ...]]:
    """RETURNS (List[Tuple[str, ...]]): The result of `compare` as the rows of a table."""
    first, second = result["teacher"], result["student"]
    shared = [name for name in first["scores"] if name in second["scores"]]
    rows = [(n, f"{first['scores'][n]:.3f}", f"{second['scores'][n]:.3f}") for n in shared]
    for key, title in (("words_per_second", "words per second"), ("mb", "MB")):
        rows.append((title, f"{first[key]:,.0f}", f"{second[key]:,.0f}"))
    return rows


def _learns_probabilities(nlp: Language, factory: Optional[str]) -> bool:
    """RETURNS (bool): Whether a factory has the setting soft_labels. Components of other factories,
    such as spaCy's own text classifiers, always use the values of `doc.cats` as they are."""
    if factory is None or not nlp.has_factory(factory):
        return False
    return "soft_labels" in nlp.get_factory_meta(factory).default_config


def _measure(model: str, corpus: Path, use_gpu: int) -> Dict[str, Any]:
    from ..reporting.evaluate import evaluate
    from ..reporting.headline import is_exclusive

    scores, _ = evaluate(model, corpus, use_gpu=use_gpu)
    found = {
        scores.get("cats_score_desc"): scores.get("cats_score"),
        "accuracy": scores.get("cats_micro_f") if is_exclusive(scores) else None,
        "entity F": scores.get("ents_f"),
    }
    return {
        "scores": {name: value for name, value in found.items() if name and value is not None},
        "words_per_second": scores["speed"],
        "mb": scores["run"]["model_mb"],
    }


def _only_encoder(teacher: str) -> Path:
    from spacy.util import load_model

    from ..packaging.half import find_encoders

    folder = Path(teacher)
    found = find_encoders(folder if folder.is_dir() else load_model(teacher).path)
    if len(found) != 1:
        raise ValueError(
            "The student's config leaves [paths] encoder to the teacher, but "
            f"{teacher} has {len(found)} encoders. Name one with --paths.encoder DIRECTORY."
        )
    return found[0]
