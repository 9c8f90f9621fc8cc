"""What installing the plugin costs everyone: `spacy.blank("en")` with it and without it.

spaCy imports every installed factory at every `Language()`. Each measurement is a fresh process
that looks for entry points in all installed packages but some: "without" leaves out this project,
"with" leaves out a name that no package has, so both pay for the filter. `alone` leaves out all
other plugins too: spacy-transformers imports torch and transformers by itself and would cover up
what this project imports.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Optional, Set

from benchmarks import common
from benchmarks.common import ratio

PLUGIN = "spacy_reprtune"
HEAVY = {
    "accelerate",
    "datasets",
    "huggingface_hub",
    "matplotlib",
    "pandas",
    "safetensors",
    "scipy",
    "sentence_transformers",
    "setfit",
    "sklearn",
    "spacy_transformers",
    "tokenizers",
    "torch",
    "transformers",
}

# Argument: the packages to hide. `entry_points()` goes through this module's `distributions()`;
# the normalized name comes from the file name, where `name` would parse each package's metadata.
PROBE = """
import importlib.metadata as metadata, json, sys, time
hidden = set(sys.argv[1].split(","))
distributions = metadata.distributions
metadata.distributions = lambda: (d for d in distributions() if d._normalized_name not in hidden)
start = time.perf_counter()
import spacy
imported = time.perf_counter()
spacy.blank("en")
end = time.perf_counter()
print(json.dumps({"blank": end - imported, "total": end - start, "modules": sorted(sys.modules)}))
"""


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    args = common.parser(__doc__, repeats=9).parse_args(argv)
    common.fix_threads(args.threads)
    if args.quick:
        args.repeats = 3
    others = sorted(_packages_with_factories() - {PLUGIN})
    hidden = {
        "with": ["-"],
        "without": [PLUGIN],
        "alone_with": others or ["-"],
        "alone_without": [PLUGIN, *others],
    }
    runs: Dict[str, List[Dict[str, Any]]] = {name: [] for name in hidden}
    for names in hidden.values():  # once, so that no first run reads from a cold disk
        _probe(names)
    common.interleave(
        {n: (lambda _, n=n: runs[n].append(_probe(hidden[n]))) for n in hidden}, args.repeats
    )
    common.emit("import_time", args, figures(runs))


def figures(runs: Dict[str, List[Dict[str, Any]]]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Ratios with over without, seconds, and the modules added."""
    result: Dict[str, Any] = {}
    for prefix in ("", "alone_"):
        both = [runs[f"{prefix}{name}"] for name in ("with", "without")]
        for what, key in (("blank", "total"), ("blank_call", "blank")):
            times = [[run[key] for run in side] for side in both]
            result.update(ratio(f"{prefix}{what}_ratio", *times))
            for name, side in zip(("with", "without"), times, strict=True):
                result[f"{prefix}{what}_seconds_{name}"] = round(statistics.median(side), 4)
        added = set(both[0][0]["modules"]) - set(both[1][0]["modules"])
        result[f"{prefix}heavy_modules"] = sorted({m.partition(".")[0] for m in added} & HEAVY)
        result[f"{prefix}modules_added"] = len(added)
    return result


def _probe(hidden: List[str]) -> Dict[str, Any]:
    # Elsewhere than in the repository, where a build folder would list the entry points again.
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, ",".join(hidden)],
            cwd=directory,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    result: Dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _packages_with_factories() -> Set[str]:
    from importlib.metadata import distributions

    return {
        dist.metadata["Name"].replace("-", "_").lower()
        for dist in distributions()
        if any(entry.group.startswith("spacy_") for entry in dist.entry_points)
    }


if __name__ == "__main__":
    main()
