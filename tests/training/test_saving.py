"""A killed training leaves the earlier or the later pipeline, and nothing besides after a save."""

import os

import pytest
import spacy

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
    nlp = spacy.blank("en")
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


def test_spacy_finds_it_by_its_name():
    assert spacy.registry.callbacks.get("spacy_reprtune.save_whole.v1") is save_whole_v1
