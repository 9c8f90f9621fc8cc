"""A benchmark that is killed loses at most the training that it was at."""

import json
import multiprocessing
import os
import time

from benchmarks import finished
from benchmarks.finished import Finished


def trainings(n, train):
    return [({"set": "a", "seed": seed}, lambda seed=seed: train(seed)) for seed in range(n)]


def test_nothing_is_trained_twice(tmp_path):
    path, trained = tmp_path / "new" / "results.jsonl", []

    def train(seed):
        trained.append(seed)
        return {"f1": seed / 10}

    first = Finished(path).run(trainings(2, train))
    assert first == [{"f1": 0.0}, {"f1": 0.1}] and trained == [0, 1]
    # The order of a key's parts does not matter; a training that is not there yet is run.
    again = [({"seed": 1, "set": "a"}, lambda: train(1)), *trainings(3, train)]
    assert [r["f1"] for r in Finished(path).run(again)] == [0.1, 0.0, 0.1, 0.2]
    assert trained == [0, 1, 2]


def test_a_line_that_was_cut_off_is_trained_again_and_spoils_no_other(tmp_path):
    path = tmp_path / "results.jsonl"
    Finished(path).run(trainings(2, lambda seed: {"f1": seed}))
    path.write_text(path.read_text()[:-20])
    trained = []
    found = Finished(path).run(trainings(3, lambda seed: trained.append(seed) or {"f1": seed}))
    assert [r["f1"] for r in found] == [0, 1, 2] and trained == [1, 2]
    assert Finished(path).run(trainings(3, lambda seed: None)) == found


def _work(path, log):
    def train(seed):
        with log.open("a") as file:
            file.write(f"{seed}\n")
        time.sleep(0.05)
        return {"f1": seed}

    finished.POLL_SECONDS = 0.01
    results = Finished(path).run(trainings(8, train))
    assert [r["f1"] for r in results] == list(range(8))


def test_processes_share_the_work(tmp_path):
    path, log = tmp_path / "results.jsonl", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(path, log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert sorted(log.read_text().split()) == [str(i) for i in range(8)]
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    assert sorted(row["training"]["seed"] for row in rows) == list(range(8))


def test_a_killed_process_gives_its_training_back(tmp_path):
    path = tmp_path / "results.jsonl"
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=lambda: Finished(path).run(trainings(1, lambda _: os._exit(9))))
    worker.start()
    worker.join(30)
    assert worker.exitcode == 9
    assert Finished(path).run(trainings(1, lambda seed: {"f1": seed})) == [{"f1": 0}]


def test_one_training_at_a_time_and_settings_that_all_depend_on(tmp_path):
    path, trained = tmp_path / "results.jsonl", []
    results = Finished(path, threads=2)
    assert not results.has(seed=0)
    for _ in range(2):
        assert results.once(lambda: trained.append(0) or {"f1": 0.5}, seed=0) == {"f1": 0.5}
    assert trained == [0]
    assert Finished(path, threads=2).has(seed=0)
    assert not Finished(path, threads=1).has(seed=0) and not Finished(path, threads=2).has(seed=1)


def test_without_a_file_results_are_kept_for_the_run(tmp_path):
    results, trained = Finished(), []
    for _ in range(2):
        results.once(lambda: trained.append(0) or {"f1": 0.5}, seed=0)
    assert trained == [0]
