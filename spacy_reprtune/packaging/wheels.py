"""Build the wheel of a pipeline, and of this package beside it, without asking an index."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

# What a build of this package needs of its source tree.
_SOURCE = ("spacy_reprtune", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def package_pipeline(
    model_dir: Path,
    output_dir: Path,
    *,
    name: str,
    version: str,
    source_dir: Optional[Path] = None,
) -> List[Path]:
    """Package a trained pipeline as a wheel.

    `spacy package` writes the package; pip builds the wheel with the setuptools that is
    installed, because an isolated build would fetch another one.

    model_dir (Path): The trained pipeline.
    output_dir (Path): Where wheels go, made if it is not there.
    name (str): Name of the package without the language, as "textcat_topics".
    version (str): Its version.
    source_dir (Optional[Path]): The source of this package. Its wheel is built as well, because
        the pipeline's wheel requires it.
    RETURNS (List[Path]): The wheels, the pipeline's first.
    RAISES (ValueError): The name begins with the language code or is no name, the version is
        none, there is no pipeline in `model_dir`, or no source in `source_dir`.
    RAISES (RuntimeError): pip could not build a wheel.
    """
    import spacy
    from spacy.cli.package import package

    if not (model_dir / "config.cfg").is_file():
        raise ValueError(f"There is no trained pipeline in {model_dir}: it has no config.cfg.")
    lang = spacy.util.load_config(model_dir / "config.cfg")["nlp"]["lang"]
    check_name(name, lang, version)
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        package(
            model_dir,
            Path(folder),
            name=name,
            version=version,
            create_sdist=False,
            create_wheel=False,
            silent=True,
        )
        wheels = [_build(Path(folder) / f"{lang}_{name}-{version}", output_dir)]
        if source_dir is not None:
            wheels.append(_build(_copy_source(source_dir, Path(folder) / "source"), output_dir))
    return wheels


def check_name(name: str, lang: str, version: str) -> None:
    """Check what a package is to be called.

    name (str): Its name without the language.
    lang (str): The language code.
    version (str): Its version.
    RAISES (ValueError): The name begins with the language code or is no name of a package, or the
        version is none.
    """
    from packaging.version import InvalidVersion, Version

    if name == lang or name.startswith(f"{lang}_"):
        # spaCy makes a directory en_topics and a setup.py that looks for en_en_topics.
        rest = name[len(lang) + 1 :] or "topics"
        raise ValueError(
            f"The name '{name}' begins with the language code, which spaCy puts in front by "
            f"itself. Use '{rest}', and the package is '{lang}_{rest}'."
        )
    if not (name.isidentifier() and name.isascii()) or name.endswith("_") or "__" in name:
        raise ValueError(
            f"The name {name!r} can't be that of a package. Use letters, digits and single "
            "underscores between them, and a letter first: 'topics_small'."
        )
    try:
        Version(version)
    except InvalidVersion:
        raise ValueError(
            f"The version {version!r} is none that pip knows. Use numbers: '1.0.0'."
        ) from None


def _copy_source(source_dir: Path, target: Path) -> Path:
    # A copy: a build leaves folders behind, and takes up what an earlier one left.
    missing = [name for name in _SOURCE if not (source_dir / name).exists()]
    if missing:
        raise ValueError(
            f"{source_dir} is not the source of spacy-reprtune: it has no {missing[0]}."
        )
    target.mkdir()
    for name in _SOURCE:
        if (source_dir / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source_dir / name, target / name, ignore=ignore)
        else:
            shutil.copy(source_dir / name, target / name)
    return target


def _build(project: Path, output_dir: Path) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"]
        command += ["--no-index", "--quiet", "--wheel-dir", folder, str(project)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        built = list(Path(folder).glob("*.whl"))
        if done.returncode or not built:
            raise RuntimeError(
                f"pip could not build a wheel of {project.name}. It needs setuptools and wheel in "
                f"this environment (pip install setuptools wheel). It said:\n{done.stderr.strip()}"
            )
        return Path(shutil.move(str(built[0]), str(output_dir / built[0].name)))
