"""The shipped configs as templates: find them, and change values without losing their comments."""

import json
import re
import sysconfig
from pathlib import Path
from typing import Any, Dict, Optional

# Recipe to config, by what is trained: from the least to the most.
TEXTCAT = {
    "frozen": "textcat_frozen.cfg",
    "setfit": "textcat_setfit.cfg",
    "last-blocks": "textcat_last_blocks.cfg",
    "joint": "textcat_joint.cfg",
}
NER = {
    "frozen": "ner_frozen.cfg",
    "last-blocks": "ner_last_blocks.cfg",
    "joint": "ner_joint.cfg",
}
PRETRAINING = "mlm.cfg"
_SECTION = re.compile(r"\[(.+)\]\s*")


def recipe_folder() -> Path:
    """Find the shipped configs.

    RETURNS (Path): The folder beside the package in a checkout, or where the wheel put it.
    RAISES (ValueError): There is none.
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
    """RETURNS (Dict[str, Path]): Recipe to config, for those that the folder has."""
    return {recipe: folder / name for recipe, name in names.items() if (folder / name).is_file()}


def read_value(text: str, section: str, key: str) -> Optional[str]:
    """RETURNS (Optional[str]): What a config has for a key, as it is written, or None."""
    here = ""
    for line in text.splitlines():
        match = _SECTION.fullmatch(line)
        if match:
            here = match[1]
        elif here == section and re.match(rf"{re.escape(key)}\s*=", line):
            return line.split("=", 1)[1].strip()
    return None


def set_value(text: str, section: str, key: str, value: Any) -> str:
    """Change one value of a config, and leave the rest as it is, comments included.

    text (str): The config.
    section (str): As "components.textcat".
    key (str): A key that the section has.
    value (Any): What JSON can say.
    RETURNS (str): The new config.
    RAISES (ValueError): The section has no such key.
    """
    lines = text.splitlines()
    here = ""
    for k, line in enumerate(lines):
        match = _SECTION.fullmatch(line)
        if match:
            here = match[1]
        elif here == section and re.match(rf"{re.escape(key)}\s*=", line):
            lines[k] = f"{key} = {json.dumps(value, ensure_ascii=False)}"
            return "\n".join(lines) + "\n"
    raise ValueError(f"The recipe has no {key} in [{section}].")


def replace_header(text: str, header: str) -> str:
    """Put another comment at the top of a config.

    text (str): The config.
    header (str): Lines without "#". The first sentence of the old one comes before them.
    RETURNS (str): The new config.
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
