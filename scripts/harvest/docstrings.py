"""Docstrings of installed packages, read by `ast`: nothing is imported, nothing is run."""

import ast
import gc
import multiprocessing
import os
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata, util
from itertools import chain
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from spacy_reprtune.progress import bar

# Top-level module -> distribution. What the dependencies of this project install on any machine,
# plus the `project` extra. A name that is missing is skipped by the reader and reported.
PACKAGES: Dict[str, str] = {
    "accelerate": "accelerate",
    "datasets": "datasets",
    "evaluate": "evaluate",
    "fsspec": "fsspec",
    "huggingface_hub": "huggingface-hub",
    "joblib": "joblib",
    "mpmath": "mpmath",
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sentence_transformers": "sentence-transformers",
    "setfit": "setfit",
    "sklearn": "scikit-learn",
    "spacy": "spacy",
    "spacy_transformers": "spacy-transformers",
    "sympy": "sympy",
    "thinc": "thinc",
    "torch": "torch",
    "transformers": "transformers",
}

# Tests describe bugs, not subjects; vendored copies would put one text under two modules.
_SKIPPED_DIR = re.compile(
    r"(_?tests?|_?testing|benchmarks|_?vendor|vendored|_?externals?|_?extern|third_?party|"
    r"array_api_(compat|extra)|_antlr|__pycache__)$"
)
# TensorFlow and Flax twins repeat the torch file's docstrings, with the framework's name changed.
_SKIPPED_FILE = re.compile(r"^(test_.*|.*_test|conftest|modeling_(tf|flax)_.*)\.py$")

# numpy, scipy.special and torch attach the docs of compiled functions by calls of these.
_DOC_CALLS = frozenset({"add_newdoc", "add_docstr", "_add_docstr"})

# Few enough that the first docstrings come soon, and enough that sending them costs nothing.
FILES_AT_ONCE = 25


class Docstring(NamedTuple):
    """One docstring and where it stands.

    module (str): Dotted name of the file's module, e.g. "scipy.stats._qmc".
    line (int): Line of the definition, 1 for the module's own docstring.
    text (str): The docstring as written, not dedented.
    """

    module: str
    line: int
    text: str


class Package(NamedTuple):
    """An installed package.

    name (str): The top-level module.
    version (str): The version of its distribution, or "unknown".
    root (Path): Its folder.
    """

    name: str
    version: str
    root: Path


def find_packages(names: Mapping[str, str]) -> Tuple[List[Package], List[str]]:
    """Find the folders of installed packages without importing them.

    names (Mapping[str, str]): Top-level module to distribution.
    RETURNS (Tuple[List[Package], List[str]]): The packages found, by name, and the modules that
        are not installed as source.
    """
    found, missing = [], []
    for name in sorted(names):
        # A top-level name has no parent to import, so this only looks along sys.path.
        spec = util.find_spec(name)
        if spec is None or not spec.origin or not spec.submodule_search_locations:
            missing.append(name)
            continue
        try:
            version = metadata.version(names[name])
        except metadata.PackageNotFoundError:
            version = "unknown"
        found.append(Package(name, version, Path(spec.origin).parent))
    return found, missing


def read_docstrings(packages: List[Package], *, progress: bool = False) -> Iterator[Docstring]:
    """Read every docstring of some packages, in the order of module names.

    packages (List[Package]): What `find_packages` found.
    progress (bool): Whether to show a progress bar over files.
    YIELDS (Docstring): Module, class, function and method docstrings; those of nested functions
        and of private helpers' bodies are left out.
    """
    files = [item for package in packages for item in sorted(_source_files(package))]
    # Other processes read the files while this one does something with the docstrings. Syntax trees
    # are millions of small objects without cycles: the garbage collector only walks them again and
    # again, which takes a third of the reading time.
    workers = max(1, (os.cpu_count() or 1) - 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=gc.disable) as pool:
        found = pool.map(_file_docstrings, files, chunksize=FILES_AT_ONCE)
        yield from chain.from_iterable(
            bar(found, what="Reading modules", unit="files", shown=progress, total=len(files))
        )


def _source_files(package: Package) -> Iterator[Tuple[str, Path]]:
    for path in package.root.rglob("*.py"):
        relative = path.relative_to(package.root)
        if _SKIPPED_FILE.match(path.name) or any(map(_SKIPPED_DIR.match, relative.parts[:-1])):
            continue
        parts = [package.name, *relative.with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        yield ".".join(parts), path


def _file_docstrings(file: Tuple[str, Path]) -> List[Docstring]:
    return list(_read_file(*file))


def _read_file(module: str, path: Path) -> Iterator[Docstring]:
    try:
        source = path.read_text(encoding="utf8")
        with warnings.catch_warnings():
            # Invalid escapes in someone else's file are not this user's business.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, OSError):
        # Templates for other Python versions, or files in an old encoding.
        return
    stack: List[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield Docstring(module, getattr(node, "lineno", 1), text)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
        elif isinstance(node, ast.Expr):
            for text in _called_docs(node.value):
                yield Docstring(module, node.lineno, text)
            continue
        # Reversed, so that the stack gives the definitions in the order of the file.
        for field in ("finalbody", "orelse", "handlers", "body"):
            stack.extend(reversed(getattr(node, field, ())))


def _called_docs(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Call) and _called_name(node.func) in _DOC_CALLS:
        for child in ast.walk(node):
            text = child.value if isinstance(child, ast.Constant) else None
            # Strings of one line are names.
            if isinstance(text, str) and "\n" in text:
                yield text


def _called_name(node: ast.expr) -> Optional[str]:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
