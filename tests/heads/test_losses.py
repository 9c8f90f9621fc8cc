import numpy
import pytest
import torch

from spacy_reprtune.heads.losses import binary_cross_entropy, cross_entropy, sigmoid, softmax

RNG = numpy.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 3)).astype("f") * 4
WEIGHTS = numpy.array([0.5, 1.0, 3.0], dtype="f")


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_and_its_gradient_are_torch_s(weights, smoothing):
    gold = numpy.array([0, 2, 1, 1, 2])
    logits = torch.tensor(LOGITS, requires_grad=True)
    each = torch.nn.functional.cross_entropy(
        logits, torch.tensor(gold), label_smoothing=smoothing, reduction="none"
    )
    weight = torch.ones(5) if weights is None else torch.tensor(weights[gold])
    expected = (each * weight).sum() / weight.sum()
    expected.backward()
    loss, gradient = cross_entropy(LOGITS, gold, weights=weights, smoothing=smoothing)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    numpy.testing.assert_allclose(gradient, logits.grad, atol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_and_its_gradient_are_torch_s(weights, smoothing):
    gold = (RNG.random((5, 3)) > 0.5).astype("f")
    known = (RNG.random((5, 3)) > 0.3).astype("f")
    logits = torch.tensor(LOGITS, requires_grad=True)
    target = torch.tensor(gold * (1 - smoothing) + 0.5 * smoothing)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    cell = torch.tensor(known * (numpy.where(gold > 0, weights, 1) if weights is not None else 1))
    expected = (each * cell).sum() / cell.sum()
    expected.backward()
    loss, gradient = binary_cross_entropy(LOGITS, gold, known, weights=weights, smoothing=smoothing)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    numpy.testing.assert_allclose(gradient, logits.grad, atol=1e-6)
    assert (gradient[known == 0] == 0).all()


def test_nothing_annotated_means_no_loss_and_no_gradient():
    loss, gradient = binary_cross_entropy(LOGITS, numpy.zeros((5, 3)), numpy.zeros((5, 3)))
    assert loss == 0.0 and not gradient.any()


def test_probabilities_survive_extreme_logits():
    extreme = numpy.array([[1000.0, -1000.0], [0.0, 0.0]], dtype="f")
    numpy.testing.assert_allclose(softmax(extreme), [[1, 0], [0.5, 0.5]])
    numpy.testing.assert_allclose(sigmoid(extreme), [[1, 0], [0.5, 0.5]])
    loss, gradient = cross_entropy(extreme, numpy.array([1, 0]))
    assert numpy.isfinite(loss) and numpy.isfinite(gradient).all()
