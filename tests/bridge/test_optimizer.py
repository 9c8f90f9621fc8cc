import copy

import pytest
import torch
from thinc.api import SGD, Adam, RAdam

from spacy_reprtune.bridge import optimizer as optimizer_module
from spacy_reprtune.bridge.optimizer import TorchOptimizer, parameter_groups


def make_module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))


def backward(module, scale=1.0):
    torch.manual_seed(1)
    (module(torch.randn(8, 4)).square().mean() * scale).backward()


def test_a_step_equals_adamw_with_a_global_norm_clip():
    ours, theirs = make_module(), make_module()
    sgd = Adam(0.01, L2=0.1, beta1=0.8, beta2=0.9, eps=1e-6, grad_clip=0.5, use_averages=False)
    optimizer = TorchOptimizer(ours)
    decayed = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim <= 1]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.8, 0.9),
        eps=1e-6,
    )
    for _ in range(3):
        backward(ours, 10.0)
        optimizer.step(sgd)
        backward(theirs, 10.0)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        reference.step()
        reference.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_schedules_reach_the_update():
    module = make_module()
    optimizer = TorchOptimizer(module)
    sgd = Adam(iter([0.01, 0.0, 0.01]), use_averages=False)
    backward(module)
    optimizer.step(sgd)
    before = copy.deepcopy(module.state_dict())
    sgd.step_schedules()
    backward(module)
    optimizer.step(sgd)
    assert sgd.learn_rate == 0.0
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_only_matrices_decay():
    groups = {
        group["decays"]: group["params"]
        for group in parameter_groups(make_module().parameters(), {})
    }
    assert {p.ndim for p in groups[True]} == {2}
    assert {p.ndim for p in groups[False]} == {1}


def test_accumulated_passes_count_as_their_mean():
    once, twice = make_module(), make_module()
    sgd = SGD(0.1, L2=0.0, grad_clip=0.0, use_averages=False)
    backward(once)
    TorchOptimizer(once).step(sgd)
    backward(twice)
    backward(twice)
    TorchOptimizer(twice).step(sgd, n_backward=2)
    for a, b in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_gradient_that_is_not_finite_leaves_the_weights():
    module = make_module()
    before = copy.deepcopy(module.state_dict())
    backward(module, float("nan"))
    with pytest.raises(ValueError, match="weights are unchanged"):
        TorchOptimizer(module).step(Adam(0.01, use_averages=False))
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


@pytest.fixture
def behind(monkeypatch):
    """As on a CUDA device, which computes while the host goes on."""
    monkeypatch.setattr(optimizer_module, "runs_behind", lambda device: True)


def test_a_device_that_runs_behind_skips_the_update_and_the_next_step_raises(behind):
    module, sgd = make_module(), Adam(0.01, use_averages=False)
    optimizer = TorchOptimizer(module)
    backward(module)
    optimizer.step(sgd)
    before = copy.deepcopy(module.state_dict())
    _, moments = copy.deepcopy(optimizer.state())
    backward(module, float("nan"))
    optimizer.step(sgd)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(torch.equal(moments[k], v) for k, v in optimizer.state()[1].items())
    backward(module)
    with pytest.raises(ValueError, match="weights are unchanged"):
        optimizer.step(sgd)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e3])
def test_a_device_that_runs_behind_makes_the_same_updates(clip, monkeypatch):
    modules = make_module(), make_module()
    for module, late in zip(modules, (False, True), strict=True):
        monkeypatch.setattr(optimizer_module, "runs_behind", lambda device, late=late: late)
        optimizer, sgd = TorchOptimizer(module), Adam(0.01, grad_clip=clip, use_averages=False)
        for _ in range(3):
            backward(module)
            optimizer.step(sgd)
    for a, b in zip(*(module.parameters() for module in modules), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_another_spacy_optimizer_starts_with_fresh_moments():
    one, two = make_module(), make_module()
    same = TorchOptimizer(one)
    for module, optimizers in ((one, [same, same]), (two, [TorchOptimizer(two) for _ in "ab"])):
        for optimizer in optimizers:
            backward(module)
            optimizer.step(Adam(0.01, use_averages=False))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_no_gradient_means_no_step():
    module = make_module()
    before = copy.deepcopy(module.state_dict())
    TorchOptimizer(module).step(Adam(0.01, L2=0.1, use_averages=False))
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("make", [SGD, RAdam])
def test_spacy_s_other_optimizers_update_too(make):
    module = make_module()
    before = copy.deepcopy(module.state_dict())
    backward(module)
    TorchOptimizer(module).step(make(0.01, use_averages=False))
    assert not all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_sparse_gradients_of_a_table_give_the_dense_update():
    def run(sparse):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Embedding(50, 4, sparse=sparse), torch.nn.Linear(4, 2)
        )
        optimizer = TorchOptimizer(module)
        sgd = Adam(0.01, L2=0.1, grad_clip=0.01, use_averages=False)
        for step in range(4):
            for part in range(2):
                index = torch.arange(5) * (step + part + 1)
                module(index.repeat(2)).square().mean().backward()
            optimizer.step(sgd, n_backward=2)
        return module.state_dict()

    dense, sparse = run(False), run(True)
    for name in dense:
        torch.testing.assert_close(sparse[name], dense[name], atol=1e-7, rtol=1e-5)
