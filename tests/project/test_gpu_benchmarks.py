"""The figures of a GPU run dry on the CPU, with tiny sizes."""

import argparse
import json
import subprocess

import numpy
import pytest

from benchmarks import packed
from benchmarks.gpu import agreement, host, setup, speed
from benchmarks.gpu import all as all_parts

ARGS = {"repeats": 1, "threads": 1, "data": None, "quick": True}


@pytest.fixture
def args(tmp_path, monkeypatch):
    if setup.on_gpu():
        pytest.skip("Here the figures are real ones: run benchmarks.gpu.all.")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return argparse.Namespace(**ARGS, out=tmp_path)


def test_the_device_agrees_with_the_cpu(args, monkeypatch):
    monkeypatch.setattr(agreement, "KINDS", ("shared",))
    figures = agreement.agreement(args)
    for kind in ("shared", "frozen_textcat"):
        assert figures[f"{kind}_fp32_largest_difference"] == 0.0
        assert figures[f"{kind}_fp32_texts_with_equal_entities"] == 1.0
        assert figures[f"{kind}_bf16_texts_with_equal_best"] > 0.8
        assert 0.0 <= figures[f"{kind}_score"] <= 1.0


def test_a_difference_would_be_seen(args, monkeypatch):
    found = setup.outputs
    calls = iter(range(100))

    def moved(nlp, texts):
        by = 0.25 * next(calls)
        for cats, ents, scores in found(nlp, texts):
            yield {label: score + by for label, score in cats.items()}, ents, scores

    monkeypatch.setattr(setup, "outputs", moved)
    monkeypatch.setattr(agreement, "KINDS", ())
    figures = agreement.agreement(args)
    assert figures["frozen_textcat_fp32_largest_difference"] == pytest.approx(0.25)


@pytest.mark.parametrize("part", [host.host, speed.fine_tune, packed.packed])
def test_a_part_gives_figures(part, args):
    figures = part(args)
    values = [x for value in figures.values() for x in numpy.atleast_1d(value)]
    assert len(values) >= 2 and min(values) >= 0


def test_workers_predict_what_the_pipeline_predicts(args, monkeypatch):
    monkeypatch.setattr(agreement, "N_PROCESS", 1)
    monkeypatch.setattr(agreement.multiprocessing, "set_start_method", lambda *_, **__: None)
    assert agreement.workers(args)["workers_largest_difference"] < 1e-6


def test_memory_is_that_of_the_device(args):
    assert set(speed.memory(args).values()) == {0.0}


def test_annotating_is_compared_with_the_best_batch_size_of_the_peer(args, monkeypatch):
    figures = speed.annotate(args)
    assert figures["ner_hf_best"] == figures["textcat_hf_best"] == "hf_8"
    assert figures["ner_speedup_vs_hf_pipeline"] > 0.0


def test_parts_go_on_where_they_stopped_and_a_slow_one_costs_no_other(
    tmp_path, monkeypatch, capsys
):
    ran = []

    def run(command, *, timeout, **_):
        part = command[command.index("--part") + 1]
        ran.append(part)
        if part == "host":
            raise subprocess.TimeoutExpired(command, timeout)
        figures = {"figures": {"words": 7}}
        (tmp_path / f"{part}.json").write_text(json.dumps(figures), encoding="utf8")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(all_parts.subprocess, "run", run)
    command = ["--out", str(tmp_path), "--parts", "agreement", "host", "memory"]
    all_parts.main(command)
    assert ran == ["agreement", "host", "memory"]
    all_parts.main(command)
    assert ran[3:] == ["host"]
    said = capsys.readouterr().out
    assert "| memory | words | 7 |" in said and "| host | not measured | |" in said


def test_the_peer_with_packages_of_its_own_is_compared_in_the_table(tmp_path, monkeypatch, capsys):
    paths = {}

    def run(command, *, env, **_):
        part = command[command.index("--part") + 1]
        paths[part] = env.get("PYTHONPATH", "").split(all_parts.os.pathsep)[0]
        figures = {"figures": {"ner_words_per_second": {"annotate": 900, "stock": 60}[part]}}
        (tmp_path / f"{part}.json").write_text(json.dumps(figures), encoding="utf8")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(all_parts.subprocess, "run", run)
    command = ["--out", str(tmp_path), "--peer-site", "peer", "--parts", "annotate", "stock"]
    all_parts.main(command)
    assert paths["stock"] == "peer" != paths["annotate"]
    assert "| ner_speedup_vs_spacy_transformers | 15.0 |" in capsys.readouterr().out
