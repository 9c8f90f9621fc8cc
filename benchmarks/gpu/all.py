"""All figures of a GPU in one command, the most valuable first.

    python -m benchmarks.gpu.all --minutes 9 --out DIR

Each part runs in a process of its own with a time limit and writes DIR/PART.json as soon as it is
done; the same command resumes with the parts that are not there. What failed or ran out of time is
in DIR/PART.log. At the end, or when the time is over, one table is printed. Without a GPU all parts
run dry on the CPU with tiny sizes: their figures are for nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from benchmarks import common, packed
from benchmarks.gpu import agreement, host, speed

# In order of value: right first, then what the project claims of its speed, then why.
PARTS: Dict[str, Callable[[argparse.Namespace], Dict[str, Any]]] = {
    "agreement": agreement.agreement,
    "annotate": speed.annotate,
    "stock": speed.stock,
    "fine_tune": speed.fine_tune,
    "pretrain": lambda args: pretrain(args),
    "host": host.host,
    "memory": speed.memory,
    "packed": packed.packed,
    "resume": agreement.resume,
    "workers": agreement.workers,
    "cupy": agreement.cupy,
}
# The most that one part may take of the time, so that a slow one does not cost the others.
SHARE = 0.4


def main(argv: Optional[List[str]] = None) -> None:
    """Run the parts that are left, and print the table."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--peer-site", help="folder of packages that only spacy-transformers needs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="to run")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.part:
        common.fix_threads(args.threads, cores=False)
        write(args, args.part, PARTS[args.part](args))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * args.minutes
    for part in args.parts:
        limit = min(deadline - time.monotonic(), 60 * args.minutes * SHARE)
        if limit > 0 and not (args.out / f"{part}.json").exists():
            run_part(args, part, limit)
    print(table(args.out, args.parts))


def write(args: argparse.Namespace, part: str, figures: Dict[str, Any]) -> None:
    """Write the figures of a part, with the machine they are of."""
    result = {
        "machine": common.machine(args.threads),
        "versions": common.versions(),
        "figures": figures,
    }
    fresh = args.out / f".{part}.json"
    fresh.write_text(json.dumps(result, indent=1) + "\n", encoding="utf8")
    fresh.replace(args.out / f"{part}.json")


def run_part(args: argparse.Namespace, part: str, limit: float) -> None:
    """Run a part in a process of its own.

    args (argparse.Namespace): The command line.
    part (str): Its name.
    limit (float): Seconds after which it is ended.
    """
    command = [sys.executable, "-m", "benchmarks.gpu.all", "--part", part, "--out", str(args.out)]
    command += ["--repeats", str(args.repeats), "--threads", str(args.threads)]
    command += ["--data", str(args.data)] if args.data is not None else []
    command += ["--quick"] if args.quick else []
    environment = dict(os.environ)
    if part == "stock" and args.peer_site:
        # In front: its transformers takes the place of the one that this project runs with.
        paths = (args.peer_site, environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    started = time.monotonic()
    with (args.out / f"{part}.log").open("w", encoding="utf8") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=log, timeout=limit, check=False, env=environment
            )
            said = "done" if code.returncode == 0 else f"failed, see {part}.log"
        except subprocess.TimeoutExpired:
            said = f"ended after {limit:.0f} s"
    common.log(f"{part:<10} {said} ({time.monotonic() - started:.0f} s)")


def pretrain(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The figures of `benchmarks.gpu.mlm`."""
    from benchmarks.gpu import mlm

    output = args.out / ".pretrain.json"
    mlm.main(["--repeats", str(args.repeats), "--quick", "--output", str(output)])
    figures: Dict[str, Any] = json.loads(output.read_text(encoding="utf8"))["figures"]
    return figures


def table(folder: Path, parts: List[str]) -> str:
    """RETURNS (str): A Markdown table of all figures that are there."""
    lines = ["| part | figure | value |", "| --- | --- | ---: |"]
    known: Dict[str, Dict[str, Any]] = {}
    for part in parts:
        path = folder / f"{part}.json"
        if not path.exists():
            lines.append(f"| {part} | not measured | |")
            continue
        known[part] = json.loads(path.read_text(encoding="utf8"))["figures"]
        for name, value in known[part].items():
            lines.append(f"| {part} | {name} | {value} |")
    speeds = [known.get(p, {}).get("ner_words_per_second") for p in ("annotate", "stock")]
    if all(speeds):
        # They ran in processes of their own, so not in turn.
        value = round(speeds[0] / speeds[1], 2)
        lines.append(f"| annotate | ner_speedup_vs_spacy_transformers | {value} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
