"""`reprtune annotate`: speed beside bare `nlp.pipe`, memory over a million texts, kills, and Ray.

`speed` has the encoder of all benchmarks. The other parts annotate many rows, so they have an
untrained encoder of one block with 64 columns and the same vocabulary, on the first six words of
sentences, each with a number behind them. A component raises an exception on one row in 10,000.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import common
from benchmarks.common import log
from benchmarks.data import rotten_tomatoes
from benchmarks.small_pipeline import small_pipeline

PARTS = ("speed", "million", "kills", "ray")
ROWS = {"speed": 4000, "million": 1_000_000, "kills": 60_000, "ray": 20_000}
QUICK = {"speed": 500, "million": 20_000, "kills": 10_000, "ray": 4000}
GROUP = {"speed": 2000, "million": 10_000, "kills": 500, "ray": 1000}
BAD_EVERY = 10_000
MARK = "this row fails"
KILLS = 10
CODE = f'''
from spacy.language import Language


@Language.component("fails_on_mark")
def fails_on_mark(doc):
    if "{MARK}" in doc.text:
        raise RuntimeError("a row that fails")
    return doc
'''


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=5)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to measure")
    parser.add_argument("--rows", type=int, default=None, help="rows instead of each part's own")
    parser.add_argument("--work", type=Path, default=None, help="folder for the files")
    parser.add_argument("--worker", nargs=3, metavar=("MODEL", "INPUT", "OUTPUT"))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    if args.worker:
        model, *paths = args.worker
        print(json.dumps(_annotate_and_watch(model, *map(Path, paths))))
        return
    figures: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = args.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for part in args.parts:
            rows = args.rows or (QUICK if args.quick else ROWS)[part]
            measured = globals()[f"measure_{part}"](args, folder, rows)
            log(f"{part}: {measured}")
            figures.update({f"{part}_{key}": value for key, value in measured.items()})
    common.emit("annotate", args, figures)


def measure_speed(args: argparse.Namespace, folder: Path, rows: int) -> Dict[str, Any]:
    """Annotate a Parquet file, and give its texts to `nlp.pipe` and drop the docs.

    RETURNS (Dict[str, Any]): Rows per second of annotate as a share of those of `nlp.pipe`, by the
        clock and by the time of the processor, which other processes do not change.
    """
    from benchmarks.pipelines import make_examples, reprtune_textcat
    from spacy_reprtune.annotate import Annotator
    from spacy_reprtune.annotate.run import annotate_files

    sentences = rotten_tomatoes(args)["train"]
    nlp = reprtune_textcat("fp32")
    examples = make_examples(nlp, sentences.take(list(range(32))))
    nlp.initialize(lambda: examples)
    nlp.to_disk(folder / "minilm")
    texts = _texts(args, rows, words=None)
    path = _write(folder / "speed.parquet", texts, GROUP["speed"])
    annotator = Annotator(str(folder / "minilm"), columns=["cats"])
    nlp = annotator.nlp
    processor: Dict[str, List[float]] = {"annotate": [], "pipe": []}

    def annotate(repeat: int) -> None:
        start = time.process_time()
        annotate_files(annotator, [path], folder / f"speed-{repeat}", id="id")
        processor["annotate"].append(time.process_time() - start)

    def pipe(repeat: int) -> None:
        start = time.process_time()
        for _ in nlp.pipe(texts, batch_size=annotator.batch_size):
            pass
        processor["pipe"].append(time.process_time() - start)

    pipe(-1)
    processor["pipe"].clear()
    times = common.interleave({"annotate": annotate, "pipe": pipe}, args.repeats)
    return {
        "rows": rows,
        **common.ratio("share_of_pipe", times["pipe"], times["annotate"]),
        **common.ratio("share_of_pipe_cpu", processor["pipe"], processor["annotate"]),
        "rows_per_second": round(rows / statistics.median(times["annotate"]), 1),
        "rows_per_cpu_second": round(rows / statistics.median(processor["annotate"]), 1),
    }


def measure_million(args: argparse.Namespace, folder: Path, rows: int) -> Dict[str, Any]:
    """Annotate many rows in a process of their own.

    RETURNS (Dict[str, Any]): Memory and speed in the second and the last tenth of the parts.
    """
    model = _small_pipeline(args, folder)
    texts = _texts(args, rows, words=6)
    path = _write(folder / "million.parquet", texts, rows // 100)
    output = folder / "million"
    watched = common.fresh_process("benchmarks.annotate", args, "--worker", model, path, output)
    tenths = [_mean(watched["samples"], k / 10, (k + 1) / 10) for k in range(10)]
    found = _ids_and_errors(output)
    bad = [row for row, text in enumerate(texts) if MARK in text]
    return {
        "rows": rows,
        "seconds": watched["seconds"],
        "cpu_seconds": watched["cpu_seconds"],
        "memory_mb_by_tenth": [round(memory) for memory, _ in tenths],
        "memory_last_to_second_tenth": round(tenths[-1][0] / tenths[1][0], 3),
        "cpu_per_row_last_to_second_tenth": round(tenths[-1][1] / tenths[1][1], 3),
        "bad_rows": len(bad),
        "bad_rows_in_errors": found[1] == bad,
        "all_other_rows_once": found[0] == sorted(set(range(rows)) - set(bad)),
    }


def measure_kills(args: argparse.Namespace, folder: Path, rows: int) -> Dict[str, Any]:
    """Kill the command at random moments, with one and with two workers in turn.

    RETURNS (Dict[str, Any]): Kills, parts that were there after each, and whether the result is
        that of an unbroken run.
    """
    model = _small_pipeline(args, folder)
    path = _write(folder / "kills.parquet", _texts(args, rows, words=6), GROUP["kills"])
    whole, killed = folder / "whole", folder / "killed"
    command = [sys.executable, "-m", "spacy", "reprtune", "annotate", str(model), str(path)]
    options = ["--id", "id", "--columns", "cats", "--code", str(folder / "code.py")]
    # The bytes depend on the number of threads that torch computes with.
    environment = {**os.environ, **dict.fromkeys(common.THREAD_VARIABLES, "1")}
    settings: Dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL}
    first, total = _time_of_parts([*command, str(whole), *options], whole, settings)
    rng = random.Random(0)
    parts: List[int] = []
    for kill in range(KILLS):
        workers = ["--workers", str(1 + kill % 2)]
        process = subprocess.Popen([*command, str(killed), *options, *workers], **settings)
        try:
            # Around the first part, when the pipeline is loaded, and up to some dozens later.
            process.wait(rng.uniform(0.9 * first, first + 0.4 * (total - first)))
            log(f"kill {kill + 1}: the run was over already")
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        parts.append(len(list(killed.glob("part-*"))))
        log(f"kill {kill + 1}: {parts[-1]} parts")
    subprocess.run([*command, str(killed), *options], check=True, **settings)
    ids = _ids_and_errors(killed)
    return {
        "rows": rows,
        "kills": len(parts),
        "parts_after_each": parts,
        "every_id_once": sorted([*ids[0], *ids[1]]) == list(range(rows)),
        "same_bytes": _contents(killed) == _contents(whole),
    }


def _time_of_parts(
    command: List[str], output: Path, settings: Dict[str, Any]
) -> Tuple[float, float]:
    """RETURNS (Tuple[float, float]): Seconds until a run has written its first part, and all."""
    start, first = time.perf_counter(), 0.0
    process = subprocess.Popen(command, **settings)
    while process.poll() is None:
        time.sleep(0.05)
        if not first and any(output.glob("part-*")):
            first = time.perf_counter() - start
    if process.returncode:
        common.fail(f"the unbroken run ended with exit code {process.returncode}")
    return first, time.perf_counter() - start


def measure_ray(args: argparse.Namespace, folder: Path, rows: int) -> Dict[str, Any]:
    """Annotate with one worker of the local engine and with two of Ray.

    RETURNS (Dict[str, Any]): Whether all files of the two are the same.
    """
    import ray

    from spacy_reprtune.annotate import Annotator
    from spacy_reprtune.annotate.run import annotate_files

    model = _small_pipeline(args, folder)
    path = _write(folder / "ray.parquet", _texts(args, rows, words=6), GROUP["ray"])
    seconds = {}
    for engine, workers in (("local", 1), ("ray", 2)):
        annotator = Annotator(str(model), columns=["cats"], threads=1, code=str(folder / "code.py"))
        output = folder / f"ray-{engine}"
        start = time.perf_counter()
        annotate_files(annotator, [path], output, id="id", workers=workers, engine=engine)
        seconds[engine] = round(time.perf_counter() - start, 1)
    local, of_ray = (_contents(folder / f"ray-{engine}") for engine in ("local", "ray"))
    return {
        "rows": rows,
        "version": ray.__version__,
        "seconds": seconds,
        "identical": local == of_ray,
    }


def _texts(args: argparse.Namespace, rows: int, *, words: Optional[int]) -> List[str]:
    sentences = rotten_tomatoes(args)["train"].texts
    order = common.order(len(sentences), 0)
    short = [" ".join(sentences[k].split()[:words]) for k in order]
    return [
        f"{short[row % len(short)]} {MARK if words and row % BAD_EVERY == 4321 else row}"
        for row in range(rows)
    ]


def _write(path: Path, texts: List[str], group: int) -> Path:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"id": list(range(len(texts))), "text": texts})
    parquet.write_table(table, path, row_group_size=group)
    return path


def _small_pipeline(args: argparse.Namespace, folder: Path) -> Path:
    from spacy.cli._util import import_code

    (folder / "code.py").write_text(CODE, encoding="utf8")
    import_code(folder / "code.py")
    return small_pipeline(args, folder, "fails_on_mark")


def _annotate_and_watch(model: str, path: Path, output: Path) -> Dict[str, Any]:
    """Annotate, and note memory and time of the processor after each part."""
    from spacy_reprtune.annotate import Annotator
    from spacy_reprtune.annotate.run import annotate_files

    samples: List[Tuple[int, float, float]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            parts = len(list(output.glob("part-*")))
            samples.append((parts, common.memory_mb(), time.process_time()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    annotator = Annotator(model, columns=["cats"], code=str(path.with_name("code.py")))
    annotate_files(annotator, [path], output, id="id")
    done.set()
    watcher.join()
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "samples": samples,
    }


def _mean(samples: List[Tuple[int, float, float]], low: float, high: float) -> Tuple[float, float]:
    """RETURNS (Tuple[float, float]): Mean memory, and time of the processor per part, while the
    parts between two shares of all were made."""
    last = samples[-1][0] + 1
    inside = [s for s in samples if low * last <= s[0] < high * last]
    parts = max(1, inside[-1][0] - inside[0][0])
    return statistics.fmean(s[1] for s in inside), (inside[-1][2] - inside[0][2]) / parts


def _ids_and_errors(output: Path) -> Tuple[List[int], List[int]]:
    from pyarrow import parquet

    ids = [
        k for p in sorted(output.glob("part-*")) for k in parquet.read_table(p)["id"].to_pylist()
    ]
    errors = output / "errors.jsonl"
    lines = errors.read_text("utf8").splitlines() if errors.exists() else []
    return ids, [json.loads(line)["id"] for line in lines]


def _contents(folder: Path) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


if __name__ == "__main__":
    main()
