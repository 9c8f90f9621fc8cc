"""Runs spaCy's own tests with the components of this package, and keeps the list of differences.

`python tests/conformance/spacy_tests.py` runs all tests of `MODULES`, writes the outcomes to
`expected.json` and the page `docs/conformance.md`. Reasons are written into `expected.json` by
hand; a test that newly differs gets an empty one, with which the suite fails.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
PAGE = HERE.parents[1] / "docs" / "conformance.md"
UPDATE = "python tests/conformance/spacy_tests.py"
# The modules of spacy.tests that create `textcat`, `textcat_multilabel`, `ner` or `tok2vec`.
# `test_cli_app` and `training.test_logger` create none of them.
MODULES = [
    *("pipeline.test_textcat", "pipeline.test_tok2vec", "pipeline.test_pipe_methods"),
    *("pipeline.test_pipe_factories", "pipeline.test_initialize", "pipeline.test_entity_linker"),
    *("pipeline.test_annotates_on_update", "parser.test_ner", "parser.test_add_label"),
    *("training.test_training", "training.test_rehearse", "training.test_readers"),
    *("training.test_pretraining", "serialize.test_serialize_pipeline"),
    *("serialize.test_serialize_language", "serialize.test_serialize_config"),
    *("test_cli", "test_language", "test_misc"),
]


def run_tests(chosen: Optional[List[str]] = None) -> Dict[str, Dict[str, str]]:
    """Run the tests in a process of their own.

    chosen (Optional[List[str]]): The tests to run, or None for all tests of `MODULES`.
    RETURNS (Dict[str, Dict[str, str]]): `outcome` ("passed", "failed" or "skipped") and `message`
        of each test in which a component of this package stood for a stock one.
    """
    spec = importlib.util.find_spec("spacy")
    folder = Path(spec.origin).parent / "tests"
    modules = [m for m in MODULES if (folder / f"{m.replace('.', '/')}.py").exists()]
    if chosen is not None:
        modules = [m for m in modules if any(_module(test) == m for test in chosen)]
    with tempfile.TemporaryDirectory() as name:
        own = Path(name)
        results, wanted = own / "results.json", own / "wanted.json"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path]),
            "OMP_NUM_THREADS": "1",
            "CONFORMANCE_FOLDER": name,
            "CONFORMANCE_RESULTS": str(results),
        }
        if chosen is not None:
            wanted.write_text(json.dumps(chosen), encoding="utf8")
            environment["CONFORMANCE_TESTS"] = str(wanted)
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-c", os.devnull]
        command += ["-p", "conformance_plugin", "-p", "no:cacheprovider"]
        command += ["--rootdir", str(folder.parent), "--pyargs"]
        command += [f"spacy.tests.{module}" for module in modules]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=name)
        if not results.exists():
            raise RuntimeError(f"spaCy's tests did not run:\n{done.stdout}{done.stderr}")
        return json.loads(results.read_text(encoding="utf8"))


def read_expected() -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): `spacy`, the version of the tests; `passed`, the tests that pass;
    `skipped`, those that spaCy skips; `differ`, a list of a `reason` and its `tests` each."""
    return json.loads(EXPECTED.read_text(encoding="utf8"))


def changes(expected: Dict[str, Any], outcomes: Dict[str, Dict[str, str]]) -> List[str]:
    """Compare outcomes with what is expected.

    expected (Dict[str, Any]): See `read_expected`.
    outcomes (Dict[str, Dict[str, str]]): See `run_tests`.
    RETURNS (List[str]): A message for each difference.
    """
    found = []
    for test in expected["passed"]:
        if outcomes.get(test, {}).get("outcome") == "failed":
            message = outcomes[test]["message"]
            found.append(
                f"{test} fails now: {message}. Mend the component; if the difference is right, run "
                f"`{UPDATE}` and write its reason into {EXPECTED.name}."
            )
        elif test not in outcomes:
            found.append(f"{test} did not run. If spaCy no longer has it, run `{UPDATE}`.")
    for group in expected["differ"]:
        for test in group["tests"]:
            if outcomes.get(test, {}).get("outcome") == "passed":
                found.append(f"{test} is listed as different and passes now: run `{UPDATE}`.")
    return found


def updated(expected: Dict[str, Any], outcomes: Dict[str, Dict[str, str]]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What is expected after these outcomes, with the reasons that are
    known."""
    by_outcome: Dict[str, List[str]] = {"passed": [], "skipped": [], "failed": []}
    for test, result in sorted(outcomes.items()):
        by_outcome[result["outcome"]].append(test)
    failed = set(by_outcome["failed"])
    groups = []
    for group in expected["differ"]:
        tests = [test for test in group["tests"] if test in failed]
        failed -= set(tests)
        if tests:
            groups.append({"reason": group["reason"], "tests": tests})
    for test in sorted(failed):
        groups.append({"reason": "", "seen": outcomes[test]["message"], "tests": [test]})
    return {
        "spacy": importlib.import_module("spacy").__version__,
        "passed": by_outcome["passed"],
        "skipped": by_outcome["skipped"],
        "differ": groups,
    }


def page(expected: Dict[str, Any]) -> str:
    """RETURNS (str): The page of the docs."""
    n_passed = len(expected["passed"])
    n_differ = sum(len(group["tests"]) for group in expected["differ"])
    run, passed = (
        Counter(map(_module, all_run(expected))),
        Counter(map(_module, expected["passed"])),
    )
    lines = [
        "# Conformance with spaCy",
        "",
        "spaCy ships its own tests. `python -m nox -s conformance` runs those that create",
        "`textcat`, `textcat_multilabel`, `ner` or `tok2vec` once more, before a release, with",
        "`reprtune_textcat`, `reprtune_textcat_multilabel`, `reprtune_ner` and `reprtune_encoder`",
        "in their place, on tiny random encoders. It fails for a test that newly fails, and for",
        "one that is listed here and passes.",
        f"`{UPDATE}` runs all of them again and writes this page.",
        "",
        f"Of {n_passed + n_differ} tests of spaCy {expected['spacy']}, {n_passed} pass and "
        f"{n_differ} differ.",
        "",
        "| tests of `spacy.tests` | run | passed |",
        "| --- | --- | --- |",
        *(f"| `{module}` | {run[module]} | {passed[module]} |" for module in sorted(run)),
        "",
        "## Why tests differ",
        "",
        "| tests | reason |",
        "| --- | --- |",
    ]
    for group in sorted(expected["differ"], key=lambda group: -len(group["tests"])):
        names = dict.fromkeys(test.split("::")[-1].split("[")[0] for test in group["tests"])
        shown = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| {len(group['tests'])}: {shown} | {group['reason']} |")
    return "\n".join(lines) + "\n"


def all_run(expected: Dict[str, Any]) -> List[str]:
    """RETURNS (List[str]): The tests that pass or differ."""
    return [*expected["passed"], *(test for group in expected["differ"] for test in group["tests"])]


def update() -> None:
    """Run all tests, and write `expected.json` and the page."""
    expected = read_expected() if EXPECTED.exists() else {"differ": []}
    expected = updated(expected, run_tests())
    write(expected)


def write(expected: Dict[str, Any]) -> None:
    """Write `expected.json` and the page."""
    text = json.dumps(expected, indent=1, ensure_ascii=False) + "\n"
    EXPECTED.write_text(text, encoding="utf8")
    PAGE.write_text(page(expected), encoding="utf8")


def _module(test: str) -> str:
    return test.split(".py::")[0].replace("/", ".")


if __name__ == "__main__":
    update()
