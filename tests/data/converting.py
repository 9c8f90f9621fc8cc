"""What the tests of `convert` have in common."""

import spacy
from spacy.cli._util import app
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data.convert import convert
from spacy_reprtune.data.corpus import read_docs

VOCAB = spacy.blank("en").vocab


def run(path, output, *arguments):
    arguments = ["reprtune", "convert", str(path), str(output), *map(str, arguments)]
    return CliRunner().invoke(app, arguments)


def docs_of(folder, split="train"):
    return list(read_docs(folder / f"{split}.spacy", VOCAB))


def converted(path, tmp_path, **settings):
    settings.setdefault("split", "100")
    manifest = convert({"train": path}, tmp_path / "out", **settings)
    return manifest, docs_of(tmp_path / "out")


def adds_up(manifest):
    for what in ("texts", "entities"):
        counts = manifest[what]
        assert counts["in"] == counts["out"] + sum(counts["dropped"].values()), what
    return manifest["texts"]["in"], manifest["texts"]["out"]


def write(path, content, **options):
    path.write_text(content, **{"encoding": "utf8", "newline": "", **options})
    return path
