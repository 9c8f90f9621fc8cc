"""Files of many formats to a spaCy corpus, with an account of everything that was left out."""

import hashlib
import os
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, Optional

import srsly

from .. import __version__
from ..progress import bar
from .align import MODES, Account, make_doc
from .corpus import SPLITS, SplitWriter
from .formats import READERS, detect_format, read_records
from .formats.columns import describe_columns
from .record import Columns, Record
from .stratify import Layout, parse_split

if TYPE_CHECKING:
    from spacy.language import Language

MANIFEST = "manifest.json"
# Docs that share a piece of vocabulary, which is forgotten afterwards.
_ZONE = 2000


@dataclass
class Survey:
    """What the first reading of the files finds; the second writes.

    texts_in (int): Texts in the files.
    dropped (Counter[str]): Texts that are left out, by reason.
    spans_dropped (int): Entities in those.
    labels (Counter[str]): Labels of texts, and how many texts have each.
    span_labels (Counter[str]): Labels of entities in the texts that stay.
    kept (Counter[str]): Texts that stay, by the split that the files give.
    cases (Dict[str, List[str]]): Where some of the dropped texts stand.
    """

    texts_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    spans_dropped: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    span_labels: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    cases: Dict[str, List[str]] = field(default_factory=dict)


def convert(
    inputs: Mapping[str, Path],
    output_dir: Path,
    *,
    format: Optional[str] = None,
    columns: Columns = Columns(),
    split: Optional[str] = None,
    seed: int = 0,
    in_order: bool = False,
    align: str = "strict",
    spans_key: Optional[str] = None,
    merge_labels: bool = False,
    lang: str = "en",
    progress: bool = False,
) -> Dict[str, Any]:
    """Convert annotated files to `train.spacy`, `dev.spacy` and `test.spacy`.

    The files are read twice, a row at a time: once to learn the labels and share out the texts,
    once to write. Memory is bounded by some hundred bytes a text, whatever the texts' length.

    inputs (Mapping[str, Path]): Split to file or folder. A single one under "train" is cut into
        splits, unless it brings its own.
    output_dir (Path): Where to write. Created if missing.
    format (Optional[str]): A key of `READERS`, found out if None.
    columns (Columns): Which columns to read.
    split (Optional[str]): Shares of train, dev and test. "80/10/10" for a single input if None.
    seed (int): Of the split.
    in_order (bool): Whether the first texts of each label go to train and the last to test, instead
        of a seeded split that keeps copies and groups together. A label with few texts may have
        none in a split.
    align (str): "strict", "contract" or "expand", for spans that cut a token.
    spans_key (Optional[str]): Where to put spans instead of `doc.ents`.
    merge_labels (bool): Whether labels that differ by case and spaces are one.
    lang (str): Language of the tokenizer.
    progress (bool): Whether to show a progress bar.
    RETURNS (Dict[str, Any]): The manifest, as written to `manifest.json`.
    RAISES (ValueError): The input can't be read, has no annotated text, or the options contradict.
    """
    import spacy

    shares = _check_options(inputs, split, align, columns, in_order)
    formats = {name: format or detect_format(path) for name, path in inputs.items()}
    if format is not None and format not in READERS:
        raise ValueError(f"The format {format!r} is unknown; known are {', '.join(READERS)}.")
    try:
        nlp = spacy.blank(lang)
    except ImportError as error:
        raise ValueError(f"spaCy has no language {lang!r}: {error}") from error

    def read() -> Iterator[Record]:
        for name, path in inputs.items():
            for record in read_records(path, formats[name], columns):
                if len(inputs) > 1:
                    record.split = name
                yield record

    _check_output(output_dir)
    layout = Layout()
    survey = _survey(_bar(read(), "Reading", None, progress), layout)
    _check_survey(survey, inputs, columns)
    frequency = survey.labels + survey.span_labels
    variants = label_variants({*survey.labels, *survey.span_labels})
    renamed = {}
    for group in variants if merge_labels else ():
        # The most frequent one names all, without the spaces at its edges.
        renamed.update(dict.fromkeys(group, max(group, key=lambda x: (frequency[x], x)).strip()))
    brings_splits = any(survey.kept[name] for name in SPLITS)
    if split is None and not brings_splits:
        shares = parse_split("80/10/10")
    if split is not None and brings_splits and len(inputs) == 1:
        brings_splits = False
    if in_order and brings_splits:
        raise ValueError("--in-order cuts one input into splits, but this one has its own.")
    assigned = None
    if not brings_splits:
        assigned = iter(layout.in_order(shares) if in_order else layout.assign(shares, seed))
    labels = sorted({renamed.get(label, label) for label in survey.labels})
    account = Account()
    per_split = _write(
        _bar(read(), "Writing", survey.texts_in, progress),
        output_dir,
        nlp,
        account,
        labels=labels,
        renamed=renamed,
        assigned=assigned,
        survey=survey,
        align=align,
        spans_key=spans_key,
    )
    account.spans_in += survey.spans_dropped
    if survey.spans_dropped:
        account.dropped["in a text that was dropped"] += survey.spans_dropped
    manifest = _manifest(
        inputs, formats, columns, survey, account, per_split, labels=labels, variants=variants
    )
    manifest["options"] = {
        "split": None if brings_splits else split or "80/10/10",
        "seed": seed,
        "in_order": in_order,
        "align": align,
        "spans_key": spans_key,
        "merge_labels": merge_labels,
        "lang": lang,
        "columns": {key: value for key, value in asdict(columns).items() if value},
    }
    path = output_dir / MANIFEST
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    srsly.write_json(temporary, manifest)
    temporary.replace(path)
    return manifest


def label_variants(labels: Iterable[str]) -> List[List[str]]:
    """Find labels that differ only by case, spaces, hyphens and underscores.

    labels (Iterable[str]): The labels.
    RETURNS (List[List[str]]): Groups of two and more, sorted.
    """
    groups: Dict[str, List[str]] = {}
    for label in sorted(set(labels)):
        folded = "".join(c for c in label.casefold() if not c.isspace() and c not in "-_")
        groups.setdefault(folded, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _check_options(
    inputs: Mapping[str, Path],
    split: Optional[str],
    align: str,
    columns: Columns,
    in_order: bool,
) -> Dict[str, float]:
    if align not in MODES:
        raise ValueError(f"--align is {align!r}; it can be {', '.join(MODES)}.")
    unknown = set(inputs) - set(SPLITS)
    if unknown or "train" not in inputs:
        raise ValueError(f"The inputs are {', '.join(inputs)}; they can be {', '.join(SPLITS)}.")
    if split is not None and len(inputs) > 1:
        raise ValueError(
            "--split cuts one input into splits, and --dev or --test names another. Use one way."
        )
    if in_order and columns.group:
        raise ValueError(
            f"--in-order cuts the texts where they stand, so it can't keep those with the same "
            f"{columns.group!r} together, as --group does. Use one of the two."
        )
    if columns.sentences is not None and columns.sentences < 1:
        raise ValueError(f"--sentences is {columns.sentences}; it has to be 1 or more.")
    return parse_split(split or "80/10/10")


def _check_output(output_dir: Path) -> None:
    """Another tool's corpus is not overwritten, an earlier conversion is."""
    found = [f"{split}.spacy" for split in SPLITS if (output_dir / f"{split}.spacy").exists()]
    try:
        ours = "reprtune convert" in srsly.read_json(output_dir / MANIFEST).get("about", "")
    except (ValueError, OSError):
        ours = False
    if found and not ours:
        raise ValueError(
            f"{output_dir} already has {', '.join(found)}, which no conversion wrote. Choose "
            "another folder, or move them away."
        )


def _survey(records: Iterable[Record], layout: Layout) -> Survey:
    survey = Survey()
    for record in records:
        survey.texts_in += 1
        reason = record.why_not()
        if reason:
            survey.dropped[reason] += 1
            survey.spans_dropped += record.n_spans
            cases = survey.cases.setdefault(reason, [])
            if len(cases) < 5:
                cases.append(record.where)
            continue
        for label, score in (record.cats or {}).items():
            survey.labels[label] += score >= 0.5
        survey.span_labels.update(label for _, _, label in record.spans or ())
        survey.kept[record.split or ""] += 1
        layout.add(record.text, record.labels, record.group)
    return survey


def _check_survey(survey: Survey, inputs: Mapping[str, Path], columns: Columns) -> None:
    if survey.kept.total():
        return
    names = ", ".join(map(str, inputs.values()))
    if not survey.texts_in:
        raise ValueError(f"There is no text in {names}.")
    reasons = ", ".join(f"{reason} ({count})" for reason, count in survey.dropped.most_common())
    key = columns.labels[0] if columns.labels else "label, labels, cats, spans or entities"
    raise ValueError(
        f"None of the {survey.texts_in} texts in {names} can be used: {reasons}. The annotation "
        f"was looked for under {key}; --label names another place."
    )


def _write(
    records: Iterable[Record],
    output_dir: Path,
    nlp: "Language",
    account: Account,
    *,
    labels: List[str],
    renamed: Mapping[str, str],
    assigned: Optional[Iterator[str]],
    survey: Survey,
    align: str,
    spans_key: Optional[str],
) -> Dict[str, Dict[str, Any]]:
    """Write all splits, and take away what an earlier conversion had besides."""
    writers: Dict[str, SplitWriter] = {}
    counts: Dict[str, Counter[str]] = {}
    entities: Dict[str, Counter[str]] = {}
    stream = iter(record for record in records if not record.why_not())
    try:
        while True:
            # What the vocabulary learns from a chunk is forgotten after it, or a million texts
            # would fill it with words.
            with nlp.memory_zone() if hasattr(nlp, "memory_zone") else nullcontext():
                n = 0
                for record in islice(stream, _ZONE):
                    n += 1
                    split = next(assigned) if assigned else record.split or "train"
                    if split not in writers:
                        writers[split] = SplitWriter(output_dir, split)
                        counts[split], entities[split] = Counter(), Counter()
                    _settle(record, survey)
                    _rename_spans(record, renamed)
                    before = Counter(account.by_label)
                    doc = make_doc(record, nlp, account, align=align, spans_key=spans_key)
                    doc.cats = _cats(record, labels, renamed)
                    counts[split].update(x for x, score in doc.cats.items() if score >= 0.5)
                    entities[split].update(account.by_label - before)
                    writers[split].add(doc)
            if n < _ZONE:
                break
        for split in SPLITS:
            if split in writers:
                writers[split].close()
            else:
                # A stale split of an earlier conversion would leak into this one.
                _remove(output_dir / f"{split}.spacy")
    finally:
        for writer in writers.values():
            writer.discard()
    return {
        split: {
            "texts": writers[split].n_docs,
            "labels": {label: counts[split][label] for label in labels},
            "entities": dict(sorted(entities[split].items())),
        }
        for split in SPLITS
        if split in writers
    }


def _settle(record: Record, survey: Survey) -> None:
    """An empty list is no label in a file of labels, and no entity in a file of entities."""
    if record.cats == {} and record.spans == []:
        if not survey.span_labels and survey.labels:
            record.spans = None
        elif not survey.labels:
            record.cats = None


def _rename_spans(record: Record, renamed: Mapping[str, str]) -> None:
    if renamed and record.spans:
        record.spans = [(start, end, renamed.get(x, x)) for start, end, x in record.spans]


def _cats(record: Record, labels: List[str], renamed: Mapping[str, str]) -> Dict[str, float]:
    if record.cats is None:
        return {}
    cats = dict.fromkeys(labels, 0.0) if record.complete else {}
    for label, score in record.cats.items():
        name = renamed.get(label, label)
        cats[name] = max(score, cats.get(name, 0.0))
    return cats


def _manifest(
    inputs: Mapping[str, Path],
    formats: Mapping[str, str],
    columns: Columns,
    survey: Survey,
    account: Account,
    per_split: Dict[str, Dict[str, Any]],
    *,
    labels: List[str],
    variants: List[List[str]],
) -> Dict[str, Any]:
    sources = {}
    for name, path in inputs.items():
        source: Dict[str, Any] = {"name": path.name, "format": formats[name]}
        if path.is_file():
            source["md5"] = _digest(path)
        if formats[name] == "conll":
            source["tags"], source["repaired"] = describe_columns(path, columns)
        sources[name] = source
    texts_out = sum(counts["texts"] for counts in per_split.values())
    return {
        "about": f"Written by `spacy reprtune convert` of spacy-reprtune {__version__}.",
        "sources": sources,
        "splits": per_split,
        "labels": labels,
        "label_variants": variants,
        "texts": {
            "in": survey.texts_in,
            "out": texts_out,
            "dropped": dict(sorted(survey.dropped.items())),
        },
        "entities": {
            "in": account.spans_in,
            "out": account.spans_out,
            "dropped": dict(sorted(account.dropped.items())),
            "moved": dict(sorted(account.moved.items())),
        },
        "cases": {**survey.cases, **account.cases},
    }


def _digest(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _bar(
    records: Iterable[Record], what: str, total: Optional[int], progress: bool
) -> Iterable[Record]:
    return bar(records, what=what, total=total, unit="texts", shown=progress)
