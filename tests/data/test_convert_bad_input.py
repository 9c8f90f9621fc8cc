"""What is wrong with a file is said with the place, what is allowed, and what to do."""

import json
import tracemalloc
from functools import partial

import pytest
from converting import adds_up, converted, run, write

from spacy_reprtune.data.convert import convert
from spacy_reprtune.data.corpus import SplitWriter
from spacy_reprtune.data.formats import detect_format
from spacy_reprtune.data.formats.columnar import require
from spacy_reprtune.data.record import Columns
from spacy_reprtune.data.stratify import Layout

CSV = "text,label\nA warm lamp,good\nA cold lamp,bad\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "\n\n", "is empty: it needs a header"),
        ("a.csv", "text,label\n", "There is no text in"),
        ("a.csv", CSV.replace(",", ";"), "cut at each semicolon: --separator semicolon"),
        ("a.csv", "text;label\na, b;x\n", "cut at each semicolon: --separator semicolon"),
        ("a.csv", CSV.replace(",", "\t"), "cut at each tab: --separator tab"),
        ("a.tsv", CSV, "cut at each comma: --separator comma"),
        ("a.csv", "Text,label\na,b\n", "no column 'text'; there are 'Text', 'label'.* 'Text'"),
        ("a.csv", "text,lable\na,b\n", "no column 'label'.*Did you mean 'lable'"),
        (
            "a.csv",
            "text,label\na,b,c,d\n",
            "line 2 has 4 cells, .* than the header has .*cut at each comma",
        ),
        ("a.csv", 'text,label\n"a\n', r"line 2 can't be read as a table.*quote"),
        ("a.csv", "text,label\na,\nb,\n", r"None of the 2 texts .* not annotated \(2\)"),
        ("a.jsonl", '{"text": "a"}\n', r"not annotated \(1\).* --label names another place"),
        ("a.jsonl", '{"txt": "a"}\n', "line 1: there is no column 'text'; .*mean 'txt'"),
        ("a.jsonl", '{"text": 3, "label": "b"}\n', "line 1: 'text' is 3; it has to be a text"),
        ("a.jsonl", "text\n", "line 1 is not JSON"),
        ("a.jsonl", '["a"]\n', "line 1 is .*it has to be an object"),
        ("a.jsonl", '[{"text": "a"},\n', "one list of objects .* name it .json"),
        ("a.jsonl", '{"text": "a", "spans": [[0, 1]]}', r"span \[0, 1\]. A span needs"),
        ("a.jsonl", '{"text": "a", "spans": [["a", 1, "X"]]}', "A span needs a first character"),
        ("a.jsonl", '{"text": "a", "cats": {"x": 2}}', "score of 'x' is 2; .* between 0 and 1"),
        ("a.jsonl", '{"text": "a", "label": [1, "x"]}', "allowed are a label"),
        ("a.jsonl", '{"text": "a", "answer": "yes"}', "'answer' is 'yes'; Prodigy writes accept"),
        ("a.json", '{"text": "a"}', "it has to be a list of objects"),
        ("a.conll", "Mira\n", "line 1: 'Mira' has 1 column, and 2 are needed"),
        ("a.conll", "Mira\tPER\n", "line 1: 'PER' is not a tag"),
        ("a.conll", "\tB-PER\n", "has a tag and no token"),
        ("a.conll", "\n\n", "There is no text in"),
        ("a.txt", "Mira met Jon.\n", "format of .* is not clear .* --format csv"),
        ("a.parquet", "none", "can't be read as Parquet"),
    ],
)
def test_a_wrong_file_is_explained(name, content, message, tmp_path):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        converted(path, tmp_path)
    assert not list((tmp_path / "out").glob("*.spacy"))


def test_the_command_shows_the_message_and_no_traceback(tmp_path):
    done = run(write(tmp_path / "a.csv", CSV.replace(",", ";")), tmp_path / "out")
    assert done.exit_code == 1
    assert "--separator semicolon" in done.output and "Traceback" not in done.output
    done = run(tmp_path / "a.csv", tmp_path / "out", "--separator", "semicolon", "--split", "100")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(encoding, tmp_path):
    path = write(tmp_path / "a.csv", CSV.replace("warm", "wärm"), encoding=encoding)
    _, docs = converted(path, tmp_path)
    assert docs[0].text == "A wärm lamp"
    row = json.dumps({"text": "wärm", "label": "x"}, ensure_ascii=False)
    _, docs = converted(write(tmp_path / "a.jsonl", row, encoding=encoding), tmp_path)
    assert docs[0].text == "wärm"


def test_mixed_encodings_are_located_and_can_be_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nKöln,a\n".encode() + "Zürich,b\nBär,b\n".encode("cp1252"))
    with pytest.raises(ValueError, match="2 lines do not fit; the first is line 3, near 'Zürich,b"):
        converted(path, tmp_path)
    _, docs = converted(path, tmp_path, columns=Columns(encodings=("utf-8", "cp1252")))
    assert [doc.text for doc in docs] == ["Köln", "Zürich", "Bär"]
    with pytest.raises(ValueError, match="encoding 'utf9' is unknown"):
        converted(path, tmp_path, columns=Columns(encodings=("utf9",)))


def test_short_rows_and_blank_texts_are_counted(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na lamp\n  ,good\n,bad\na chair,good\n")
    manifest, _ = converted(path, tmp_path)
    assert adds_up(manifest) == (4, 1)
    assert manifest["texts"]["dropped"] == {"empty text": 2, "not annotated": 1}


def test_labels_that_differ_by_case_or_spaces_are_warned_of(tmp_path):
    rows = "text,label\none,Good\ntwo,good \nthree,good\nfour, good\nfive,bad\n"
    path = write(tmp_path / "a.csv", rows)
    done = run(path, tmp_path / "out", "--split", "100")
    said = " ".join(done.output.split())
    assert done.exit_code == 0
    assert "These labels may be the same: ' good', 'Good', 'good', 'good '" in said
    assert "--merge-labels makes them one" in said
    manifest, _ = converted(path, tmp_path, merge_labels=True)
    assert manifest["labels"] == ["bad", "good"]
    assert adds_up(manifest) == (5, 5)


def test_quotes_separators_and_line_ends_inside_cells_are_text(tmp_path):
    cells = ['say ""no"", please', "one, two; three", "first\nsecond\r\nthird", "it's\tfine"]
    rows = "".join(f'"{cell}",good\r\n' for cell in cells)
    path = write(tmp_path / "a.csv", "text,label\r\n" + rows)
    manifest, docs = converted(path, tmp_path)
    assert adds_up(manifest) == (4, 4)
    assert [doc.text for doc in docs] == [cell.replace('""', '"') for cell in cells]


def test_spans_past_the_end_of_a_text_are_counted_and_shown(tmp_path):
    rows = [
        {"text": "Mira", "spans": [[0, 4, "PERSON"], [0, 5, "PERSON"], [40, 44, "PERSON"]]},
        {"text": "Jon", "spans": [[0, 3, "PERSON"]]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    done = run(path, tmp_path / "out", "--split", "100")
    said = " ".join(done.output.split())
    assert done.exit_code == 0 and "entities: 4 in, 2 out, 2 dropped" in said
    assert "2 outside of the text" in said and "line 1: PERSON 0:5 of 4 characters" in said


def test_spans_of_every_wrong_kind_are_counted(tmp_path):
    spans = [[0, 0, "X"], [-1, 2, "X"], [3, 2, "X"], [1, 2, "X"], [0, 1, " "], [0, 9, "X"]]
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "a b", "spans": spans}))
    manifest, _ = converted(path, tmp_path)
    adds_up(manifest)
    assert manifest["entities"]["dropped"] == {
        "empty": 2,
        "outside of the text": 2,
        "only white space": 1,
        "no label": 1,
    }


def test_brat_folders_with_something_missing(tmp_path):
    folder = tmp_path / "brat"
    folder.mkdir()
    write(folder / "a.ann", "T1\tX 0 1\ta\n")
    with pytest.raises(ValueError, match=r"a\.txt is not beside it"):
        converted(folder, tmp_path)
    write(folder / "a.txt", "b c\n")
    manifest, _ = converted(folder, tmp_path)
    assert manifest["entities"]["dropped"] == {"the text there is not what the file says": 1}
    write(folder / "a.ann", "T1 X 0 1 a\n")
    with pytest.raises(ValueError, match="line 1: .* is not an entity. BRAT writes"):
        converted(folder, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"align": "loose"}, "--align is 'loose'; it can be strict, contract, expand"),
        ({"format": "xml"}, "format 'xml' is unknown; known are csv"),
        ({"lang": "klingon"}, "no language 'klingon'"),
        ({"columns": Columns(texts=("body",))}, "no column 'body'"),
        ({"columns": Columns(group="author")}, "no column 'author'; .* --group NAME"),
        ({"columns": Columns(sentences=0)}, "--sentences is 0"),
    ],
)
def test_a_wrong_option_is_explained(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        converted(write(tmp_path / "a.csv", CSV), tmp_path, **settings)


def test_token_files_have_no_groups(tmp_path):
    path = write(tmp_path / "a.conll", "Mira\tB-PER\n")
    with pytest.raises(ValueError, match="files of one token per line have no such column"):
        converted(path, tmp_path, columns=Columns(group="author"))


def test_a_split_and_a_dev_file_contradict(tmp_path):
    path = write(tmp_path / "a.csv", CSV)
    with pytest.raises(ValueError, match="Use one of the two"):
        convert({"train": path, "dev": path}, tmp_path / "out", split="80/20")


def test_what_is_no_annotated_folder_is_explained(tmp_path):
    with pytest.raises(ValueError, match="not a saved dataset .* no Parquet files .* no BRAT"):
        detect_format(tmp_path)
    with pytest.raises(ValueError, match="nothing at"):
        detect_format(tmp_path / "none")


def test_a_library_that_is_missing_is_named_with_its_extra():
    with pytest.raises(ValueError, match=r"needs nolib: pip install 'spacy-reprtune\[convert\]'"):
        require("rt_no_such_library", "nolib")


def test_memory_hardly_grows_with_the_texts(tmp_path, monkeypatch):
    """Of a row, only its place in the splits is kept."""

    def peak(rows):
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("text,label\n")
            for k in range(rows):
                file.write(f"the lamp number {k} on shelf {k % 97} is warm and bright,l{k % 3}\n")
        tracemalloc.start()
        manifest = convert({"train": path}, tmp_path / "out")
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert adds_up(manifest) == (rows, rows)
        return size

    # Small parts, so that what is read and written next is not a large share.
    monkeypatch.setitem(SplitWriter.__init__.__kwdefaults__, "part_tokens", 5000)
    monkeypatch.setattr("spacy_reprtune.data.convert.Layout", partial(Layout, chunk=100))
    monkeypatch.setattr("spacy_reprtune.data.convert._ZONE", 100)
    first, second = peak(300), peak(1800)
    assert second - first < 1500 * 600, (first, second)
