"""`python -m spacy reprtune check`: look at a corpus before training on it."""

from pathlib import Path
from typing import Any, Dict, Optional

import typer
from wasabi import msg


def check_cli(
    corpus_dir: Path = typer.Argument(
        ..., help="Folder with train.spacy, dev.spacy, test.spacy", exists=True, file_okay=False
    ),
    encoder: Optional[str] = typer.Option(
        None,
        "--encoder",
        "-e",
        help="Encoder whose pieces to count  [default: the embedded one]",
    ),
    window: Optional[int] = typer.Option(
        None, "--window", help="Pieces per window  [default: as many as the encoder takes]"
    ),
    text: Optional[Path] = typer.Option(
        None, "--text", "-t", help="Text for pretraining, which dev and test should not be in"
    ),
    lang: str = typer.Option("en", "--lang", help="Language of the tokenizer"),
    output: Path = typer.Option(
        Path("metrics/check.json"), "--output", "-o", help="JSON file for the findings"
    ),
    strict: bool = typer.Option(False, "--strict", help="Fail on warnings as well"),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print only errors and warnings"),
) -> None:
    """
    Check a corpus before training on it.

    Looks for leaks and copies, labels that are rare, missing or unseen, texts that were never
    annotated, entities that can't be learned, and texts that the encoder has no pieces for. Exits
    with 1 on errors, with --strict on warnings as well.
    """
    import srsly

    from ..data.check import check

    try:
        result = check(
            corpus_dir, encoder=encoder, window=window, text=text, lang=lang, progress=not quiet
        )
    except (ValueError, OSError) as error:
        msg.fail("Cannot check", str(error), exits=1)
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output, result)
    if not quiet:
        _print_tables(result)
    marks = {"error": msg.fail, "warning": msg.warn, "note": msg.info}
    for finding in result["findings"]:
        if quiet and finding["level"] == "note":
            continue
        marks[finding["level"]](finding["message"], finding["advice"])
        for case in finding["cases"][:3]:
            msg.text(f"    {case}")
    summary = f"{result['errors']} errors, {result['warnings']} warnings. Saved to {output}"
    if result["errors"] or (strict and result["warnings"]):
        msg.fail(summary, exits=1)
    (msg.warn if result["warnings"] else msg.good)(summary)


def _print_tables(result: Dict[str, Any]) -> None:
    splits = result["splits"]
    rows = [
        (what, *(f"{counts[what]:,}" for counts in splits.values()), "")
        for what in ("texts", "tokens", "entities")
        if what != "entities" or result["entities"]
    ]
    for label, counts in result["labels"].items():
        weight = f"{counts['weight']:g}"
        rows.append((f"label {label}", *(f"{counts[s]:,}" for s in splits), weight))
    for label, counts in result["entities"].get("labels", {}).items():
        rows.append((f"entity {label}", *(f"{counts[s]:,}" for s in splits), ""))
    header = ("", *splits, "weight" if result["labels"] else "")
    aligns = ["l"] + ["r"] * (len(splits) + 1)
    msg.table(rows, header=header, divider=True, aligns=aligns)
