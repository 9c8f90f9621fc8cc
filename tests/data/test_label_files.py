"""A folder with one file per label, and splits that keep the order of the files."""

from pathlib import Path

import pytest
from converting import adds_up, converted, docs_of, run, write
from hypothesis import given
from hypothesis import strategies as st

from spacy_reprtune.data.convert import convert
from spacy_reprtune.data.formats.lines import label_files
from spacy_reprtune.data.record import Columns
from spacy_reprtune.data.stratify import Layout

SAMPLE = Path(__file__).parents[2] / "assets" / "samples" / "reviews_by_label"


def test_each_file_is_a_label_and_each_line_a_text(tmp_path):
    manifest, docs = converted(SAMPLE, tmp_path, format="lines")
    assert adds_up(manifest) == (8, 8)
    assert manifest["splits"]["train"]["labels"] == {"bad": 4, "good": 4}
    assert docs[0].text == "The chair wobbles on any floor."
    assert docs[0].cats == {"bad": 1.0, "good": 0.0}


def test_files_of_one_name_are_told_apart_by_what_comes_after_it(tmp_path):
    folder = tmp_path / "polarity"
    folder.mkdir()
    write(folder / "reviews.pos", "déjà vu , but warm .\n", encoding="latin-1")
    write(folder / "reviews.neg", "cold .\n\n", encoding="latin-1")
    columns = Columns(encodings=("latin-1",))
    manifest, docs = converted(folder, tmp_path, format="lines", columns=columns)
    assert manifest["labels"] == ["neg", "pos"]
    assert manifest["texts"]["dropped"] == {"empty text": 1}
    assert [doc.text for doc in docs] == ["cold .", "déjà vu , but warm ."]


def test_in_order_the_first_texts_of_each_label_are_train_and_the_last_test(tmp_path):
    for seed in (0, 1):
        output = tmp_path / str(seed)
        options = {"format": "lines", "split": "50/25/25", "in_order": True, "seed": seed}
        convert({"train": SAMPLE}, output, **options)
        texts = {s: [doc.text for doc in docs_of(output, s)] for s in ("train", "dev", "test")}
        for name in ("bad", "good"):
            lines = (SAMPLE / f"{name}.txt").read_text("utf8").splitlines()
            kept = [[t for t in texts[s] if t in lines] for s in texts]
            assert kept == [lines[:2], lines[2:3], lines[3:]]


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_in_order_each_label_goes_through_the_splits_once(labels, shares):
    layout = Layout()
    for label in labels:
        layout.add(label, [label], None)
    names = ("train", "dev", "test")[: len(shares)]
    shares = {n: x / sum(shares) for n, x in zip(names, shares, strict=True)}
    splits = layout.in_order(shares)
    for label in set(labels):
        own = [names.index(s) for s, x in zip(splits, labels, strict=True) if x == label]
        assert own == sorted(own)
        assert abs(own.count(0) - shares["train"] * len(own)) <= 0.5


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["only.txt"], "has 1 file"),
        (["good.txt", "good.md", "bad.txt"], "do not give one label each"),
    ],
)
def test_names_that_give_no_labels_are_refused(names, message, tmp_path):
    for name in names:
        write(tmp_path / name, "text\n")
    with pytest.raises(ValueError, match=message):
        label_files(tmp_path)


def test_in_order_is_refused_for_inputs_that_bring_their_splits(tmp_path):
    sample = SAMPLE.parent / "iob2.conll"
    done = run(sample, tmp_path / "out", "--dev", sample, "--in-order")
    assert done.exit_code == 1
    assert "has its own" in " ".join(done.output.split())


def test_in_order_is_refused_with_groups_which_it_would_tear_apart(tmp_path):
    rows = "".join(f"Lamp {k} is warm.,good,author{k % 2}\n" for k in range(8))
    source = write(tmp_path / "a.csv", "text,label,author\n" + rows)
    done = run(source, tmp_path / "out", "--in-order", "--group", "author")
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "Traceback" not in said
    assert "--in-order" in said and "'author' together, as --group does" in said
    assert not (tmp_path / "out").exists()
    assert run(source, tmp_path / "out", "--group", "author").exit_code == 0


def test_in_order_a_label_with_five_texts_is_cut_as_the_page_says():
    layout = Layout()
    for k in range(5):
        layout.add(f"text {k}", ["a"], None)
    splits = layout.in_order({"train": 0.8, "dev": 0.1, "test": 0.1})
    assert [splits.count(name) for name in ("train", "dev", "test")] == [4, 0, 1]


def test_a_folder_of_text_files_is_told_of_its_format(tmp_path):
    with pytest.raises(ValueError, match="each line a text, say so: --format lines"):
        convert({"train": SAMPLE}, tmp_path / "out")


def test_rotten_tomatoes_is_split_as_published(shared_data, tmp_path):
    source = shared_data / "rotten_tomatoes"
    if not source.is_dir():
        pytest.skip("no folder rotten_tomatoes under REPRTUNE_DATA")
    columns = Columns(encodings=("latin-1",))
    options = {"format": "lines", "columns": columns, "split": "80/10/10", "in_order": True}
    manifest = convert({"train": source}, tmp_path, **options)
    counts = {split: part["labels"] for split, part in manifest["splits"].items()}
    assert counts == {
        "train": {"neg": 4265, "pos": 4265},
        "dev": {"neg": 533, "pos": 533},
        "test": {"neg": 533, "pos": 533},
    }
