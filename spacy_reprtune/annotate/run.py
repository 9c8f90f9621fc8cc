"""Annotate files in a run that can be stopped at any time and resumed with the same command."""

import hashlib
import json
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy

from ..progress import bar
from .annotator import Annotated, Annotator, check_disabled
from .columns import output_columns
from .resume import (
    MANIFEST,
    damage_mark,
    describe_inputs,
    earlier_run,
    model_digest,
    write_manifest,
)
from .shards import SHARD_ROWS, Shard, cut, find_inputs, read_rows

ERRORS = "errors.jsonl"
FORMATS = ("parquet", "jsonl")
# Modules that every pipeline loads, some through spaCy's entry points. Missing ones are skipped.
_SLOW_IMPORTS = [
    "spacy_reprtune.annotate.annotator",
    "spacy_reprtune.components.ner",
    "spacy_reprtune.encoder.module",
    "spacy_transformers",
    "transformers.generation.utils",
]
ENGINES = ("local", "ray")
VERSIONS = ("spacy-reprtune", "spacy", "torch", "transformers", "tokenizers")


@dataclass
class Plan:
    """The plan of a run, made before the first text is annotated.

    shards (List[Shard]): The shards, each of which becomes one output file.
    text (str): Name of the column with the texts.
    id (Optional[str]): Name of the column with the ids, or None for the numbers of the rows.
    integer_ids (bool): Whether all ids are integers; they are written as strings otherwise.
    format (str): "parquet" or "jsonl".
    """

    shards: List[Shard]
    text: str
    id: Optional[str]
    integer_ids: bool
    format: str

    def part(self, number: int) -> str:
        """RETURNS (str): Name of the output file of a shard."""
        return f"part-{number:05d}.{self.format}"

    def errors(self, number: int) -> str:
        """RETURNS (str): Name of the temporary file with the rows of a shard that failed."""
        return f".part-{number:05d}.{ERRORS}"


class Outcome(NamedTuple):
    """The result of a run.

    rows (int): Number of rows that could be read, in all inputs.
    failed (int): Number of these rows that could not be annotated; they are in errors.jsonl.
    damaged (List[str]): Shards that could not be read, each with the reason.
    reason (Optional[str]): Why the first of the failed rows could not be annotated.
    """

    rows: int
    failed: int
    damaged: List[str]
    reason: Optional[str] = None


def annotate_files(
    annotator: Annotator,
    inputs: Sequence[Path],
    output: Path,
    *,
    id: Optional[str] = None,
    workers: int = 1,
    format: str = "parquet",
    shard_rows: int = SHARD_ROWS,
    engine: str = "local",
    address: Optional[str] = None,
) -> Outcome:
    """Annotate files into a folder, or resume an earlier run.

    Each shard of an input becomes a file, which is written under another name and then renamed.
    Rows that fail are left out of it, and are in errors.jsonl with the reason.

    annotator (Annotator): The annotator.
    inputs (Sequence[Path]): Files and folders.
    output (Path): The folder.
    id (Optional[str]): Name of the column with the ids, which have to be unique; None to number
        the rows.
    workers (int): Processes, or workers of Ray; the cores are shared among them.
    format (str): "parquet" or "jsonl".
    shard_rows (int): Rows per shard, if the input has no row groups.
    engine (str): "local", or "ray" for Ray Data. Both write the same parts.
    address (Optional[str]): Address of a Ray cluster, or None to start Ray on this machine.
    RETURNS (Outcome): Counts of rows and failures.
    RAISES (ValueError): An input is wrong, the folder belongs to another run, or there is no
        cluster. ChildProcessError: A worker was killed.
    """
    if workers < 1 or shard_rows < 1:
        raise ValueError(f"workers = {workers} and shard rows = {shard_rows}: use 1 or more.")
    if format not in FORMATS:
        raise ValueError(f"format = {format!r}. Use one of {', '.join(FORMATS)}.")
    if engine not in ENGINES:
        raise ValueError(f"engine = {engine!r}. Use one of {', '.join(ENGINES)}.")
    if address is not None and engine != "ray":
        raise ValueError(f"An address, here {address!r}, is only for the engine 'ray'.")
    paths = find_inputs(inputs, output=output)
    if id is not None and any(path.suffix.lower() == ".txt" for path in paths):
        raise ValueError(
            f"A .txt file has no column {id!r}: its rows are numbered. Leave --id out."
        )
    settings = {
        "text": annotator.text,
        "id": id,
        "columns": list(annotator.columns),
        "disable": list(annotator.disable),
        "format": format,
        "shard_rows": shard_rows,
    }
    run, connection = _run, nullcontext()
    if engine == "ray":
        from .ray_engine import cluster, run_in_ray

        run, connection = run_in_ray, cluster(address)
    damaged: List[str] = []
    with connection:
        plan = _plan(annotator, paths, output, settings)
        left = [i for i in range(len(plan.shards)) if not (output / plan.part(i)).exists()]
        total = sum(shard.rows for shard in plan.shards)
        finished = total - sum(plan.shards[i].rows for i in left)
        with bar(total=total, initial=finished, what="Annotating", unit="rows") as shown:
            for rows, reason in run(annotator, plan, left, output, workers=workers):
                shown.update(rows)
                finished += rows
                if reason is not None:
                    damaged.append(reason)
    failed = _merge_errors(plan, output)
    return Outcome(finished, len(failed), damaged, failed[0]["reason"] if failed else None)


def annotate_shard(
    annotator: Annotator, plan: Plan, number: int, output: Path
) -> Tuple[int, Optional[str]]:
    """Annotate one shard and write its files.

    annotator (Annotator): The annotator.
    plan (Plan): The run.
    number (int): Number of the shard.
    output (Path): The folder.
    RETURNS (Tuple[int, Optional[str]]): The number of rows that are done, and why the shard could
        not be read, or None.
    """
    from .tables import write_lines, write_rows

    shard = plan.shards[number]
    try:
        rows = read_rows(shard, text=plan.text, id=plan.id)
    except ValueError as error:
        damage_mark(output, number).touch()
        return 0, str(error)
    readable = [row for row in rows if row.error is None]
    done = annotator.annotate([row.text for row in readable])
    for row, error in zip(readable, done.errors, strict=True):
        row.error = error
    good = [i for i, error in enumerate(done.errors) if error is None]
    kept = Annotated([done.rows[i] for i in good], [])
    failed = [
        {"id": row.id, "row": row.number, "file": shard.path, "reason": row.error}
        for row in rows
        if row.error is not None
    ]
    if failed:
        # First, so that a finished shard always has its errors beside it.
        write_lines(output / plan.errors(number), failed)
    write_rows(
        output / plan.part(number),
        [readable[i].id for i in good],
        kept.columns(output_columns(annotator.columns)),
        integers=plan.integer_ids,
    )
    return shard.rows, None


def _plan(annotator: Annotator, paths: List[Path], output: Path, settings: Dict[str, Any]) -> Plan:
    known = {
        "model": annotator.path,
        "model_digest": model_digest(annotator.path),
        "versions": {name: _version(name) for name in VERSIONS},
        "settings": settings,
    }
    saved = earlier_run(output, known, paths)
    if saved is not None:
        shards = [Shard(**shard) for shard in saved["shards"]]
    else:
        if output.exists() and any(output.iterdir()):
            raise ValueError(
                f"{output} has files but no {MANIFEST}, so it is not the output of an earlier run. "
                "Name an empty folder."
            )
        check_disabled(annotator.path, annotator.disable)
        known["inputs"] = describe_inputs(paths)
        columns = [name for name in (settings["text"], settings["id"]) if name is not None]
        shards = []
        for path in paths:
            first = shards[-1].first + shards[-1].rows if shards else 0
            shards += cut(path, first, columns, settings["shard_rows"])
        known["integer_ids"] = settings["id"] is None or _check_ids(shards, settings)
        known["shards"] = [asdict(shard) for shard in shards]
        write_manifest(output, known)
        saved = known
    return Plan(shards, settings["text"], settings["id"], saved["integer_ids"], settings["format"])


def _check_ids(shards: Sequence[Shard], settings: Dict[str, Any]) -> bool:
    """Check that ids are unique, with eight bytes of memory per row.

    RETURNS (bool): Whether all of them are integers.
    """
    integers = True
    hashes = []
    for shard in shards:
        rows = read_rows(shard, text=settings["text"], id=settings["id"])
        ids = [row.id for row in rows if row.id is not None]
        integers = integers and all(type(i) is int and -(2**63) <= i < 2**63 for i in ids)
        hashes.append(numpy.array([_hash(i) for i in ids], dtype=numpy.uint64))
    found = numpy.sort(numpy.concatenate([numpy.zeros(0, numpy.uint64), *hashes]))
    twice = found[1:][found[1:] == found[:-1]]
    if len(twice):
        wanted = set(twice.tolist())
        for shard in shards:
            for row in read_rows(shard, text=settings["text"], id=settings["id"]):
                if row.id is not None and _hash(row.id) in wanted:
                    raise ValueError(
                        f"The column {settings['id']!r} is not unique: {row.id!r} occurs more than "
                        f"once, first in {shard.path}. Leave --id out to number the rows."
                    )
    return integers


def _hash(value: Any) -> int:
    digest = hashlib.blake2b(str(value).encode("utf8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _run(
    annotator: Annotator, plan: Plan, left: List[int], output: Path, *, workers: int
) -> Iterator[Tuple[int, Optional[str]]]:
    if workers == 1:
        for number in left:
            yield annotate_shard(annotator, plan, number, output)
        return
    if annotator.threads is None:
        annotator.threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        workers,
        mp_context=_worker_context(),
        initializer=_start_worker,
        initargs=(annotator, plan, output),
    ) as pool:
        running = [pool.submit(_annotate_in_worker, number) for number in left]
        try:
            for done in as_completed(running):
                yield done.result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"One of {workers} workers has ended without an error of its own, as when the "
                "memory is used up. Use fewer --workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _worker_context() -> multiprocessing.context.BaseContext:
    """RETURNS (BaseContext): The way to start workers. They are not forks of this process, whose
    threads would be lost. On Linux, a fresh process imports what they need, and they are its
    forks."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW_IMPORTS)
    return context


_worker: Tuple[Any, ...] = ()


def _start_worker(annotator: Annotator, plan: Plan, output: Path) -> None:
    global _worker
    # Otherwise, this worker would keep writing after a kill, beside those of the next run.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(annotator.threads)
    _worker = annotator, plan, output


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _annotate_in_worker(number: int) -> Tuple[int, Optional[str]]:
    annotator, plan, output = _worker
    return annotate_shard(annotator, plan, number, output)


def _merge_errors(plan: Plan, output: Path) -> List[Dict[str, Any]]:
    """Collect the rows that failed in one file.

    RETURNS (List[Dict[str, Any]]): The rows, in order.
    """
    from .tables import write_lines

    rows: List[Dict[str, Any]] = []
    for number in range(len(plan.shards)):
        path = output / plan.errors(number)
        if path.exists():
            rows += [
                json.loads(line) for line in path.read_text(encoding="utf8").split("\n") if line
            ]
    if rows:
        write_lines(output / ERRORS, rows)
    return rows


def _version(name: str) -> Optional[str]:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
