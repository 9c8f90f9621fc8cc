"""The data card: what was trained and tested on, and what is wrong with it."""

from typing import Any, Dict, List, Optional

from ..blocks import Block, Fold, Missing, Section, Table, Text
from ..files import Metrics, number

_LEVELS = {"error": 0, "warning": 1, "note": 2}


def data_section(metrics: Metrics) -> Section:
    """RETURNS (Section): Where the corpora are from, what is in them, and what was found."""
    blocks: List[Block] = []
    for path, manifest in metrics.manifests.items():
        blocks += _manifest(path, manifest)
    if not metrics.manifests:
        blocks.append(
            Missing(
                "Where the data is from (corpus/manifest.json)",
                "python -m spacy reprtune convert INPUT corpus",
            )
        )
    for name, check in metrics.checks.items():
        blocks += _check(name, check)
    if not metrics.checks:
        blocks.append(
            Missing(
                f"What is wrong with the data ({metrics.folder.name}/check.json)",
                "python -m spacy reprtune check CORPUS_DIR --output metrics/check.json",
            )
        )
    for name, smoke in metrics.packages.items():
        blocks.append(_package(name, smoke))
    return Section("data", "Data", blocks)


def files_section(metrics: Metrics) -> Section:
    """RETURNS (Section): What this report was made from."""
    blocks: List[Block] = [Text(problem) for problem in metrics.problems]
    root = metrics.folder.resolve().parent
    names = []
    for path in metrics.read:
        full = path.resolve()
        inside = full.is_relative_to(root)
        names.append(full.relative_to(root).as_posix() if inside else path.name)
    rows = [
        [name, f"{path.stat().st_size / 1000:,.1f}"]
        for name, path in sorted(zip(names, metrics.read, strict=True))
        if path.is_file()
    ]
    blocks.append(Fold(f"{len(rows)} files", [Table(["file", "kB"], rows)]))
    return Section("files", "Where the numbers are from", blocks)


def _manifest(path: str, manifest: Dict[str, Any]) -> List[Block]:
    blocks: List[Block] = []
    about = manifest.get("about")
    if isinstance(about, str):
        blocks.append(Text(f"{path}: {about}"))
    for key, title in (("topics", "texts"), ("entities", "entities"), ("splits", "texts")):
        table = _by_split(_part(manifest, key), f"{path}: {title} of each split")
        if table is not None:
            blocks.append(table)
    sources = _part(manifest, "sources")
    if sources:
        rows = [
            [str(name), *(str(_in(source, key)) for key in ("name", "format", "md5"))]
            for name, source in sources.items()
        ]
        header = ["split", "file", "format", "MD5"]
        blocks.append(Table(header, rows, title=f"{path}: sources", words=(0, 1, 2, 3)))
    for key in ("texts", "entities"):
        counts = _part(manifest, key)
        if number(counts.get("in")) is not None:
            dropped = ", ".join(f"{k}: {v}" for k, v in _part(counts, "dropped").items())
            blocks.append(
                Text(
                    f"{path}: {counts['in']} {key} in, {counts.get('out', '–')} out; dropped: "
                    f"{dropped or 'none'}."
                )
            )
    text = _part(manifest, "text")
    if text:
        table = _by_split(text, f"{path}: text for pretraining")
        blocks += [] if table is None else [table]
    packages = _part(manifest, "packages")
    if packages:
        rows = [[str(name), str(version)] for name, version in packages.items()]
        table = Table(["package", "version"], rows, words=(0, 1))
        blocks.append(Fold(f"{path}: {len(rows)} packages that the text is from", [table]))
    return blocks


def _by_split(splits: Dict[str, Any], title: str) -> Optional[Table]:
    """A row a label or count, a column a split."""
    named = {str(s): counts for s, counts in splits.items() if isinstance(counts, dict)}
    flat = {split: _numbers(counts) for split, counts in named.items()}
    keys = list(dict.fromkeys(key for counts in flat.values() for key in counts))
    if not keys:
        return None
    rows = [
        [key, *(f"{counts[key]:,.0f}" if key in counts else "–" for counts in flat.values())]
        for key in keys
    ]
    return Table(["", *flat], rows, title=title)


def _numbers(counts: Dict[str, Any], prefix: str = "") -> Dict[str, float]:
    """The numbers in a table of counts, those of tables in it included."""
    found: Dict[str, float] = {}
    for key, value in counts.items():
        one = number(value)
        if one is not None:
            found[f"{prefix}{key}"] = one
        elif isinstance(value, dict) and not prefix:
            found.update(_numbers(value, f"{key}: "))
    return found


def _check(name: str, check: Dict[str, Any]) -> List[Block]:
    blocks: List[Block] = []
    corpus = str(check.get("corpus", name))
    sizes = _by_split(_part(check, "splits"), f"{corpus}: sizes")
    blocks += [] if sizes is None else [sizes]
    for counts in (_part(check, "labels"), _part(_part(check, "entities"), "labels")):
        columns = [key for key in ("train", "dev", "test", "weight") if _has(counts, key)]
        rows = [
            [str(label), *(_count(_in(values, key)) for key in columns)]
            for label, values in counts.items()
        ]
        if rows and columns:
            header = ["label", *("suggested weight" if c == "weight" else c for c in columns)]
            blocks.append(Table(header, rows, title=f"{corpus}: labels"))
    found = check.get("findings")
    findings = [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []
    findings.sort(key=lambda f: _LEVELS.get(str(f.get("level")), 3))
    rows = [[str(f.get(key, "")) for key in ("level", "message", "advice")] for f in findings]
    header = ["", "found", "what to do"]
    title = f"{corpus}: what `reprtune check` found"
    if rows:
        blocks.append(Table(header, rows, title=title, words=(0, 1, 2)))
    else:
        blocks.append(Text(f"{title}: nothing."))
    return blocks


def _package(name: str, smoke: Dict[str, Any]) -> Text:
    difference = number(smoke.get("largest_difference"))
    shown = "–" if difference is None else f"{difference:.2g}"
    return Text(
        f"Package {smoke.get('pipeline', name)} {smoke.get('version', '')}: installed into a fresh "
        f"environment without a network, it was compared with the trained pipeline on "
        f"{smoke.get('texts', '–')} texts; the largest difference of a score is {shown}."
    )


def _has(counts: Dict[str, Any], key: str) -> bool:
    return any(isinstance(v, dict) and key in v for v in counts.values())


def _count(value: Any) -> str:
    found = number(value)
    if found is None:
        return "–"
    return f"{found:,.0f}" if found == int(found) else f"{found:g}"


def _in(value: Any, key: str) -> Any:
    return value.get(key, "–") if isinstance(value, dict) else "–"


def _part(content: Dict[str, Any], key: str) -> Dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}
