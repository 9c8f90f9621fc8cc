"""Whatever is in a file: a corpus, or an error that names the file. Never a bare TypeError."""

# Rows of data are easier to read in one line.

import json

import pytest
from converting import adds_up, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
ROWS = {
    "plain.jsonl": [{"text": "Bo Li met Ann", "label": "x"}, {"text": "a", "cats": {"x": 1.0}}],
    "spans.jsonl": [
        {"text": "Bo Li", "spans": [{"start": 0, "end": 5, "label": "P", "text": "Bo Li"}]}
    ],
    "prodigy.jsonl": [
        {"text": "Bo", "options": [{"id": 1}, {"id": "b"}], "accept": [1], "answer": "accept"},
        {
            "text": "Bo",
            "tokens": [{"id": 0, "start": 0, "end": 2, "text": "Bo"}],
            "spans": [{"start": 0, "end": 2, "token_start": 0, "token_end": 0, "label": "P"}],
            "answer": "reject",
        },
    ],
    "tokens.jsonl": [{"tokens": ["Bo", "came"], "ner_tags": ["B-P", "O"]}],
    "words.jsonl": [
        {"sentence": 1, "word": "Bo", "tag": "B-P"},
        {"sentence": 1, "word": "a", "tag": "O"},
    ],
    "label_studio.json": [
        {
            "data": {"text": "Bo"},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "labels",
                            "value": {"start": 0, "end": 2, "text": "Bo", "labels": ["P"]},
                        },
                        {"type": "choices", "value": {"choices": ["good"]}},
                        {
                            "type": "hypertextlabels",
                            "value": {
                                "globalOffsets": {"start": 0, "end": 2},
                                "hypertextlabels": ["P"],
                            },
                        },
                    ]
                }
            ],
        }
    ],
    "tuples.json": [["Bo Li", {"entities": [[0, 2, "P"]], "cats": {"x": 1}}]],
    "document.json": [
        {
            "text": "Bo a",
            "tokens": [{"id": 0, "start": 0, "end": 2}, {"id": 1, "start": 3, "end": 4}],
            "ents": [{"start": 0, "end": 2, "label": "P"}],
            "sents": [{"start": 0, "end": 4}],
            "spans": {"sc": [{"start": 0, "end": 2, "label": "P"}]},
        }
    ],
}


def places(value, path=()):
    """Every place in nested lists and objects."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def convert_or_explain(path, output):
    try:
        manifest = convert({"train": path}, output, split="100")
    except ValueError as error:
        assert path.name in str(error), error
    else:
        adds_up(manifest)


@pytest.mark.parametrize("name", ROWS)
@SETTINGS
@given(data=st.data())
def test_a_changed_value_in_a_row_costs_at_most_the_row(name, data, tmp_path):
    rows = ROWS[name]
    place = data.draw(st.sampled_from(list(places(rows))[1:]))
    mutated = [*replaced(rows, place, data.draw(VALUES)), *rows]
    if name.endswith(".json"):
        content = json.dumps(mutated)
    else:
        content = "\n".join(map(json.dumps, mutated)) + "\n"
    path = write(tmp_path / name, content)
    convert_or_explain(path, tmp_path / "out")


TEXT = {
    "a.csv": 'text,label\n"Bo ""Li"" met, Ann",x\na,"[1, 2]"\n',
    "a.tsv": 'text\tlabel\n"Bo" Li\tx\n',
    "a.conll": "-DOCSTART- O\n\nBo\tB-P\nLi\tI-P\n\na\tO\n",
    "a.jsonl": '{"text": "a", "label": "x"}\n',
    "a.json": '[{"text": "a", "label": "x"}]',
    "brat": "T1\tP 0 2\tBo\nR1\tx Arg1:T1 Arg2:T1\n",
}
PIECES = st.sampled_from(
    [*'",\t\n\r;|[]{}-OB_ \\', "\x00", "\x85", "\u2028", "\ud83d", "🚒", "B-P", "0"]
)


@pytest.mark.parametrize("name", TEXT)
@SETTINGS
@given(data=st.data())
def test_changed_characters_in_a_file_cost_at_most_their_lines(name, data, tmp_path):
    text = TEXT[name]
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
