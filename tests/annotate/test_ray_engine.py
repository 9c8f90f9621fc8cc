"""Ray Data writes what the local engine writes, and each can go on with what the other began."""

import pytest
from test_annotate_files import fill_the_disk_for, write_input
from typer.testing import CliRunner

from spacy_reprtune.annotate import Annotator
from spacy_reprtune.annotate.run import annotate_files
from spacy_reprtune.cli import reprtune_cli


@pytest.fixture(scope="module")
def local_ray():
    """Ray on this machine, once for all tests, with two cores whatever there are."""
    ray = pytest.importorskip("ray", reason='Ray Data is missing: pip install "ray[data]"')
    pytest.importorskip("ray.data", reason='Ray Data is missing: pip install "ray[data]"')
    settings = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    for attempt in range(4):
        try:
            ray.init(address="local", **settings)
            break
        except Exception as error:
            # Ray gives itself half a minute, which a machine that does much else may exceed.
            if "timed out" not in str(error) or attempt == 3:
                raise
            ray.shutdown()
    yield ray
    ray.shutdown()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_workers_of_ray_write_the_bytes_of_the_local_engine(
    local_ray, annotate_pipeline, tmp_path
):
    path = write_input(tmp_path, "jsonl")
    with path.open("a", encoding="utf8") as file:
        file.write('\n{"id": "bad", "text": 3}\n')
    for engine in ("local", "ray"):
        outcome = annotate_files(
            Annotator(annotate_pipeline, threads=1),
            [path],
            tmp_path / engine,
            id="id",
            workers=1 if engine == "local" else 2,
            shard_rows=5,
            engine=engine,
        )
        assert (outcome.rows, outcome.failed) == (26, 1)
    local, found = contents(tmp_path / "local"), contents(tmp_path / "ray")
    assert found == local
    assert sorted(local)[-1] == "part-00005.parquet" and "errors.jsonl" in local
    # What Ray goes on with may be of the local engine.
    (tmp_path / "local" / "part-00002.parquet").unlink()
    annotate_files(
        Annotator(annotate_pipeline, threads=1),
        [path],
        tmp_path / "local",
        id="id",
        shard_rows=5,
        engine="ray",
    )
    assert contents(tmp_path / "local") == local


def test_a_full_disk_stops_the_run_with_its_reason(local_ray, annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "txt")
    settings = {"shard_rows": 10, "engine": "ray"}
    annotator = Annotator(annotate_pipeline, threads=1)
    annotate_files(annotator, [path], tmp_path / "out", **settings)
    lost = tmp_path / "out" / "part-00001.parquet"
    expected = lost.read_bytes()
    lost.unlink()
    fill_the_disk_for(lost)
    with pytest.raises(OSError, match="No space left"):
        annotate_files(annotator, [path], tmp_path / "out", **settings)
    assert not lost.exists()
    annotate_files(annotator, [path], tmp_path / "out", **settings)
    assert lost.read_bytes() == expected


def test_too_many_workers_or_gpus_are_refused(local_ray, annotate_pipeline, tmp_path):
    path = write_input(tmp_path, "txt")
    settings = {"engine": "ray", "shard_rows": 10}
    with pytest.raises(ValueError, match="2 cores for 3 workers. Use fewer --workers"):
        annotate_files(Annotator(annotate_pipeline), [path], tmp_path / "a", workers=3, **settings)
    with pytest.raises(ValueError, match="1 workers need one GPU each, but Ray has 0"):
        annotate_files(Annotator(annotate_pipeline, gpu_id=0), [path], tmp_path / "b", **settings)


def test_an_address_is_refused_if_there_is_a_connection(local_ray, annotate_pipeline, tmp_path):
    settings = {"engine": "ray", "address": "127.0.0.1:1"}
    path = write_input(tmp_path, "txt")
    with pytest.raises(ValueError, match="is connected to Ray already"):
        annotate_files(Annotator(annotate_pipeline), [path], tmp_path / "out", **settings)


def test_an_address_without_a_cluster_is_named_and_nothing_is_written(
    annotate_pipeline, tmp_path, monkeypatch
):
    ray = pytest.importorskip("ray", reason='Ray Data is missing: pip install "ray[data]"')
    pytest.importorskip("ray.data", reason='Ray Data is missing: pip install "ray[data]"')
    # Other tests may have connected this process.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    path = write_input(tmp_path, "txt")
    # Port 1 of this machine is closed.
    command = ["annotate", str(annotate_pipeline), str(path), str(tmp_path / "out")]
    done = CliRunner().invoke(
        reprtune_cli, [*command, "--engine", "ray", "--address", "127.0.0.1:1"]
    )
    assert done.exit_code == 1
    assert "There is no Ray cluster at '127.0.0.1:1'" in done.output
    assert "leave --address out" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(annotate_pipeline, tmp_path, monkeypatch):
    import sys

    for name in [n for n in sys.modules if n == "ray" or n.startswith("ray.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "spacy_reprtune.annotate.ray_engine", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    path = write_input(tmp_path, "txt")
    command = ["annotate", str(annotate_pipeline), str(path), str(tmp_path / "out")]
    done = CliRunner().invoke(reprtune_cli, [*command, "--engine", "ray"])
    assert done.exit_code == 1
    assert 'pip install "spacy-reprtune[ray]"' in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_cores_are_shared_so_that_all_workers_find_a_place():
    pytest.importorskip("ray.data", reason='Ray Data is missing: pip install "ray[data]"')
    from spacy_reprtune.annotate.ray_engine import threads_for

    assert [threads_for(n, [8, 8]) for n in (1, 2, 3, 4, 16)] == [8, 8, 4, 4, 1]
    assert threads_for(3, [2, 12]) == 4
