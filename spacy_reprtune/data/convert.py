"""Convert files of many formats to a spaCy corpus, and account for everything that is left out."""

import re
import shutil
import unicodedata
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, Optional

import srsly

from .. import __version__
from ..files import digest_of, replaced_file
from ..progress import bar
from .align import MODES, Account, make_doc
from .corpus import SPLITS, SplitWriter, blank_pipeline
from .formats import detect_format, find_reader
from .label_names import name_labels, read_label_names
from .record import Columns, Record
from .spans import OFFSETS
from .spool import Spool
from .stratify import Layout, parse_split
from .survey import Source, Survey, pack, unpack

if TYPE_CHECKING:
    from spacy.language import Language

MANIFEST = "manifest.json"
# Docs per memory zone, after which the vocabulary forgets their words.
_ZONE = 2000
# What separates words. A hyphen at the edge of a word is a sign: -1 is not 1, and A- is not A.
_SEPARATOR = r"(?:\s-+\s|[\s_]|(?<=\w)-+(?=\w))+"


def convert(
    inputs: Mapping[str, Path],
    output_dir: Path,
    *,
    format: Optional[str] = None,
    columns: Columns = Columns(),
    label_names: Optional[Path] = None,
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

    The files are read once. Records wait in a temporary file on the output's disk until the labels
    and the splits are known. Memory is bounded by some hundred bytes per text.

    inputs (Mapping[str, Path]): Split to file or folder. A single input under "train" is cut into
        splits, unless it has its own. If test is given and dev is not, dev is cut from train.
    output_dir (Path): Where to write. Created if missing.
    format (Optional[str]): Name of a format; detected for each file if None.
    columns (Columns): Which columns to read.
    label_names (Optional[Path]): File with the names of labels that are numbers in the inputs.
    split (Optional[str]): Shares of train, dev and test; if None, "80/10/10" for a single input,
        and "90/10" if only dev is to be cut from train.
    seed (int): Seed of the split.
    in_order (bool): Whether the first texts of each label go to train and the last to test, instead
        of a seeded split that keeps copies and groups together. A label with few texts may have
        none in a split.
    align (str): "strict", "contract" or "expand", for spans that cut a token.
    spans_key (Optional[str]): Key in `doc.spans` for spans, instead of `doc.ents`. A file that has
        a group of this name brings its spans.
    merge_labels (bool): Whether to merge labels that differ only by case and spaces.
    lang (str): Language of the tokenizer.
    progress (bool): Whether to show a progress bar.
    RETURNS (Dict[str, Any]): The manifest, as written to `manifest.json`.
    RAISES (ValueError): The input can't be read, has no annotated text, or the options contradict.
    """
    _check_options(inputs, split, align, columns, in_order)
    formats = {name: format or detect_format(path) for name, path in inputs.items()}
    readers = {name: find_reader(formats[name]) for name in inputs}
    columns = replace(columns, spans_key=spans_key)
    names = read_label_names(label_names, columns.encodings) if label_names else None
    if names is not None:
        ids = names if isinstance(names, dict) else {str(k): x for k, x in enumerate(names)}
        columns = replace(columns, names=ids)
    nlp = blank_pipeline(lang)
    _check_output(output_dir)

    layout, survey = Layout(), Survey()
    sources = {name: Source() for name in inputs}
    # A single input that has its own splits is cut again if --split says so.
    cut_again = split is not None and len(inputs) == 1
    with closing(Spool(output_dir)) as spool:
        for name, path in inputs.items():
            read = readers[name](path, columns)
            for record in bar(read, what=f"Reading {path.name}", unit="texts", shown=progress):
                if len(inputs) > 1:
                    record.split = name
                if not survey.add(record):
                    continue
                sources[name].add(record)
                spool.add(pack(record, name))
                if cut_again or record.split in (None, "train"):
                    layout.add(record.text, record.labels, record.group)
        _check_survey(survey, inputs, columns)
        if not survey.labels.total() and not survey.span_labels.total():
            names_of = ", ".join(columns.labels)
            survey.notes.append(
                "No text has a label or an entity"
                + (f" under {names_of}, which --label names." if names_of else ".")
            )
        shares = _shares(survey, inputs, split, in_order, cut_again)
        assigned = None
        if shares:
            assigned = iter(layout.in_order(shares) if in_order else layout.assign(shares, seed))
        renamed: Dict[str, str] = {}
        if names is not None and label_names is not None:
            renamed = name_labels({*survey.labels, *survey.span_labels}, names, label_names)
        variants = _merge(survey, renamed, merge_labels)
        labels = sorted({renamed.get(label, label) for label in survey.labels})
        account = Account(spans_in=survey.spans_dropped)
        if survey.spans_dropped:
            account.dropped["in a text that was dropped"] = survey.spans_dropped
        records = unpack(spool.read(), sources)
        per_split = _write(
            bar(records, what="Writing", total=survey.kept.total(), unit="texts", shown=progress),
            output_dir,
            nlp,
            account,
            labels=labels,
            renamed=renamed,
            assigned=assigned,
            all_assigned=cut_again,
            survey=survey,
            align=align,
            spans_key=spans_key,
        )
    manifest = {
        "about": f"Written by `spacy reprtune convert` of spacy-reprtune {__version__}.",
        "sources": {
            name: _describe(path, formats[name], sources[name]) for name, path in inputs.items()
        },
        "splits": per_split,
        "labels": labels,
        "label_variants": variants,
        "texts": {
            "in": survey.texts_in,
            "out": sum(counts["texts"] for counts in per_split.values()),
            "dropped": dict(sorted(survey.dropped.items())),
        },
        "entities": {
            "in": account.spans_in,
            "out": account.spans_out,
            "dropped": dict(sorted(account.dropped.items())),
            "moved": dict(sorted(account.moved.items())),
        },
        "ignored": dict(sorted(survey.ignored.items())),
        "cases": {**survey.cases, **account.cases},
        "notes": survey.notes,
        "options": {
            "split": split or ("/".join(f"{100 * x:g}" for x in shares.values()) or None),
            "seed": seed,
            "in_order": in_order,
            "align": align,
            "spans_key": spans_key,
            "merge_labels": merge_labels,
            "lang": lang,
            "columns": {
                key: x
                for key, x in asdict(replace(columns, names=None, spans_key=None)).items()
                if x
            },
        },
    }
    with replaced_file(output_dir / MANIFEST) as fresh:
        srsly.write_json(fresh, manifest)
    return manifest


def label_variants(labels: Iterable[str]) -> List[List[str]]:
    """Find labels that differ only by case, spaces, hyphens and underscores, by how Unicode writes
    a letter, or by how a number is written.

    labels (Iterable[str]): Labels in any order.
    RETURNS (List[List[str]]): Groups of two and more labels, sorted.
    """
    groups: Dict[str, List[str]] = {}
    for label in sorted(set(labels)):
        plain = unicodedata.normalize("NFKC", label).casefold()
        # 1-2 is not 12.
        folded = re.sub(rf"(?<=\d){_SEPARATOR}(?=\d)", "|", plain)
        folded = re.sub(_SEPARATOR, "", folded)
        folded = re.sub(r"^(-?)0*(\d+)(\.0*)?$", r"\1\2", folded)
        groups.setdefault(folded, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _merge(survey: Survey, renamed: Dict[str, str], merge_labels: bool) -> List[List[str]]:
    """Find labels that may be one, and rename them if they are to be merged."""
    frequency: Counter[str] = Counter()
    for label, count in (survey.labels + survey.span_labels).items():
        frequency[renamed.get(label, label)] += count
    names = [renamed.get(label, label) for label in (*survey.labels, *survey.span_labels)]
    variants = label_variants(names)
    if merge_labels:
        best = {}
        for group in variants:
            # The most frequent label names all, without the spaces at its edges.
            name = max(group, key=lambda x: (frequency[x], x)).strip()
            best.update(dict.fromkeys(group, name))
        for label in {*survey.labels, *survey.span_labels}:
            name = renamed.get(label, label)
            renamed[label] = best.get(name, name)
    return variants


def _check_options(
    inputs: Mapping[str, Path],
    split: Optional[str],
    align: str,
    columns: Columns,
    in_order: bool,
) -> None:
    for option, value, allowed in (
        ("--align", align, MODES),
        ("--offsets", columns.offsets, OFFSETS),
    ):
        if value not in allowed:
            raise ValueError(f"{option} is {value!r}; it can be {', '.join(allowed)}.")
    unknown = set(inputs) - set(SPLITS)
    if unknown or "train" not in inputs:
        raise ValueError(f"The inputs are {', '.join(inputs)}; they can be {', '.join(SPLITS)}.")
    if split is not None and "dev" in inputs:
        raise ValueError(
            "--split cuts one input into splits, but --dev names another. Use one of the two."
        )
    if split is not None and "test" in inputs and len(parse_split(split)) > 2:
        raise ValueError(
            f"--split is {split}, but --test names the texts of test. Give the shares of train and "
            "dev, such as 90/10."
        )
    if in_order and columns.group:
        raise ValueError(
            f"--in-order keeps the order of the texts, so it can't keep those with the same "
            f"{columns.group!r} together, as --group does. Use one of the two."
        )
    if columns.sentences is not None and columns.sentences < 1:
        raise ValueError(f"--sentences is {columns.sentences}; it has to be 1 or more.")
    parse_split(split or "80/10/10")


def _shares(
    survey: Survey,
    inputs: Mapping[str, Path],
    split: Optional[str],
    in_order: bool,
    cut_again: bool,
) -> Dict[str, float]:
    """The shares of the splits that have to be cut; empty if the inputs have their own splits."""
    brought = {name for name in SPLITS[1:] if survey.kept[name] or name in inputs}
    if cut_again or not brought:
        return parse_split(split or "80/10/10")
    if "dev" in brought:
        if in_order:
            raise ValueError("--in-order cuts one input into splits, but this one has its own.")
        return {}
    return parse_split(split or "90/10")


def _check_output(output_dir: Path) -> None:
    """Refuse to overwrite a corpus that is not the result of an earlier conversion."""
    found = [f"{split}.spacy" for split in SPLITS if (output_dir / f"{split}.spacy").exists()]
    try:
        manifest = srsly.read_json(output_dir / MANIFEST)
        ours = isinstance(manifest, dict) and "reprtune convert" in str(manifest.get("about"))
    except (ValueError, OSError):
        ours = False
    if found and not ours:
        raise ValueError(
            f"{output_dir} already has {', '.join(found)}, which no conversion wrote. Choose "
            "another folder, or move them away."
        )


def _check_survey(survey: Survey, inputs: Mapping[str, Path], columns: Columns) -> None:
    if survey.kept.total():
        return
    names = ", ".join(map(str, inputs.values()))
    if not survey.texts_in:
        raise ValueError(f"There is no text in {names}.")
    reasons = ", ".join(f"{reason} ({count})" for reason, count in survey.dropped.most_common())
    key = columns.labels[0] if columns.labels else "label, labels, cats, spans or entities"
    first = survey.cases[survey.dropped.most_common(1)[0][0]][0]
    raise ValueError(
        f"None of the {survey.texts_in} texts in {names} can be used: {reasons}. The annotation "
        f"was looked for under {key}; --label names another place. The first: {first}"
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
    all_assigned: bool,
    survey: Survey,
    align: str,
    spans_key: Optional[str],
) -> Dict[str, Dict[str, Any]]:
    """Write all splits, and remove those that only an earlier conversion had."""
    writers: Dict[str, SplitWriter] = {}
    counts: Dict[str, Counter[str]] = {}
    entities: Dict[str, Counter[str]] = {}
    stream = iter(records)
    try:
        while True:
            # What the vocabulary learns from a chunk is forgotten after it, or a million texts
            # would fill it with words.
            with nlp.memory_zone():
                n = 0
                for record in islice(stream, _ZONE):
                    n += 1
                    split = record.split or "train"
                    if assigned and (all_assigned or split == "train"):
                        split = next(assigned)
                    if split not in writers:
                        writers[split] = SplitWriter(output_dir, split)
                        counts[split], entities[split] = Counter(), Counter()
                    survey.settle(record)
                    _rename_spans(record, renamed)
                    doc = make_doc(record, nlp, account, align=align, spans_key=spans_key)
                    doc.cats = _cats(record, labels, renamed)
                    counts[split].update(x for x, score in doc.cats.items() if score >= 0.5)
                    found = doc.spans.get(spans_key, ()) if spans_key else doc.ents
                    entities[split].update(span.label_ for span in found)
                    writers[split].add(doc)
            if n < _ZONE:
                break
        for split in SPLITS:
            if split in writers:
                writers[split].close()
            else:
                # A stale split of an earlier conversion would leak into this one.
                stale = output_dir / f"{split}.spacy"
                if stale.is_dir():
                    shutil.rmtree(stale)
                else:
                    stale.unlink(missing_ok=True)
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


def _describe(path: Path, format: str, source: Source) -> Dict[str, Any]:
    described: Dict[str, Any] = {"name": path.name, "format": format}
    if path.is_file():
        described["md5"] = digest_of(path, algorithm="md5")
    if source.scheme:
        described["tags"] = source.scheme
        described["repaired"] = 0 if source.scheme == "IOB1" else source.begun_inside
    return described
