"""Files in, files out: every row once, whatever happens in between."""

import csv
import io
import json
import multiprocessing
import os
import shutil
import sys
import time
from datetime import date
from pathlib import Path

import pyarrow
import pytest
import spacy
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet
from spacy.cli._util import import_code
from typer.testing import CliRunner

from spacy_reprtune.annotate import Annotator
from spacy_reprtune.annotate.run import annotate_files
from spacy_reprtune.annotate.shards import cut, read_rows
from spacy_reprtune.annotate.tables import write_lines
from spacy_reprtune.cli import reprtune_cli

ROWS = [(f"id {i}", f"a great film {i}" if i % 3 else f"an awful film, {i}") for i in range(25)]


def write_input(folder, kind):
    """The same rows in a format."""
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        table = pyarrow.table({"id": [i for i, _ in ROWS], "text": [t for _, t in ROWS]})
        parquet.write_table(table, path, row_group_size=10)
    elif kind == "jsonl":
        lines = [json.dumps({"text": text, "id": i}) for i, text in ROWS]
        path.write_text("\n\n".join(lines), encoding="utf8")
    elif kind == "txt":
        path.write_text("\r\n".join(text for _, text in ROWS) + "\r\n", encoding="utf8")
    else:
        cells = "\t" if kind == "tsv" else ","
        rows = [f'{i}{cells}"{text}"' for i, text in ROWS]
        path.write_text("\n".join([f"id{cells}text", *rows]) + "\n", encoding="utf-8-sig")
    return path


def fill_the_disk_for(part):
    """Let the next attempt to write a part fail as on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("There is no /dev/full here to stand for a full disk.")
    part.with_name(f".{part.name}.part").symlink_to("/dev/full")


def output_rows(folder):
    rows = []
    for path in sorted(folder.glob("part-*")):
        if path.suffix == ".parquet":
            rows += parquet.read_table(path).to_pylist()
        else:
            rows += [json.loads(line) for line in path.read_text("utf8").splitlines()]
    return rows


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "tsv", "txt"])
@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_every_format_gives_each_row_once_and_in_order(kind, format, annotate_pipeline, tmp_path):
    path = write_input(tmp_path, kind)
    id = None if kind == "txt" else "id"
    annotator = Annotator(annotate_pipeline, columns=["cats"])
    outcome = annotate_files(
        annotator, [path], tmp_path / "out", id=id, format=format, shard_rows=10
    )
    assert (outcome.rows, outcome.failed, outcome.damaged) == (25, 0, [])
    rows = output_rows(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("part-*"))) == 3
    assert [row["id"] for row in rows] == ([i for i, _ in ROWS] if id else list(range(25)))
    expected = annotator.annotate([text for _, text in ROWS]).rows
    assert [row["cats_label"] for row in rows] == [row["cats_label"] for row in expected]


def test_line_breaks_in_quotes_are_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('text,n\n"one\ntwo, ""three"" \n",1\n\n"four",2\n', encoding="utf8")
    [first, second] = cut(path, 0, ["text"], 1)
    assert read_rows(first, text="text", id="n")[0].text == 'one\ntwo, "three" \n'
    assert read_rows(second, text="text", id="n")[0].id == "2"


@pytest.mark.parametrize("kind, cell", [("csv", ","), ("tsv", "\t")])
@given(
    st.lists(
        st.lists(st.text(['"', ",", "\t", "\r", "\n", " ", "a", "é", "\udce9"]), max_size=3),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
@example([["1", "He is 6'2\" tall"], ["2", "x"], ["3", '"two\n""lines"""']], "\n")
@example([["1", "one\rtwo"], ["2", "x"]], "\r\n")
@example([['"1', "an open quote"], ["2", "x"]], "\n")
def test_a_table_has_the_rows_that_the_csv_module_finds(tmp_path_factory, kind, cell, rows, end):
    path = tmp_path_factory.mktemp("table") / f"rows.{kind}"
    text = "".join(cell.join(row) + end for row in [["\ufeffid", "text"], *rows])
    path.write_bytes(text.encode("utf8", "surrogateescape"))
    found = [
        row for shard in cut(path, 0, ["text"], 2) for row in read_rows(shard, text="text", id=None)
    ]
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=cell))[1:]
    expected = [record for record in records if any(value.strip() for value in record)]
    assert [row.number for row in found] == list(range(len(expected)))
    for row, record in zip(found, expected, strict=True):
        assert row.text == (record[1] if len(record) > 1 else None)
        assert row.error or len(record) == 2


def test_rows_that_fail_have_their_reason_and_the_others_go_on(failing_pipeline, tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = ['{"id": 1, "text": "a film"}', '{"id": 2, "text": "fail"}', "nonsense", "[]"]
    lines += ['{"id": 5}', '{"id": 6, "text": null}', '{"id": 7, "text": "\\ud83d"}']
    lines += ['{"id": 8, "text": "a film"}']
    path.write_text("\n".join(lines), encoding="utf8")
    outcome = annotate_files(
        Annotator(failing_pipeline), [path], tmp_path / "out", id="id", shard_rows=3
    )
    assert (outcome.rows, outcome.failed) == (8, 6)
    assert [row["id"] for row in output_rows(tmp_path / "out")] == [1, 8]
    errors = [json.loads(x) for x in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()]
    assert [error["row"] for error in errors] == [1, 2, 3, 4, 5, 6]
    reasons = " ".join(error["reason"] for error in errors)
    for said in ("can't be annotated", "not JSON", "a list, not", "no 'text'", "NoneType", "half"):
        assert said in reasons


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_without_a_readable_id_fails(kind, format, annotate_pipeline, tmp_path):
    path = tmp_path / f"rows.{kind}"
    if kind == "csv":
        path.write_bytes(b"id,text\ncaf\xe9,a film\ncaf\xe8,a film\n,a film\n,a film\nb,a film\n")
    else:
        ids = ['"id": "\\ud83d",', '"id": "\\ud83e",', "", '"id": null,', '"id": "b",']
        path.write_text("".join(f'{{{id} "text": "a film"}}\n' for id in ids), encoding="utf8")
    outcome = annotate_files(
        Annotator(annotate_pipeline), [path], tmp_path / "out", id="id", format=format
    )
    assert (outcome.rows, outcome.failed) == (5, 4)
    assert [row["id"] for row in output_rows(tmp_path / "out")] == ["b"]
    errors = [json.loads(x) for x in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()]
    assert [(error["id"], error["row"]) for error in errors] == [(None, row) for row in range(4)]
    reasons = [error["reason"] for error in errors]
    assert all("'id'" in reason and "is not UTF-8" in reason for reason in reasons[:2])
    assert reasons[2:] == ["The row has no 'id'."] * 2


@pytest.mark.parametrize(
    "ids", [[date(2020, 1, 1), date(2020, 1, 2)], [b"\x01", b"\x02"], [0.5, 1.5], [True, False]]
)
def test_ids_of_other_types_are_written_as_strings(ids, annotate_pipeline, tmp_path):
    parquet.write_table(
        pyarrow.table({"id": ids, "text": ["a film", None]}), tmp_path / "a.parquet"
    )
    for _ in range(2):
        outcome = annotate_files(
            Annotator(annotate_pipeline), [tmp_path / "a.parquet"], tmp_path / "out", id="id"
        )
        assert (outcome.rows, outcome.failed) == (2, 1)
    assert [row["id"] for row in output_rows(tmp_path / "out")] == [str(ids[0])]
    assert json.loads((tmp_path / "out" / "errors.jsonl").read_text())["id"] == str(ids[1])


def test_a_command_whose_every_row_fails_says_why_and_fails(failing_pipeline, tmp_path):
    path, output = tmp_path / "rows.jsonl", tmp_path / "out"
    path.write_text('{"text": "fail"}\n{"text": null}\n', encoding="utf8")
    command = ["annotate", str(failing_pipeline), str(path), str(output), "--format", "jsonl"]
    for _ in range(2):
        done = CliRunner().invoke(reprtune_cli, command)
        said = " ".join(done.output.split())
        assert done.exit_code == 1 and "All 2 rows failed" in said and "are annotated" not in said
        assert "The first is: RuntimeError: this text can't be annotated" in said
        assert f"{output}/errors.jsonl" in said.replace(" ", "")
    # One row that can be annotated is enough.
    path.write_text('{"text": "fail"}\n{"text": "a film"}\n', encoding="utf8")
    done = CliRunner().invoke(reprtune_cli, [*command[:3], str(tmp_path / "other"), *command[4:]])
    assert done.exit_code == 0 and "1 of 2 rows are annotated" in " ".join(done.output.split())


def test_after_a_wrong_column_the_right_one_uses_the_same_folder(annotate_pipeline, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"body": "a film"}\n{"id": 2}\n', encoding="utf8")
    command = ["annotate", str(annotate_pipeline), str(path), str(tmp_path / "out")]
    done = CliRunner().invoke(reprtune_cli, command)
    assert done.exit_code == 1
    assert "no column 'text'. Its columns are body, id." in " ".join(done.output.split())
    done = CliRunner().invoke(reprtune_cli, [*command, "--text", "body"])
    assert done.exit_code == 0 and "1 of 2 rows are annotated" in " ".join(done.output.split())


def test_a_finished_part_is_not_annotated_again_and_a_lost_one_is(annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "csv")
    annotator = Annotator(annotate_pipeline, columns=["ents"])
    annotate_files(annotator, [path], tmp_path / "out", shard_rows=10)
    parts = sorted((tmp_path / "out").glob("part-*"))
    before = [(part.read_bytes(), part.stat().st_mtime_ns) for part in parts]
    parts[1].unlink()
    assert annotate_files(annotator, [path], tmp_path / "out", shard_rows=10).rows == 25
    after = [(part.read_bytes(), part.stat().st_mtime_ns) for part in parts]
    assert [a[0] for a in after] == [b[0] for b in before]
    assert [a[1] == b[1] for a, b in zip(after, before, strict=True)] == [True, False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="The run to kill is a fork, for speed.")
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(annotate_pipeline, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("".join(f"a great film {i}\n" for i in range(1000)), encoding="utf8")
    settings = {"format": "jsonl", "shard_rows": 20}
    # With one thread, which a fork of a process with threads can use.
    annotator = Annotator(annotate_pipeline, threads=1)
    annotate_files(annotator, [path], tmp_path / "whole", **settings)
    killed = tmp_path / "killed"
    process = multiprocessing.get_context("fork").Process(
        target=annotate_files, args=(annotator, [path], killed), kwargs=settings, daemon=True
    )
    process.start()
    while not list(killed.glob("part-*")) and process.is_alive():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert 0 < len(list(killed.glob("part-*"))) < 50
    command = ["annotate", str(annotate_pipeline), str(path), str(killed)]
    done = CliRunner().invoke(reprtune_cli, [*command, "--format", "jsonl", "--shard-rows", "20"])
    assert done.exit_code == 0 and "1,000 of 1,000 rows" in done.output
    names = sorted(p.name for p in (tmp_path / "whole").glob("part-*"))
    assert names == sorted(p.name for p in killed.glob("*part-*"))
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (killed / name).read_bytes()


def test_two_workers_write_what_one_writes(annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "parquet")
    for workers in (1, 2):
        annotator = Annotator(annotate_pipeline, threads=1)
        annotate_files(annotator, [path], tmp_path / str(workers), workers=workers)
    assert output_rows(tmp_path / "1") == output_rows(tmp_path / "2")


def test_a_worker_that_is_killed_stops_the_command_which_says_so(tmp_path):
    code = tmp_path / "code.py"
    code.write_text(
        "import os\nimport spacy\n@spacy.Language.component('killed')\n"
        "def killed(doc):\n    return os._exit(9) if doc.text == 'die' else doc\n"
    )
    import_code(code)
    nlp = spacy.blank("en")
    nlp.add_pipe("killed")
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "rows.txt").write_text("a film\ndie\n", encoding="utf8")
    command = ["annotate", *(str(tmp_path / name) for name in ("pipeline", "rows.txt", "out"))]
    command += ["--workers", "2", "--shard-rows", "1", "--code", str(code)]
    done = CliRunner().invoke(reprtune_cli, command)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "Use fewer --workers. The same command continues" in said


def test_a_damaged_row_group_is_named_and_the_others_are_there(annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "parquet")
    data = bytearray(path.read_bytes())
    column = parquet.ParquetFile(path).metadata.row_group(1).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    outcome = annotate_files(Annotator(annotate_pipeline), [path], tmp_path / "out")
    assert outcome.rows == 15
    assert len(outcome.damaged) == 1 and "Row group 1" in outcome.damaged[0]
    assert str(path) in outcome.damaged[0]
    done = CliRunner().invoke(
        reprtune_cli, ["annotate", str(annotate_pipeline), str(path), str(tmp_path / "out")]
    )
    assert done.exit_code == 1 and "Row group 1" in done.output.replace("\n", " ")
    write_input(tmp_path, "parquet")
    for _ in range(2):
        outcome = annotate_files(Annotator(annotate_pipeline), [path], tmp_path / "out")
        assert (outcome.rows, outcome.damaged) == (25, [])


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_a_full_disk_stops_the_command_and_it_goes_on(format, annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "csv")
    command = ["annotate", str(annotate_pipeline), str(path), str(tmp_path / "out"), "--id", "id"]
    command += ["--shard-rows", "10", "--format", format]
    assert CliRunner().invoke(reprtune_cli, command).exit_code == 0
    whole = output_rows(tmp_path / "out")
    lost = tmp_path / "out" / f"part-00001.{format}"
    lost.unlink()
    fill_the_disk_for(lost)
    done = CliRunner().invoke(reprtune_cli, command)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "No space left" in said
    assert "The same command continues from there" in said
    assert len(output_rows(tmp_path / "out")) == 15
    assert CliRunner().invoke(reprtune_cli, command).exit_code == 0
    assert output_rows(tmp_path / "out") == whole


def test_a_text_of_ten_million_characters_is_one_row_that_fails(annotate_pipeline, tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = ["a great film", "film " * 2_000_000, "an awful film"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf8")
    outcome = annotate_files(Annotator(annotate_pipeline), [path], tmp_path / "out")
    assert (outcome.rows, outcome.failed) == (3, 1)
    assert [row["id"] for row in output_rows(tmp_path / "out")] == [0, 2]
    [error] = map(json.loads, (tmp_path / "out" / "errors.jsonl").read_text().splitlines())
    assert error["row"] == 1
    assert "10,000,000 characters, but nlp.max_length is 1,000,000" in error["reason"]


def test_an_empty_row_group_gives_no_row(annotate_pipeline, tmp_path):
    schema = pyarrow.schema([("text", pyarrow.string())])
    with parquet.ParquetWriter(tmp_path / "rows.parquet", schema) as writer:
        for texts in (["a great film"], [], ["an awful film"]):
            writer.write_table(pyarrow.table({"text": texts}, schema))
    annotate_files(Annotator(annotate_pipeline), [tmp_path / "rows.parquet"], tmp_path / "out")
    assert [row["id"] for row in output_rows(tmp_path / "out")] == [0, 1]


def test_another_model_or_setting_is_refused(annotate_pipeline, failing_pipeline, tmp_path):
    path = write_input(tmp_path, "csv")
    annotate_files(Annotator(annotate_pipeline), [path], tmp_path / "out")
    with pytest.raises(ValueError, match="output of another run: its model is"):
        annotate_files(Annotator(failing_pipeline), [path], tmp_path / "out")
    with pytest.raises(ValueError, match="its settings is|its settings are"):
        annotate_files(Annotator(annotate_pipeline, columns=["cats"]), [path], tmp_path / "out")
    copy = tmp_path / "copy"
    shutil.copytree(annotate_pipeline, copy)
    annotate_files(Annotator(copy), [path], tmp_path / "of copy")
    (copy / "meta.json").write_text((copy / "meta.json").read_text() + " ")
    with pytest.raises(ValueError, match="its model digest is"):
        annotate_files(Annotator(copy), [path], tmp_path / "of copy")


def test_an_input_of_other_rows_is_refused_and_a_touched_one_is_not(annotate_pipeline, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("a film\nb film\nc film\n", encoding="utf8")
    arguments = Annotator(annotate_pipeline), [path], tmp_path / "out"
    annotate_files(*arguments, shard_rows=2)
    (tmp_path / "out" / "part-00001.parquet").unlink()
    os.utime(path, ns=(1, 1))
    annotate_files(*arguments, shard_rows=2)
    assert [row["id"] for row in output_rows(tmp_path / "out")] == [0, 1, 2]
    path.write_text("c film\nb film\na film\n", encoding="utf8")
    with pytest.raises(ValueError, match="rows.txt has changed since the run in"):
        annotate_files(*arguments, shard_rows=2)


@pytest.mark.parametrize(
    "name, content, settings, said",
    [
        ("a.csv", "id,body\n1,x\n", {}, "no column 'text'. Its columns are id, body"),
        ("a.jsonl", 'x\n{"id": 1}\n{"body": 2}', {}, "no column 'text'. Its columns are id, body"),
        ("a.jsonl", '{"text": "a"}\n', {"id": "id"}, "no column 'id'. Its columns are text"),
        ("a.csv", "id,text\n1,x\n1,y\n", {"id": "id"}, "not unique: '1' occurs more than once"),
        ("a.jsonl", '{"id": 7, "text": ""}\n' * 2, {"id": "id"}, "not unique: 7"),
        ("a.txt", "a\n", {"id": "id"}, "no column 'id': its rows are numbered"),
        ("a.xml", "<a/>", {}, "ends in '.xml'. Use .parquet"),
        ("a.parquet", "nonsense", {}, "a.parquet is not a whole Parquet file"),
        ("a.txt", "a\n", {"workers": 0}, "use 1 or more"),
        ("a.txt", "a\n", {"format": "xml"}, "Use one of parquet, jsonl"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    name,
    content,
    settings,
    said,
    annotate_pipeline,
    tmp_path,
):
    (tmp_path / name).write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=said):
        annotate_files(
            Annotator(annotate_pipeline), [tmp_path / name], tmp_path / "out", **settings
        )
    assert not (tmp_path / "out").exists()


def test_a_component_to_disable_that_is_not_there_is_refused_first(annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "txt")
    with pytest.raises(ValueError, match="disable has 'typo'"):
        annotate_files(Annotator(annotate_pipeline, disable=["typo"]), [path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_files_is_not_written_into(annotate_pipeline, tmp_path):
    (tmp_path / "a.txt").write_text("a\n", encoding="utf8")
    with pytest.raises(ValueError, match="not the output of an earlier run"):
        annotate_files(Annotator(annotate_pipeline), [tmp_path / "a.txt"], tmp_path)


def test_an_empty_input_gives_no_part(annotate_pipeline, tmp_path):
    (tmp_path / "a.txt").write_text("\n \n", encoding="utf8")
    assert (
        annotate_files(Annotator(annotate_pipeline), [tmp_path / "a.txt"], tmp_path / "out").rows
        == 0
    )
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_an_output_below_the_inputs_is_not_an_input(annotate_pipeline, tmp_path, monkeypatch):
    write_input(tmp_path, "jsonl")
    monkeypatch.chdir(tmp_path)
    for output in (tmp_path / "out", Path("out")):
        annotate_files(Annotator(annotate_pipeline), [tmp_path], output, format="jsonl")
        assert len(output_rows(output)) == 25
        (output / "part-00000.jsonl").unlink()


def test_an_input_that_is_named_twice_is_refused(annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "txt")
    with pytest.raises(ValueError, match="rows.txt is named twice"):
        annotate_files(Annotator(annotate_pipeline), [path, path], tmp_path / "out")


def test_lines_that_are_not_utf8_are_escaped(tmp_path):
    write_lines(tmp_path / "rows.jsonl", [{"id": "ä"}, {"id": "\udcff"}])
    assert (tmp_path / "rows.jsonl").read_text("utf8") == '{"id": "ä"}\n{"id": "\\udcff"}\n'
