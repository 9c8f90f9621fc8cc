"""Each benchmark can at least be asked what it does: most run for hours, so tests do not."""

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = [
    path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", ".")
    for path in sorted(ROOT.rglob("*.py"))
    if "def main(" in path.read_text("utf8")
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_says_what_its_options_are(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        import_module(name).main(["--help"])
    assert stopped.value.code == 0
    assert "--quick" in capsys.readouterr().out


def test_all_scripts_are_in_the_table():
    table = (ROOT / "README.md").read_text("utf8")
    named = {name.removeprefix("benchmarks.") for name in SCRIPTS}
    assert len(named) >= 10
    assert not [name for name in named if f"| `{name}` |" not in table]
