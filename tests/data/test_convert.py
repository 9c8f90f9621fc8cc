"""Each format in, a corpus out, and an account that adds up."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import spacy
from converting import adds_up, converted, docs_of, run, write
from spacy.training import Corpus

from spacy_reprtune.data.convert import convert, label_variants
from spacy_reprtune.data.corpus import SplitWriter, read_docs
from spacy_reprtune.data.record import Columns

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"
# Texts in, texts out, entities in, entities out, with --split 100.
COUNTS = {
    "reviews.csv": (12, 12, 0, 0),
    "reviews.tsv": (4, 4, 0, 0),
    "labels.jsonl": (3, 3, 0, 0),
    "spans.jsonl": (4, 4, 7, 5),
    "sentences.jsonl": (24, 24, 72, 72),
    "nested.jsonl": (20, 20, 44, 26),
    "prodigy.jsonl": (4, 2, 3, 2),
    "prodigy_choice.jsonl": (5, 4, 0, 0),
    "doccano.jsonl": (3, 3, 4, 4),
    "label_studio.json": (4, 2, 2, 2),
    "label_studio_min.json": (2, 2, 3, 3),
    "brat": (3, 2, 5, 4),
    "conll2003.txt": (2, 2, 5, 5),
    "iob2.conll": (2, 2, 3, 3),
    "bioes.conll": (2, 2, 3, 3),
    "biluo.conll": (2, 2, 3, 3),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_in_are_counts_out_and_counts_dropped(name, tmp_path):
    manifest, docs = converted(SAMPLES / name, tmp_path)
    adds_up(manifest)
    texts, entities = manifest["texts"], manifest["entities"]
    assert (texts["in"], texts["out"], entities["in"], entities["out"]) == COUNTS[name]
    assert len(docs) == texts["out"]
    assert sum(len(doc.ents) for doc in docs) == entities["out"]


def test_every_sample_is_tested():
    others = {"reviews_by_label", "topics.csv", "notes.txt", "messages.csv"}
    assert {path.name for path in SAMPLES.iterdir()} == {*COUNTS, *others}


@pytest.mark.parametrize(
    ("folder", "train", "dev", "test", "counts"),
    [
        ("conll2003", "eng.train", "eng.testa", "eng.testb", (23499, 5942, 5648)),
        (
            "wnut17",
            "wnut17train.conll",
            "emerging.dev.conll",
            "emerging.test.annotated",
            (1975, 836, 1079),
        ),
        ("ncbi_disease", "train.tsv", "devel.tsv", "test.tsv", (5134, 787, 960)),
    ],
)
def test_public_sets_keep_every_entity(shared_data, tmp_path, folder, train, dev, test, counts):
    paths = {"train": train, "dev": dev, "test": test}
    inputs = {split: shared_data / folder / name for split, name in paths.items()}
    manifest = convert(inputs, tmp_path)
    adds_up(manifest)
    assert tuple(sum(s["entities"].values()) for s in manifest["splits"].values()) == counts
    read = (sum(len(doc.ents) for doc in docs_of(tmp_path, split)) for split in inputs)
    assert tuple(read) == counts


def test_public_sentences_are_all_in_one_split_or_counted(shared_data, tmp_path):
    """10,662 sentences in Latin-1, some twice, some with both labels."""
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label in ("pos", "neg"):
            source = shared_data / "rotten_tomatoes" / f"rt-polarity.{label}"
            # Lines end only with a line feed: other characters of the set look like line ends.
            for line in source.read_bytes().decode("latin-1").split("\n"):
                if line:
                    writer.writerow([line, label])
    columns = Columns(encodings=("latin-1",))
    manifest = convert({"train": path}, tmp_path / "out", columns=columns)
    assert adds_up(manifest) == (10662, 10662)
    per_split = manifest["splits"].values()
    assert sum(split["labels"][label] for split in per_split for label in ("pos", "neg")) == 10662
    assert all(0.45 < s["labels"]["pos"] / s["texts"] < 0.55 for s in per_split)


def test_csv_cells_may_have_quotes_and_line_ends(tmp_path):
    _, docs = converted(SAMPLES / "reviews.csv", tmp_path)
    texts = [doc.text for doc in docs]
    assert 'Says "silent" on the box; it is not.' in texts
    assert "Two weeks of use.\nThen the lid broke." in texts
    assert docs[0].cats == {"bad": 0.0, "good": 1.0}


def test_every_text_has_every_label(tmp_path):
    _, docs = converted(SAMPLES / "labels.jsonl", tmp_path)
    assert [sorted(k for k, v in doc.cats.items() if v) for doc in docs] == [
        ["good"],
        ["garden", "kitchen"],
        ["bad"],
    ]
    # A table of scores says nothing about the labels that it leaves out.
    assert sorted(docs[0].cats) == ["bad", "garden", "good", "kitchen"]
    assert docs[2].cats == {"bad": 1.0, "good": 0.0}


def test_several_label_columns_are_labels(tmp_path):
    columns = Columns(texts=("title",), labels=("kitchen", "garden", "repair"))
    _, docs = converted(SAMPLES / "topics.csv", tmp_path, columns=columns)
    assert docs[1].cats == {"kitchen": 1.0, "garden": 0.0, "repair": 1.0}


def test_several_labels_in_one_cell(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nA warm lamp,home|light\nA red kettle,home\n")
    _, docs = converted(path, tmp_path, columns=Columns(label_separator="|"))
    assert [doc.cats for doc in docs] == [{"home": 1, "light": 1}, {"home": 1, "light": 0}]


def test_a_rejected_answer_is_knowledge_only_for_one_label(tmp_path):
    manifest, docs = converted(SAMPLES / "prodigy_choice.jsonl", tmp_path)
    assert manifest["texts"]["dropped"] == {"answer is ignore": 1}
    assert docs[-1].cats == {"good": 0.0}
    manifest, _ = converted(SAMPLES / "prodigy.jsonl", tmp_path)
    assert manifest["texts"]["dropped"] == {"answer is ignore": 1, "answer is reject": 1}
    assert manifest["entities"]["dropped"] == {"in a text that was dropped": 1}


def test_texts_that_were_annotated_without_entities_say_so(tmp_path):
    _, docs = converted(SAMPLES / "doccano.jsonl", tmp_path)
    assert not docs[2].ents
    assert all(token.ent_iob_ == "O" for token in docs[2])
    assert not docs[2].cats


def test_spans_that_do_not_fit_are_counted_and_shown(tmp_path):
    manifest, _ = converted(SAMPLES / "spans.jsonl", tmp_path)
    assert manifest["entities"]["dropped"] == {"cuts a token": 1, "outside of the text": 1}
    assert "PERSON …[Jon]as wrote to the…" in manifest["cases"]["cuts a token"][0]
    assert "19:99 of 32 characters" in manifest["cases"]["outside of the text"][0]


@pytest.mark.parametrize(
    ("align", "texts", "reason"),
    [
        ("strict", ["river stone"], "cuts a token"),
        ("contract", ["is"], "contracted to whole tokens"),
        ("expand", ["This is fine"], "expanded to whole tokens"),
    ],
)
def test_spans_that_cut_a_token(align, texts, reason, tmp_path):
    rows = [
        {"text": "This is fine", "spans": [[2, 9, "X"]]},
        {"text": "river stone", "spans": [[0, 11, "X"]]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    manifest, docs = converted(path, tmp_path, align=align)
    adds_up(manifest)
    found = [ent.text for doc in docs for ent in doc.ents]
    assert found == list(dict.fromkeys([*texts, "river stone"]))
    assert reason in {**manifest["entities"]["dropped"], **manifest["entities"]["moved"]}


def test_overlapping_spans_keep_the_longest_or_go_to_a_group(tmp_path):
    row = {"text": "the Port Elsey ferry", "spans": [[4, 14, "PLACE"], [4, 20, "SHIP"]]}
    path = write(tmp_path / "a.jsonl", json.dumps(row))
    manifest, docs = converted(path, tmp_path)
    assert [ent.text for ent in docs[0].ents] == ["Port Elsey ferry"]
    assert manifest["entities"]["dropped"] == {"overlaps a longer one": 1}
    manifest, docs = converted(path, tmp_path, spans_key="sc")
    assert [span.text for span in docs[0].spans["sc"]] == ["Port Elsey", "Port Elsey ferry"]
    assert manifest["entities"]["out"] == 2 and not docs[0].ents


def test_white_space_at_the_edge_of_a_span_is_trimmed(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "a Jon b", "spans": [[1, 6, "P"]]}))
    manifest, docs = converted(path, tmp_path)
    assert docs[0].ents[0].text == "Jon"
    assert manifest["entities"]["moved"] == {"white space at the edge trimmed": 1}


def test_spans_that_are_dropped_are_not_counted_as_moved(tmp_path):
    spans = [[0, 6, "TIME"], [8, 13, "WORD"], [5, 18, "LONG"], [10, 18, "SHORT"]]
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "today  tomorrow now", "spans": spans}))
    manifest, docs = converted(path, tmp_path, align="expand")
    adds_up(manifest)
    assert [ent.label_ for ent in docs[0].ents] == ["TIME", "LONG"]
    assert manifest["entities"]["moved"] == {
        "white space at the edge trimmed": 2,
        "expanded to whole tokens": 1,
    }
    manifest, docs = converted(path, tmp_path)
    assert [ent.label_ for ent in docs[0].ents] == ["TIME"]
    assert manifest["entities"]["moved"] == {"white space at the edge trimmed": 1}


def test_documents_stay_whole_and_read_as_text(tmp_path):
    manifest, docs = converted(SAMPLES / "conll2003.txt", tmp_path)
    assert manifest["sources"]["train"]["tags"] == "IOB1"
    assert docs[0].text == (
        "Mira Holt's boat (built in Norwood) left Elsey Port Elsey. \"It isn't far,\" she said."
    )
    assert [ent.text for ent in docs[0].ents] == ["Mira Holt", "Norwood", "Elsey", "Port Elsey"]
    assert [sent.text for sent in docs[0].sents][1] == '"It isn\'t far," she said.'
    _, docs = converted(SAMPLES / "conll2003.txt", tmp_path, columns=Columns(sentences=1))
    assert len(docs) == 3


def test_the_tokenizer_that_serves_finds_the_same_borders(tmp_path):
    converted(SAMPLES / "conll2003.txt", tmp_path)
    nlp = spacy.blank("en")
    examples = list(Corpus(tmp_path / "out" / "train.spacy")(nlp))
    for example in examples:
        assert example.predicted.text == example.reference.text
        assert len(example.get_aligned_ents_and_ner()[0]) == len(example.reference.ents)


@pytest.mark.parametrize("name", ["iob2", "bioes", "biluo"])
def test_all_schemes_give_the_same_docs(name, tmp_path):
    manifest, docs = converted(SAMPLES / f"{name}.conll", tmp_path)
    assert manifest["sources"]["train"]["tags"] == name.upper()
    assert [(e.text, e.label_) for d in docs for e in d.ents] == [
        ("Mira Holt", "PERSON"),
        ("Elsey", "PLACE"),
        ("Norwood", "PLACE"),
    ]


def test_saved_datasets_bring_their_splits_and_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"text": ["warm", "cold", "grey"], "label": [1, 0, -1]}
    made = datasets.Dataset.from_dict(rows, features=features)
    whole = datasets.DatasetDict({"train": made, "validation": made.select([0])})
    whole.save_to_disk(tmp_path / "set")
    manifest = convert({"train": tmp_path / "set"}, tmp_path / "out")
    assert adds_up(manifest) == (4, 3)
    assert {split: s["texts"] for split, s in manifest["splits"].items()} == {"train": 2, "dev": 1}
    assert docs_of(tmp_path / "out")[0].cats == {"bad": 0.0, "good": 1.0}


def test_parquet_keeps_the_names_of_classes_and_tags(tmp_path):
    datasets = pytest.importorskip("datasets")
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PERSON", "I-PERSON"]))
    features = datasets.Features(
        {"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags}
    )
    rows = {"tokens": [["Mira", "Holt", "sails", "."]], "ner_tags": [[1, 2, 0, 0]]}
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    manifest, docs = converted(path, tmp_path)
    adds_up(manifest)
    assert docs[0].text.strip() == "Mira Holt sails."
    assert [(ent.text, ent.label_) for ent in docs[0].ents] == [("Mira Holt", "PERSON")]


def test_the_command_splits_by_label_and_group_and_says_what_it_did(tmp_path):
    done = run(
        SAMPLES / "reviews.csv", tmp_path, "--split", "50/25/25", "--group", "shop", "--seed", 1
    )
    assert done.exit_code == 0, done.output
    assert "texts: 12 in, 12 out, 0 dropped" in done.output
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    shops = dict(
        line.rsplit(",", 2)[::2]
        for line in (SAMPLES / "reviews.csv").read_text().replace("use.\n", "").splitlines()
    )
    assert len(shops) == 13
    assert sum(s["texts"] for s in manifest["splits"].values()) == 12


def test_the_same_input_and_seed_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        convert({"train": SAMPLES / "reviews.csv"}, tmp_path / name, split="50/25/25", seed=3)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_another_tool_s_corpus_is_not_overwritten_and_an_own_one_is(tmp_path):
    convert({"train": SAMPLES / "reviews.csv"}, tmp_path / "out", split="50/25/25")
    convert({"train": SAMPLES / "reviews.csv"}, tmp_path / "out", split="100")
    assert not (tmp_path / "out" / "dev.spacy").exists()
    for manifest in ("[]", '{"about": 3}', '"reprtune convert"', None):
        path = tmp_path / "out" / "manifest.json"
        path.write_text(manifest) if manifest else path.unlink()
        with pytest.raises(
            ValueError, match=r"already has train\.spacy, which no conversion wrote"
        ):
            convert({"train": SAMPLES / "reviews.csv"}, tmp_path / "out")


def test_large_splits_become_parts_that_spacy_reads_as_one(tmp_path):
    nlp = spacy.blank("en")
    writer = SplitWriter(tmp_path, "train", part_tokens=50)
    for k in range(12):
        doc = nlp.make_doc(f"text number {k} is short")
        doc.cats = {"a": 1.0}
        writer.add(doc)
    path = writer.close()
    assert path.is_dir() and len(list(path.iterdir())) == 6
    assert len(list(read_docs(path, nlp.vocab))) == 12
    assert [e.reference[2].text for e in Corpus(path)(nlp)] == [str(k) for k in range(12)]


def test_label_variants_are_found_reported_and_merged(tmp_path):
    assert label_variants(["Good", "good ", "bad", "very_bad", "Very-Bad"]) == [
        ["Good", "good "],
        ["Very-Bad", "very_bad"],
    ]
    path = write(tmp_path / "a.csv", "text,label\none,Good\ntwo,good\nthree,good\nfour,bad\n")
    done = run(path, tmp_path / "out", "--split", "100")
    assert "These labels may be the same: 'Good', 'good'" in done.output
    manifest, docs = converted(path, tmp_path, merge_labels=True)
    assert manifest["labels"] == ["bad", "good"]
    assert docs[0].cats == {"bad": 0.0, "good": 1.0}


@pytest.mark.parametrize(
    ("one", "other"),
    [("-1", "1"), ("-1.0", "1"), ("A-", "A"), ("-", "--"), ("1-2", "12"), ("drift -1", "drift-1")],
)
def test_labels_that_differ_by_a_sign_or_a_range_are_not_variants(one, other, tmp_path):
    assert label_variants([one, other]) == []
    path = write(tmp_path / "a.csv", f"text,label\nwarm,{one}\ncold,{other}\n")
    manifest, _ = converted(path, tmp_path, merge_labels=True)
    assert manifest["labels"] == sorted([one, other])


@pytest.mark.parametrize(
    ("one", "other"),
    [("-1", "-1.0"), ("very - bad", "very bad"), ("top-10", "Top 10"), ("1-2", "1 - 2")],
)
def test_labels_that_differ_by_separators_are_variants(one, other):
    assert label_variants([one, other]) == [sorted([one, other])]


def test_an_unfinished_conversion_leaves_the_old_corpus(tmp_path):
    shutil.copy(SAMPLES / "reviews.tsv", tmp_path / "a.tsv")
    converted(tmp_path / "a.tsv", tmp_path)
    before = (tmp_path / "out" / "train.spacy").read_bytes()
    path = tmp_path / "b.jsonl"
    path.write_bytes(b'{"text": "a", "label": "x"}\n{"text": "b\xff"}')
    with pytest.raises(ValueError, match="the first is line 2"):
        converted(path, tmp_path)
    assert (tmp_path / "out" / "train.spacy").read_bytes() == before
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_entity_labels_are_merged_as_well(tmp_path):
    rows = [
        {"text": "Elsey Port", "spans": [[0, 5, "Place"], [6, 10, "PLACE"]]},
        {"text": "Norwood", "spans": [[0, 7, "PLACE"]]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    manifest, docs = converted(path, tmp_path)
    assert manifest["label_variants"] == [["PLACE", "Place"]]
    assert {ent.label_ for doc in docs for ent in doc.ents} == {"PLACE", "Place"}
    _, docs = converted(path, tmp_path, merge_labels=True)
    assert {ent.label_ for doc in docs for ent in doc.ents} == {"PLACE"}


def test_brat_folders_can_be_groups(tmp_path):
    for k in range(60):
        folder = tmp_path / "brat" / f"case {k % 6}"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{k}.txt", f"note {k * 7919} of Mira, {k * 104729}")
        start = (folder / f"{k}.txt").read_text().index("Mira")
        write(folder / f"{k}.ann", f"T1\tPERSON {start} {start + 4}\tMira\n")
    settings = {"split": "50/25/25", "columns": Columns(group="folder")}
    manifest = convert({"train": tmp_path / "brat"}, tmp_path / "out", **settings)
    assert adds_up(manifest) == (60, 60)
    numbers = {
        split: {int(doc[1].text) // 7919 % 6 for doc in docs_of(tmp_path / "out", split)}
        for split in manifest["splits"]
    }
    groups = [group for found in numbers.values() for group in found]
    assert sorted(groups) == list(range(6))
