"""Annotation at scale: one object that annotates batches of rows, and runs that can be resumed.

`Annotator` is imported when it is asked for, so that `import spacy_reprtune.annotate` stays light.
"""

from typing import Any

__all__ = ["Annotator"]


def __getattr__(name: str) -> Any:
    if name == "Annotator":
        from .annotator import Annotator

        return Annotator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
