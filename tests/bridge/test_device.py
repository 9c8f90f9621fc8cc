import pytest
import spacy
import torch
from conftest import make_examples

from spacy_reprtune.bridge import device
from spacy_reprtune.bridge.device import configured_device

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_auto_follows_spacy():
    assert configured_device("auto").type == "cpu"


def test_auto_says_that_there_is_a_gpu_which_spacy_does_not_use(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "_said", set())
    monkeypatch.setattr(device.logger, "propagate", True)
    for _ in range(2):
        assert configured_device("auto").type == "cpu"
    assert caplog.text.count("--gpu-id 0") == 1


@no_gpu
def test_a_pipeline_trained_on_a_gpu_loads_without_one(textcat, tmp_path, monkeypatch):
    expected = textcat("a great film").cats
    textcat.to_disk(tmp_path)
    config = tmp_path / "config.cfg"
    config.write_text(config.read_text().replace('device = "auto"', 'device = "cuda"'))
    monkeypatch.setattr(device, "_said", set())
    with pytest.warns(UserWarning, match="runs on the CPU") as seen:
        loaded = spacy.load(tmp_path)
        again = spacy.load(tmp_path)
    assert len([w for w in seen if "runs on the CPU" in str(w.message)]) == 1
    assert loaded("a great film").cats == again("a great film").cats == expected


@no_gpu
def test_training_on_a_gpu_that_is_not_there_is_refused(nlp, model_config):
    nlp.add_pipe("reprtune_textcat", config={"model": model_config({"device": "cuda"})})
    with pytest.raises(ValueError, match="sees no CUDA device"):
        nlp.initialize(lambda: make_examples(nlp))
