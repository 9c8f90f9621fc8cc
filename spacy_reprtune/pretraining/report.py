"""The report of a run: its log, a plot of the losses, filled masks, a page."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import torch

from ..files import replaced_file
from .model import MaskedLM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How many fillings the table shows.
SHOWN = 5


class Log:
    """A JSONL file with a row per step or evaluation."""

    def __init__(self, path: Path, step: int) -> None:
        """Open the log, and drop what an earlier attempt wrote after the step that it goes on from.

        path (Path): The file.
        step (int): Steps taken so far.
        """
        rows = [row for row in read_log(path) if row["step"] <= step]
        with replaced_file(path) as fresh:
            fresh.write_text("".join(map(_line, rows)), encoding="utf8")
        self._file = path.open("a", encoding="utf8")

    def write(self, **row: Any) -> None:
        """Append a row."""
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): The rows of a log, without a last one that is cut off."""
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def fill_masks(lm: MaskedLM, sentences: Sequence[str]) -> List[List[str]]:
    """Fill masks.

    lm (MaskedLM): The model.
    sentences (Sequence[str]): Sentences with one `[MASK]` each, whatever the tokenizer calls it.
        Of a sentence that is longer than the encoder, the part around the mask is used.
    RETURNS (List[List[str]]): The best pieces for each sentence, best first.
    """
    tokenizer = lm.tokenizer.tokenizer
    found = []
    lm.train(False)
    for sentence in sentences:
        text = sentence.replace("[MASK]", tokenizer.mask_token)
        pieces = lm.tokenizer([text])[0].ids.tolist()
        prefix, suffix = lm.tokenizer.prefix, lm.tokenizer.suffix
        room = lm.limit - len(prefix) - len(suffix)
        first = pieces.index(tokenizer.mask_token_id) - room // 2
        first = max(0, min(first, len(pieces) - room))
        ids = torch.tensor([*prefix, *pieces[first : first + room], *suffix], device=lm.device)
        with torch.no_grad():
            hidden = lm.hidden(ids, [len(ids)])
            place = (ids == tokenizer.mask_token_id).nonzero()[:, 0]
            logits = lm.head.logits(hidden[place].float())[0, : len(tokenizer)]
        best = logits.topk(SHOWN).indices.tolist()
        found.append([tokenizer.decode([piece]).strip() for piece in best])
    return found


def perplexity(loss: float) -> float:
    """RETURNS (float): Perplexity for a mean cross entropy."""
    return math.exp(min(loss, 100.0))


def write_page(report: Dict[str, Any], path: Path) -> None:
    """Write the report as Markdown.

    report (Dict[str, Any]): What `run.pretrain` returned.
    path (Path): The file, replaced.
    """
    corpus, after = report["corpus"], report["after"]
    lines = [
        "# Pretraining",
        "",
        f"{corpus['pieces']['train']:,} pieces of {corpus['documents']['train']:,} documents; "
        f"{corpus['documents']['heldout']:,} documents held out; of {corpus['read']:,} read, "
        f"{corpus['duplicates']:,} were duplicates and {corpus['excluded']:,} overlapped with "
        "excluded texts.",
        "",
        f"{report['steps']:,} steps at up to {report['learn_rate']:g}"
        f"{_steps_before(report)}. "
        f"Result: the weights of step {report['result_step']:,}. "
        f"Batches were {report['packing_efficiency']:.1%} full"
        f"{'' if report['packed'] else ' before padding, which this encoder needs'}.",
        "",
        "| held-out text | loss before | after | perplexity before | after |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, label in (("heldout", "domain"), ("general", "general")):
        before = report["before"].get(name)
        if before is not None:
            lines.append(
                f"| {label} | {before:.4f} | {after[name]:.4f} | {perplexity(before):.2f} | "
                f"{perplexity(after[name]):.2f} |"
            )
    lines += ["", _about_losses_before(report)]
    if report["fill_mask"]:
        lines += ["", "| sentence | before | after |", "| --- | --- | --- |"]
        for row in report["fill_mask"]:
            before, found = (", ".join(row[key]) for key in ("before", "after"))
            lines.append(f"| {row['sentence']} | {before} | {found} |")
    if report.get("vocabulary"):
        words = report["vocabulary"]
        lines += [
            "",
            f"{words['added']} pieces were added to the vocabulary: "
            f"{words['pieces_per_word_before']:.3f} pieces per word before, "
            f"{words['pieces_per_word_after']:.3f} after.",
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")


def write_json(content: Dict[str, Any], path: Path) -> None:
    """Write a file whole: if the run is killed here, it is neither complete nor in the way.

    content (Dict[str, Any]): What to write.
    path (Path): The file, replaced.
    """
    with replaced_file(path) as fresh:
        fresh.write_text(json.dumps(content, indent=1), encoding="utf8")


def plot_log(rows: Sequence[Dict[str, Any]], path: Path) -> Optional[Path]:
    """Draw losses and learning rate against steps.

    rows (Sequence[Dict[str, Any]]): The rows of the log.
    path (Path): The picture: PNG, SVG or PDF, by its suffix.
    RETURNS (Optional[Path]): The file, or None where matplotlib is not installed.
    """
    try:
        figure = draw_log(rows)
    except ImportError:
        return None
    figure.savefig(path, dpi=150)
    return path


def draw_log(rows: Sequence[Dict[str, Any]], *, size: Tuple[float, float] = (7.5, 4.2)) -> "Figure":
    """Draw a log; see `plot_log`.

    rows (Sequence[Dict[str, Any]]): The rows of the log.
    size (Tuple[float, float]): Width and height in inches.
    RETURNS (Figure): The picture, without a title.
    RAISES (ImportError): matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    rates = axes.twinx()
    for key, label, style in (
        ("loss", "training", {"color": "#9aa5b8", "lw": 1}),
        ("heldout", "held out", {"color": "#1f4e9c", "marker": "o", "ms": 4}),
        ("general", "general sample", {"color": "#c2410c", "marker": "o", "ms": 4}),
    ):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    points = [(row["step"], row["learn_rate"]) for row in rows if "learn_rate" in row]
    if points:
        rates.plot(*zip(*points, strict=True), color="#d9dee7", ls="--")
    rates.set_ylabel("learning rate (dashed)", color="#6b7280")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(axis="y", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        # Below the axes: inside, the automatic place would cover the learning rate.
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _steps_before(report: Dict[str, Any]) -> str:
    steps = report["head_steps"]
    return f", {steps:,} more for a new head before them" if steps else ""


def _about_losses_before(report: Dict[str, Any]) -> str:
    """Explain what the losses before training were measured on."""
    came = "the encoder as it came"
    if report.get("vocabulary"):
        came += ", except for the added pieces"
    if report["head"] == "own":
        return f"Before: {came}, under the head that it came with."
    return (
        f"Before: {came}, with all its weights unchanged. It had no head for masked pieces, so "
        f"one was made, tied to its embeddings, and trained by itself for {report['head_steps']:,} "
        "steps on the domain's text. The general sample is scored with the same head, which knows "
        "the domain: compare its two losses with each other."
    )


def _line(row: Dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
