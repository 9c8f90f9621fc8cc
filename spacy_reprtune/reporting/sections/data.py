"""The origin, size and problems of the data, and the files that the report was made from."""

from typing import Any, Dict, List

from ..blocks import Block, Fold, Missing, Section, Table, Text
from ..groups import Group
from ..metrics import Metrics
from ..values import number, objects, part

_LEVELS = {"error": 0, "warning": 1, "note": 2}


def data_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): Origin and size of the corpora, and what checks found in them."""
    section = Section("data", "Data")
    for path, manifest in metrics.manifests.items():
        section.blocks += _manifest(path, manifest)
    for name, check in metrics.checks.items():
        section.blocks += _check(name, check)
    section.blocks += [_package(name, smoke) for name, smoke in metrics.packages.items()]
    corpus, checked = metrics.corpus.name, f"{metrics.folder.name}/check.json"
    if not metrics.manifests:
        what = f"origin of the data ({corpus}/manifest.json or {corpus}/NAME/manifest.json)"
        command = f"python -m spacy reprtune convert INPUT {corpus}/NAME"
        section.missing.append(Missing(what, command))
    if not metrics.checks:
        command = f"python -m spacy reprtune check CORPUS_DIR --output {checked}"
        section.missing.append(Missing(f"problems of the data ({checked})", command))
    return section


def files_section(metrics: Metrics, groups: List[Group]) -> Section:
    """RETURNS (Section): The files that the report was made from."""
    root = metrics.folder.resolve().parent
    rows = []
    for path in metrics.read:
        full = path.resolve()
        name = full.relative_to(root).as_posix() if full.is_relative_to(root) else path.name
        if path.is_file():
            rows.append([name, f"{path.stat().st_size / 1000:,.1f}"])
    table = Table(["file", "kB"], sorted(rows))
    return Section("files", "Files", [Fold(f"{len(rows)} files", [table])])


def _manifest(path: str, manifest: Dict[str, Any]) -> List[Block]:
    blocks: List[Block] = []
    about = manifest.get("about")
    if isinstance(about, str):
        blocks.append(Text(f"{path}: {about}"))
    for key, title in (
        ("topics", "texts per split"),
        ("entities", "entities per split"),
        ("splits", "texts per split"),
        ("text", "text for pretraining"),
    ):
        blocks += _by_split(part(manifest, key), f"{path}: {title}")
    sources = part(manifest, "sources")
    if sources:
        rows = [
            [str(name), *(str(part(sources, name).get(k, "–")) for k in ("name", "format", "md5"))]
            for name in sources
        ]
        header = ["split", "file", "format", "MD5"]
        blocks.append(Table(header, rows, title=f"{path}: sources", words=(0, 1, 2, 3)))
    for key in ("texts", "entities"):
        counts = part(manifest, key)
        if number(counts.get("in")) is not None:
            dropped = ", ".join(f"{k}: {v}" for k, v in part(counts, "dropped").items())
            text = f"{path}: {counts['in']} {key} in, {counts.get('out', '–')} out; dropped: "
            blocks.append(Text(f"{text}{dropped or 'none'}."))
    packages = part(manifest, "packages")
    if packages:
        rows = [[str(name), str(version)] for name, version in packages.items()]
        table = Table(["package", "version"], rows, words=(0, 1))
        blocks.append(Fold(f"{path}: {len(rows)} packages that the text comes from", [table]))
    return blocks


def _by_split(splits: Dict[str, Any], title: str) -> List[Table]:
    """A table with one row per label or count and one column per split, if there are any."""
    flat = {str(s): _numbers(counts) for s, counts in splits.items() if isinstance(counts, dict)}
    keys = list(dict.fromkeys(key for counts in flat.values() for key in counts))
    rows = [[key, *(_count(counts.get(key)) for counts in flat.values())] for key in keys]
    return [Table(["", *flat], rows, title=title)] if rows else []


def _numbers(counts: Dict[str, Any], prefix: str = "") -> Dict[str, float]:
    """The numbers in a table of counts and in the tables nested in it."""
    found: Dict[str, float] = {}
    for key, value in counts.items():
        one = number(value)
        if one is not None:
            found[f"{prefix}{key}"] = one
        elif isinstance(value, dict) and not prefix:
            found.update(_numbers(value, f"{key}: "))
    return found


def _check(name: str, check: Dict[str, Any]) -> List[Block]:
    corpus = str(check.get("corpus", name))
    blocks: List[Block] = [*_by_split(part(check, "splits"), f"{corpus}: sizes")]
    spans = part(check, "spans")
    for title, counts in (
        ("labels", part(check, "labels")),
        ("labels", part(part(check, "entities"), "labels")),
        *((f"spans in doc.spans[{key!r}]", part(part(spans, key), "labels")) for key in spans),
    ):
        values = [value for value in counts.values() if isinstance(value, dict)]
        keys = ("train", "dev", "test", "weight")
        columns = [key for key in keys if any(key in value for value in values)]
        if columns:
            header = ["label", *("suggested weight" if c == "weight" else c for c in columns)]
            rows = [
                [str(label), *(_count(part(counts, label).get(key)) for key in columns)]
                for label in counts
            ]
            blocks.append(Table(header, rows, title=f"{corpus}: {title}"))
    findings = objects(check.get("findings"))
    findings.sort(key=lambda f: _LEVELS.get(str(f.get("level")), 3))
    rows = [[str(f.get(key, "")) for key in ("level", "message", "advice")] for f in findings]
    title = f"{corpus}: findings of `reprtune check`"
    if rows:
        blocks.append(Table(["", "found", "what to do"], rows, title=title, words=(0, 1, 2)))
    else:
        blocks.append(Text(f"{title}: none."))
    return blocks


def _package(name: str, smoke: Dict[str, Any]) -> Text:
    difference = number(smoke.get("largest_difference"))
    shown = "–" if difference is None else f"{difference:.2g}"
    return Text(
        f"Package {smoke.get('pipeline', name)} {smoke.get('version', '')}: installed into a fresh "
        f"environment without a network and compared with the trained pipeline on "
        f"{smoke.get('texts', '–')} texts. The largest difference between two scores is {shown}."
    )


def _count(value: Any) -> str:
    found = number(value)
    return "–" if found is None else f"{found:,.0f}" if found.is_integer() else f"{found:g}"
