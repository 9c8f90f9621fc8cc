"""A benchmark that was stopped does not measure again what it has measured."""

import pytest

from benchmarks.results import Results


@pytest.fixture
def calls():
    return []


def measure(calls, value):
    def run():
        calls.append(value)
        return {"seconds": value}

    return run


def test_a_result_is_measured_once_also_by_the_next_run(tmp_path, calls):
    path = tmp_path / "new" / "results.jsonl"
    first = Results(path, threads=2)
    assert not first.has(system="ours", seed=0)
    for _ in range(2):
        assert first.once(measure(calls, 1.5), system="ours", seed=0) == {"seconds": 1.5}
    second = Results(path, threads=2)
    assert second.has(seed=0, system="ours")
    assert second.once(measure(calls, 9.0), system="ours", seed=0) == {"seconds": 1.5}
    assert calls == [1.5]


@pytest.mark.parametrize("other", [{"seed": 1}, {"system": "peer"}])
def test_other_settings_and_other_systems_have_results_of_their_own(tmp_path, calls, other):
    path = tmp_path / "results.jsonl"
    key = {"system": "ours", "seed": 0}
    Results(path, threads=2).once(measure(calls, 1.0), **key)
    assert not Results(path, threads=1).has(**key)
    assert not Results(path, threads=2).has(**{**key, **other})


def test_a_line_that_is_cut_off_is_measured_again_and_the_others_stay(tmp_path, calls):
    path = tmp_path / "results.jsonl"
    results = Results(path)
    for seed in (0, 1):
        results.once(measure(calls, float(seed)), seed=seed)
    path.write_bytes(path.read_bytes()[:-12])
    again = Results(path)
    assert again.has(seed=0) and not again.has(seed=1)
    again.once(measure(calls, 2.0), seed=1)
    last = Results(path)
    assert last.once(measure(calls, 9.0), seed=0) == {"seconds": 0.0}
    assert last.once(measure(calls, 9.0), seed=1) == {"seconds": 2.0}


def test_without_a_file_results_are_kept_for_the_run_alone(calls):
    results = Results(None)
    for _ in range(2):
        results.once(measure(calls, 1.0), seed=0)
    assert calls == [1.0]
