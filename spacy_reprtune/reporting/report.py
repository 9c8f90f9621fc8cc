"""A report: everything in `metrics/` on one page, as HTML and as Markdown."""

from pathlib import Path
from typing import List, Tuple

from .blocks import Section
from .files import Metrics, find_metrics
from .groups import make_groups
from .sections.classes import classes_section, confusion_section
from .sections.curves import predictions_section, training_section
from .sections.data import data_section, files_section
from .sections.errors import errors_section
from .sections.experiments import few_shot_section, freezing_section, pretraining_section
from .sections.recipes import recipes_section
from .svg import page_style


def make_report(folder: Path, *, corpus: Path, training: Path) -> Tuple[Metrics, List[Section]]:
    """Make the sections of a report.

    folder (Path): The directory of metrics.
    corpus (Path): The directory of corpora. It need not exist.
    training (Path): The directory of trainings. It need not exist.
    RETURNS (Tuple[Metrics, List[Section]]): What was read, and the sections. There are always the
        same ones: what is missing is said to be.
    RAISES (ValueError): There is nothing in `folder` that a report could show.
    RAISES (ImportError): matplotlib is not installed.
    """
    metrics = find_metrics(folder, corpus=corpus, training=training)
    groups = make_groups(metrics)
    with page_style():
        sections = [
            recipes_section(metrics, groups),
            classes_section(groups),
            confusion_section(groups),
            predictions_section(groups),
            training_section(metrics),
            freezing_section(metrics),
            few_shot_section(metrics),
            pretraining_section(metrics),
            errors_section(groups),
            data_section(metrics),
            files_section(metrics),
        ]
    return metrics, sections
