import pytest
import torch

from spacy_reprtune.encoder.cpu import CheapAttentionDropout, CheapDropout, use_cheap_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_and_the_mean_are_kept(p, dtype):
    torch.manual_seed(0)
    out = CheapDropout(p).train()(torch.ones(400, 501, dtype=dtype))
    assert out.dtype == dtype and out.shape == (400, 501)
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert out.float().mean().item() == pytest.approx(1.0, abs=0.02)
    assert len(out.unique()) == 2


def test_elements_are_dropped_independently():
    torch.manual_seed(0)
    # Neighbours come from one draw of 64 bits, so look at pairs at each distance inside it.
    dropped = (CheapDropout(0.3).train()(torch.ones(400_000)) == 0).float()
    for distance in (1, 2, 3, 4):
        both = (dropped[distance:] * dropped[:-distance]).mean().item()
        assert both == pytest.approx(0.09, abs=0.003)


def test_gradients_pass_where_elements_stayed():
    torch.manual_seed(0)
    x = torch.randn(7, 5, requires_grad=True)
    out = CheapDropout(0.5).train()(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach() / x.detach())


def test_evaluation_and_a_rate_of_zero_change_nothing():
    x = torch.randn(3, 3)
    assert CheapDropout(0.5).eval()(x) is x
    assert CheapDropout(0.0).train()(x) is x


def test_attention_with_fewer_keys_than_queries_is_left_to_torch():
    query, keys = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 3, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    with CheapAttentionDropout():
        out = attention(query, keys, keys, dropout_p=0.1, enable_gqa=True)
        assert out.shape == query.shape
        same = attention(query, query, query, dropout_p=1e-9, enable_gqa=False)
    torch.testing.assert_close(same, attention(query, query, query))


def test_only_torch_s_own_dropout_is_replaced():
    module = torch.nn.Sequential(
        torch.nn.Dropout(0.2), torch.nn.Sequential(torch.nn.Dropout2d(0.3))
    )
    use_cheap_dropout(module)
    assert isinstance(module[0], CheapDropout) and module[0].p == 0.2
    assert type(module[1][0]) is torch.nn.Dropout2d
