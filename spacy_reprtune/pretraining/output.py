"""The output directory of a run: what may be in it, and which run it belongs to."""

import json
import shutil
from pathlib import Path
from typing import Any, Dict

from ..files import digest_of
from .report import write_json
from .settings import Settings, paths_of
from .text import find_files

# Settings that do not change the result, so they may differ when a run resumes.
_FREE = {("encoder", "device"), ("corpus", "cache_dir"), ("report", "log_every")}


def prepare(output: Path, settings: Settings, *, fresh: bool) -> None:
    """Make the output directory, without what a killed process was writing there.

    output (Path): The directory.
    settings (Settings): The settings of the run.
    fresh (bool): Whether to delete what an earlier run left.
    RAISES (ValueError): Texts are read from a directory that contains it, or it holds something
        other than a pretraining run.
    """
    _check_apart(settings, output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} is a file. Name a directory.")
    if output.is_dir() and any(output.iterdir()):
        # A run that was killed while the text was tokenized has no run.json yet.
        begun = {path.name for path in output.iterdir()} <= {"corpus", ".run.json.part"}
        if not (output / "run.json").is_file() and not begun:
            raise ValueError(
                f"The output directory {output} holds something else, not a pretraining run. "
                "Name one that is empty or does not exist."
            )
        if fresh:
            for name in ("checkpoints", "encoder"):
                shutil.rmtree(output / name, ignore_errors=True)
            for name in ("run.json", "report.json", "report.md", "log.jsonl", "loss.png"):
                (output / name).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    for left in (".encoder.*", "checkpoints/.step-*", "corpus/.*"):
        for path in output.glob(left):
            shutil.rmtree(path, ignore_errors=True)
    (output / ".report.json.part").unlink(missing_ok=True)


def claim(output: Path, settings: Settings, *, source: Path, text: str, write: bool) -> None:
    """Write down which run this is, or make sure that it is the one that is written down.

    output (Path): The directory.
    settings (Settings): The settings of the run.
    source (Path): The directory that the encoder came from.
    text (str): Digest of the text.
    write (bool): Whether this process writes.
    RAISES (ValueError): The directory holds a run with other settings, weights or text.
    """
    now: Dict[str, Any] = {
        f"[{section}] {name}": value
        for section, values in settings.to_dict().items()
        for name, value in values.items()
        if (section, name) not in _FREE
    }
    now["text"] = text
    if settings.judge.corpus:
        now["judging docs"] = digest_of(*find_files([Path(settings.judge.corpus)]))
    if settings.judge.recipe:
        now["judging recipe"] = digest_of(Path(settings.judge.recipe))
    now["encoder weights"] = digest_of(*sorted(source.glob("*.safetensors")))
    path = output / "run.json"
    if not path.is_file():
        if write:
            write_json(now, path)
        return
    try:
        before = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}), so it is not known which run {output} holds. Name "
            "another output directory, or start over with --fresh."
        ) from error
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if keys:
        changes = "; ".join(f"{k} was {before.get(k)!r} and is {now.get(k)!r}" for k in keys)
        raise ValueError(
            f"{output} holds a run with other settings or other text: {changes}. Go back to "
            "those, name another output directory, or start over with --fresh."
        )


def _check_apart(settings: Settings, output: Path) -> None:
    corpus, place = settings.corpus, output.resolve()
    for folder in (p for v in (corpus.train, corpus.exclude, corpus.general) for p in paths_of(v)):
        if folder.is_dir() and place.is_relative_to(folder.resolve()):
            raise ValueError(
                f"The output directory {output} is in {folder}, which text is read from: what the "
                "run writes would be text of the next one. Name an output directory elsewhere."
            )
