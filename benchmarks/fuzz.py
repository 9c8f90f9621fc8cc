"""Odd texts, damaged files, mutated annotation and mutated rows, for as long as you like.

Four parts take turns. Each case follows from its part and number, so a run goes on where the one
before it in the same folder ended, and any case can be repeated: `--case PART:NUMBER`.

- texts: texts of random Unicode, for each tokenizer family, through separate, shared and few-shot
  components. No crash, no document lost or out of order, and each text gets the same annotation in
  batches of another order and size.
- files: a file of a saved pipeline with flipped bits, cut, or with zeros in it. Loading names the
  file, or the predictions are as before. Where the manifest is not compared, loading names the
  directory, or works.
- annotation: spans, labels and gaps at random places in training examples. Training and scoring
  work, or a ValueError says what is wrong.
- rows: exports of annotation tools with changed values or characters, through `convert`. Counts add
  up, and a changed row costs no other row, or a ValueError names the file.

A case that computes for over two minutes counts as hanging. What failed is written to the folder,
with its input. The exit status is 1 if anything failed.
"""

import json
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import common
from benchmarks.fuzz_cases import PARTS, Fuzzer

# Inputs of a part after which the others come first.
ENOUGH = {"texts": 100_000, "files": 2_000, "annotation": 500, "rows": 20_000}


def main(argv: Optional[List[str]] = None) -> None:
    """Run cases for some minutes, and print the counts of all runs in the folder."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--minutes", type=float, default=10, help="time for all parts together")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for what failed")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--case", help="one case to repeat, such as rows:17")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.case:
            part, number = args.case.split(":")
            Fuzzer(Path(folder)).run(part, int(number))
            print(f"{args.case} passed")
            return
        minutes = 0.2 if args.quick else args.minutes
        counts = fuzz(Path(folder), args.out, minutes, args.part or PARTS)
    common.emit("fuzz", args, counts)
    if any(part["failures"] for part in counts.values()):
        sys.exit(1)


def fuzz(
    folder: Path, out: Path, minutes: float, parts: Tuple[str, ...] = PARTS
) -> Dict[str, Dict[str, int]]:
    """Run the parts in turn, each for about the same time.

    A part that has had enough inputs waits until the others have, too.

    folder (Path): Folder for pipelines and files.
    out (Path): Folder with the counts of earlier runs, and for what fails.
    minutes (float): Time for all parts together.
    parts (Tuple[str, ...]): Names of the parts.
    RETURNS (Dict[str, Dict[str, int]]): `cases`, `inputs` and `failures` per part.
    """
    state = out / "counts.json"
    counts = json.loads(state.read_text()) if state.is_file() else {}
    for part in parts:
        counts.setdefault(part, {"cases": 0, "inputs": 0, "failures": 0})
    fuzzer = Fuzzer(folder)
    spent = dict.fromkeys(parts, 0.0)
    end = time.monotonic() + 60 * minutes
    told = 0.0
    while time.monotonic() < end:
        short = [part for part in parts if counts[part]["inputs"] < ENOUGH[part]]
        part = min(short or parts, key=lambda name: spent[name])
        begin, number = time.monotonic(), counts[part]["cases"]
        try:
            counts[part]["inputs"] += fuzzer.run(part, number)
        except Exception as error:
            counts[part]["failures"] += 1
            where = out / f"{part}-{number}.txt"
            where.write_text(f"{traceback.format_exc()}\n{fuzzer.shown}", "utf8", "replace")
            common.log(f"{part}:{number} failed: {type(error).__name__}: {str(error)[:200]}")
        counts[part]["cases"] += 1
        spent[part] += time.monotonic() - begin
        if time.monotonic() - told > 10:
            _write(state, counts)
            told = time.monotonic()
    _write(state, counts)
    return {part: counts[part] for part in parts}


def _write(state: Path, counts: Dict[str, Any]) -> None:
    fresh = state.with_suffix(".part")
    fresh.write_text(json.dumps(counts, indent=2))
    fresh.replace(state)


if __name__ == "__main__":
    main()
