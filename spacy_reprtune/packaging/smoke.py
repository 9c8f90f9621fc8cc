"""Install wheels into a fresh environment, offline, and compare what they predict."""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any, Dict, List, Sequence

_PREDICT = """
import json, sys, spacy
name, texts = json.load(sys.stdin)
nlp = spacy.load(name)
docs = list(nlp.pipe(texts))
result = {
    "pipeline": nlp.meta["name"],
    "version": nlp.meta["version"],
    "file": str(nlp.path),
    "docs": [
        {"cats": doc.cats, "ents": [[e.start_char, e.end_char, e.label_] for e in doc.ents]}
        for doc in docs
    ],
}
sys.stdout.write("\\n" + json.dumps(result))
"""


def smoke_test(
    wheels: Sequence[Path], model_dir: Path, texts: Sequence[str], *, tolerance: float = 1e-4
) -> Dict[str, Any]:
    """Check that a packaged pipeline predicts what the trained one does.

    The environment is new and sees the libraries of the current one, but this package and the
    pipeline only as far as their wheels bring them. Neither pip nor the pipeline can reach a
    network.

    wheels (Sequence[Path]): The pipeline's wheel and this package's, in any order.
    model_dir (Path): The trained pipeline that the wheel was made from.
    texts (Sequence[str]): What to predict.
    tolerance (float): The largest difference of a score that counts as equal.
    RETURNS (Dict[str, Any]): "pipeline", "version", "texts" and "largest_difference".
    RAISES (RuntimeError): Installing, loading or predicting failed, or the predictions differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = _environment(Path(folder) / "env")
        install = ["-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall"]
        _run([python, *install, "--quiet", *[str(w.resolve()) for w in wheels]], folder)
        module = _pipeline_module(wheels)
        packaged = _predict(python, module, texts, folder)
        if not Path(packaged["file"]).resolve().is_relative_to(Path(folder).resolve()):
            raise RuntimeError(
                f"'{module}' was loaded from {packaged['file']}, not from the fresh environment."
            )
        trained = _predict(sys.executable, str(model_dir.resolve()), texts, folder)
    difference = _compare(trained["docs"], packaged["docs"], texts)
    if difference > tolerance:
        raise RuntimeError(
            f"The packaged pipeline's scores differ from the trained one's by {difference:.2g}, "
            f"more than {tolerance:.2g}."
        )
    return {
        "pipeline": packaged["pipeline"],
        "version": packaged["version"],
        "texts": len(texts),
        "largest_difference": difference,
    }


def _environment(path: Path) -> str:
    venv.create(path, with_pip=True)
    bin_dir = path / ("Scripts" if os.name == "nt" else "bin")
    python = str(bin_dir / "python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(_run([python, "-c", code], path).strip())
    # Entries of a .pth file are added to the path without reading the .pth files in there, so an
    # editable install of this package is not seen.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(paths)) + "\n")
    return python


def _pipeline_module(wheels: Sequence[Path]) -> str:
    names = [wheel.name.split("-")[0] for wheel in wheels]
    pipelines = [name for name in names if name != "spacy_reprtune"]
    if len(pipelines) != 1:
        raise RuntimeError(f"Expected the wheel of one pipeline, got {', '.join(names)}.")
    return pipelines[0]


def _predict(python: str, name: str, texts: Sequence[str], cwd: Any) -> Dict[str, Any]:
    output = _run([python, "-c", _PREDICT], cwd, stdin=json.dumps([name, list(texts)]))
    return json.loads(output.splitlines()[-1])


def _run(command: List[str], cwd: Any, stdin: str = "") -> str:
    offline = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env = {**os.environ, **offline}
    # The source tree must not lend the package that the wheel lacks.
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{Path(command[0]).name} {' '.join(command[1:4])} … failed in the fresh environment:\n"
            f"{done.stderr.strip()[-3000:]}"
        )
    return done.stdout


def _compare(trained: List[Dict], packaged: List[Dict], texts: Sequence[str]) -> float:
    largest = 0.0
    for one, two, text in zip(trained, packaged, texts, strict=True):
        if one["cats"].keys() != two["cats"].keys() or one["ents"] != two["ents"]:
            raise RuntimeError(
                f"The packaged pipeline annotates {text[:60]!r} differently: {two}, not {one}."
            )
        for label, score in one["cats"].items():
            largest = max(largest, abs(score - two["cats"][label]))
    return largest
