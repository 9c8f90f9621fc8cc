"""Files as they are found: ids of other types, damaged cells, keys twice, files that are not text."""

# Rows of data are easier to read in one line.
# ruff: noqa: E501

import gzip
import json

import pytest
from converting import adds_up, converted, write

from spacy_reprtune.data.convert import convert
from spacy_reprtune.data.record import Columns

TASK = {"data": {"text": "Bo came"}, "annotations": [{"result": []}]}


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n"


def ents(docs):
    return [(ent.text, ent.label_) for doc in docs for ent in doc.ents]


def cats(docs):
    return [{label for label, score in doc.cats.items() if score} for doc in docs]


def test_numbers_are_ids_in_answers_regions_and_choices(tmp_path):
    rows = [
        {"text": "a", "label": 1, "answer": "accept"},
        {"text": "b", "options": [{"id": 1}, {"id": "2"}], "accept": [1.0], "answer": "accept"},
    ]
    _, docs = converted(write(tmp_path / "a.jsonl", lines(*rows)), tmp_path)
    assert cats(docs) == [{"1"}, {"1"}]
    value = {"start": 0, "end": 2, "text": "Bo", "labels": [1]}
    results = [{"type": "labels", "value": value}, {"type": "choices", "value": {"choices": [2]}}]
    task = {**TASK, "annotations": [{"result": results}]}
    _, docs = converted(write(tmp_path / "a.json", json.dumps([task])), tmp_path)
    assert ents(docs) == [("Bo", "1")] and cats(docs) == [{"2"}]


@pytest.mark.parametrize("ids", [(0, 1), ("0", "1"), (0.0, 1.0)])
def test_a_span_of_prodigy_is_compared_with_its_tokens_whatever_type_their_ids_have(ids, tmp_path):
    tokens = [
        {"id": ids[0], "start": 0, "end": 2, "text": "🚒"},
        {"id": ids[1], "start": 3, "end": 5, "text": "Bo"},
    ]
    spans = [
        {"start": 3, "end": 5, "token_start": 1, "token_end": 1, "label": "P"},
        {"start": 0, "end": 5, "token_start": 1, "token_end": 1, "label": "P"},
    ]
    rows = [{"text": "🚒 Bo Li", "tokens": tokens, "spans": [s], "answer": "accept"} for s in spans]
    manifest, docs = converted(write(tmp_path / "a.jsonl", lines(*rows)), tmp_path)
    # The first counts UTF-16 units, which the text of the token shows.
    assert ents(docs) == [("Bo", "P")]
    assert manifest["texts"]["dropped"] == {"offsets of a span and of its tokens differ": 1}


@pytest.mark.parametrize("ids", [("0", "1"), ("0.0", "1.0"), ("00", " 1")])
def test_ids_get_their_names_however_they_are_written(ids, tmp_path):
    path = write(tmp_path / "a.csv", f"text,label\nwarm,{ids[1]}\ncold,{ids[0]}\n")
    _, docs = converted(path, tmp_path, label_names=write(tmp_path / "n.txt", "bad\ngood\n"))
    assert cats(docs) == [{"good"}, {"bad"}]


@pytest.mark.parametrize("first", [0, 1])
def test_names_that_begin_with_numbers_are_names_if_the_rest_is_not_unique(first, tmp_path):
    names = write(tmp_path / "names.txt", "1 star\n2 star\n3 stars\n4 stars\n")
    rows = "".join(f"review {k},{k}\n" for k in range(first, first + 4))
    path = write(tmp_path / "a.csv", f"text,label\n{rows}")
    _, docs = converted(path, tmp_path, label_names=names)
    assert cats(docs) == [{"1 star"}, {"2 star"}, {"3 stars"}, {"4 stars"}]
    names = write(tmp_path / "names.txt", "0 none\n1 low\n2 fair\n3 good\n4 best\n")
    _, docs = converted(path, tmp_path, label_names=names)
    assert cats(docs) == [{"none"}, {"low"}, {"fair"}, {"good"}, {"best"}][first : first + 4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.txt", "0\tbad\n1\tbad\n", "the name 'bad' more than once"),
        ("names.txt", "0,bad\n00,good\n", "the id '0' more than once"),
        ("names.txt", "bad\ngood\nbad\n", "the name 'bad' more than once"),
        ("names.json", '{"0": "bad", "1": "bad"}', "the name 'bad' more than once"),
        ("names.json", '["bad", "bad"]', "the name 'bad' more than once"),
    ],
)
def test_a_name_of_two_ids_is_refused(name, content, message, tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nwarm,1\ncold,0\n")
    with pytest.raises(ValueError, match=rf"{name} has {message}"):
        converted(path, tmp_path, label_names=write(tmp_path / name, content))


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['x' 'y']", {"x", "y"}),
        ("[0 1]", {"0", "1"}),
        ("('x', 'y')", {"x", "y"}),
        ('"[\\"x\\"]"', {"x"}),
        ("(none)", {"(none)"}),
        ("[none]", {"[none]"}),
        ('[{"start":0,"end":1,', None),
        ("[{'start': 0, 'score': nan}]", None),
    ],
)
def test_lists_in_cells_are_read_or_counted_as_damaged(cell, labels, tmp_path):
    rows = [{"text": "a", "label": cell}, {"text": "b", "label": "z"}]
    manifest, docs = converted(write(tmp_path / "a.jsonl", lines(*rows)), tmp_path)
    assert cats(docs) == ([labels, {"z"}] if labels else [{"z"}])
    assert manifest["texts"]["dropped"] == ({} if labels else {"damaged JSON in a cell": 1})


@pytest.mark.parametrize("cell", ["['Bo', 'came']", "['Bo' 'came']", '[""Bo"", ""came""]'])
def test_tables_with_lists_of_tokens_are_read(cell, tmp_path):
    tags = cell.replace("Bo", "B-P").replace("came", "O")
    path = write(tmp_path / "a.csv", f'tokens,ner_tags\n"{cell}","{tags}"\n')
    assert ents(converted(path, tmp_path)[1]) == [("Bo", "P")]


@pytest.mark.parametrize("header", ["label\ttext", "text\tlabel"])
def test_cells_of_a_table_with_tabs_may_have_line_ends_in_quotes(header, tmp_path):
    texts = ["first\n\nsecond", 'she said ""yes"" twice', "one\ttwo", "plain"]
    rows = [("good", f'"{text}"') for text in texts[:3]] + [("bad", texts[3])]
    rows = ["\t".join(row if header.startswith("label") else row[::-1]) for row in rows]
    path = write(tmp_path / "a.tsv", "\n".join([header, *rows, ""]))
    manifest, docs = converted(path, tmp_path)
    assert adds_up(manifest) == (4, 4)
    assert [doc.text for doc in docs] == [text.replace('""', '"') for text in texts]
    assert cats(docs) == [{"good"}] * 3 + [{"bad"}]


@pytest.mark.parametrize("more", ["", "bad\tcool\tnights\n", "bad\n"])
def test_quotes_that_enclose_no_cells_of_a_table_with_tabs_are_text(more, tmp_path):
    rows = 'label\ttext\ngood\t"Warm" is how I like it\nbad\t"cold\nbad\tdamp"\n'
    _, docs = converted(write(tmp_path / "a.tsv", rows + more), tmp_path)
    assert [doc.text for doc in docs] == ['"Warm" is how I like it', '"cold', 'damp"']


def test_a_key_or_a_column_twice_is_never_resolved_in_silence(tmp_path):
    twice = '{"text": "a", "label": "x", "label": "y"}'
    good = {"text": "b", "label": "x"}
    nested = '{"text": "a", "cats": {"x": 1, "x": 0}}'
    for name, content in (
        ("a.jsonl", lines(twice, good, nested)),
        ("a.json", f"[{twice}, {json.dumps(good)}, {nested}]"),
    ):
        manifest, docs = converted(write(tmp_path / name, content), tmp_path)
        assert manifest["texts"]["dropped"] == {"a key twice": 2} and len(docs) == 1
    path = write(tmp_path / "a.csv", "text,label,label\na,x,y\n")
    with pytest.raises(ValueError, match=r"a\.csv has 2 columns named 'label'"):
        converted(path, tmp_path)


def test_a_cell_that_is_not_there_says_nothing_about_its_label(tmp_path):
    path = write(tmp_path / "a.csv", "text,p,q\na\nb,1,0\nc,,1\nd,1\n")
    manifest, docs = converted(path, tmp_path, columns=Columns(labels=("p", "q")))
    assert manifest["texts"]["dropped"] == {"not annotated": 1}
    assert [doc.cats for doc in docs] == [{"p": 1, "q": 0}, {"p": 0, "q": 1}, {"p": 1}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0), "is compressed by gzip. Unpack it first"),
        ("a.csv", b"PK\x03\x04rest", "zip archive or a spreadsheet"),
        ("a.csv", "text,label\na,x\n".encode("utf-16-le"), "--encoding utf-16-le"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16-be"), "--encoding utf-16-be"),
        ("a.jsonl", b'[{"text": "a", "label": "x"}]\n', "one list of objects .* name it .json"),
        ("a.jsonl", b'{\n  "text": "a"\n}\n', "over several lines .* name it .json"),
        ("a.json", b'{"text": {"0": "a"}}', "list of objects.*or one object per line"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        converted(path, tmp_path)
    assert name in str(error.value)


def test_json_lines_are_read_under_other_names_and_with_marks_inside(tmp_path):
    row = json.dumps({"text": "a", "label": "x"})
    path = write(tmp_path / "a.json", f"{row}\n{row}\n")
    assert len(converted(path, tmp_path)[1]) == 2
    path = write(tmp_path / "a.jsonl", f"\ufeff{row}\n\ufeff{row}\n")
    assert len(converted(path, tmp_path)[1]) == 2


@pytest.mark.parametrize("first", ["null", "3", "{}", '{"data": null, "annotations": []}', "{"])
def test_a_damaged_first_row_costs_only_itself(first, tmp_path):
    task = {**TASK, "annotations": [{"result": [{"type": "choices", "value": {"choices": "x"}}]}]}
    path = write(tmp_path / "a.jsonl", lines(first, task, task))
    manifest, docs = converted(path, tmp_path)
    assert adds_up(manifest) == (3, 2) and cats(docs) == [{"x"}, {"x"}]


def test_one_odd_tag_does_not_turn_a_table_of_words_into_texts(tmp_path):
    rows = "".join(f"{k},Bo,B-per\n{k},came,O\n" for k in range(10))
    path = write(tmp_path / "a.csv", f"sentence,Word,Tag\n10,Bo,person\n{rows}")
    columns = Columns(texts=("Word",), labels=("Tag",))
    manifest, docs = converted(path, tmp_path, columns=columns)
    assert manifest["texts"]["dropped"] == {"tag not understood": 1}
    assert ents(docs) == [("Bo", "per")] * 10


@pytest.mark.parametrize(
    "row",
    [{"ents": 3}, {"spans": "x"}, {"entities": ["x"]}, {"cats": 3}, {"spans": {"sc": [3]}}],
)
def test_a_number_or_text_in_place_of_spans_is_not_a_label(row, tmp_path):
    path = write(tmp_path / "a.jsonl", lines({"text": "a", "label": "z"}, {"text": "b", **row}))
    manifest, docs = converted(path, tmp_path)
    assert manifest["texts"]["dropped"] == {"annotation not understood": 1} and len(docs) == 1


def test_spans_that_only_fit_words_in_utf16_units_are_warned_of(tmp_path):
    row = {"text": "🚒🚒 Bern, Rome", "label": [[5, 9, "C"]]}
    path = write(tmp_path / "a.jsonl", lines(row, row))
    (note,) = [x for x in converted(path, tmp_path)[0]["notes"] if "--offsets utf-16" in x]
    assert "a.jsonl" in note
    manifest, docs = converted(path, tmp_path, columns=Columns(offsets="utf-16"))
    assert ents(docs) == [("Bern", "C")] * 2 and not manifest["notes"]


def test_a_name_that_label_studio_does_not_have_is_counted_or_refused(tmp_path):
    result = {"type": "choices", "from_name": "tone", "value": {"choices": ["x"]}}
    path = write(tmp_path / "a.json", json.dumps([{**TASK, "annotations": [{"result": [result]}]}]))
    manifest, _ = converted(path, tmp_path, columns=Columns(labels=("tune",)))
    assert manifest["ignored"] == {"result of 'tone'": 1}
    assert manifest["notes"] == [
        "No text has a label or an entity under tune, which --label names."
    ]
    with pytest.raises(ValueError, match="no column 'author'"):
        converted(path, tmp_path, columns=Columns(group="author"))


def test_relations_and_entities_of_white_space_are_counted(tmp_path):
    row = {"text": "Bo", "entities": [[0, 2, "P"]], "relations": [{"id": 1}, {"id": 2}]}
    manifest, _ = converted(write(tmp_path / "a.jsonl", lines(row)), tmp_path)
    assert manifest["ignored"] == {"relation": 2}
    manifest, _ = converted(write(tmp_path / "a.conll", "\u00a0\tB-X\na\tB-Y\n"), tmp_path)
    assert manifest["entities"]["dropped"] == {"only white space": 1}


def test_folders_of_labels_have_no_groups_and_no_empty_label(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    write(folder / "good.txt", "warm\n")
    write(folder / "bad.txt", "")
    with pytest.raises(ValueError, match=r"bad\.txt is empty"):
        convert({"train": folder}, tmp_path / "out", format="lines")
    with pytest.raises(ValueError, match="--group is 'author'"):
        columns = Columns(group="author")
        convert({"train": folder}, tmp_path / "out", format="lines", columns=columns)


def test_damaged_parquet_names_its_file(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a b"] * 5000, "label": ["x", "y"] * 2500}), path)
    content = bytearray(path.read_bytes())
    content[20:90] = bytes(70)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.parquet is damaged"):
        converted(path, tmp_path)
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "label", "label"])
    parquet.write_table(table, path)
    with pytest.raises(ValueError, match=r"a\.parquet has 2 columns named 'label'"):
        converted(path, tmp_path)


def test_names_of_classes_inside_of_spans_are_found(tmp_path):
    datasets = pytest.importorskip("datasets")
    span = {
        "start": datasets.Value("int32"),
        "end": datasets.Value("int32"),
        "label": datasets.ClassLabel(names=["PER", "LOC"]),
    }
    features = datasets.Features({"text": datasets.Value("string"), "spans": [span]})
    spans = [[{"start": 0, "end": 2, "label": 1}], [{"start": 0, "end": 2, "label": -1}]]
    rows = [{"text": "Bo came", "spans": own} for own in spans]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "set"))
    manifest, docs = converted(tmp_path / "set", tmp_path)
    assert ents(docs) == [("Bo", "LOC")]
    assert manifest["texts"]["dropped"] == {"a class without a name": 1}


def test_parquet_files_named_after_splits_keep_them(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "hub"
    folder.mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        table = pa.table({"text": [f"{name} {k}" for k in range(3)], "label": ["x", "y", "x"]})
        parquet.write_table(table, folder / f"{name}.parquet")
    manifest = convert({"train": folder}, tmp_path / "out")
    assert {split: own["texts"] for split, own in manifest["splits"].items()} == {
        "train": 6,
        "dev": 3,
    }
    (folder / "more.parquet").write_bytes((folder / "train-00000-of-00002.parquet").read_bytes())
    manifest = convert({"train": folder}, tmp_path / "out")
    assert set(manifest["splits"]) == {"train", "dev", "test"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Sentence #,Word,Tag\n1,Bo,PER\n1,came,O\n2,Li,PER\n", "'PER', which do not say"),
        ("Word,Tag\nBo,PER\ncame,O\nran,O\n", "no column tells where a sentence ends"),
        ("Sentence #,Word,Tag\n1,Bo,1\n1,came,0\n2,Li,1\n", "--label-names FILE"),
    ],
)
def test_words_with_tags_of_other_kinds_are_never_texts(table, message, tmp_path):
    columns = Columns(texts=("Word",), labels=("Tag",))
    with pytest.raises(ValueError, match=rf"a\.csv looks like a table of words.*{message}"):
        converted(write(tmp_path / "a.csv", table), tmp_path, columns=columns)


def test_a_table_of_words_may_have_numbers_for_tags_no_break_spaces_and_no_entity(tmp_path):
    columns = Columns(texts=("Word",), labels=("Tag",))
    names = write(tmp_path / "names.txt", "O\nB-NUM\n")
    rows = "1,12\u00a0345,1\n1,km,0\n2,came,0\n"
    path = write(tmp_path / "a.csv", f"Sentence #,Word,Tag\n{rows}")
    _, docs = converted(path, tmp_path, columns=columns, label_names=names)
    assert [[ent.text for ent in doc.ents] for doc in docs] == [["12\u00a0345"], []]
    rows = [{"sentence_id": k // 2, "word": "came", "labels": "O"} for k in range(4)]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    _, docs = converted(path, tmp_path)
    assert [doc.text for doc in docs] == ["came came", "came came"]


@pytest.mark.parametrize("rows", ["good,O\nbad,A\nfine,B\n", "good,x\nbad,y\n"])
def test_texts_of_one_word_are_texts(rows, tmp_path):
    _, docs = converted(write(tmp_path / "a.csv", f"text,label\n{rows}"), tmp_path)
    assert len(docs) == rows.count("\n") and all(doc.cats for doc in docs)


@pytest.mark.parametrize(
    "span",
    [["0", "4", "CITY"], {"start": 0.0, "end": "4", "label": "CITY"}, [0.0, 4.0, "CITY"]],
)
def test_offsets_may_be_written_as_texts_or_with_a_point(span, tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "Bern is", "spans": [span]}))
    _, docs = converted(path, tmp_path)
    assert [ent.text for ent in docs[0].ents] == ["Bern"]


def test_two_options_with_one_id_cost_their_row(tmp_path):
    row = {"text": "fine", "options": [{"id": 1}, {"id": "1"}], "accept": [1], "answer": "accept"}
    good = {**row, "options": [{"id": 1}, {"id": 2}]}
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, [row, good])))
    manifest, _ = converted(path, tmp_path)
    assert manifest["texts"]["dropped"] == {"an option's id twice": 1}


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("01", "1"), ("é", "e\u0301")])
def test_labels_that_are_written_in_two_ways_are_warned_of(one, other, tmp_path):
    path = write(tmp_path / "a.csv", f"text,label\nfine,{one}\ngood,{other}\nbad,10\n")
    manifest, _ = converted(path, tmp_path)
    assert manifest["label_variants"] == [sorted([one, other])]


def test_a_json_file_in_another_encoding_names_the_line_and_the_remedy(tmp_path):
    path = tmp_path / "a.json"
    rows = '[{"text": "good", "label": "x"},\n{"text": "Grüße", "label": "y"}]'
    path.write_bytes(rows.encode("cp1252"))
    with pytest.raises(ValueError, match=r"line 2, near .*Grüße.*--encoding cp1252"):
        converted(path, tmp_path)
    _, docs = converted(path, tmp_path, columns=Columns(encodings=("cp1252",)))
    assert docs[1].text == "Grüße"


def test_documents_of_conll_2012_begin_and_end_in_comments(tmp_path):
    block = "Bo B-P\ncame O\n\n"
    document = f"#begin document (a); part 000\n{block}{block}#end document\n"
    manifest, docs = converted(write(tmp_path / "a.conll", document * 2), tmp_path)
    assert [doc.text for doc in docs] == ["Bo came Bo came"] * 2
    assert not manifest["texts"]["dropped"]


def test_a_mark_after_other_blocks_is_warned_of(tmp_path):
    block = "Bo B-P\ncame O\n\n"
    path = write(tmp_path / "a.conll", f"{block}-DOCSTART- O\n\n{block}{block}")
    manifest, docs = converted(path, tmp_path)
    assert len(docs) == 2 and "so its 2 blocks became one text" in manifest["notes"][0]


def test_a_last_column_for_inner_entities_may_be_empty(tmp_path):
    lines = "#\thttp://a.b [2009]\n1\tBern\tB-LOC\tO\n2\tist\tO\tO\n"
    path = write(tmp_path / "a.tsv", lines)
    _, docs = converted(path, tmp_path, columns=Columns(texts=("2",), labels=("3",)))
    assert [ent.text for ent in docs[0].ents] == ["Bern"]
