"""`python -m spacy reprtune convert`: annotated files to a corpus."""

from pathlib import Path
from typing import Any, Dict, List, Optional

import typer
from wasabi import msg

from ..data.formats import format_names

_SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}
# What to do about annotations that were left out, by reason.
_REMEDIES = {
    "cuts a token": "--align expand moves their borders to whole tokens.",
    "overlaps a longer one": "--spans-key ner keeps all of them, in doc.spans['ner'].",
    "another label of the same words": "--spans-key ner keeps all of them, in doc.spans['ner'].",
    "outside of the text": "--offsets utf-16 counts as JavaScript does.",
    "not JSON": "Each line has to be one JSON object.",
}


def convert_cli(
    input_path: Path = typer.Argument(
        ..., metavar="INPUT", help="Annotated file or folder", exists=True
    ),
    output_dir: Path = typer.Argument(
        ..., help="Folder for train.spacy, dev.spacy, test.spacy and manifest.json", file_okay=False
    ),
    format: Optional[str] = typer.Option(
        None,
        "--format",
        "-f",
        help=f"{', '.join(format_names())}  [default: detected from name and content]",
    ),
    split: Optional[str] = typer.Option(
        None, "--split", "-s", help="Shares of train/dev/test  [default: 80/10/10]"
    ),
    dev: Optional[Path] = typer.Option(
        None, "--dev", help="Development data, if INPUT is only for training", exists=True
    ),
    test: Optional[Path] = typer.Option(
        None,
        "--test",
        help="Test data, if INPUT is only for training; without --dev, dev is cut from INPUT",
        exists=True,
    ),
    seed: int = typer.Option(0, "--seed", help="Seed of the split"),
    in_order: bool = typer.Option(
        False,
        "--in-order",
        help="First texts of each label to train, last to test; not with --group",
    ),
    text: Optional[List[str]] = typer.Option(
        None,
        "--text",
        "-t",
        help="Column or key of the text, a number in files without names; several are joined",
    ),
    label: Optional[List[str]] = typer.Option(
        None,
        "--label",
        "-l",
        help="Column or key of the annotation; several are columns of 0 and 1, one per label",
    ),
    label_names: Optional[Path] = typer.Option(
        None,
        "--label-names",
        help="File with the names of numbered labels: one per line, or id and name per line",
        exists=True,
        dir_okay=False,
    ),
    no_header: bool = typer.Option(
        False, "--no-header", help="The first row of a table is data; columns have numbers, from 1"
    ),
    group: Optional[str] = typer.Option(
        None,
        "--group",
        "-g",
        help="Column or key of groups that must stay in one split (author, case)",
    ),
    separator: Optional[str] = typer.Option(
        None,
        "--separator",
        help="Separator of cells: a character, or tab, comma, semicolon, bar, space",
    ),
    label_separator: Optional[str] = typer.Option(
        None, "--label-separator", help="Separator of several labels in one cell, such as |"
    ),
    offsets: str = typer.Option(
        "characters",
        "--offsets",
        help="How spans are counted where the file does not give their text: characters, or utf-16",
    ),
    encoding: str = typer.Option(
        "utf-8",
        "--encoding",
        help="Encoding of the file; utf-8,cp1252 reads what is not UTF-8 as cp1252",
    ),
    sentences: Optional[int] = typer.Option(
        None,
        "--sentences",
        help="Sentences per text, in token files  [default: documents as marked]",
        min=1,
    ),
    align: str = typer.Option(
        "strict",
        "--align",
        help="Spans that cut a token: strict drops them, contract and expand move their borders",
    ),
    spans_key: Optional[str] = typer.Option(
        None, "--spans-key", help="Put spans there instead of doc.ents; they may overlap"
    ),
    merge_labels: bool = typer.Option(
        False, "--merge-labels", help="Treat labels that differ only by case and spaces as one"
    ),
    lang: str = typer.Option("en", "--lang", help="Language of the tokenizer"),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print no progress bar and no table"),
) -> None:
    """
    Convert annotated files to a corpus for `spacy train`.

    Reads CSV, TSV, JSONL (also of Prodigy and doccano), JSON (also of Label Studio and spaCy),
    BRAT folders, files of one token per line (CoNLL-2003, IOB, BIOES, BILUO), tables of one token
    per row, Parquet, saved datasets, and with --format lines folders with one file per label and
    one text per line. One input is split by label, seeded, with copies of a text in one split;
    --in-order cuts it where it stands, and may put copies into different splits. Everything that
    is left out is counted, and some of it shown.
    """
    from ..data.convert import convert
    from ..data.record import Columns

    inputs = {"train": input_path, "dev": dev, "test": test}
    columns = Columns(
        texts=tuple(text or ()),
        labels=tuple(label or ()),
        group=group,
        separator=_SEPARATORS.get(separator, separator) if separator else None,
        label_separator=label_separator,
        header=not no_header,
        offsets=offsets,
        encodings=tuple(name.strip() for name in encoding.split(",")),
        sentences=sentences,
    )
    try:
        manifest = convert(
            {name: path for name, path in inputs.items() if path is not None},
            output_dir,
            format=format,
            columns=columns,
            label_names=label_names,
            split=split,
            seed=seed,
            in_order=in_order,
            align=align,
            spans_key=spans_key,
            merge_labels=merge_labels,
            lang=lang,
            progress=not quiet,
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot convert", str(error), exits=1)
    if not quiet:
        _print_tables(manifest)
    _print_summary(manifest, output_dir, quiet)


def _print_tables(manifest: Dict[str, Any]) -> None:
    splits = manifest["splits"]
    unit = "span" if manifest["options"]["spans_key"] else "entity"
    rows = [("texts", *(counts["texts"] for counts in splits.values()))]
    for label in manifest["labels"]:
        rows.append((f"label {label}", *(c["labels"].get(label, 0) for c in splits.values())))
    kinds = sorted({kind for counts in splits.values() for kind in counts["entities"]})
    for kind in kinds:
        rows.append((f"{unit} {kind}", *(c["entities"].get(kind, 0) for c in splits.values())))
    aligns = ["l"] + ["r"] * len(splits)
    msg.table(rows, header=("", *splits), divider=True, aligns=aligns)
    for source in manifest["sources"].values():
        if "tags" in source:
            repaired = f", {source['repaired']} repaired" if source["repaired"] else ""
            msg.info(f"{source['name']}: tags are {source['tags']}{repaired}")
    for what in ("texts", "entities"):
        counts = manifest[what]
        dropped = sum(counts["dropped"].values())
        if counts["in"]:
            name = "spans" if what == "entities" and unit == "span" else what
            line = f"{name}: {counts['in']:,} in, {counts['out']:,} out, {dropped:,} dropped"
            (msg.warn if dropped else msg.good)(line)
        reasons = {**counts["dropped"], **counts.get("moved", {})}
        for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1]):
            msg.text(f"{count:,} {reason}", color="yellow")
            for case in manifest["cases"].get(reason, [])[:3]:
                msg.text(f"    {case}")
    merged = manifest["options"]["merge_labels"]
    for group in manifest["label_variants"]:
        names = ", ".join(f"'{name}'" for name in group)
        if merged:
            msg.info(f"Read as one label: {names}")
        else:
            msg.warn(f"These labels may be the same: {names}", "--merge-labels makes them one.")


def _print_summary(manifest: Dict[str, Any], output_dir: Path, quiet: bool) -> None:
    if manifest["ignored"]:
        kinds = ", ".join(f"{count:,} × {kind}" for kind, count in manifest["ignored"].items())
        msg.info(f"Not read: {kinds}")
    for note in manifest["notes"]:
        msg.warn(note)
    dropped = {what: sum(manifest[what]["dropped"].values()) for what in ("texts", "entities")}
    reasons = {**manifest["texts"]["dropped"], **manifest["entities"]["dropped"]}
    for reason, remedy in _REMEDIES.items():
        if reason in reasons:
            msg.info(f"{reasons[reason]:,} {reason}: {remedy}")
    files = ", ".join(f"{name}.spacy" for name in manifest["splits"])
    written = f"Wrote {files} and manifest.json to {output_dir}"
    if any(dropped.values()):
        shares = [
            f"{count:,} of {manifest[what]['in']:,} {what} ({count / manifest[what]['in']:.1%})"
            for what, count in dropped.items()
            if count
        ]
        msg.warn(f"{written}; dropped {' and '.join(shares)}")
    elif not quiet:
        msg.good(written)
