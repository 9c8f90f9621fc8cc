"""spaCy's own tests pass with the components of this package, but for listed differences."""

import json

import pytest
from conformance import EXPECTED, run

expected = json.loads(EXPECTED.read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def results():
    return run(sorted(expected))


def test_each_listed_test_of_spacy_ends_as_listed(results):
    wrong = {
        test: results.get(test, ["missing", ""])
        for test, known in expected.items()
        if (results.get(test, ["missing"])[0] == "passed") != (known == "passed")
    }
    assert not wrong


def test_each_difference_has_its_reason():
    reasons = [reason for reason in expected.values() if reason != "passed"]
    assert all(len(reason.split()) >= 5 for reason in reasons)
