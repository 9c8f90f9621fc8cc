"""The lattice agrees with a list of all sequences, and with torch's own derivatives."""

import itertools
import tracemalloc

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_reprtune.heads import fixed_transitions, learned_transitions
from spacy_reprtune.heads.lattice import Lattice
from spacy_reprtune.heads.tags import SCHEMES, PartLogits, TagScheme

CASES = [(name, learned) for name in SCHEMES for learned in (False, True)]


def random_case(name, learned, lengths=(4, 1, 0, 3), n_labels=1, scale=2.0, seed=0):
    scheme = TagScheme([f"L{i}" for i in range(n_labels)], name)
    random = numpy.random.default_rng(seed)
    logits = (scale * random.normal(size=(sum(lengths), len(scheme)))).astype("f")
    transitions = random.normal(size=(len(scheme), len(scheme))).astype("f") if learned else None
    return scheme, logits, list(lengths), transitions


def is_legal(scheme, tags):
    around = numpy.array([0, *tags, 0])
    return bool(scheme.may_follow(around[:-1], around[1:]).all())


def sequences(scheme, logits, transitions, temperature):
    """All legal tag sequences of a document with their probabilities."""
    found = []
    for tags in itertools.product(range(len(scheme)), repeat=len(logits)):
        if is_legal(scheme, tags):
            score = sum(float(logits[i, tag]) for i, tag in enumerate(tags))
            if transitions is not None:
                around = [0, *tags, 0]
                score += sum(float(transitions[pair]) for pair in itertools.pairwise(around))
            found.append((tags, score / temperature))
    weights = numpy.exp(numpy.array([score for _, score in found]))
    return [tags for tags, _ in found], weights / weights.sum()


def by_document(logits, lengths):
    ends = numpy.cumsum(lengths)
    return [logits[end - n : end] for n, end in zip(lengths, ends, strict=True)]


@pytest.mark.parametrize(("name", "learned"), CASES)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_best_sequence_and_entity_probabilities_are_those_of_enumeration(
    name, learned, temperature
):
    scheme, logits, lengths, transitions = random_case(name, learned, n_labels=2, lengths=(4, 1, 3))
    lattice = Lattice(scheme, transitions, temperature=temperature)
    tags = lattice.decode(logits, lengths)
    rows, found = lattice.entity_probabilities(logits, lengths, tags)
    expected_tags, expected = [], {}
    for doc, cells in enumerate(by_document(logits, lengths)):
        paths, probabilities = sequences(scheme, cells, transitions, temperature)
        best = numpy.array(paths[int(probabilities.argmax())])
        expected_tags.extend(best)
        spans = [{tuple(s) for s in scheme.spans(numpy.array(p)).tolist()} for p in paths]
        for span in scheme.spans(best).tolist():
            share = sum(
                p for p, has in zip(probabilities, spans, strict=True) if tuple(span) in has
            )
            expected[(doc, *span)] = share
    assert tags.tolist() == expected_tags
    assert len(rows) and {tuple(r) for r in rows.tolist()} == set(expected)
    for row, probability in zip(rows.tolist(), found, strict=True):
        assert probability == pytest.approx(expected[tuple(row)], abs=1e-6)


@pytest.mark.parametrize(("name", "learned"), CASES)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_loss_and_gradients_are_those_of_enumeration(name, learned, temperature):
    scheme, logits, lengths, transitions = random_case(name, learned)
    if not learned:
        # As they are before the first update.
        transitions = numpy.zeros((len(scheme), len(scheme)))
    gold = numpy.concatenate(
        [scheme.tags([(0, 2, 0), (3, 4, 0)], 4), scheme.tags([], 1), scheme.tags([(0, 3, 0)], 3)]
    )
    gold[[1, 3, 5]] = -1
    lattice = Lattice(scheme, transitions, temperature=temperature)
    loss, d_logits, d_transitions = lattice.loss(logits, lengths, gold)

    cells = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    scores = torch.tensor(transitions, dtype=torch.float64, requires_grad=True)
    total, start = 0.0, 0
    for n in lengths:
        known = gold[start : start + n]
        free, clamped = [], []
        for tags in itertools.product(range(len(scheme)), repeat=n):
            if not is_legal(scheme, tags):
                continue
            around = [0, *tags, 0]
            score = sum((scores[i, j] for i, j in itertools.pairwise(around)), torch.zeros(()))
            score = score + sum(cells[start + i, tag] for i, tag in enumerate(tags))
            free.append(score / temperature)
            if all(k in (-1, tag) for k, tag in zip(known, tags, strict=True)):
                clamped.append(score / temperature)
        total = total + torch.stack(free).logsumexp(0) - torch.stack(clamped).logsumexp(0)
        start += n
    expected = total / (gold >= 0).sum()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    numpy.testing.assert_allclose(d_logits, cells.grad.numpy(), atol=1e-6)
    numpy.testing.assert_allclose(d_transitions, scores.grad.numpy(), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(SCHEMES)),
    st.lists(st.integers(0, 20), min_size=1, max_size=6),
    st.integers(1, 4),
    st.sampled_from([0.1, 5.0, 1000.0]),
    st.sampled_from([0.5, 1.0]),
    st.booleans(),
    st.sampled_from([1, 60, 1_000_000]),
    st.integers(0, 2**16),
)
def test_without_learned_transitions_all_is_as_with_transitions_of_zero(
    name, lengths, n_labels, scale, temperature, ties, block, seed
):
    """Two implementations agree: states linear in the labels, and all pairs of tags."""
    scheme, logits, lengths, _ = random_case(
        name, False, lengths=lengths, n_labels=n_labels, scale=scale, seed=seed
    )
    if ties:
        logits = numpy.round(logits / scale)
    logits[numpy.random.default_rng(seed).random(logits.shape) < 0.1] = -numpy.inf
    logits[:, 0] = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixed_transitions, "BLOCK_CELLS", block)
        fixed = Lattice(scheme, temperature=temperature)
    pairs = Lattice(scheme, numpy.zeros((len(scheme), len(scheme))), temperature=temperature)
    tags = fixed.decode(logits, lengths)
    assert tags.tolist() == pairs.decode(logits, lengths).tolist()
    rows, found = fixed.entity_probabilities(logits, lengths, tags)
    expected_rows, expected = pairs.entity_probabilities(logits, lengths, tags)
    assert rows.tolist() == expected_rows.tolist()
    numpy.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_size_of_groups_changes_nothing(name, monkeypatch):
    scheme, logits, lengths, transitions = random_case(name, True, lengths=(9, 1, 5, 9, 2))
    results = []
    for cells in (1, 50, 10**9):
        monkeypatch.setattr(learned_transitions, "GROUP_CELLS", cells)
        lattice = Lattice(scheme, transitions)
        tags = lattice.decode(logits, lengths)
        _, found = lattice.entity_probabilities(logits, lengths, tags)
        results.append((tags, found, *lattice.loss(logits, lengths, tags)))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            numpy.testing.assert_allclose(one, two, atol=1e-12)


@pytest.mark.parametrize("name", SCHEMES)
def test_three_hundred_labels_take_little_memory(name):
    """The logits of an untrained head, where no document is legal by itself, decode without a
    score per pair of tags: 2,250 tokens would have 26 GB of them. `benchmarks.many_labels` has the
    speed."""
    scheme = TagScheme([f"L{i}" for i in range(300)], name, shared_positions=True)
    parts = numpy.random.default_rng(0).normal(size=(2250, scheme.n_parts)).astype("f")
    logits, lengths = PartLogits(scheme, parts), [25] * 50 + [1000]
    tracemalloc.start()
    try:
        lattice = Lattice(scheme)
        tags = lattice.decode(logits, lengths)
        found, _ = lattice.entity_probabilities(logits, lengths, tags)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) > 500
    assert peak < 100_000_000


def test_learned_transitions_of_many_labels_take_bounded_memory():
    """All pairs of 401 tags for 200 documents at once would be 257 MB in fp64."""
    scheme = TagScheme([f"L{i}" for i in range(100)], "bilou")
    logits = numpy.random.default_rng(0).normal(size=(400, len(scheme))).astype("f")
    lattice = Lattice(scheme, numpy.zeros((len(scheme), len(scheme))))
    groups = list(lattice._groups(logits, [2] * 200, fewest=lattice.rules.fewest_tokens))
    pairs = [len(group.docs) * len(scheme) ** 2 for group in groups]
    assert max(pairs) <= learned_transitions.GROUP_CELLS < sum(pairs)
    assert (
        lattice.decode(logits, [2] * 200).tolist()
        == Lattice(scheme).decode(logits, [2] * 200).tolist()
    )


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CASES),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.integers(1, 3),
    st.sampled_from([0.1, 5.0, 1000.0]),
    st.integers(0, 2**16),
)
def test_no_sequence_is_ever_illegal_and_probabilities_are_probabilities(
    case, lengths, n_labels, scale, seed
):
    scheme, logits, lengths, transitions = random_case(
        *case, lengths=lengths, n_labels=n_labels, scale=scale, seed=seed
    )
    lattice = Lattice(scheme, transitions)
    tags = lattice.decode(logits, lengths)
    for own in by_document(tags, lengths):
        assert is_legal(scheme, own)
    rows, found = lattice.entity_probabilities(logits, lengths, tags)
    assert numpy.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    expected = sum(len(scheme.spans(own)) for own in by_document(tags, lengths))
    assert len(rows) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CASES),
    st.lists(st.integers(1, 25), min_size=1, max_size=5),
    st.sampled_from([0.1, 5.0, 1000.0]),
    st.sampled_from([0.2, 1.0, 7.0]),
    st.integers(0, 2**16),
)
def test_tokens_that_are_taken_stay_outside_and_impossible_tags_unused(
    case, lengths, scale, temperature, seed
):
    """Preset entities and blocked tokens allow only O; other tags may be impossible anywhere."""
    scheme, logits, lengths, transitions = random_case(
        *case, lengths=lengths, n_labels=2, scale=scale, seed=seed
    )
    random = numpy.random.default_rng(seed)
    impossible = random.random(logits.shape) < 0.2
    impossible[:, 0] = False
    logits[impossible] = -numpy.inf
    taken = random.random(len(logits)) < 0.3
    logits[taken] = -numpy.inf
    logits[taken, 0] = 0.0
    lattice = Lattice(scheme, transitions, temperature=temperature)
    tags = lattice.decode(logits, lengths)
    assert not tags[taken].any()
    assert not impossible[numpy.arange(len(tags)), tags].any()
    for own in by_document(tags, lengths):
        assert is_legal(scheme, own)
    _, found = lattice.entity_probabilities(logits, lengths, tags)
    assert numpy.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    # The best sequence does not depend on the temperature.
    assert Lattice(scheme, transitions).decode(logits, lengths).tolist() == tags.tolist()


@pytest.mark.parametrize(("name", "learned"), CASES)
def test_documents_are_independent_of_what_they_are_batched_with(name, learned):
    scheme, logits, lengths, transitions = random_case(
        name, learned, lengths=(40, 3, 17, 0, 1), n_labels=2
    )
    lattice = Lattice(scheme, transitions)
    tags = lattice.decode(logits, lengths)
    rows, found = lattice.entity_probabilities(logits, lengths, tags)
    for doc, cells in enumerate(by_document(logits, lengths)):
        own_tags = lattice.decode(cells, [len(cells)])
        _, expected = lattice.entity_probabilities(cells, [len(cells)], own_tags)
        assert own_tags.tolist() == by_document(tags, lengths)[doc].tolist()
        numpy.testing.assert_allclose(found[rows[:, 0] == doc], expected, rtol=1e-9)


def test_what_is_impossible_stays_impossible():
    scheme = TagScheme(["A"], "bilou")
    logits = numpy.zeros((3, len(scheme)), dtype="f")
    logits[:, scheme.names.index("U-A")] = 900.0
    logits[1] = -numpy.inf
    logits[1, 0] = 0.0
    lattice = Lattice(scheme)
    tags = lattice.decode(logits, [3])
    assert [scheme.names[tag] for tag in tags] == ["U-A", "O", "U-A"]
    _, found = lattice.entity_probabilities(logits, [3], tags)
    numpy.testing.assert_allclose(found, 1.0)


@pytest.mark.parametrize("learned", [False, True])
def test_five_thousand_tokens_do_not_underflow(learned):
    scheme, logits, lengths, transitions = random_case(
        "bio", learned, lengths=(5_000,), n_labels=1, scale=10.0
    )
    lattice = Lattice(scheme, transitions)
    tags = lattice.decode(logits, lengths)
    _, found = lattice.entity_probabilities(logits, lengths, tags)
    assert is_legal(scheme, tags) and numpy.isfinite(found).all() and found.mean() > 0.5
