"""Attention over a packed row is that of each window by itself."""

import pytest
import torch

from spacy_reprtune.encoder import attention as module_under_test
from spacy_reprtune.encoder.attention import (
    FLASH_FROM,
    Layout,
    NotPackable,
    PackedAttention,
    fits_flash,
    packed_attention,
    reach_mask,
)

CPU = torch.device("cpu")
plain = torch.nn.functional.scaled_dot_product_attention


def by_window(lengths, inputs, reach=None):
    found = []
    for parts in zip(*(x.split(lengths, dim=2) for x in inputs), strict=True):
        places = torch.arange(parts[0].shape[2], device=parts[0].device)
        near = (places[:, None] - places).abs() <= (len(places) if reach is None else reach)
        found.append(plain(*parts, attn_mask=near))
    return torch.cat(found, dim=2)


def with_gradients(out, inputs):
    weight = torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape)
    return (out, *torch.autograd.grad((out * weight).sum(), inputs))


def test_windows_of_one_length_are_one_group():
    layout = Layout.of([3, 5, 5, 9], CPU)
    assert layout.groups == [(0, 1, 3), (3, 2, 5), (13, 1, 9)]
    assert layout.bounds.tolist() == [0, 3, 8, 13, 22]
    assert layout.positions[:8].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("reach", [None, 2])
@pytest.mark.parametrize("lengths", [[1], [4, 4, 7], [3, FLASH_FROM, FLASH_FROM + 5]])
def test_attention_and_its_gradients_are_those_of_each_window(lengths, reach):
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, sum(lengths), 8, requires_grad=True) for _ in "qkv"]
    got = packed_attention(Layout.of(lengths, CPU), *inputs, reach=reach)
    want = by_window(lengths, inputs, reach)
    for a, b in zip(with_gradients(got, inputs), with_gradients(want, inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_dropout_drops_the_same_weights_on_the_way_back(monkeypatch):
    """With a mask that is always the same, the gradient is that of finite differences."""
    lengths, seen = [2, 3], []

    def factors(like, rate):
        seen.append(rate)
        return (torch.arange(like.numel()).view(like.shape) % 3 > 0).to(like.dtype) * 1.5

    monkeypatch.setattr(module_under_test, "dropout_factors", factors)
    inputs = [torch.randn(1, 2, 5, 8, dtype=torch.float64, requires_grad=True) for _ in "qkv"]
    layout = Layout.of(lengths, CPU)
    assert torch.autograd.gradcheck(lambda *x: packed_attention(layout, *x, rate=0.3), inputs)
    assert set(seen) == {0.3}


def test_the_share_of_weights_that_dropout_drops_is_the_rate():
    layout = Layout.of([200], CPU)
    zeros, value = torch.zeros(1, 1, 200, 8), torch.ones(1, 1, 200, 8)
    found = packed_attention(layout, zeros, zeros, value, rate=0.25)
    assert found.mean() == pytest.approx(1.0, abs=0.02)
    assert found.std() > 0.01


def attend(layout, *inputs, **settings):
    with PackedAttention(layout):
        return plain(*inputs, **settings)


def test_fewer_keys_than_queries_are_shared_by_the_heads():
    query, keys = torch.randn(1, 4, 5, 8), torch.randn(2, 1, 2, 5, 8)
    found = attend(Layout.of([2, 3], CPU), query, *keys, enable_gqa=True)
    want = by_window([2, 3], [query, *(x.repeat_interleave(2, 1) for x in keys)])
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


def test_a_mask_of_one_number_says_how_far_a_block_sees():
    inputs = torch.randn(3, 1, 2, 9, 8)
    found = attend(Layout.of([3, 6], CPU), *inputs, attn_mask=reach_mask(1))
    torch.testing.assert_close(found, by_window([3, 6], inputs, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"is_causal": True}, {"attn_mask": torch.zeros(5, 5)}])
def test_attention_that_depends_on_more_than_the_window_is_refused(settings):
    with pytest.raises(NotPackable):
        attend(Layout.of([2, 3], CPU), *torch.randn(3, 1, 2, 5, 8), **settings)


def test_products_are_in_the_type_of_autocast():
    inputs = torch.randn(3, 1, 2, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(Layout.of([2, 3], CPU), *inputs).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "device, dtype, width, fits",
    [
        ("cuda", torch.bfloat16, 32, True),
        ("cuda", torch.float32, 32, False),
        ("cuda", None, 32, False),
        ("cuda", torch.bfloat16, 12, False),
        ("cuda", torch.bfloat16, 512, False),
        ("cpu", torch.bfloat16, 32, False),
    ],
)
def test_only_what_the_kernel_for_windows_takes_goes_there(device, dtype, width, fits, monkeypatch):
    monkeypatch.setattr(module_under_test, "has_bf16", lambda _: True)
    assert fits_flash(torch.device(device), dtype, width) == fits


@pytest.mark.parametrize("reach", [None, 2])
def test_the_kernel_is_called_as_torch_declares_it(reach):
    """On torch's `meta` device, which has its signature, its shapes and its derivative."""
    lengths = [3, 5]
    layout = Layout([], torch.arange(8), torch.tensor([0, 3, 8]).int().to("meta"), 5)
    inputs = [
        torch.randn(8, 2, 16, device="meta", dtype=torch.bfloat16).requires_grad_() for _ in "qkv"
    ]
    found = module_under_test.flash_attention(layout, *inputs, 0.25, 0.1, reach)
    assert found.shape == (sum(lengths), 2, 16) and found.dtype == torch.bfloat16
    found.sum().backward()
    assert all(x.grad.shape == x.shape for x in inputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("reach", [None, 20])
@pytest.mark.parametrize("width", [8, 64, 12])
def test_attention_on_a_gpu_is_that_of_each_window(width, reach):
    torch.manual_seed(0)
    device, lengths = torch.device("cuda"), [3, 40, 40, 128]
    inputs = [
        torch.randn(1, 2, sum(lengths), width, device=device, dtype=torch.bfloat16) for _ in "qkv"
    ]
    inputs = [x.requires_grad_() for x in inputs]
    got = packed_attention(Layout.of(lengths, device), *inputs, reach=reach)
    want = by_window(lengths, inputs, reach)
    for a, b in zip(with_gradients(got, inputs), with_gradients(want, inputs), strict=True):
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_drops_weights_at_the_rate():
    device = torch.device("cuda")
    zeros = torch.zeros(1, 1, 256, 64, device=device, dtype=torch.bfloat16)
    found = packed_attention(Layout.of([256], device), zeros, zeros, zeros + 1, rate=0.25)
    assert float(found.float().mean()) == pytest.approx(1.0, abs=0.03)
    assert float(found.float().std()) > 0.01
