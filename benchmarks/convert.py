"""`reprtune convert` on a CSV file of a million rows: rows per second, and peak memory by size.

The file is made up: reviews of nine to forty words from a list, three labels, quoted cells, some
with a line end in them. Each measurement is a fresh process that converts and reads its own peak.
"""

import argparse
import csv
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks import common
from benchmarks.common import log

ROWS = 1_000_000
_SYLLABLES = "ba de fi go lu mar nen por ris sto tal ven wic zan ku mo".split()
_LABELS = ("good", "bad", "mixed")


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--rows", type=int, default=None, help="default 1,000,000; quick 40,000")
    parser.add_argument("--worker", nargs=2, metavar=("INPUT", "OUTPUT"))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    if args.worker:
        print(json.dumps(convert_file(*map(Path, args.worker))))
        return
    rows = args.rows or (40_000 if args.quick else ROWS)
    common.emit("convert", args, measure(args, rows))


def measure(args: argparse.Namespace, rows: int) -> Dict[str, Any]:
    """Convert a quarter of the rows, and all of them.

    RETURNS (Dict[str, Any]): Rows per second, peaks in MB, and bytes of memory per further row.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        some, all_of_it = (_run(args, folder, n) for n in (rows // 4, rows))
    grown = all_of_it["peak_mb"] - some["peak_mb"]
    return {
        "rows": rows,
        "csv_mb": all_of_it["csv_mb"],
        "seconds": all_of_it["seconds"],
        "rows_per_second": round(rows / all_of_it["seconds"]),
        "rows_per_second_quarter": round(rows // 4 / some["seconds"]),
        "baseline_mb": all_of_it["baseline_mb"],
        "peak_mb": all_of_it["peak_mb"],
        "peak_mb_quarter": some["peak_mb"],
        "bytes_per_further_row": round(grown * 1e6 / (rows - rows // 4)),
        "files": all_of_it["files"],
        "texts_out": all_of_it["texts_out"],
    }


def write_csv(path: Path, rows: int) -> None:
    """Write a made-up table of reviews.

    path (Path): The file.
    rows (int): Number of rows.
    """
    rng = random.Random(0)
    words = ["".join(rng.choice(_SYLLABLES) for _ in range(3)) for _ in range(20_000)]
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "shop"])
        for k in range(rows):
            text = " ".join(rng.choices(words, k=rng.randint(9, 40)))
            if k % 10 == 0:
                text = text.replace(" ", "\n", 1) + ', "so to speak"'
            writer.writerow([text, rng.choice(_LABELS), f"shop {k % 5000}"])


def convert_file(path: Path, output: Path) -> Dict[str, Any]:
    """Convert a file: what a worker process does.

    RETURNS (Dict[str, Any]): Seconds, and memory before and at its peak.
    """
    import spacy

    from spacy_reprtune.data.convert import convert
    from spacy_reprtune.memory import peak_memory_mb

    spacy.blank("en")
    baseline = peak_memory_mb()
    start = time.perf_counter()
    manifest = convert({"train": path}, output)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "baseline_mb": baseline,
        "peak_mb": peak_memory_mb(),
        "csv_mb": round(path.stat().st_size / 1e6, 1),
        "files": len(list(output.rglob("*.spacy"))),
        "texts_out": manifest["texts"]["out"],
    }


def _run(args: argparse.Namespace, folder: Path, rows: int) -> Dict[str, Any]:
    path, output = folder / f"{rows}.csv", folder / f"corpus-{rows}"
    write_csv(path, rows)
    result = common.fresh_process("benchmarks.convert", args, "--worker", path, output)
    log(f"{rows:,} rows: {result['seconds']:.1f} s, {result['peak_mb']:.0f} MB")
    return result


if __name__ == "__main__":
    main()
