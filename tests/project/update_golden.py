"""Write the full form of every shipped config to golden/: python tests/project/update_golden.py

The full form is what `spacy init fill-config` makes of a config, or, for a config of pretraining,
all of its settings. Sections and settings are sorted, so that a diff shows changed values only.
"""

from pathlib import Path
from typing import Any, Dict

from thinc.api import Config

CONFIGS = Path(__file__).parents[2] / "configs"
GOLDEN = Path(__file__).parent / "golden"


def full_form(path: Path) -> str:
    """Fill in a shipped config.

    path (Path): The config.
    RETURNS (str): The config with all defaults, in a fixed order.
    """
    config = Config().from_disk(path, interpolate=False)
    if "nlp" in config:
        from spacy_reprtune.training.full_config import full_config

        return in_order(full_config(config))
    from spacy_reprtune.pretraining.settings import read_settings

    return in_order(read_settings(path, {"paths.text": "text.txt"}).to_dict())


def in_order(config: Dict[str, Any]) -> str:
    """RETURNS (str): A config with its sections and settings sorted."""
    text = Config(_sorted(config)).to_str(interpolate=False)
    sections = sorted(text.strip().split("\n\n"))
    return "\n\n".join(sections) + "\n"


def _sorted(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _sorted(value[key]) for key in sorted(value)}


def main() -> None:
    """Write the golden files, and remove those of configs that no longer exist."""
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.cfg"):
        path.unlink()
    for path in sorted(CONFIGS.glob("*.cfg")):
        (GOLDEN / path.name).write_text(full_form(path), encoding="utf8")


if __name__ == "__main__":
    main()
