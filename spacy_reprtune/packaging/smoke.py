"""Install wheels into a fresh environment, offline, and compare their predictions."""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from .agreement import compare, predictions

# Largest difference between two scores, and the share of texts that must get the same annotation,
# by the type of the encoder's weights in the package. fp32 packages hold the trained weights.
LIMITS = {"fp32": (1e-4, 1.0), "fp16": (0.02, 0.98), "bf16": (0.1, 0.9), "int8": (0.2, 0.9)}

# All other libraries are in the same places as these.
_LIBRARIES = ("spacy", "torch", "transformers", "safetensors")

# Runs in the fresh environment, with the package's own code.
_PREDICT = """
import json, sys, spacy
from spacy_reprtune.data.recipes import recipe_folder
from spacy_reprtune.packaging.agreement import predictions
from spacy_reprtune.packaging.half import weights_types
name, texts = json.load(sys.stdin)
# The configs of `reprtune init-config`: raises if the wheel lacks them.
recipe_folder()
nlp = spacy.load(name)
result = {
    "pipeline": nlp.meta["name"],
    "version": nlp.meta["version"],
    "file": str(nlp.path),
    "weights": weights_types(nlp.path),
    "docs": predictions(nlp, texts),
}
sys.stdout.write("\\n" + json.dumps(result))
"""


def smoke_test(
    wheels: Sequence[Path],
    model_dir: Path,
    texts: Sequence[str],
    *,
    tolerance: Optional[float] = None,
    min_equal: Optional[float] = None,
) -> Dict[str, Any]:
    """Check that a packaged pipeline predicts the same as the trained one.

    The environment is new. It sees the libraries of the current one, but this package and the
    pipeline come from their wheels only. Neither pip nor the pipeline can reach a network.

    wheels (Sequence[Path]): The wheels of the pipeline and of this package, in any order.
    model_dir (Path): The trained pipeline that the wheel was made from.
    texts (Sequence[str]): Texts to predict.
    tolerance (Optional[float]): Largest difference between two scores that counts as equal. If
        None, `LIMITS` has the value for the package's weights.
    min_equal (Optional[float]): Share of texts that must have the same labels and entities. If
        None, `LIMITS` has the value as well.
    RETURNS (Dict[str, Any]): "pipeline", "version", "weights", "texts", "equal_predictions" (a
        share) and "largest_difference".
    RAISES (ValueError): The trained pipeline does not load or predict here.
    RAISES (RuntimeError): Installing, loading or predicting failed, the wheel of this package lacks
        its configs, or the predictions differ.
    """
    import spacy

    names = {wheel.name.split("-")[0] for wheel in wheels} - {"spacy_reprtune"}
    if len(names) != 1:
        raise RuntimeError(f"Expected the wheel of one pipeline, got {', '.join(names) or 'none'}.")
    (module,) = names
    try:
        trained = predictions(spacy.load(model_dir), texts)
    # Components can raise anything.
    except Exception as error:
        raise ValueError(f"The trained pipeline in {model_dir} fails here: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        python = _environment(Path(folder) / "env")
        # This environment's pip: installing one into the fresh environment takes seconds.
        install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index"]
        install += ["--no-deps", "--force-reinstall", "--quiet"]
        _run([*install, *[str(w.resolve()) for w in wheels]], folder)
        found = _run([python, "-c", _PREDICT], folder, stdin=json.dumps([module, list(texts)]))
        packaged = json.loads(found.splitlines()[-1])
        if not Path(packaged["file"]).resolve().is_relative_to(Path(folder).resolve()):
            raise RuntimeError(
                f"'{module}' was loaded from {packaged['file']}, not from the fresh environment."
            )
    return judge(packaged, trained, texts, tolerance=tolerance, min_equal=min_equal)


def judge(
    packaged: Dict[str, Any],
    trained: Sequence[Dict[str, Any]],
    texts: Sequence[str],
    *,
    tolerance: Optional[float] = None,
    min_equal: Optional[float] = None,
) -> Dict[str, Any]:
    """Decide whether a packaged pipeline predicts the same as the trained one.

    packaged (Dict[str, Any]): The package's "pipeline", "version", "weights" and "docs", as
        `predictions` returns them.
    trained (Sequence[Dict[str, Any]]): The `predictions` of the trained pipeline.
    texts (Sequence[str]): The texts of both.
    tolerance, min_equal (Optional[float]): As in `smoke_test`.
    RETURNS (Dict[str, Any]): As in `smoke_test`.
    RAISES (RuntimeError): The predictions differ.
    """
    # Without an encoder of this package, nothing can be in half precision.
    weights = "+".join(packaged["weights"]) or "fp32"
    default = LIMITS.get(weights, LIMITS["int8"])
    tolerance = default[0] if tolerance is None else tolerance
    min_equal = default[1] if min_equal is None else min_equal
    try:
        measured = compare(trained, packaged["docs"])
    except ValueError as error:
        raise RuntimeError(str(error)) from error
    if measured.share < min_equal and measured.first is not None:
        k = measured.first
        keys = [key for key in trained[k] if packaged["docs"][k][key] != trained[k][key]]
        found, expected = (
            {key: docs[k][key] for key in keys} for docs in (packaged["docs"], trained)
        )
        raise RuntimeError(
            f"The packaged pipeline annotates {texts[k][:60]!r} differently: {found}, not "
            f"{expected}. {measured.equal} of {measured.texts} texts have the same "
            f"annotation; at least {min_equal:.0%} must have it."
        )
    if measured.largest_difference > tolerance:
        raise RuntimeError(
            f"The packaged pipeline's scores differ from the trained one's by "
            f"{measured.largest_difference:.2g}, more than {tolerance:.2g}."
        )
    return {
        **{key: packaged[key] for key in ("pipeline", "version")},
        "weights": weights,
        "texts": len(texts),
        "equal_predictions": measured.share,
        "largest_difference": measured.largest_difference,
    }


def _environment(path: Path) -> str:
    venv.create(path)
    bin_dir = path / ("Scripts" if os.name == "nt" else "bin")
    python = str(bin_dir / "python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(_run([python, "-c", code], path).strip())
    # Directories named in a .pth file are not searched for further .pth files, so an editable
    # install of this package stays invisible. The current environment may itself borrow from
    # another one, so libraries are looked up.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for library in _LIBRARIES:
        spec = importlib.util.find_spec(library)
        if spec is not None and spec.origin is not None:
            paths.add(str(Path(spec.origin).parents[1]))
    (site / "libraries.pth").write_text("\n".join(sorted(paths)) + "\n")
    return python


def _run(command: List[str], cwd: Any, stdin: str = "") -> str:
    offline = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env = {**os.environ, **offline}
    # The source tree must not supply what the wheel lacks.
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
