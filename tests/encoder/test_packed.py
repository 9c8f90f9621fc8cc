import pytest
import torch
from conftest import save_encoder

from spacy_reprtune.encoder import cpu
from spacy_reprtune.encoder.cpu import PackedLinear, pack_linear_layers
from spacy_reprtune.encoder.load import load_pretrained


def bf16_encoder(tmp_path, family):
    settings = {"distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}}
    path = save_encoder(tmp_path / family, family, **settings.get(family, {}))
    return load_pretrained(path).to(torch.bfloat16)


@pytest.fixture
def works():
    if not cpu._works():
        pytest.skip("this torch build has no oneDNN operators for bf16")


@pytest.mark.parametrize("family", ["bert", "distilbert", "deberta-v2"])
def test_packed_layers_give_the_same_vectors(works, tmp_path, family):
    model = bf16_encoder(tmp_path, family)
    ids = torch.arange(40).view(2, 20) + 5
    mask = torch.ones_like(ids)
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask)[0]
        assert pack_linear_layers(model)
        got = model(input_ids=ids, attention_mask=mask)[0]
    torch.testing.assert_close(got, expected, atol=0.05, rtol=0.05)
    kinds = [type(module) for module in model.modules()]
    assert PackedLinear in kinds and torch.nn.Linear not in kinds


def test_other_activations_are_not_taken_for_gelu():
    from transformers.activations import ACT2FN

    assert cpu._is_exact_gelu(ACT2FN["gelu"]) and cpu._is_exact_gelu(torch.nn.GELU())
    for name in ("gelu_new", "relu", "silu", "gelu_pytorch_tanh"):
        assert not cpu._is_exact_gelu(ACT2FN[name])
    assert not cpu._is_exact_gelu(torch.nn.GELU("tanh"))


def test_without_the_operators_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "_works", lambda: False)
    model = bf16_encoder(tmp_path, "bert")
    assert not pack_linear_layers(model)
    assert torch.nn.Linear in [type(module) for module in model.modules()]
