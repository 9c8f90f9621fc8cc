"""A killed training leaves the earlier or the later pipeline, and nothing besides after a save."""

import os

import pytest
import spacy

from benchmarks.kills import contents, save_and_die
from spacy_reprtune.training.saving import save_whole_v1


class Step:
    """A component that saves a number, and may kill the process instead."""

    def __init__(self):
        self.step, self.killed = 0, False

    def __call__(self, doc):
        return doc

    def to_disk(self, path, exclude=()):
        if self.killed:
            os._exit(1)
        path.mkdir(exist_ok=True)
        (path / "step").write_text(str(self.step))


@pytest.fixture
def nlp():
    nlp = spacy.blank("xx")
    for name in ("first", "second"):
        spacy.Language.factory("step", func=lambda nlp, name: Step())
        nlp.add_pipe("step", name=name)
    return nlp


def steps(folder):
    return {path.parent.name: path.read_text() for path in folder.glob("*/step")}


def test_a_killed_save_leaves_the_earlier_pipeline_and_the_next_one_cleans_up(nlp, tmp_path):
    before_to_disk = save_whole_v1()
    last = tmp_path / "model-last"
    first, second = nlp.get_pipe("first"), nlp.get_pipe("second")
    before_to_disk(nlp).to_disk(last)
    assert steps(last) == {"first": "0", "second": "0"}
    first.step = second.step = 1
    if os.fork() == 0:
        second.killed = True
        before_to_disk(nlp).to_disk(last)
    os.wait()
    assert steps(last) == {"first": "0", "second": "0"}
    assert len(list(tmp_path.iterdir())) == 2
    before_to_disk(nlp).to_disk(last)
    assert steps(last) == {"first": "1", "second": "1"}
    assert list(tmp_path.iterdir()) == [last]
    assert "to_disk" not in vars(nlp)


def test_ten_kills_while_saving_leave_the_earlier_or_the_later_pipeline(
    annotate_pipeline, tmp_path
):
    nlp = spacy.load(annotate_pipeline)
    last, later = tmp_path / "output" / "model-last", tmp_path / "later"
    save_whole_v1()(nlp).to_disk(last)
    whole = [contents(last)]
    for name in ("textcat", "ner"):
        nlp.get_pipe(name).head.output.bias.data.add_(1.0)
    nlp.to_disk(later)
    whole.append(contents(later))
    assert whole[0].keys() == whole[1].keys() and whole[0] != whole[1]
    n_operations = save_and_die(nlp, tmp_path / "counted" / "model-last", fatal=None)
    assert n_operations > 20
    for k in range(10):
        assert save_and_die(nlp, last, fatal=1 + k * n_operations // 10) == 0
        assert contents(last) in whole
    save_whole_v1()(nlp).to_disk(last)
    assert contents(last) == whole[1]
    assert list(last.parent.iterdir()) == [last]


def test_spacy_finds_it_by_its_name():
    assert spacy.registry.callbacks.get("spacy_reprtune.save_whole.v1") is save_whole_v1
