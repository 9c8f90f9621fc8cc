import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_reprtune.heads.contrastive import all_pairs_cosine, pair_masks, supervised_contrastive


def within(gold, known=None):
    known = numpy.ones_like(gold) if known is None else known
    positive, negative = pair_masks(gold, known, gold, known)
    numpy.fill_diagonal(positive, False)
    numpy.fill_diagonal(negative, False)
    return positive, negative


def one_hot(classes, n):
    return numpy.eye(n, dtype="f")[classes]


def reference_cosine(vectors, positive, negative):
    units = torch.nn.functional.normalize(vectors, dim=1)
    cosines = units @ units.T
    loss = torch.zeros((), dtype=vectors.dtype)
    if positive.any():
        loss = loss + 0.5 * ((1 - cosines[torch.from_numpy(positive)]) ** 2).mean()
    if negative.any():
        loss = loss + 0.5 * (cosines[torch.from_numpy(negative)] ** 2).mean()
    return loss


def reference_supcon(vectors, positive, negative, temperature):
    units = torch.nn.functional.normalize(vectors, dim=1)
    scores = units @ units.T / temperature
    losses = []
    for i in range(len(vectors)):
        mine, all_ = numpy.flatnonzero(positive[i]), numpy.flatnonzero((positive | negative)[i])
        if len(mine):
            losses.append((torch.logsumexp(scores[i, all_], 0) - scores[i, mine]).mean())
    return torch.stack(losses).mean() if losses else (vectors * 0).sum()


classes = st.lists(st.integers(0, 3), min_size=2, max_size=9)


@given(classes, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_losses_and_gradients_are_those_that_torch_finds(labels, seed):
    vectors = numpy.random.default_rng(seed).normal(size=(len(labels), 5))
    positive, negative = within(one_hot(labels, 4))
    tensor = torch.tensor(vectors, requires_grad=True)
    for ours, reference in (
        (
            all_pairs_cosine(vectors, positive, negative),
            reference_cosine(tensor, positive, negative),
        ),
        (
            supervised_contrastive(vectors, positive, negative, temperature=0.3),
            reference_supcon(tensor, positive, negative, 0.3),
        ),
    ):
        loss, gradient = ours
        assert loss == pytest.approx(float(reference.detach()), abs=1e-9)
        (expected,) = torch.autograd.grad(reference, tensor)
        numpy.testing.assert_allclose(gradient, expected.numpy(), atol=1e-9)


def test_the_loss_is_the_expectation_of_the_library_s_over_balanced_pairs():
    """Pairs drawn as `setfit` draws them, without a text and itself, cost the same on average."""
    sampler = pytest.importorskip("setfit.sampler", reason="the extra setfit is not installed")

    labels = [0, 0, 0, 1, 1, 2]
    texts = [str(i) for i in range(len(labels))]
    vectors = numpy.random.default_rng(0).normal(size=(6, 4))
    units = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = list(sampler.ContrastiveDataset(texts, labels, False, num_iterations=None))
    kinds = {0.0: {}, 1.0: {}}
    for pair in pairs:
        i, j = sorted((int(pair["sentence_1"]), int(pair["sentence_2"])))
        if i != j:
            kinds[float(pair["label"])][i, j] = (units[i] @ units[j] - pair["label"]) ** 2
    expected = sum(numpy.mean(list(kind.values())) for kind in kinds.values()) / 2
    loss, _ = all_pairs_cosine(vectors, *within(one_hot(labels, 3)))
    assert loss == pytest.approx(expected)


def test_exclusive_pairs_are_by_label():
    positive, negative = within(one_hot([0, 0, 1], 2))
    assert positive.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert negative.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_independent_labels_in_common_make_a_pair_and_two_texts_without_any_make_none():
    gold = numpy.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], dtype="f")
    positive, negative = within(gold)
    assert positive[0, 1] and not negative[0, 1]
    assert negative[0, 2] and negative[0, 3] and negative[3, 2]
    assert not positive[3, 4] and not negative[3, 4]


def test_what_is_not_annotated_makes_no_pair():
    gold = numpy.array([[1, 0], [0, 1]], dtype="f")
    known = numpy.array([[1, 1], [0, 1]], dtype="f")
    positive, negative = within(gold, known)
    assert not positive.any() and not negative.any()


def test_without_positive_pairs_the_negative_ones_still_push():
    vectors = numpy.array([[1.0, 0.2], [1.0, 0.1]])
    loss, gradient = all_pairs_cosine(vectors, *within(one_hot([0, 1], 2)))
    assert loss > 0.4 and numpy.abs(gradient).max() > 0
    loss, gradient = supervised_contrastive(vectors, *within(one_hot([0, 1], 2)), temperature=0.1)
    assert loss == 0.0 and not gradient.any()


def test_a_zero_vector_and_a_low_temperature_stay_finite():
    vectors = numpy.array([[0, 0], [1, 0], [-1, 0], [1, 1e-3]], dtype="f")
    masks = within(one_hot([0, 0, 1, 1], 2))
    for loss, gradient in (
        all_pairs_cosine(vectors, *masks),
        supervised_contrastive(vectors, *masks, temperature=1e-3),
    ):
        assert numpy.isfinite(loss) and numpy.isfinite(gradient).all()
        assert gradient.dtype == numpy.float32
