"""spaCy's own tests, with the components of this package in place of the stock ones."""

import os

import pytest
import spacy
from spacy_tests import PAGE, all_run, changes, page, read_expected, run_tests, updated


@pytest.mark.skipif(
    "REPRTUNE_CONFORMANCE" not in os.environ, reason="takes two minutes: nox -s conformance"
)
def test_spacys_own_tests_pass_or_differ_for_a_reason():
    expected = read_expected()
    if spacy.__version__ != expected["spacy"]:
        pytest.skip(f"the list is of spaCy {expected['spacy']}, not {spacy.__version__}")
    assert changes(expected, run_tests(all_run(expected))) == []


def test_every_difference_has_a_reason():
    groups = read_expected()["differ"]
    assert groups and all(len(group["reason"].split()) > 5 for group in groups)
    tests = all_run(read_expected())
    assert len(set(tests)) == len(tests)


def test_the_page_shows_what_is_expected():
    assert PAGE.read_text(encoding="utf8") == page(read_expected())


EXPECTED = {
    "passed": ["a.py::one", "a.py::two"],
    "differ": [{"reason": "for a good reason", "tests": ["a.py::three", "a.py::four"]}],
}
SEEN = {
    "a.py::one": {"outcome": "failed", "message": "AssertionError"},
    "a.py::two": {"outcome": "passed", "message": ""},
    "a.py::three": {"outcome": "passed", "message": ""},
    "a.py::four": {"outcome": "failed", "message": "ValueError"},
}


def test_a_new_failure_and_a_new_pass_are_named():
    failed, passed = changes(EXPECTED, SEEN)
    assert "a.py::one fails now: AssertionError" in failed and "write its reason" in failed
    assert "a.py::three is listed as different and passes now" in passed


def test_a_test_that_did_not_run_is_named():
    [message] = changes({"passed": ["a.py::gone"], "differ": []}, {})
    assert "a.py::gone did not run" in message


def test_an_update_keeps_reasons_and_leaves_new_ones_empty():
    groups = updated(EXPECTED, SEEN)["differ"]
    assert groups[0] == {"reason": "for a good reason", "tests": ["a.py::four"]}
    assert groups[1]["reason"] == "" and groups[1]["tests"] == ["a.py::one"]
