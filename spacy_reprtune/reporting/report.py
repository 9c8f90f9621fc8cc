"""A report: everything in `metrics/`, as sections.

A package can add its own section. It registers a function under a name, with the decorator
`@report_sections("my_section")` or as an entry point in the group
`spacy_reprtune_report_sections`. The function gets what was read and the recipes in groups, and
returns a `Section`. Under the name of a section of this package, it replaces that section.
"""

from pathlib import Path
from typing import Callable, Dict, List, Tuple

import catalogue

from .blocks import Section
from .groups import Group, make_groups
from .metrics import Metrics, find_metrics
from .sections.changes import changes_section
from .sections.classes import classes_section, confusion_section
from .sections.curves import curves_section, training_section
from .sections.data import data_section, files_section
from .sections.errors import errors_section
from .sections.experiments import few_shot_section, freezing_section, pretraining_section
from .sections.explained import explained_section
from .sections.scores import scores_section
from .sections.suspects import suspects_section

MakeSection = Callable[[Metrics, List[Group]], Section]

report_sections = catalogue.create("spacy_reprtune", "report_sections", entry_points=True)

_FIRST: Dict[str, MakeSection] = {
    "scores": scores_section,
    "classes": classes_section,
    "confusion": confusion_section,
    "curves": curves_section,
    "training": training_section,
    "freezing": freezing_section,
    "few-shot": few_shot_section,
    "pretraining": pretraining_section,
    "errors": errors_section,
    "changes": changes_section,
    "explained": explained_section,
    "suspects": suspects_section,
    "data": data_section,
}
_LAST: Dict[str, MakeSection] = {"files": files_section}


def make_report(
    folder: Path, *, corpus: Path, training: Path
) -> Tuple[Metrics, List[Group], List[Section]]:
    """Make the sections of a report.

    folder (Path): The directory of metrics.
    corpus (Path): The directory of corpora. It need not exist.
    training (Path): The directory of trainings. It need not exist.
    RETURNS (Tuple[Metrics, List[Group], List[Section]]): What was read, the recipes in groups, and
        the sections, registered ones before the list of files.
    RAISES (ValueError): `folder` holds nothing that a report could show.
    """
    metrics = find_metrics(folder, corpus=corpus, training=training)
    groups = make_groups(metrics)
    makers = {**_FIRST, **dict(sorted(report_sections.get_all().items())), **_LAST}
    return metrics, groups, [make(metrics, groups) for make in makers.values()]
