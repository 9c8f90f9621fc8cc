"""A text classifier in ONNX Runtime beside the same one in torch: speed, scores, start and size.

MiniLM-L6 on rotten_tomatoes, with the head that a linear probe gives on the untouched encoder: what
is compared is the runtime. Speed is `nlp.pipe` over test texts, from raw text, in turn, in seconds
of the process's CPU time, so that other programs matter less. A cold start is a new process from
its first line to its first prediction.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Set

from benchmarks import common
from benchmarks.data import rotten_tomatoes
from benchmarks.pipelines import make_examples, reprtune_textcat

if TYPE_CHECKING:
    from spacy.language import Language

# What a pipeline needs to predict, besides this package.
RUNTIMES = {
    "torch": ("spacy", "torch", "transformers", "tokenizers", "safetensors", "scikit-learn"),
    "onnx": ("spacy", "tokenizers", "onnxruntime"),
}
SETS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
# As in an environment without torch. spacy-transformers can't be imported there, so it is hidden.
_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
import importlib.metadata as m
found = m.distributions
hidden = "spacy-transformers"
m.distributions = lambda **kw: (d for d in found(**kw) if d.metadata["Name"] != hidden)
"""
_START = """
import re, resource, time, json
begun = time.perf_counter()
{before}
import spacy
nlp = spacy.load({path!r})
nlp("A film that nobody will forget.")
use = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with the memory of the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024 / 1e6
print(json.dumps([time.perf_counter() - begun, use.ru_utime + use.ru_stime, peak]))
"""


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, repeats=3)
    args = parser.parse_args(argv)
    # Seconds of CPU time do not depend on which cores are busy.
    common.fix_threads(args.threads, cores=False)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args, Path(folder))
    common.emit("onnx", args, figures)


def measure(args: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): All figures."""
    import shutil

    import spacy
    from spacy.tokens import DocBin

    from spacy_reprtune.packaging.int8 import Int8
    from spacy_reprtune.packaging.onnx_package import with_onnx

    splits = rotten_tomatoes(args)
    sizes = {"train": 300, "dev": 100, "test": 100}
    if not args.quick:
        sizes = {"train": 1000, "dev": 400, "test": 400}
    splits = {
        split: texts.take(common.order(len(texts), 0)[: sizes[split]])
        for split, texts in splits.items()
    }
    nlp = reprtune_textcat("fp32", head_init="probe", unfreeze="none")
    train, dev = (make_examples(nlp, splits[split]) for split in ("train", "dev"))
    nlp.initialize(lambda: train)
    nlp.get_pipe("textcat").calibrate(dev)
    nlp.to_disk(folder / "torch")
    for split, examples in (("train", train), ("dev", dev)):
        DocBin(docs=[eg.reference for eg in examples]).to_disk(folder / f"{split}.spacy")
    figures: Dict[str, Any] = {"instruction_sets": instruction_sets()}
    with with_onnx(folder / "torch") as (path, report):
        for name in ("onnx_fp32", "onnx_int8"):
            shutil.copytree(path, folder / name)
        figures["fp32_report"] = report
    exported = spacy.load(folder / "onnx_fp32")
    how = Int8(folder / "train.spacy", folder / "dev.spacy", limit=2000, insist=True)
    figures["int8_report"] = how.quantize(
        nlp, exported, {"textcat": nlp.get_pipe("textcat")}, folder / "onnx_int8"
    )
    half = {"components": {"textcat": {"model": {"encoder": {"precision": "bf16"}}}}}
    systems = {
        "torch_fp32": spacy.load(folder / "torch"),
        "torch_bf16": spacy.load(folder / "torch", config=half),
        "onnx_fp32": exported,
        "onnx_int8": spacy.load(folder / "onnx_int8"),
    }
    for name in ("onnx_fp32", "onnx_int8"):
        graphs = (folder / name).glob("textcat/model/*.onnx")
        figures[f"{name}_mb"] = round(sum(graph.stat().st_size for graph in graphs) / 1e6, 1)
    figures.update(scores(systems, splits["test"]))
    figures.update(speeds(systems, splits["test"].texts[:96], 1 if args.quick else args.repeats))
    for runtime, name in (("torch", "torch"), ("onnx", "onnx_fp32"), ("onnx", "onnx_int8")):
        figures.update(starts(runtime, name, folder / name, 1 if args.quick else 3))
    for runtime, needed in RUNTIMES.items():
        figures[f"{runtime}_environment_mb"] = round(environment_mb(needed))
    figures["onnxruntime_alone_mb"] = round(
        environment_mb(RUNTIMES["onnx"]) - environment_mb(("spacy", "tokenizers"))
    )
    return figures


def scores(systems: "Dict[str, Language]", test: Any) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Macro F of each, and its largest difference from torch's."""
    from sklearn.metrics import f1_score

    figures: Dict[str, float] = {}
    exact: List[Dict[str, float]] = []
    for name, nlp in systems.items():
        found = [dict(doc.cats) for doc in nlp.pipe(test.texts)]
        exact = exact or found
        best = [max(cats, key=lambda label, cats=cats: cats[label]) for cats in found]
        figures[f"{name}_macro_f"] = round(float(f1_score(test.labels, best, average="macro")), 4)
        figures[f"{name}_largest_difference"] = max(
            abs(cats[label] - other[label])
            for cats, other in zip(found, exact, strict=True)
            for label in cats
        )
    return figures


def speeds(systems: "Dict[str, Language]", texts: List[str], repeats: int) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Texts per CPU second of each, the median of all turns."""
    times: Dict[str, List[float]] = {name: [] for name in systems}
    for turn in range(repeats + 1):
        for name, nlp in systems.items():
            start = time.process_time()
            list(nlp.pipe(texts))
            # The first turn does not count.
            times[name] += [time.process_time() - start] * (turn > 0)
    return {
        f"{name}_texts_per_cpu_second": round(len(texts) / statistics.median(found), 1)
        for name, found in times.items()
    }


def starts(runtime: str, name: str, path: Path, repeats: int) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Seconds and CPU seconds to the first prediction, and memory."""
    before = _WITHOUT_TORCH if runtime == "onnx" else ""
    code = _START.format(before=before, path=str(path))
    found = []
    for _ in range(repeats):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    columns = [statistics.median(column) for column in zip(*found, strict=True)]
    names = ("start_s", "start_cpu_s", "memory_mb")
    return {f"{name}_{key}": round(v, 2) for key, v in zip(names, columns, strict=True)}


def environment_mb(names: Any) -> float:
    """RETURNS (float): Size of packages and all that they require, as installed here."""
    seen: Set[str] = set()
    waiting, total = list(names), 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # Required on other systems only.
            continue
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            total += path.stat().st_size if path.is_file() else 0
        for required in found.requires or ():
            if "extra ==" not in required:
                waiting.append(re.split(r"[^\w.\-]", required)[0])
    return total / 1e6


def instruction_sets() -> List[str]:
    """RETURNS (List[str]): Those of this CPU that speed up products of matrices."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf8").split()
    except OSError:
        return []
    return [name for name in SETS if name in flags]


if __name__ == "__main__":
    main()
