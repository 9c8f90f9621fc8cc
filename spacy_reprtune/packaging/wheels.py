"""Build the wheel of a pipeline, and of this package, without a package index."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Optional


def package_pipeline(
    model_dir: Path,
    output_dir: Path,
    *,
    name: str,
    version: str,
    source_dir: Optional[Path] = None,
) -> List[Path]:
    """Package a trained pipeline as a wheel.

    `spacy package` writes the package. The wheel is built with the setuptools that is installed,
    because an isolated build would download another one.

    model_dir (Path): The trained pipeline.
    output_dir (Path): Directory for wheels, created if needed.
    name (str): Name of the package without the language, as "textcat_topics".
    version (str): Version of the package.
    source_dir (Optional[Path]): Source of this package. Its wheel is built as well, because the
        pipeline's wheel requires it.
    RETURNS (List[Path]): The wheels, the pipeline's first.
    RAISES (ValueError): The name or the version is malformed, or there is no pipeline in
        `model_dir` or no source in `source_dir`.
    RAISES (RuntimeError): A wheel could not be built.
    """
    import spacy
    from spacy.cli.package import package

    for file in ("config.cfg", "meta.json"):
        if not (model_dir / file).is_file():
            raise ValueError(f"There is no trained pipeline in {model_dir}: it has no {file}.")
    lang = spacy.util.load_config(model_dir / "config.cfg")["nlp"]["lang"]
    check_name(name, lang, version)
    if source_dir is not None and not (source_dir / "spacy_reprtune" / "__init__.py").is_file():
        raise ValueError(f"{source_dir} is not the source of spacy-reprtune: no spacy_reprtune.")
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
        wheels.append(_build(source_dir, output_dir))
    return wheels


def check_name(name: str, lang: str, version: str) -> None:
    """Check the name and version of a package.

    name (str): Name without the language.
    lang (str): The language code.
    version (str): The version.
    RAISES (ValueError): The name begins with the language code or is malformed, or the version is
        malformed.
    """
    from packaging.version import InvalidVersion, Version

    if name == lang or name.startswith(f"{lang}_"):
        # spaCy would make a directory en_topics and a setup.py that looks for en_en_topics.
        rest = name[len(lang) + 1 :] or "topics"
        raise ValueError(
            f"The name '{name}' begins with the language code, which spaCy adds itself. Use "
            f"'{rest}', and the package is '{lang}_{rest}'."
        )
    if not (name.isidentifier() and name.isascii()) or name.endswith("_") or "__" in name:
        raise ValueError(
            f"A package can't be named {name!r}. Begin with a letter, and use letters, digits and "
            "single underscores between them: 'topics_small'."
        )
    try:
        Version(version)
    except InvalidVersion:
        raise ValueError(
            f"pip does not accept the version {version!r}. Use numbers: '1.0.0'."
        ) from None


def _build(project: Path, output_dir: Path) -> Path:
    """Build a wheel in a temporary directory, so that the build leaves no other files."""
    script = ["-c", "import setuptools; setuptools.setup()"]
    if (project / "setup.py").is_file():
        script = ["setup.py"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *script]
        command += ["egg_info", "--egg-base", folder, "build", "--build-base", folder]
        command += ["bdist_wheel", "--bdist-dir", f"{folder}/wheel", "--dist-dir", f"{folder}/dist"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        built = list(Path(folder, "dist").glob("*.whl"))
        if done.returncode or not built:
            raise RuntimeError(
                f"The wheel of {project.name} could not be built. That needs setuptools and wheel "
                f"(pip install setuptools wheel). The build said:\n{done.stderr.strip()[-3000:]}"
            )
        target = output_dir / built[0].name
        target.write_bytes(built[0].read_bytes())
        return target
