"""Inputs of `benchmarks.fuzz`: odd texts, damaged bytes, odd annotation and mutated exports."""

import json
import random
import re
import shutil
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Tuple

# How often the rows of an export stand in its file.
COPIES = 32
_HALF = re.compile("[\ud800-\udfff]")
# Where characters come from: letters, scripts without spaces, combining marks, emoji and their
# joiners, private use, controls, line ends of Unicode, directions, half-width forms.
_RANGES = (
    *((32, 127), (0, 32), (127, 160), (160, 592), (768, 880), (1024, 1280), (1424, 1792)),
    *((2304, 2432), (3584, 3712), (4352, 4608), (8192, 8304), (11904, 12544), (19968, 20992)),
    *((44032, 45056), (57344, 57600), (64256, 65280), (65280, 65536), (119808, 120064)),
    *((127744, 129792), (917504, 917632), (983040, 983100)),
)
_SPECIAL = ["\u200d", "\ufeff", "\u0085", "\u2028", "\x00", "\r\n", "[SEP]", "##a", "▁", "<0x41>"]
_PLAIN = ["the film", "lovely", "a", ".", "don't", "http://a.b/c?d=e", "1787.", "U.S.", "x" * 200]


def random_text(draw: random.Random) -> str:
    """Make a text of known words, odd characters and repetitions.

    draw (Random): Source of chance.
    RETURNS (str): The text, from nothing up to some thousand characters.
    """
    parts: List[str] = []
    # Most faults need a few characters; some need several windows.
    for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 3, 4, 5, 12] if draw.random() < 0.95 else [40])):
        kind = draw.random()
        if kind < 0.3:
            part = draw.choice(_PLAIN)
        elif kind < 0.5:
            part = draw.choice(_SPECIAL)
        else:
            low, high = draw.choice(_RANGES)
            part = "".join(chr(draw.randrange(low, high)) for _ in range(draw.randint(1, 9)))
        if draw.random() < 0.2:
            part = unicodedata.normalize(draw.choice(["NFC", "NFD", "NFKC", "NFKD"]), part)
        part *= draw.choice([1] * 40 + [2, 60])
        parts += [part, draw.choice(["", " ", " ", "  ", "\n", "\u00a0"])]
    return "".join(parts)[:4000]


def damage(draw: random.Random, content: bytes) -> Tuple[str, bytes]:
    """Damage a file.

    draw (Random): Source of chance.
    content (bytes): The file.
    RETURNS (Tuple[str, bytes]): What was done, and the damaged file.
    """
    changed = bytearray(content)
    place = draw.randrange(max(1, len(content)))
    kind = draw.choice(["flip", "cut", "zero", "add", "empty"])
    if kind == "flip" and content:
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del changed[place:]
    elif kind == "zero":
        end = min(len(content), place + draw.randint(1, 64))
        changed[place:end] = bytes(end - place)
    elif kind == "add":
        changed += draw.randbytes(draw.randint(1, 64))
    else:
        changed = bytearray()
    return f"{kind} at {place} of {len(content)}", bytes(changed)


def gap(draw: random.Random, doc: Any) -> None:
    """Annotate a doc with categories and entities at random places, or with nothing.

    draw (Random): Source of chance.
    doc (Doc): The doc, changed in place.
    """
    labels = ("good", "bad", "NEW", "")
    kind = draw.random()
    if kind < 0.3:
        doc.cats = {draw.choice(labels): draw.choice([0.0, 1.0, 0.3]) for _ in range(2)}
    elif kind < 0.6:
        good = float(draw.random() < 0.5)
        doc.cats = {"good": good, "bad": 1.0 - good}
    if draw.random() < 0.7 and len(doc):
        start = draw.randrange(len(doc))
        span = doc[start : start + draw.randint(1, 4)]
        label = draw.choice(["FILM", "ACTOR", "NEW", "B-X"])
        default = draw.choice(["outside", "missing"])
        doc.set_ents([doc.char_span(span.start_char, span.end_char, label=label)], default=default)
    elif draw.random() < 0.5:
        doc.set_ents([])


_SPAN = {"start": 0, "end": 2, "label": "P", "text": "Bo"}
_TOKEN = {"id": 0, "start": 0, "end": 2, "text": "Bo"}
_RESULTS = [
    {"type": "labels", "from_name": "l", "value": {**_SPAN, "labels": ["P"]}},
    {"type": "choices", "from_name": "c", "value": {"choices": ["good"]}},
    {
        "type": "hypertextlabels",
        "value": {"globalOffsets": {"start": 0, "end": 2}, "text": "Bo", "hypertextlabels": ["P"]},
    },
]
OBJECTS = {
    "plain.jsonl": [{"text": "Bo came", "label": "x"}, {"text": "a", "cats": {"x": 1.0}}],
    "spans.jsonl": [
        {"text": "Bo came", "spans": [_SPAN]},
        {"text": "🚒 Bo", "label": [[2, 4, "P"]]},
    ],
    "doccano.jsonl": [
        {
            "id": 1,
            "text": "Bo came",
            "entities": [{"id": 7, "label": "P", "start_offset": 0, "end_offset": 2}],
            "relations": [],
        }
    ],
    "prodigy.jsonl": [
        {"text": "Bo", "options": [{"id": 1}, {"id": "b"}], "accept": [1], "answer": "accept"},
        {"text": "Bo", "label": "x", "answer": "reject"},
        {
            "text": "Bo",
            "tokens": [_TOKEN],
            "spans": [{**_SPAN, "token_start": 0, "token_end": 0}],
            "answer": "accept",
        },
    ],
    "tokens.jsonl": [{"tokens": ["Bo", "came"], "ner_tags": ["B-P", "O"]}],
    "words.jsonl": [{"sentence": k // 2, "word": "Bo", "tag": "B-P"} for k in range(6)],
    "label_studio.json": [
        {"data": {"text": "Bo came"}, "annotations": [{"result": _RESULTS[:2]}]},
        {"data": {"text": "<p>Bo</p>"}, "annotations": [{"result": _RESULTS[2:]}]},
    ],
    "min.json": [
        {"text": "Bo came", "label": [{"start": 0, "end": 2, "text": "Bo", "labels": ["P"]}]}
    ],
    "tuples.json": [["Bo came", {"entities": [[0, 2, "P"]], "cats": {"x": 1}}]],
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
TEXTS = {
    "quotes.csv": 'text,label\n"Bo ""Li"" met, Ann",x\na,"[1, 2]"\n',
    "spans.csv": 'id,text,label\n1,Bo came,"[{""start"":0,""end"":2,""labels"":[""P""]}]"\n',
    "words.csv": "Sentence #,Word,Tag\n1,Bo,B-P\n,came,O\n2,Li,B-P\n,ran,O\n",
    "plain.tsv": 'text\tlabel\n"Bo" Li\tx\n',
    "plain.conll": "-DOCSTART- O\n\nBo\tB-P\nLi\tI-P\n\na\tO\n",
    "brat": "T1\tP 0 2\tBo\nR1\tx Arg1:T1 Arg2:T1\nA1\ty T1\n",
}
_PIECES = [
    *'",\t\n\r;|[]{}()-OB_ \\:0',
    "\x00",
    "\x85",
    "\u2028",
    "\ufeff",
    "🚒",
    "B-P",
    "null",
    '""',
]
_VALUES = [None, True, 3, -1, 2.5, float("nan"), 10**30, "", "Bo", " ", "[1]", "{", "🚒", [], {}]
_VALUES += [[None], [[]], {"": None}, {"start": 0}, ["x", 1], [[0, 2, "P"]], "\ud83d"]


@dataclass
class Mutated:
    """An export with some changes.

    path (Path): File or folder.
    changes (List[str]): Each change, to be shown.
    n_untouched (int): Number of texts that no change may cost; 0 where that is not known.
    """

    path: Path
    changes: List[str]
    n_untouched: int = 0


def mutate_rows(draw: random.Random, folder: Path) -> Mutated:
    """Write an export with some values or characters changed.

    draw (Random): Source of chance.
    folder (Path): Where to write. Its content is removed.
    RETURNS (Mutated): What was written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    name = draw.choice([*OBJECTS, *TEXTS])
    result = Mutated(folder / name, [])
    if name in OBJECTS:
        # Good rows around the changed ones: these must not cost them.
        rows = OBJECTS[name] * COPIES
        changed = set()
        for _ in range(draw.randint(4, 32)):
            index, *inner = draw.choice(list(places(OBJECTS[name]))[1:])
            place = (index + len(OBJECTS[name]) * draw.randrange(COPIES), *inner)
            if place[0] not in changed:
                value = draw.choice(_VALUES)
                rows = replaced(rows, place, value)
                changed.add(place[0])
                result.changes.append(f"{place}: {value!r}")
        if name.endswith(".json"):
            text = json.dumps(rows, ensure_ascii=draw.random() < 0.5)
        else:
            text = "".join(json.dumps(row) + "\n" for row in rows)
        # A word belongs to the sentence of its neighbors.
        result.n_untouched = 0 if name == "words.jsonl" else len(rows) - len(changed)
    else:
        text = TEXTS[name] * 8
    if name in TEXTS or draw.random() < 0.2:
        for _ in range(draw.randint(1, 12)):
            k, piece, cut = draw.randint(0, len(text)), draw.choice(_PIECES), draw.randint(0, 2)
            text = text[:k] + piece + text[k + cut :]
            result.changes.append(f"{piece!r} for {cut} characters at {k}")
        result.n_untouched = 0
    if draw.random() < 0.1:
        end = draw.choice(["\r\n", "\r"])
        text = text.replace("\n", end)
        result.changes.append(f"lines end with {end!r}")
    encoding = draw.choice(["utf-8"] * 8 + ["utf-8-sig", "utf-16"])
    content = text.encode(encoding, "surrogatepass")
    if _HALF.search(text):
        # Half of a pair that is not escaped: no encoding has such bytes.
        result.n_untouched = 0
    if draw.random() < 0.05:
        change, content = damage(draw, content)
        result.changes.append(change)
        result.n_untouched = 0
    if name == "brat":
        result.path.mkdir()
        (result.path / "a.txt").write_bytes(b"Bo came.")
        (result.path / "a.ann").write_bytes(content)
    else:
        result.path.write_bytes(content)
    return result


def places(value: Any, path: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    """Find every place in nested lists and objects.

    value (Any): The lists and objects.
    path (Tuple[Any, ...]): Keys and indices that lead to them.
    YIELDS (Tuple[Any, ...]): Keys and indices that lead to a value, the whole first.
    """
    yield path
    items = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value: Any, path: Tuple[Any, ...], new: Any) -> Any:
    """RETURNS (Any): A copy of nested lists and objects with another value at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy
