"""A slice of `benchmarks.fuzz`: texts, damaged files, annotation; and what the command counts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from benchmarks.fuzz_pipelines import save_encoder
from benchmarks.kills import kill_saves


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    return fuzz.Fuzzer(tmp_path_factory.mktemp("fuzz"), batch=12, english=False)


# Each family of tokenizers and each kind of pipeline once: the nine of them take long to make.
PIPELINES = st.sampled_from([0, 4, 8])
NUMBERS = st.builds(lambda k, pipeline: 9 * k + pipeline, st.integers(0, 10**5), PIPELINES)


@pytest.mark.parametrize("part", ["texts", "files", "annotation"])
@settings(max_examples=4, deadline=None)
@given(number=NUMBERS)
def test_nothing_crashes_is_lost_or_is_accepted_in_silence(part, number, fuzzer):
    assert fuzzer.run(part, number) >= 0


def test_a_changed_row_costs_no_other_row(fuzzer):
    assert sum(fuzzer.run("rows", number) for number in range(12)) > 20


def test_a_process_that_is_killed_while_it_saves_leaves_nothing_mixed(tmp_path):
    save_encoder(tmp_path / "encoder", "unigram")
    counts = kill_saves(tmp_path, "ner", 3)
    assert counts == {
        **counts,
        "kills": 3,
        "mixed": 0,
        "leftovers": 0,
        "later": 3 - counts["earlier"],
    }


def test_a_run_goes_on_where_the_last_one_ended_and_keeps_what_failed(tmp_path, monkeypatch):
    seen = []

    def run(self, part, number):
        seen.append(number)
        self.shown = "the input"
        if number == 3:
            raise ValueError("broken")
        return 10

    monkeypatch.setattr(fuzz.Fuzzer, "run", run)
    for _ in range(2):
        counts = fuzz.fuzz(tmp_path, tmp_path, 0.001, ("rows",))
    assert seen == list(range(len(seen))) and len(seen) > 4
    assert counts["rows"] == {"cases": len(seen), "inputs": 10 * (len(seen) - 1), "failures": 1}
    assert json.loads((tmp_path / "counts.json").read_text()) == counts
    failed = (tmp_path / "rows-3.txt").read_text()
    assert "broken" in failed and "the input" in failed
