"""How much each of several heads moves the encoder that they share."""

import math

import numpy
import pytest
import torch

from spacy_reprtune.components.balance import GradientBalance, gradient_norm

HEADS = {"textcat": object(), "ner": object()}


def said(balance, norms):
    """How large each gradient is after it got its weight."""
    weights = balance.weights(norms, HEADS)
    return {name: weights[name] * norm for name, norm in norms.items()}


def test_a_head_that_is_alone_keeps_its_gradient():
    balance = GradientBalance()
    for norm in (3.0, 0.1, 7.0):
        assert balance.weights({"ner": norm}, {"ner": 0}) == {"ner": 1.0}


def test_unequal_gradients_become_as_large_as_the_largest():
    balance = GradientBalance()
    for _ in range(5):
        found = said(balance, {"textcat": 20.0, "ner": 0.5})
    assert found == {"textcat": pytest.approx(20.0), "ner": pytest.approx(20.0)}


def test_a_head_that_has_nothing_left_to_learn_may_fade():
    assert said(GradientBalance(), {"textcat": 1.0, "ner": 1e-6})["ner"] == pytest.approx(1e-4)


def test_what_counts_is_the_usual_size_and_not_that_of_one_batch():
    balance = GradientBalance()
    for _ in range(300):
        said(balance, {"textcat": 1.0, "ner": 1.0})
    found = said(balance, {"textcat": 5.0, "ner": 1.0})
    assert 3.5 < found["textcat"] / found["ner"] < 5.0


def test_a_size_that_stays_is_followed():
    balance = GradientBalance()
    for _ in range(100):
        said(balance, {"textcat": 10.0, "ner": 1.0})
    for _ in range(2000):
        found = said(balance, {"textcat": 0.1, "ner": 1.0})
    assert found["textcat"] == pytest.approx(found["ner"], rel=0.05)


def test_a_head_without_gradient_in_a_batch_is_not_forgotten():
    balance = GradientBalance()
    said(balance, {"textcat": 9.0, "ner": 1.0})
    assert said(balance, {"ner": 1.0}) == {"ner": pytest.approx(9.0)}


def test_a_head_that_is_gone_or_another_is_forgotten():
    balance = GradientBalance()
    said(balance, {"textcat": 9.0, "ner": 1.0})
    assert balance.weights({"ner": 1.0}, {"ner": HEADS["ner"]}) == {"ner": 1.0}
    said(balance, {"textcat": 9.0})
    other = {**HEADS, "ner": object()}
    assert balance.weights({"ner": 3.0}, other) == {"ner": pytest.approx(3.0)}


@pytest.mark.parametrize("norm", [0.0, math.nan, math.inf])
def test_what_is_nothing_or_no_number_spoils_nothing(norm):
    balance = GradientBalance()
    assert balance.weights({"ner": norm}, HEADS) == {"ner": 1.0}
    said(balance, {"textcat": 4.0, "ner": 1.0})
    balance.weights({"ner": norm}, HEADS)
    assert said(balance, {"textcat": 4.0, "ner": 1.0})["ner"] == pytest.approx(4.0)


def test_the_norm_is_that_of_a_linear_layer_behind_the_encoder():
    torch.manual_seed(0)
    vectors = [torch.randn(n, 4) for n in (3, 0, 5)]
    layer = torch.nn.Linear(4, 4, bias=False)
    torch.nn.init.eye_(layer.weight)
    outputs = [layer(v) for v in vectors]
    sum(o.pow(3).sum() for o in outputs).backward()
    gradients = [(3 * o.pow(2)).detach().numpy() for o in outputs]
    found = gradient_norm([v.numpy() for v in vectors], gradients)
    assert found == pytest.approx(float(layer.weight.grad.norm()), rel=1e-5)
    assert gradient_norm([numpy.ones((2, 4), "f")], [numpy.zeros((2, 4), "f")]) == 0.0
