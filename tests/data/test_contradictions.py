"""What a file says twice has to agree, and what is left out is counted with its reason."""

# Rows of data are easier to read in one line.
# ruff: noqa: E501

import json

import pytest
import spacy
from converting import adds_up, converted, docs_of, run, write
from spacy.tokens import Doc, Span

from spacy_reprtune.data.convert import convert
from spacy_reprtune.data.record import Columns

ENGINES = "🚒🚒🚒🚒🚒🚒 Bern, Rome, Oslo"


def ents(docs):
    return [(ent.text, ent.label_) for doc in docs for ent in doc.ents]


def write_json(path, rows):
    return write(path, json.dumps(rows))


def write_lines(path, rows):
    return write(path, "\n".join(map(json.dumps, rows)) + "\n")


def region(start, end, text, *labels, kind="labels", **value):
    value = {"start": start, "end": end, "text": text, kind: list(labels), **value}
    return {"type": kind, "from_name": "l", "value": value}


def task(text, *results, key="text", **more):
    return {"id": 1, "data": {key: text}, "annotations": [{"result": list(results)}], **more}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("a.json", [task(ENGINES, region(13, 17, "Bern", "CAPITAL"))]),
        ("a.json", [{"text": ENGINES, "label": [{**region(13, 17, "Bern", "CAPITAL")["value"]}]}]),
        (
            "a.jsonl",
            {
                "text": ENGINES,
                "spans": [{"start": 13, "end": 17, "label": "CAPITAL", "text": "Bern"}],
            },
        ),
    ],
)
def test_offsets_in_utf16_units_are_noticed_by_the_text_of_the_span(name, row, tmp_path):
    _, docs = converted(write(tmp_path / name, json.dumps(row)), tmp_path)
    assert ents(docs) == [("Bern", "CAPITAL")]


def test_offsets_in_utf16_units_are_noticed_in_brat_and_can_be_named(tmp_path):
    folder = tmp_path / "brat"
    folder.mkdir()
    write(folder / "a.txt", ENGINES)
    write(folder / "a.ann", "T1\tCAPITAL 13 17\tBern\nR1\tNear Arg1:T1 Arg2:T1\n#1\tNote T1\tx\n")
    manifest, docs = converted(folder, tmp_path)
    assert ents(docs) == [("Bern", "CAPITAL")]
    assert manifest["ignored"] == {"relation": 1}
    path = write_lines(tmp_path / "a.jsonl", [{"text": ENGINES, "entities": [[13, 17, "CAPITAL"]]}])
    _, docs = converted(path, tmp_path, columns=Columns(offsets="utf-16"))
    assert ents(docs) == [("Bern", "CAPITAL")]


def test_a_span_that_has_another_text_than_the_file_says_is_dropped(tmp_path):
    rows = [task("Bern, Rome", region(6, 10, "Oslo", "CITY"), region(0, 4, " Bern\n", "CITY"))]
    manifest, docs = converted(write_json(tmp_path / "a.json", rows), tmp_path)
    assert ents(docs) == [("Bern", "CITY")]
    assert manifest["entities"]["dropped"] == {"the text there is not what the file says": 1}
    assert "'Oslo' at 6:10, where the text has 'Rome'" in str(manifest["cases"])


def test_several_labels_of_a_region_are_counted_and_kept_with_a_key(tmp_path):
    path = write_json(tmp_path / "a.json", [task("Bern", region(0, 4, "Bern", "CITY", "CAPITAL"))])
    manifest, docs = converted(path, tmp_path)
    assert len(docs[0].ents) == 1
    assert manifest["entities"]["dropped"] == {"another label of the same words": 1}
    manifest, docs = converted(path, tmp_path, spans_key="sc")
    assert {span.label_ for span in docs[0].spans["sc"]} == {"CITY", "CAPITAL"}


def test_offsets_in_html_count_the_visible_text(tmp_path):
    html = "<style>p {}</style><h1>News</h1><p>From <b>Bern</b> &amp; 🚒 Oslo.</p>"
    # Text nodes: "NewsFrom Bern & 🚒 Oslo.", in UTF-16 units.
    spots = {"Bern": (9, 13), "Oslo": (19, 23)}
    kind = "hypertextlabels"
    results = [
        region(
            "/p[1]/text()[1]",
            "/p[1]",
            word,
            "CITY",
            kind=kind,
            globalOffsets={"start": a, "end": b},
        )
        for word, (a, b) in spots.items()
    ]
    rows = [task(html, *results, key="html")]
    _, docs = converted(write_json(tmp_path / "a.json", rows), tmp_path)
    assert docs[0].text == "News\nFrom Bern & 🚒 Oslo."
    assert ents(docs) == [("Bern", "CITY"), ("Oslo", "CITY")]


def test_prodigy_ids_are_compared_whatever_their_type_and_have_to_exist(tmp_path):
    options = [{"id": 1, "text": "good"}, {"id": "2", "text": "bad"}]
    rows = [
        {"text": f"fine {k}", "options": options, "accept": accept, "answer": "accept"}
        for k, accept in enumerate([["1"], [2], 1, None, [3], {"1": 1}])
    ]
    manifest, docs = converted(write_lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert [doc.cats for doc in docs] == [
        {"1": 1.0, "2": 0.0},
        {"1": 0.0, "2": 1.0},
        {"1": 1.0, "2": 0.0},
        {"1": 0.0, "2": 0.0},
    ]
    assert adds_up(manifest) == (6, 4)


def test_prodigy_spans_and_their_tokens_have_to_agree(tmp_path):
    tokens = [
        {"text": "Bo", "start": 0, "end": 2, "id": 0},
        {"text": "Li", "start": 3, "end": 5, "id": 1},
    ]
    span = {"start": 0, "end": 5, "token_start": 0, "token_end": 1, "label": "PERSON"}
    rows = [
        {"text": "Bo Li", "tokens": tokens, "spans": [s], "answer": "accept"}
        for s in (span, {**span, "end": 4})
    ]
    manifest, docs = converted(write_lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert ents(docs) == [("Bo Li", "PERSON")]
    assert manifest["texts"]["dropped"] == {"offsets of a span and of its tokens differ": 1}


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u3000"])
def test_columns_are_cut_at_ascii_blanks_only(space, tmp_path):
    path = write(tmp_path / "a.conll", f"12{space}345 B-NUM\nkm \t O\n")
    _, docs = converted(path, tmp_path)
    assert docs[0].text == f"12{space}345 km"
    assert ents(docs) == [(f"12{space}345", "NUM")]


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\r"])
def test_lines_end_at_a_line_feed_only(mark, tmp_path):
    folder = tmp_path / "brat"
    folder.mkdir()
    text = f"Dose{mark}Total is 5\n"
    write(folder / "a.txt", text)
    write(folder / "a.ann", f"T1\tDOSE 0 10\tDose{mark}Total\r\n")
    _, docs = converted(folder, tmp_path)
    assert docs[0].text == text and len(docs[0].ents) == 1
    path = write(
        tmp_path / "a.jsonl", f'{{"text": "a {"" if mark < " " else mark} b", "label": "x"}}\n'
    )
    assert len(converted(path, tmp_path)[1]) == 1
    path = write(tmp_path / "a.conll", f"a{mark}b\tB-X\nc\tO\n")
    assert ents(converted(path, tmp_path)[1]) == [(f"a{mark}b", "X")]


def test_a_carriage_return_in_a_cell_is_text(tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel\na\rb\tx\nc\ty\n")
    assert [doc.text for doc in converted(path, tmp_path)[1]] == ["a\rb", "c"]


def test_a_file_of_carriage_returns_has_lines(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\ra,x\rb,y\r")
    assert [doc.text for doc in converted(path, tmp_path)[1]] == ["a", "b"]


@pytest.mark.parametrize(
    "cell",
    [
        '[{"start": 0, "end": 5, "text": "Bo Li", "labels": ["PERSON"]}]',
        "[[0, 5, 'PERSON']]",
        "[(0, 5, 'PERSON')]",
        '{"start": 0, "end": 5, "label": "PERSON"}',
    ],
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_lists_in_cells_are_parsed(cell, separator, tmp_path):
    cell = '"' + cell.replace('"', '""') + '"'
    name = "a.csv" if separator == "," else "a.tsv"
    path = write(tmp_path / name, f"text{separator}label\nBo Li met Ann.{separator}{cell}\n")
    _, docs = converted(path, tmp_path)
    assert ents(docs) == [("Bo Li", "PERSON")] and not docs[0].cats


def test_lists_of_labels_in_cells_are_labels(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,\"['x', 'y']\"\nb,[z]\n")
    _, docs = converted(path, tmp_path)
    assert docs[0].cats == {"[z]": 0.0, "x": 1.0, "y": 1.0}
    assert docs[1].cats["[z]"] == 1.0


WORDS = [("1", "Bo", "B-per"), ("", "came", "O"), ("2", "Ann", "B-per"), ("", "Li", "I-per")]


def test_a_table_of_words_is_read_by_its_sentences(tmp_path):
    rows = "".join(",".join(row) + "\n" for row in WORDS)
    path = write(tmp_path / "a.csv", "Sentence #,Word,Tag\n" + rows)
    expected = [("Bo", "per"), ("Ann Li", "per")]
    for columns in (Columns(texts=("Word",), labels=("Tag",)), Columns()):
        _, docs = converted(path, tmp_path, columns=columns)
        assert [doc.text for doc in docs] == ["Bo came", "Ann Li"]
        assert ents(docs) == expected
    keys = ("sentence_id", "token", "ner_tag")
    number = 0
    objects = []
    for row in WORDS:
        number += bool(row[0])
        objects.append(dict(zip(keys, (number, *row[1:]), strict=True)))
    assert ents(converted(write_lines(tmp_path / "a.jsonl", objects), tmp_path)[1]) == expected


def test_a_table_of_words_without_sentences_is_refused_with_the_remedy(tmp_path):
    rows = "".join(",".join(row[1:]) + "\n" for row in WORDS)
    path = write(tmp_path / "a.csv", "Word,Tag\n" + rows)
    with pytest.raises(ValueError, match=r"table of words: 'Word' .* 'B-per'.* Name such a column"):
        converted(path, tmp_path, columns=Columns(texts=("Word",), labels=("Tag",)))


def test_half_of_a_surrogate_pair_costs_its_row(tmp_path):
    text = '{"text":"fine","label":"a"}\n{"text":"half \\ud83d","label":"b"}\n{"text":"c","label":"\\ud83d"}\n'
    done = run(write(tmp_path / "a.jsonl", text), tmp_path / "out", "--split", "100")
    said = " ".join(done.output.split())
    assert done.exit_code == 0, said
    assert "2 half of a surrogate pair" in said and "a.jsonl, line 2" in said
    assert len(docs_of(tmp_path / "out")) == 1


def test_half_of_a_pair_in_what_is_shown_does_not_matter(tmp_path):
    rows = [task("Bern", region(0, 4, "B\ud83d", "CITY"), {"type": "\ud83d"})]
    manifest, docs = converted(write_json(tmp_path / "a.json", rows), tmp_path)
    (case,) = manifest["cases"]["the text there is not what the file says"]
    assert not docs[0].ents and "B\\ud83d" in case


def test_one_bad_row_never_costs_the_file(tmp_path):
    bad = ["{", "null", "3", '["a"]', '{"text": 3}', '{"text": "b", "spans": [[0]]}']
    bad += ['{"text": "b", "cats": {"x": null}}', '{"text": "b", "label": {"a": []}}']
    lines = ['{"text": "a", "label": "x"}', *bad]
    path = write(tmp_path / "a.jsonl", "\n".join(lines) + "\n")
    manifest, docs = converted(path, tmp_path)
    assert adds_up(manifest) == (9, 1)
    cases = str(manifest["cases"])
    assert all(f"line {k}" in cases for k in range(2, 10))
    path = write(tmp_path / "a.csv", 'text,label\na,x\nb,c,d\n"e\nf,y\n"g" h,y\n')
    manifest, docs = converted(path, tmp_path)
    assert [doc.text for doc in docs] == ["a", "f", '"g" h']
    assert manifest["texts"]["dropped"] == {"more cells than the header": 1, "stray quote": 1}
    path = write(tmp_path / "a.conll", "a\tO\n\nb\tPER\n\nc\n\nd\tB-PER\n")
    manifest, docs = converted(path, tmp_path)
    assert [doc.text for doc in docs] == ["a", "d"]
    assert manifest["texts"]["dropped"] == {"tag not understood": 1, "too few columns": 1}


def test_the_last_line_says_how_much_was_dropped(tmp_path):
    rows = [
        {"text": "river stone", "spans": [[0, 3, "X"]]},
        {"text": "a", "label": 3},
    ]
    rows.append({"text": ""})
    done = run(write_lines(tmp_path / "a.jsonl", rows), tmp_path / "out", "--split", "100")
    said = done.output.strip().splitlines()
    assert "--align expand" in done.output
    assert "dropped 1 of 3 texts (33.3%) and 1 of 1 entities (100.0%)" in " ".join(said[-2:])


def test_training_tuples_of_spacy_2_are_read(tmp_path):
    rows = [
        ["Bo Li met Ann.", {"entities": [[0, 5, "PERSON"]]}],
        ["Nobody came.", {"entities": []}],
    ]
    for content in (rows, {"classes": ["PERSON"], "annotations": [*rows, None]}):
        _, docs = converted(write_json(tmp_path / "a.json", content), tmp_path)
        assert ents(docs) == [("Bo Li", "PERSON")] and len(docs) == 2
    rows = [
        ["warm", {"cats": {"good": 1.0, "bad": 0.0}}],
        ["cold", {"cats": {"good": 0, "bad": 1}}],
    ]
    _, docs = converted(write_lines(tmp_path / "a.jsonl", rows), tmp_path)
    assert [doc.cats["good"] for doc in docs] == [1.0, 0.0]


def test_what_doc_to_json_wrote_comes_back(tmp_path):
    nlp = spacy.blank("en")
    words, spaces = ["Bo", "Li", "'s", "boat", ".", "It", "sank", "."], [1, 0, 1, 0, 1, 1, 0, 0]
    doc = Doc(nlp.vocab, words=words, spaces=spaces, sent_starts=[1, 0, 0, 0, 0, 1, 0, 0])
    doc.set_ents([Span(doc, 0, 2, "PERSON")])
    doc.cats = {"good": 1.0}
    for rows in ([doc.to_json()], doc.to_json()):
        _, docs = converted(write_json(tmp_path / "a.json", rows), tmp_path)
        assert docs[0].text == doc.text and [t.text for t in docs[0]] == words
        assert ents(docs) == [("Bo Li", "PERSON")] and docs[0].cats == {"good": 1.0}
        assert len(list(docs[0].sents)) == 2


def test_a_token_list_that_leaves_out_the_first_space_of_a_text_is_refused(tmp_path):
    tokens = [{"id": 0, "start": 1, "end": 4}, {"id": 1, "start": 5, "end": 8}]
    rows = [
        {"text": " Ida ran", "tokens": tokens, "ents": [{"start": 1, "end": 4, "label": "P"}]},
        {**spacy.blank("en")(" Ida ran").to_json(), "entities": [[1, 4, "P"]]},
    ]
    manifest, docs = converted(write_json(tmp_path / "a.json", rows), tmp_path)
    assert manifest["texts"]["dropped"] == {"tokens and text differ": 1}
    assert ents(docs) == [("Ida", "P")] and docs[0].text == " Ida ran"


def test_the_label_of_prodigy_may_be_named(tmp_path):
    rows = [
        {"text": "warm", "label": "good", "answer": "accept"},
        {"text": "cold", "label": "good", "answer": "reject"},
    ]
    path = write_lines(tmp_path / "a.jsonl", rows)
    _, docs = converted(path, tmp_path, columns=Columns(labels=("label",)))
    assert [doc.cats for doc in docs] == [{"good": 1.0}, {"good": 0.0}]
    choice = {"options": [{"id": "a"}, {"id": "b"}], "accept": ["b"], "answer": "accept"}
    path = write_lines(tmp_path / "a.jsonl", [{"text": "warm", **choice}])
    _, docs = converted(path, tmp_path, columns=Columns(labels=("accept",)))
    assert docs[0].cats == {"a": 0.0, "b": 1.0}


def test_a_group_of_doc_spans_is_read_if_it_is_named_and_else_counted(tmp_path):
    doc = spacy.blank("en")("Ida Berg met Tom Lind.")
    doc.ents = [Span(doc, 0, 2, "PERSON")]
    doc.spans["roles"] = [Span(doc, 0, 2, "WHO"), Span(doc, 3, 5, "WHOM")]
    doc.spans["verbs"] = [Span(doc, 2, 3, "VERB")]
    pair = {"entities": [[0, 8, "PERSON"]], "spans": doc.to_json()["spans"]}
    for rows in ([doc.to_json()], [[doc.text, pair]]):
        path = write_json(tmp_path / "a.json", rows)
        manifest, docs = converted(path, tmp_path)
        assert ents(docs) == [("Ida Berg", "PERSON")]
        assert manifest["ignored"] == {"span in doc.spans": 3}
        manifest, docs = converted(path, tmp_path, spans_key="roles")
        found = [(span.text, span.label_) for span in docs[0].spans["roles"]]
        assert found == [("Ida Berg", "WHO"), ("Tom Lind", "WHOM")] and not docs[0].ents
        assert manifest["ignored"] == {"entity in doc.ents": 1, "span in doc.spans": 1}
        manifest, docs = converted(path, tmp_path, spans_key="sc")
        assert [span.label_ for span in docs[0].spans["sc"]] == ["PERSON"]
        assert manifest["ignored"] == {"span in doc.spans": 3}
    doc.ents = []
    manifest, docs = converted(write_json(tmp_path / "a.json", [doc.to_json()]), tmp_path)
    assert [label for _, label in ents(docs)] == ["WHO", "VERB", "WHOM"]
    assert not manifest["ignored"]


def test_tables_without_a_header_have_numbered_columns(tmp_path):
    path = write(
        tmp_path / "a.csv", '"3","Wall St. Bears","Short-sellers."\n"4","Oil","Up, again."\n'
    )
    names = write(tmp_path / "classes.txt", "World\nSports\nBusiness\nSci/Tech\n")
    done = run(
        path, tmp_path / "out", "--no-header", "--label", "1", "--text", "2", "--text", "3",
        "--label-names", names, "--split", "100",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    docs = docs_of(tmp_path / "out")
    assert docs[0].text == "Wall St. Bears\nShort-sellers."
    assert docs[0].cats == {"Business": 1.0, "Sci/Tech": 0.0}
    with pytest.raises(ValueError, match="first row has 1: '3'; 2: 'Wall St. Bears'"):
        converted(path, tmp_path, columns=Columns(header=False))
    with pytest.raises(ValueError, match="--no-header"):
        converted(path, tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("0\tbad\n1\tgood\n", {"bad", "good"}),
        ("bad\ngood\n", {"bad", "good"}),
        ("none\nbad\ngood\n", {"none", "bad"}),
    ],
)
def test_names_of_labels_count_from_where_the_ids_begin(names, expected, tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nwarm,1\ncold,0\n")
    manifest, _ = converted(path, tmp_path, label_names=write(tmp_path / "names.txt", names))
    assert set(manifest["labels"]) == expected


def test_an_id_without_a_name_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nwarm,1\ncold,7\n")
    with pytest.raises(ValueError, match="no name for the labels '7'"):
        converted(path, tmp_path, label_names=write(tmp_path / "n.txt", "1,good\n2,bad\n"))
    path = write(tmp_path / "a.csv", "text,label\nwarm,1\ncold,2\n")
    with pytest.raises(ValueError, match="do not show whether the first name"):
        converted(path, tmp_path, label_names=write(tmp_path / "n.txt", "a\nb\nc\nd\n"))


def test_dev_is_cut_from_train_where_only_test_is_given(tmp_path):
    rows = "".join(f"the lamp number {k * 7919} is fine,l{k % 2}\n" for k in range(40))
    train = write(tmp_path / "train.csv", "text,label\n" + rows)
    test = write(tmp_path / "test.csv", "text,label\na cold lamp,l0\na chair,l1\n")
    for split, sizes in ((None, (36, 4, 2)), ("75/25", (30, 10, 2))):
        manifest = convert({"train": train, "test": test}, tmp_path / "out", split=split)
        assert tuple(s["texts"] for s in manifest["splits"].values()) == sizes
    with pytest.raises(ValueError, match="--test names the texts of test"):
        convert({"train": train, "test": test}, tmp_path / "out", split="80/10/10")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("北\tB-LOC\n京\tI-LOC\n很\tO\n大\tO\n。\tO\n", "北京很大。"),
        ("我 O\n用 O\niPhone B-X\n。 O\n", "我用iPhone。"),
        ("กรุงเทพ B-LOC\nมี O\nรถ O\n", "กรุงเทพมีรถ"),
        ("東京 B-LOC\nタワー I-LOC\nに O\n", "東京タワーに"),
        ("བོད་ B-LOC\nལྗོངས I-LOC\n", "བོད་ལྗོངས"),
        ("ရန်ကုန် B-LOC\nမြို့ O\n", "ရန်ကုန်မြို့"),
        ("ភ្នំ B-LOC\nពេញ I-LOC\n", "ភ្នំពេញ"),
        ("서울 B-LOC\n타워 I-LOC\n", "서울 타워"),
    ],
)
def test_scripts_without_spaces_get_none(lines, text, tmp_path):
    manifest, docs = converted(write(tmp_path / "a.conll", lines), tmp_path)
    assert docs[0].text == text
    assert manifest["entities"]["out"] == lines.count("B-")


def test_one_mark_at_the_top_of_many_blocks_is_warned_of(tmp_path):
    path = write(tmp_path / "a.conll", "-DOCSTART- -X- O\n\n" + "Bo B-PER\n\n" * 3)
    done = run(path, tmp_path / "out", "--split", "100")
    assert "--sentences 1" in " ".join(done.output.split())
    assert len(docs_of(tmp_path / "out")) == 1
    done = run(path, tmp_path / "out", "--split", "100", "--sentences", "1")
    assert "--sentences 1" not in done.output
    assert len(docs_of(tmp_path / "out")) == 3


def test_align_expand_moves_the_entities_of_a_token_file_to_the_tokenizer_s_borders(tmp_path):
    path = write(tmp_path / "a.conll", "Ed B-PER\n-da O\nsleeps O\n")
    _, docs = converted(path, tmp_path)
    assert [token.text for token in docs[0]] == ["Ed", "-da", "sleeps"]
    path = write(tmp_path / "a.conll", "in O\n1787 B-YEAR\n.x O\n")
    _, docs = converted(path, tmp_path, align="expand")
    nlp = spacy.blank("en")
    assert [token.text for token in docs[0]] == [token.text for token in nlp.make_doc(docs[0].text)]
    assert len(docs[0].ents) == 1


def test_texts_of_more_than_a_million_characters_are_read(tmp_path):
    text = "long" * 25 + " "
    text *= 10_000
    path = write_lines(tmp_path / "a.jsonl", [{"text": text, "label": "x"}])
    _, docs = converted(path, tmp_path)
    assert len(docs[0].text) == len(text) > 1_000_000
    write(tmp_path / "a.csv", f"text,label\n{text},x\n")
    assert len(converted(tmp_path / "a.csv", tmp_path)[1][0].text) >= len(text) - 1


def test_a_format_can_be_added_from_outside(tmp_path):
    from spacy_reprtune.data.formats import FORMATS, format_names
    from spacy_reprtune.data.record import Record

    @FORMATS.register("stars")
    def read_stars(path, columns):
        for number, line in enumerate(path.read_text("utf8").splitlines(), start=1):
            stars, text = line.split(" ", 1)
            yield Record(text, f"{path}, line {number}", cats={str(len(stars)): 1.0})

    read_stars.suffixes = (".stars",)
    try:
        assert "stars" in format_names()
        path = write(tmp_path / "a.stars", "** so so\n***** fine\n")
        manifest, docs = converted(path, tmp_path)
        assert manifest["labels"] == ["2", "5"]
        assert [doc.text for doc in docs] == ["so so", "fine"]
    finally:
        import catalogue

        catalogue._remove(("spacy_reprtune", "formats", "stars"))


def test_a_token_file_is_read_once(tmp_path, monkeypatch):
    from pathlib import Path

    path = write(tmp_path / "a.conll", "Bo B-PER\n\nLi B-PER\n")
    opened, original = [], Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: opened.append(self) or original(self, *a, **k)
    )
    converted(path, tmp_path)
    # The words, the first bytes (a byte order mark), and the digest for the manifest.
    assert opened.count(path) <= 3
