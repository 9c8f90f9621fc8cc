"""Docstrings are read from source files, and nothing is imported on the way."""

import sys

import pytest

from scripts.harvest.docstrings import find_packages, read_docstrings


@pytest.fixture
def fake(tmp_path, monkeypatch):
    root = tmp_path / "rt_fake_reader"
    (root / "sub" / "tests").mkdir(parents=True)
    (root / "_vendor").mkdir()
    (root / "__init__.py").write_text('"""Top."""\nraise RuntimeError("imported")\n')
    (root / "sub" / "__init__.py").write_text("")
    (root / "sub" / "code.py").write_text(
        '''"""Module."""

class Shape:
    """A class."""

    def area(self):
        """A method."""

        def helper():
            """Nested, so private."""

    if True:
        async def wait(self):
            """Conditional."""

add_newdoc("rt_fake_reader", "compiled", """
Documented by a call.
""")
'''
    )
    (root / "sub" / "tests" / "test_code.py").write_text('"""A test."""')
    (root / "_vendor" / "other.py").write_text('"""A copy."""')
    (root / "broken.py").write_text("def f(:")
    monkeypatch.syspath_prepend(str(tmp_path))
    return root


def test_docstrings_come_in_the_order_of_the_source(fake):
    found, missing = find_packages({"rt_fake_reader": "rt-fake-reader"})
    docs = [(doc.module, doc.text.strip()) for doc in read_docstrings(found)]
    assert missing == []
    assert docs == [
        ("rt_fake_reader", "Top."),
        *(
            ("rt_fake_reader.sub.code", text)
            for text in [
                "Module.",
                "A class.",
                "A method.",
                "Conditional.",
                "Documented by a call.",
            ]
        ),
    ]


def test_reading_imports_nothing(fake):
    found, _ = find_packages({"rt_fake_reader": "rt-fake-reader"})
    assert list(read_docstrings(found))
    assert "rt_fake_reader" not in sys.modules


def test_packages_that_are_not_installed_are_named(fake):
    found, missing = find_packages({"rt_fake_reader": "rt-fake-reader", "rt_no_such": "rt-no-such"})
    assert [package.name for package in found] == ["rt_fake_reader"]
    assert found[0].version == "unknown"
    assert missing == ["rt_no_such"]
