"""`--engine ray`: annotate shards on the workers of Ray Data, on one machine or a cluster.

The same function annotates and writes a shard in the local engine, so a run can be resumed with the
other engine. The parts in the output folder tell what is done: Ray Data could keep the ids of
finished rows as well (`CheckpointConfig`), but not the parts that they are in.
"""

import copy
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import ray
import ray.data

from .annotator import Annotator
from .run import Plan, annotate_shard

SECONDS_TO_CONNECT = 10


@contextmanager
def cluster(address: Optional[str]) -> Iterator[None]:
    """Connect to Ray, and disconnect at the end.

    address (Optional[str]): Address of a cluster, or None for the address in the variable
        RAY_ADDRESS; without either, Ray is started on this machine. A connection that the process
        already has is used and kept.
    RAISES (ValueError): There is no cluster at the address, Ray does not start on this machine, or
        an address is given although the process has a connection.
    """
    if ray.is_initialized():
        if address:
            raise ValueError(
                f"This process is connected to Ray already, so it can't connect to {address!r}. "
                "Leave the address out, or call ray.shutdown() first."
            )
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    started_here = {"include_dashboard": False} if address == "local" else {}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, **started_here)
    except Exception as error:  # Ray's errors have no common class.
        if address == "local":
            raise ValueError(f"Ray did not start on this machine: {error}") from error
        raise ValueError(
            f"There is no Ray cluster at {address!r}: {error} Start one with `ray start --head`, "
            "or leave --address out to start Ray on this machine."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def run_in_ray(
    annotator: Annotator, plan: Plan, left: Sequence[int], output: Path, *, workers: int
) -> Iterator[Tuple[int, Optional[str]]]:
    """Annotate shards on the workers of a cluster that this process is connected to.

    annotator (Annotator): The annotator. If it uses a GPU, each worker needs its own.
    plan (Plan): The run.
    left (Sequence[int]): Numbers of the shards to annotate.
    output (Path): The folder, which all machines of the cluster have to share.
    workers (int): Number of workers.
    YIELDS (Tuple[int, Optional[str]]): The result of `annotate_shard` for each, in any order.
    RAISES (ValueError): The cluster is too small. OSError: A part could not be written.
    """
    if not left:
        return
    annotator = copy.copy(annotator)
    on_gpu = annotator.gpu_id >= 0
    n_gpus = int(ray.cluster_resources().get("GPU", 0))
    if on_gpu and n_gpus < workers:
        raise ValueError(
            f"{workers} workers need one GPU each, but Ray has {n_gpus}. Use fewer --workers, or "
            "leave --gpu-id out."
        )
    # A worker sees only the GPU that Ray assigns to it.
    annotator.gpu_id = 0 if on_gpu else -1
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    threads = threads_for(workers, cores)
    if annotator.threads is None:
        annotator.threads = threads
    shards = ray.data.from_items([{"shard": n} for n in left], override_num_blocks=len(left))
    shards.context.enable_progress_bars = False
    done = shards.map_batches(
        _ShardAnnotator,
        fn_constructor_args=(annotator, plan, output, os.getcwd()),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(left))),
        num_cpus=threads,
        num_gpus=1 if on_gpu else 0,
    )
    for row in done.iter_rows():
        if row["failure"]:
            raise OSError(row["failure"])
        yield row["rows"], row["reason"] or None


def threads_for(workers: int, cores: Sequence[int]) -> int:
    """Share the cores of a cluster.

    workers (int): Number of workers.
    cores (Sequence[int]): Cores of each machine.
    RETURNS (int): The most threads per worker with which all workers fit.
    RAISES (ValueError): There are more workers than cores.
    """
    for threads in range(max(cores, default=0), 0, -1):
        if sum(own // threads for own in cores) >= workers:
            return threads
    raise ValueError(f"Ray has {sum(cores)} cores for {workers} workers. Use fewer --workers.")


class _ShardAnnotator:
    """Annotates shards in a worker, and keeps the pipeline from one shard to the next."""

    def __init__(self, annotator: Annotator, plan: Plan, output: Path, folder: str) -> None:
        # Inputs may be named relative to the folder that the run was started in.
        os.chdir(folder)
        self.annotator, self.plan, self.output = annotator, plan, output

    def __call__(self, batch: Dict[str, Any]) -> Dict[str, List[Any]]:
        [number] = batch["shard"]
        try:
            rows, reason = annotate_shard(self.annotator, self.plan, int(number), self.output)
        except OSError as error:
            # Ray would retry, and then hide the error behind its own.
            return {"rows": [0], "reason": [""], "failure": [str(error) or repr(error)]}
        return {"rows": [rows], "reason": [reason or ""], "failure": [""]}


def _knock(address: str) -> None:
    """Fail at once if nothing listens at an address. Ray itself would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()
