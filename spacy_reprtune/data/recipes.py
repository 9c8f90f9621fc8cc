"""Find the shipped configs, and change their values without losing the comments."""

import json
import re
import sysconfig
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

# Recipe to config, from the one that trains the least to the one that trains the most.
TEXTCAT = {
    "frozen": "textcat_frozen.cfg",
    "setfit": "textcat_setfit.cfg",
    "last-blocks": "textcat_last_blocks.cfg",
    "joint": "textcat_joint.cfg",
}
NER = {
    "last-blocks": "ner_last_blocks.cfg",
    "joint": "ner_joint.cfg",
}
BOTH = {"multitask": "shared_multitask.cfg"}
SPANS = {"sentences": "spans_sentences.cfg", "overlapping": "ner_overlapping.cfg"}
PRETRAINING = "mlm.cfg"
_SECTION = re.compile(r"\[(.+)\]\s*")


def recipe_folder() -> Path:
    """Find the shipped configs.

    RETURNS (Path): The folder beside the package in a checkout, or where the wheel put it.
    RAISES (ValueError): Neither folder has them.
    """
    beside = Path(__file__).parents[2] / "configs"
    installed = Path(sysconfig.get_path("data")) / "share" / "spacy_reprtune" / "configs"
    for folder in (beside, installed):
        if (folder / TEXTCAT["joint"]).is_file():
            return folder
    raise ValueError(
        f"The recipes are neither in {beside} nor in {installed}. Name their folder: --recipes"
    )


def available(names: Dict[str, str], folder: Path) -> Dict[str, Path]:
    """RETURNS (Dict[str, Path]): Recipe to config, for the configs that the folder has."""
    return {recipe: folder / name for recipe, name in names.items() if (folder / name).is_file()}


def sections(text: str) -> List[str]:
    """RETURNS (List[str]): Names of the sections of a config, in order."""
    return [match[1] for line in text.splitlines() if (match := _SECTION.fullmatch(line))]


def read_value(text: str, section: str, key: str) -> Optional[str]:
    """RETURNS (Optional[str]): Value of a setting as the config writes it, or None."""
    lines = text.splitlines()
    at, _ = _find(lines, section, key)
    return None if at is None else lines[at].split("=", 1)[1].strip()


def set_value(text: str, section: str, key: str, value: Any) -> str:
    """Change one value of a config, and leave the rest unchanged, including comments.

    text (str): Config.
    section (str): Name of a section, such as "components.textcat".
    key (str): Name of a setting. A missing setting is added, and so is a missing section.
    value (Any): Value that JSON can express.
    RETURNS (str): New config.
    """
    lines = text.splitlines()
    new = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    at, end = _find(lines, section, key)
    if at is not None:
        lines[at] = new
    elif end is not None:
        lines.insert(end, new)
    else:
        lines += ["", f"[{section}]", new]
    return "\n".join(lines) + "\n"


def _find(lines: List[str], section: str, key: str) -> Tuple[Optional[int], Optional[int]]:
    """The line of a setting, and the one after the section's last; None for what is missing."""
    here, end = "", None
    for k, line in enumerate(lines):
        match = _SECTION.fullmatch(line)
        here = match[1] if match else here
        if here == section and line.strip():
            end = k + 1
            if re.match(rf"{re.escape(key)}\s*=", line):
                return k, end
    return None, end


def replace_header(text: str, header: str) -> str:
    """Replace the comment at the top of a config.

    text (str): Config.
    header (str): Lines without "#". The first paragraph of the old comment comes before them.
    RETURNS (str): New config.
    """
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if _SECTION.fullmatch(line))
    old = []
    for line in lines[:first]:
        if line.strip("# ") == "":
            break
        old.append(line)
    new = [f"# {line}".rstrip() for line in header.splitlines()]
    return "\n".join([*old, "#", *new, "", *lines[first:]]) + "\n"
