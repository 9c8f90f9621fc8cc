import numpy
from hypothesis import given
from hypothesis import strategies as st

from spacy_reprtune.encoder.windows import batch_by_pieces, cut_windows


@st.composite
def texts_and_windows(draw):
    size = draw(st.integers(2, 40))
    return draw(st.lists(st.integers(0, 300), max_size=6)), size, draw(st.integers(0, size // 2))


@given(texts_and_windows())
def test_every_piece_is_read_from_exactly_one_window(case):
    lengths, size, overlap = case
    windows = cut_windows(lengths, size=size, overlap=overlap)
    for text, length in enumerate(lengths):
        rows = numpy.flatnonzero(windows.texts == text)
        kept = [p for w in rows for p in range(windows.keep_starts[w], windows.keep_ends[w])]
        assert kept == list(range(length))


@given(texts_and_windows())
def test_windows_fit_and_share_the_overlap(case):
    lengths, size, overlap = case
    windows = cut_windows(lengths, size=size, overlap=overlap)
    assert (windows.lengths <= size).all()
    for text, length in enumerate(lengths):
        rows = numpy.flatnonzero(windows.texts == text)
        assert windows.starts[rows[0]] == 0 and windows.ends[rows[-1]] == length
        shared = windows.ends[rows[:-1]] - windows.starts[rows[1:]]
        assert (shared >= overlap).all()
        # As few windows as can be, none much shorter than the others.
        assert len(rows) == 1 or len(rows) == -(-(length - overlap) // (size - overlap))
        assert numpy.ptp(windows.lengths[rows]) == 0


@given(texts_and_windows())
def test_a_piece_is_read_from_the_window_where_it_is_most_central(case):
    lengths, size, overlap = case
    windows = cut_windows(lengths, size=size, overlap=overlap)
    centers = (windows.starts + windows.ends - 1) / 2
    for w in range(len(windows)):
        others = numpy.flatnonzero(windows.texts == windows.texts[w])
        for piece in range(windows.keep_starts[w], windows.keep_ends[w]):
            # The seam between two windows lies on a piece or beside it.
            assert abs(piece - centers[w]) <= numpy.abs(piece - centers[others]).min() + 1


@given(
    st.lists(st.integers(0, 100), max_size=50),
    st.integers(1, 200),
    st.none() | st.integers(0, 100),
)
def test_batches_hold_every_item_once_within_the_budget(lengths, budget, padding):
    lengths = numpy.array(lengths, dtype=int)
    groups = list(batch_by_pieces(lengths, budget=budget, padding=padding))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * lengths[group].max()
        assert len(group) == 1 or padded <= budget
        assert padding is None or padded - lengths[group].sum() <= padding
    assert [lengths[i] for group in groups for i in group] == sorted(lengths)


def test_a_batch_of_uneven_texts_is_split_where_padding_would_cost_more():
    lengths = numpy.array([50, 5, 6, 48, 4])
    [together] = batch_by_pieces(lengths, budget=1000)
    assert together.tolist() == [4, 1, 2, 3, 0]
    apart = batch_by_pieces(lengths, budget=1000, padding=20)
    assert [group.tolist() for group in apart] == [[4, 1, 2], [3, 0]]
