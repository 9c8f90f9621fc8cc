"""spaCy's own tests with this package's components in the place of the stock ones.

    python tests/conformance/conformance.py

runs the modules below and prints each test that used a component of ours and did not end as
`expected.json` says. That file lists those tests: "passed", or the reason why another result is
right. `--write` adds new tests to it, failures with the reason "?", which the suite refuses.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Sequence

import spacy

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
MODULES = (
    "pipeline/test_textcat.py",
    "pipeline/test_pipe_methods.py",
    "pipeline/test_pipe_factories.py",
    "pipeline/test_annotates_on_update.py",
    "pipeline/test_analysis.py",
    "pipeline/test_entity_ruler.py",
    "pipeline/test_initialize.py",
    "pipeline/test_models.py",
    "parser/test_ner.py",
    "parser/test_add_label.py",
    "training/test_rehearse.py",
    "training/test_training.py",
    "serialize/test_serialize_pipeline.py",
    "serialize/test_serialize_config.py",
    "serialize/test_serialize_language.py",
    "test_language.py",
    "test_pickles.py",
)


def run(tests: Sequence[str]) -> Dict[str, List[str]]:
    """Run tests of spaCy with the stand-ins.

    tests (Sequence[str]): Modules, or single tests as pytest names them, below `spacy/tests`.
    RETURNS (Dict[str, List[str]]): For each test that used a stand-in, how it ended and the first
        line of the error.
    """
    root = Path(spacy.__file__).parent / "tests"
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *("-q", "-p", "stand_ins", "-p", "no:cacheprovider", "-W", "ignore"),
                *("--rootdir", str(root.parents[1]), "-c", os.devnull),
                *(str(root / test) for test in tests),
            ],
            env={**os.environ, "PYTHONPATH": str(HERE), "REPRTUNE_CONFORMANCE": str(results)},
            cwd=root.parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return json.loads(results.read_text(encoding="utf8"))


def main() -> None:
    """Compare all modules with `expected.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="add new tests to expected.json")
    args = parser.parse_args()
    expected = json.loads(EXPECTED.read_text(encoding="utf8")) if EXPECTED.exists() else {}
    results = run(MODULES)
    for test, (outcome, error) in results.items():
        known = expected.get(test)
        if known is None or (known == "passed") != (outcome == "passed"):
            print(f"{test}: {outcome} {error}")
    if args.write:
        merged = {
            test: "passed" if outcome == "passed" else _reason(expected.get(test))
            for test, (outcome, _) in results.items()
        }
        EXPECTED.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n", encoding="utf8")
    passed = sum(outcome == "passed" for outcome, _ in results.values())
    print(f"{passed} of {len(results)} tests that used a component of ours passed")


def _reason(known: object) -> object:
    return known if known not in (None, "passed") else "?"


if __name__ == "__main__":
    main()
