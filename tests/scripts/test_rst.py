"""Paragraphs of running text come out of docstrings, and marks become spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.harvest.markup import LABELS, strip_markup
from scripts.harvest.prose import has_unmarked_code, why_not_prose
from scripts.harvest.rst import read_paragraphs


def named(paragraph):
    markup = strip_markup(paragraph)
    return markup.text, [(markup.text[start:end], label) for start, end, label in markup.spans]


@pytest.mark.parametrize(
    ("marked", "text", "spans"),
    [
        ("Use :class:`~a.b.Name` here.", "Use Name here.", [("Name", "CLASS")]),
        ("Use :py:meth:`.fit` here.", "Use fit here.", [("fit", "FUNCTION")]),
        ("See :func:`title <a.b>`.", "See title.", [("title", "FUNCTION")]),
        ("See :func:`the solver <a.b>`.", "See the solver.", []),
        ("Raises :exc:`!KeyError`.", "Raises KeyError.", [("KeyError", "CLASS")]),
        (
            "Set ``x = 3``, or :attr:`y`.",
            "Set x = 3, or y.",
            [("x = 3", "CODE"), ("y", "ATTRIBUTE")],
        ),
        ("A *very* **strong** word [1]_.", "A very strong word.", []),
        ("See `the page <https://a.b>`_ or :ref:`that <x>`.", "See the page or that.", []),
    ],
)
def test_roles_become_spans_and_leave_plain_text(marked, text, spans):
    assert named(marked) == (text, spans)


@pytest.mark.parametrize("marked", ["The `x` value.", "A [`Trainer`].", "An :obj:`int`."])
def test_marks_without_a_type_make_a_paragraph_no_gold(marked):
    markup = strip_markup(marked)
    assert markup.spans == () and markup.issue is not None and "`" not in markup.text


@pytest.mark.parametrize("marked", ["It is :math:`x^2` wide.", "As shown in [2]_."])
def test_a_sentence_that_loses_a_part_has_a_fatal_issue(marked):
    assert strip_markup(marked).issue in ("math", "citation")


PIECES = st.lists(
    st.one_of(
        st.tuples(st.text("abc ,.\t", min_size=1, max_size=8), st.none()),
        st.tuples(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.sampled_from(["class", "attr"])),
        st.tuples(st.from_regex(r"[a-z]{1,3}  ?[a-z=]{1,3}", fullmatch=True), st.just("``")),
    ),
    max_size=8,
)


@given(PIECES)
def test_paragraph_text_slices_equal_span_texts(pieces):
    marked, expected = "", []
    for text, mark in pieces:
        if mark is None:
            marked += text
        elif mark == "``":
            marked += f" ``{text}`` "
            expected.append(" ".join(text.split()))
        else:
            marked += f" :{mark}:`{text}` "
            expected.append(text)
    markup = strip_markup(marked)
    assert [markup.text[start:end] for start, end, _ in markup.spans] == expected
    assert markup.text == " ".join(markup.text.split())
    assert all(label in LABELS for _, _, label in markup.spans)


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    for kind, paragraph in read_paragraphs(text):
        assert kind in ("prose", "field")
        strip_markup(paragraph)


NUMPYDOC = """Turn a circle into a square.

    The area stays the same,
    and so does the name.

    .. versionadded:: 1.2
       Not before.

    .. note::
       Corners are sharp.

    - The first item, which
      goes on.
    - The second item.

    Parameters
    ----------
    radius : float, optional
        How wide the circle is.

    Notes
    -----
    The method is old::

        square = circle

    =====  =====
    a      b
    =====  =====

    >>> square(1)
    2

    References
    ----------
    .. [1] A book about squares.

    Examples
    --------
    This is shown nowhere.
    """

GOOGLE = """Turn a circle into a square.

    ```python
    square(1)
    ```

    Args:
        radius (float): How wide the circle
            is, from side to side.
        name: What to call it.

    Returns:
        The square of that circle.

    Example:
        This is shown nowhere.
    """


def test_numpydoc_keeps_prose_and_descriptions_only():
    assert list(read_paragraphs(NUMPYDOC)) == [
        ("prose", "Turn a circle into a square."),
        ("prose", "The area stays the same, and so does the name."),
        ("prose", "Corners are sharp."),
        ("prose", "The first item, which goes on."),
        ("prose", "The second item."),
        ("field", "How wide the circle is."),
        ("prose", "The method is old:"),
    ]


def test_google_style_keeps_prose_and_descriptions_only():
    assert list(read_paragraphs(GOOGLE)) == [
        ("prose", "Turn a circle into a square."),
        ("field", "How wide the circle is, from side to side."),
        ("field", "What to call it."),
        ("field", "The square of that circle."),
    ]


def test_spacy_and_sphinx_fields_lose_their_names():
    text = "width (int): How wide the circle is.\nRETURNS (Square): The square of it.\n"
    assert [p for _, p in read_paragraphs(text)] == ["How wide the circle is.", "The square of it."]
    text = ":param width: How wide the circle is.\n:type width: int\n:return: The square of it.\n"
    assert [p for _, p in read_paragraphs(text)] == ["How wide the circle is.", "The square of it."]


def test_words_broken_at_the_end_of_a_line_are_joined():
    text = "The finite-\ndifference pre-\nand post-\nprocessing."
    assert list(read_paragraphs(text)) == [
        ("prose", "The finite-difference pre- and post-processing.")
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The circle keeps its area when it becomes a square.", None),
        ("Too short to keep.", "too short"),
        ("The circle is drawn as in the code that follows:", "introduces a block"),
        ("where the circle keeps its area and becomes a square.", "no sentence start"),
        ("The circle is turned into a square by means of the", "no sentence end"),
        ("The whole story is told on https://squares.example today.", "address"),
        ("The circle of size {size} becomes a square of that size.", "template"),
        ("All rights to turning circles into squares: Copyright by Nobody.", "boilerplate"),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13.", "no sentence start"),
    ],
)
def test_only_clean_prose_passes(text, reason):
    assert why_not_prose(text) == reason


def test_unmarked_code_is_noticed_and_marked_code_is_not():
    assert has_unmarked_code("Call draw_square for that.", ())
    assert has_unmarked_code("Returns None for that.", ())
    assert not has_unmarked_code("Call draw_square for that.", [(5, 16, "CODE")])
    assert has_unmarked_code("The Box is a Box of things.", [(4, 7, "CLASS")])
    assert not has_unmarked_code("It works with PyTorch, e.g. on a phone.", ())
