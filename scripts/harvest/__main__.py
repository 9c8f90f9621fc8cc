"""`python -m scripts.harvest`: the default corpus."""

from pathlib import Path

import typer
from wasabi import msg


def main(
    output_dir: Path = typer.Argument(
        ..., help="Where to write text/, topics/, entities/ and manifest.json", file_okay=False
    ),
    topics: Path = typer.Option(
        Path("assets/topics.json"),
        "--topics",
        "-t",
        help="JSON table of module prefixes and their topics",
    ),
    topic_size: int = typer.Option(
        300,
        "--topic-size",
        "-n",
        help="Maximum of training examples per topic; dev and test get a sixth each",
        min=6,
    ),
    entity_size: int = typer.Option(
        4000,
        "--entity-size",
        "-e",
        help="Maximum of training paragraphs with marked code; dev and test get an eighth each",
        min=6,
    ),
    seed: int = typer.Option(0, "--seed", "-s", help="Seed of the split and of every choice"),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print no progress bar and no table"),
):
    """
    Build the default corpus from installed docstrings.

    They are those of the scientific packages. Nothing is downloaded and nothing is imported: the
    files are parsed. Writes paragraphs for masked-language-model pretraining, a text classification
    set and an NER set, all three split by module, with a manifest of versions, counts and
    checksums. The same versions and seed give the same bytes.
    """
    from .corpora import harvest

    try:
        manifest = harvest(
            output_dir,
            topics=topics,
            topic_size=topic_size,
            entity_size=entity_size,
            seed=seed,
            progress=not quiet,
        )
    except ValueError as err:
        msg.fail("Cannot harvest", str(err), exits=1)
    if not quiet:
        _print_summary(manifest, output_dir)


def _print_summary(manifest: dict, output_dir: Path) -> None:
    splits = ("train", "dev", "test")
    labels = list(manifest["topics"]["train"])
    rows = [
        ("paragraphs of text", *(manifest["text"].get(s, {}).get("paragraphs", "") for s in splits))
    ]
    rows += [
        (f"topic {label}", *(manifest["topics"][s][label] for s in splits)) for label in labels
    ]
    kinds = sorted({name for s in splits for name in manifest["entities"][s]})
    rows += [
        (f"marked text: {k}", *(manifest["entities"][s].get(k, 0) for s in splits)) for k in kinds
    ]
    msg.table(rows, header=("", *splits), divider=True, aligns=("l", "r", "r", "r"))
    if manifest["missing"]:
        msg.warn(f"Not installed, so not read: {', '.join(manifest['missing'])}")
    msg.good(f"Wrote {len(manifest['files'])} files and manifest.json to {output_dir}")


if __name__ == "__main__":
    typer.run(main)
