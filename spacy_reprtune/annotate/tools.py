"""Write texts with a model's predictions in the formats that annotation tools import."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Sequence

from ..files import replaced_file
from .next_texts import Choice


def _prodigy(choice: Choice, labels: Sequence[str]) -> Dict[str, Any]:
    """`textcat.manual` and `ner.manual` show these annotations."""
    task: Dict[str, Any] = {"text": choice.text, "meta": _meta(choice)}
    if labels:
        task["options"] = [{"id": label, "text": label} for label in labels]
        task["accept"] = choice.labels
    if choice.spans is not None:
        task["spans"] = [
            {key: span[key] for key in ("start", "end", "label")} for span in choice.spans
        ]
    return task


def _doccano(choice: Choice, labels: Sequence[str]) -> Dict[str, Any]:
    """A project with one kind of annotation has one key, a project with both kinds has two."""
    both = bool(labels) and choice.spans is not None
    row: Dict[str, Any] = {"text": choice.text}
    if labels:
        row["cats" if both else "label"] = choice.labels
    if choice.spans is not None:
        spans = [[span["start"], span["end"], span["label"]] for span in choice.spans]
        row["entities" if both else "label"] = spans
    return {**row, **_meta(choice)}


def _label_studio(choice: Choice, labels: Sequence[str]) -> Dict[str, Any]:
    """The controls have the names that Label Studio's templates use."""
    where = {"to_name": "text"}
    results: List[Dict[str, Any]] = [
        {
            **where,
            "from_name": "label",
            "type": "labels",
            "value": {
                "start": span["start"],
                "end": span["end"],
                "text": choice.text[span["start"] : span["end"]],
                "labels": [span["label"]],
            },
        }
        for span in choice.spans or ()
    ]
    if labels:
        value = {"choices": choice.labels}
        results.append({**where, "from_name": "sentiment", "type": "choices", "value": value})
    task: Dict[str, Any] = {"data": {"text": choice.text, **_meta(choice)}}
    if choice.doubt is not None:
        task["predictions"] = [{"score": 1.0 - choice.doubt, "result": results}]
    return task


def _jsonl(choice: Choice, labels: Sequence[str]) -> Dict[str, Any]:
    row: Dict[str, Any] = {"text": choice.text, **_meta(choice)}
    if labels:
        row["cats"] = choice.cats
    if choice.spans is not None:
        row["spans"] = choice.spans
    return row


def _meta(choice: Choice) -> Dict[str, Any]:
    doubt = {} if choice.doubt is None else {"doubt": round(choice.doubt, 4)}
    return {"id": choice.id, **doubt}


Tool = Callable[[Choice, Sequence[str]], Dict[str, Any]]
TOOLS: Dict[str, Tool] = {
    "prodigy": _prodigy,
    "doccano": _doccano,
    "label-studio": _label_studio,
    "jsonl": _jsonl,
}


def write_tasks(choices: Iterable[Choice], path: Path, tool: str, labels: Sequence[str]) -> None:
    """Write texts for an annotation tool.

    choices (Iterable[Choice]): The texts.
    path (Path): The file, with one JSON object per line, or for Label Studio a list of objects.
    tool (str): One of `TOOLS`.
    labels (Sequence[str]): The labels of texts, to choose from.
    RAISES (ValueError): The format is unknown.
    """
    if tool not in TOOLS:
        raise ValueError(f"--format is {tool!r}. Use one of {', '.join(TOOLS)}.")
    tasks = [TOOLS[tool](choice, labels) for choice in choices]
    with replaced_file(path) as fresh, fresh.open("w", encoding="utf8") as file:
        if tool == "label-studio":
            json.dump(tasks, file, ensure_ascii=False, indent=1)
        else:
            file.writelines(f"{json.dumps(task, ensure_ascii=False)}\n" for task in tasks)
