"""A teacher annotates a pool, and a student learns from it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import spacy
import srsly
from conftest import BAD, GOOD, make_entity_examples, make_examples
from spacy.tokens import DocBin
from thinc.api import Config
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.components.soft_tags import TAGS
from spacy_reprtune.distill import pool
from spacy_reprtune.distill.pool import label_pool

STUDENT = """
[paths]
train = null
dev = null
encoder = null

[system]
seed = 0

[nlp]
lang = "xx"
pipeline = ["textcat"]

[components]
[components.textcat]
factory = "reprtune_textcat"

[components.textcat.model]
[components.textcat.model.encoder]
@architectures = "spacy_reprtune.StaticEncoder.v1"
name = ${paths.encoder}
width = 8

[training]
seed = ${system.seed}
gpu_allocator = null
max_steps = 30
eval_frequency = 30
patience = 0

[training.batcher]
@batchers = "spacy.batch_by_sequence.v1"
size = 8

[training.optimizer]
learn_rate = 0.0009
"""


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, tiny_encoder):
    """Directories of a trained text classifier and of a trained recognizer."""
    root = tmp_path_factory.mktemp("teachers")
    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": str(tiny_encoder)}
    for factory, name, head, make in (
        ("reprtune_textcat", "textcat", "TextClassifier", make_examples),
        ("reprtune_ner", "ner", "TokenClassifier", make_entity_examples),
    ):
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("xx")
        model = {"@architectures": f"spacy_reprtune.{head}.v1", "encoder": encoder}
        nlp.add_pipe(factory, name=name, config={"model": model})
        examples = make(nlp)
        optimizer = nlp.initialize(lambda examples=examples: examples)
        optimizer.learn_rate = 0.01
        for _ in range(25):
            nlp.update(examples, sgd=optimizer)
        nlp.to_disk(root / name)
        gold = DocBin(docs=[eg.reference for eg in examples])
        gold.to_disk(root / f"{name}.spacy")
    return root


@pytest.fixture
def texts(tmp_path):
    """A pool in three forms, with rows that have no text."""
    found = [f"{a} , {b}" for a in GOOD for b in GOOD] + [f"{a} , {b}" for a in BAD for b in BAD]
    folder = tmp_path / "pool"
    folder.mkdir()
    rows = [{"text": text} for text in found[:10]]
    srsly.write_jsonl(folder / "a.jsonl", [*rows, {"text": None}, {"text": " "}])
    (folder / "b.txt").write_text("\n".join(found[10:20]) + "\n", encoding="utf8")
    nlp = spacy.blank("xx")
    DocBin(docs=[nlp(text) for text in found[20:]]).to_disk(folder / "c.spacy")
    return folder, found


def docs_of(folder):
    vocab = spacy.blank("xx").vocab
    parts = sorted(folder.glob("*.spacy"))
    return [doc for part in parts for doc in DocBin().from_disk(part).get_docs(vocab)]


def test_every_text_of_a_pool_gets_the_probabilities_of_the_teacher(teachers, texts, tmp_path):
    folder, found = texts
    labeled = label_pool(str(teachers / "textcat"), [folder], tmp_path / "corpus")
    assert labeled == (len(found), 2)
    docs = docs_of(tmp_path / "corpus")
    assert [doc.text for doc in docs] == found
    nlp = spacy.load(teachers / "textcat")
    assert docs[25].cats == pytest.approx(nlp(found[25]).cats, abs=1e-5)


def test_damaged_rows_of_a_table_are_skipped(teachers, tmp_path):
    path = tmp_path / "pool.csv"
    path.write_bytes(b"id,text\n1,caf\xe9 au lait\n2,a film, cut off\n3\n4,a great film\n")
    labeled = label_pool(str(teachers / "textcat"), [path], tmp_path / "corpus")
    assert labeled == (1, 3)
    assert [doc.text for doc in docs_of(tmp_path / "corpus")] == ["a great film"]


def test_a_run_goes_on_where_it_was_stopped(teachers, texts, tmp_path, monkeypatch):
    folder, found = texts
    monkeypatch.setattr(pool, "SHARD_TEXTS", 5)
    arguments = (str(teachers / "textcat"), [folder], tmp_path / "corpus")
    label_shard, calls = pool._label_shard, []

    def stop_at_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        label_shard(*args)

    monkeypatch.setattr(pool, "_label_shard", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        label_pool(*arguments)
    calls.append(None)
    assert label_pool(*arguments).texts == len(found)
    assert [doc.text for doc in docs_of(tmp_path / "corpus")] == found
    n_calls = len(calls)
    label_pool(*arguments)
    assert len(calls) == n_calls
    (folder / "b.txt").write_text("another pool\n", encoding="utf8")
    with pytest.raises(ValueError, match="output of another run: its inputs"):
        label_pool(*arguments)


def test_texts_or_gold_docs_that_have_changed_are_refused(teachers, tmp_path):
    path, gold = tmp_path / "pool.txt", tmp_path / "gold.spacy"
    path.write_text("a film\n", encoding="utf8")
    shutil.copyfile(teachers / "textcat.spacy", gold)
    arguments = (str(teachers / "textcat"), [path], tmp_path / "corpus")
    label_pool(*arguments, gold=gold)
    os.utime(path, ns=(1, 1))
    assert label_pool(*arguments, gold=gold).texts == 1
    path.write_text("b film\n", encoding="utf8")
    with pytest.raises(ValueError, match="pool.txt has changed"):
        label_pool(*arguments, gold=gold)
    path.write_text("a film\n", encoding="utf8")
    DocBin().to_disk(gold)
    with pytest.raises(ValueError, match="output of another run: its inputs"):
        label_pool(*arguments, gold=gold)


def test_posteriors_of_a_recognizer_reach_the_training_data(teachers, texts, tmp_path):
    labeled = label_pool(
        str(teachers / "ner"), [texts[0]], tmp_path / "corpus", gold=teachers / "ner.spacy"
    )
    docs = docs_of(tmp_path / "corpus")
    soft = [doc for doc in docs if TAGS in doc.user_data]
    assert len(soft) == labeled.texts and len(docs) == labeled.texts + 5
    totals = soft[0].user_data[TAGS]["probabilities"].astype("f").sum(1)
    assert totals == pytest.approx(1.0, abs=0.01)


def test_a_teacher_of_spacy_hands_over_its_entities(texts, tmp_path):
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "KIND", "pattern": "film"}])
    nlp.to_disk(tmp_path / "teacher")
    label_pool(str(tmp_path / "teacher"), [texts[0]], tmp_path / "corpus")
    docs = docs_of(tmp_path / "corpus")
    assert {ent.text for doc in docs for ent in doc.ents} == {"film"}
    assert not any(TAGS in doc.user_data for doc in docs)
    # What has no entity is known to have none.
    assert all(doc.has_annotation("ENT_IOB") for doc in docs)


def test_a_teacher_that_writes_neither_categories_nor_entities_is_refused(texts, tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "teacher")
    with pytest.raises(ValueError, match="but only sentencizer"):
        label_pool(str(tmp_path / "teacher"), [texts[0]], tmp_path / "corpus")


@pytest.fixture
def distill(teachers, texts, tmp_path):
    """Runs the command with a short training, and shows its output in one line."""

    def run(*more, config=STUDENT, dev=True):
        (tmp_path / "student.cfg").write_text(config, encoding="utf8")
        command = ["distill", str(teachers / "textcat"), str(tmp_path / "student.cfg")]
        command += ["--text", str(texts[0]), "--output", str(tmp_path / "out")]
        command += ["--dev", str(teachers / "textcat.spacy")] if dev else []
        steps = ["--training.max_steps", "2", "--training.eval_frequency", "1"]
        done = CliRunner().invoke(reprtune_cli, [*command, *steps, *more])
        return done.exit_code, " ".join(done.output.split())

    return run


def test_the_result_of_another_request_is_not_shown(distill, teachers, tmp_path):
    other = tmp_path / "other.spacy"
    other.write_bytes((teachers / "textcat.spacy").read_bytes())
    assert distill()[0] == 0
    for changed, more in (
        ("config", ["--training.dropout", "0.3"]),
        ("dev", ["--dev", str(other)]),
        ("test", ["--test", str(other)]),
    ):
        code, output = distill(*more)
        assert code == 1 and f"output of another run: its {changed} is" in output
    code, output = distill()
    assert code == 0 and "Training pipeline" not in output


def test_a_comparison_that_fails_does_not_cost_the_training(distill, teachers, tmp_path):
    code, output = distill("--test", str(tmp_path / "missing.spacy"))
    assert code == 2 and not (tmp_path / "out").exists()
    DocBin().to_disk(tmp_path / "empty.spacy")
    code, output = distill("--test", str(tmp_path / "empty.spacy"))
    assert code == 1 and "is trained, but can't be compared" in output
    code, output = distill("--test", str(teachers / "textcat.spacy"))
    assert code == 0 and "Training pipeline" not in output and "words per second" in output


def test_dev_is_what_the_config_reads_and_missing_docs_are_noticed_first(
    distill, teachers, tmp_path
):
    code, output = distill(dev=False)
    assert code == 1 and "on docs at None, but nothing is there" in output
    named = STUDENT.replace("dev = null", f'data = "{teachers}"\ndev = "${{paths.data}}/no.spacy"')
    code, output = distill(config=named, dev=False)
    assert code == 1 and "no.spacy" in output and not (tmp_path / "out").exists()
    assert distill(config=named.replace("no.spacy", "textcat.spacy"), dev=False)[0] == 0


def test_dev_docs_that_only_the_corpus_names_are_found(distill, teachers):
    reader = f'[corpora.dev]\n@readers = "spacy.Corpus.v1"\npath = "{teachers}/textcat.spacy"\n'
    assert distill(config=f"{STUDENT}\n[corpora]\n\n{reader}", dev=False)[0] == 0


def test_every_component_that_can_learns_probabilities(tmp_path):
    factories = ["reprtune_cascade", "reprtune_ner", "reprtune_spans", "textcat"]
    config = Config().from_str(STUDENT, interpolate=False)
    config["paths"]["encoder"] = "given"
    config["components"] = {name: {"factory": name} for name in factories}
    config["components"]["sourced"] = {"source": "teacher"}
    config.to_disk(tmp_path / "student.cfg")
    # In a process of its own, because here all factories are imported already.
    program = f"""if True:
        from spacy.util import load_config
        from spacy_reprtune.distill.student import student_overrides
        config = load_config({str(tmp_path / "student.cfg")!r}, interpolate=False)
        print(*student_overrides(config, "teacher", "corpus", None))
    """
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    soft = [name for name in done.stdout.split() if name.endswith("soft_labels")]
    assert soft == [f"components.{name}.soft_labels" for name in factories[:2]]


def test_a_student_is_trained_and_compared_with_its_teacher(teachers, texts, tmp_path):
    (tmp_path / "student.cfg").write_text(STUDENT, encoding="utf8")
    command = ["distill", str(teachers / "textcat"), str(tmp_path / "student.cfg")]
    out = texts[0] / "out"
    command += ["--text", str(texts[0]), "--output", str(out)]
    command += ["--dev", str(teachers / "textcat.spacy"), "--gold", str(teachers / "textcat.spacy")]
    done = CliRunner().invoke(reprtune_cli, [*command, "--training.max_steps", "31"])
    assert done.exit_code == 0, done.output
    assert "words per second" in done.output and "2 rows were skipped" in done.output
    student = spacy.load(out / "model-best")
    assert student.config["components"]["textcat"]["soft_labels"] is True
    assert student.config["training"]["max_steps"] == 31
    assert student.get_pipe("textcat").encoder.width == 8
    assert student.evaluate(make_examples(student))["cats_score"] > 0.8
    result = json.loads((out / "result.json").read_text())
    for scores in (result["teacher"]["scores"], result["student"]["scores"]):
        assert list(scores) == ["macro F", "accuracy"] and scores["accuracy"] > 0.8
    assert result["student"]["mb"] < result["teacher"]["mb"]
    # What was written below the pool is not a part of it.
    (out / "model-best" / "notes.txt").write_text("a film\n", encoding="utf8")
    again = CliRunner().invoke(reprtune_cli, [*command, "--training.max_steps", "31"])
    assert again.exit_code == 0 and "Training pipeline" not in again.output
