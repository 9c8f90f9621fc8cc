import json

import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture
def saved(textcat, tmp_path):
    shim = textcat.get_pipe("textcat").model.shims[0]
    shim.to_directory(tmp_path)
    return shim, tmp_path


@pytest.mark.parametrize("n_labels", [10**9, 3, -1, "2", None])
def test_a_wrong_number_of_labels_is_refused_before_memory_is_taken(saved, n_labels):
    shim, path = saved
    (path / "head.json").write_text(json.dumps({"n_labels": n_labels}))
    with pytest.raises(ValueError, match=r"head\.json says n_labels = "):
        shim.from_directory(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_the_file_s_name(saved, value):
    shim, path = saved
    tensors = load_file(path / "head.safetensors")
    tensors["output.bias"] = torch.tensor([0.0, value])
    save_file(tensors, path / "head.safetensors")
    with pytest.raises(ValueError, match=r"head\.safetensors has weights that are infinite"):
        shim.from_directory(path)


def test_a_damaged_head_file_is_named(saved):
    shim, path = saved
    (path / "head.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"head\.safetensors is not a safetensors file"):
        shim.from_directory(path)
    (path / "head.json").write_text("{")
    with pytest.raises(ValueError, match=r"head\.json is not valid JSON"):
        shim.from_directory(path)
