"""`python -m spacy reprtune check`: look at a corpus before training on it."""

from pathlib import Path
from typing import Any, Dict, List, Optional

import typer
from wasabi import msg

# Suspects that are printed, and those that go into the findings for `reprtune report`.
PRINTED, REPORTED = 20, 100


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
        None, "--text", "-t", help="Text for pretraining, which should not contain dev or test"
    ),
    lang: str = typer.Option("en", "--lang", help="Language of the tokenizer"),
    with_labels: bool = typer.Option(
        False,
        "--labels",
        "-l",
        help="Also find annotations that look wrong. Encodes all texts, so it takes minutes",
    ),
    suspects: Path = typer.Option(
        Path("metrics/suspects.jsonl"), "--suspects", help="JSONL file for these, worst first"
    ),
    device: str = typer.Option("auto", "--device", help="Device that --labels encodes on"),
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

    With --labels it also lists annotations that look wrong. Linear heads on the encoder's vectors
    are fitted to parts of the texts, and each text is judged by a head that has not seen it. What
    the head finds improbable comes first, with what it would annotate instead.
    """
    import srsly

    from ..data.check import DEFAULT_ENCODER, check

    try:
        result = check(
            corpus_dir, encoder=encoder, window=window, text=text, lang=lang, progress=not quiet
        )
        if with_labels:
            from ..data.suspects import find_suspects

            found = find_suspects(
                corpus_dir,
                encoder=encoder or DEFAULT_ENCODER,
                device=device,
                lang=lang,
                progress=not quiet,
            )
    except (ValueError, OSError) as error:
        msg.fail("Cannot check", str(error), exits=1)
    if with_labels:
        rows = [suspect.to_dict() for suspect in found]
        result.update(suspects=rows[:REPORTED], suspect_count=len(rows))
        suspects.parent.mkdir(parents=True, exist_ok=True)
        srsly.write_jsonl(suspects, rows)
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
    if with_labels:
        _print_suspects(result["suspects"])
        msg.info(f"{result['suspect_count']:,} annotations may be wrong. Saved to {suspects}")
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
    for key, group in result["spans"].items():
        for label, counts in group["labels"].items():
            rows.append((f"span {key}/{label}", *(f"{counts[s]:,}" for s in splits), ""))
    header = ("", *splits, "weight" if result["labels"] else "")
    aligns = ["l"] + ["r"] * (len(splits) + 1)
    msg.table(rows, header=header, divider=True, aligns=aligns)


def _print_suspects(suspects: List[Dict[str, Any]]) -> None:
    rows = []
    for row in suspects[:PRINTED]:
        text = row["text"]
        if row["kind"] in ("entity", "span"):
            start, end = row["start"], row["end"]
            shown = text[start:end] if end - start <= 40 else f"{text[start : start + 39]}…"
            text = f"{text[max(0, start - 15) : start]}[{shown}]{text[end : end + 15]}"
        place = f"{row['split']} {row['text_number']}"
        cells = (row["gold"], row["suggested"], " ".join(text.split()))
        rows.append((place, f"{row['doubt']:.2f}", *(cell[:60] for cell in cells)))
    if rows:
        msg.table(
            rows,
            header=("text", "doubt", "annotated", "suggested", ""),
            divider=True,
            aligns=("l", "r", "l", "l", "l"),
        )
