"""Whatever is in a file: a corpus, or an error that names the file. Never a bare TypeError."""

import json

import pytest
from converting import adds_up, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_inputs import OBJECTS, TEXTS, places, replaced
from spacy_reprtune.data.convert import convert

SETTINGS = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 99) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def convert_or_explain(path, output):
    try:
        manifest = convert({"train": path}, output, split="100")
    except ValueError as error:
        assert path.name in str(error), error
    else:
        adds_up(manifest)


@pytest.mark.parametrize("name", OBJECTS)
@SETTINGS
@given(data=st.data())
def test_a_changed_value_in_a_row_costs_at_most_the_row(name, data, tmp_path):
    rows = OBJECTS[name]
    place = data.draw(st.sampled_from(list(places(rows))[1:]))
    mutated = [*replaced(rows, place, data.draw(VALUES)), *rows]
    if name.endswith(".json"):
        content = json.dumps(mutated)
    else:
        content = "\n".join(map(json.dumps, mutated)) + "\n"
    path = write(tmp_path / name, content)
    convert_or_explain(path, tmp_path / "out")


PIECES = st.sampled_from(
    [*'",\t\n\r;|[]{}-OB_ \\', "\x00", "\x85", "\u2028", "\ud83d", "🚒", "B-P", "0"]
)


@pytest.mark.parametrize("name", TEXTS)
@SETTINGS
@given(data=st.data())
def test_changed_characters_in_a_file_cost_at_most_their_lines(name, data, tmp_path):
    text = TEXTS[name]
    for _ in range(data.draw(st.integers(1, 4))):
        k = data.draw(st.integers(0, len(text)))
        text = text[:k] + data.draw(PIECES) + text[k + data.draw(st.integers(0, 2)) :]
    path = tmp_path / name
    file = path
    if name == "brat":
        path.mkdir(exist_ok=True)
        write(path / "a.txt", "Bo came.")
        file = path / "a.ann"
    file.write_bytes(text.encode("utf8", errors="surrogatepass"))
    convert_or_explain(path, tmp_path / "out")
