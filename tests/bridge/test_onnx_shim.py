"""What an exported head does without ONNX Runtime; tests/packaging/test_onnx.py has the rest."""

import weakref

from spacy_reprtune.bridge.onnx_shim import OnnxShim


class Graphs:
    """Stands for graphs whose threads belong to a parent process."""


def test_a_worker_never_destroys_the_graphs_of_its_parent(monkeypatch):
    shim = OnnxShim("texts")
    shim._model = Graphs()
    of_parent = weakref.ref(shim._model)
    monkeypatch.setattr(shim, "from_files", lambda files: setattr(shim, "_model", Graphs()))
    shim.take_one_thread_after_fork()
    assert shim._model is of_parent() and shim.threads is None
    monkeypatch.setattr(shim, "_process", -1)
    shim.take_one_thread_after_fork()
    assert of_parent() is not None and shim._model is not of_parent() and shim.threads == 1
