"""The report of a run: its log, a plot of the losses, filled masks, a page."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

import torch

from ..files import replaced_file
from .judge import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    # Imports transformers; the report of a project only reads files.
    from .model import MaskedLM

# How many fillings the table shows.
SHOWN = 5


class Log:
    """A JSONL file with a row per step or evaluation."""

    def __init__(self, path: Path, step: int) -> None:
        """Drop what an earlier attempt wrote after the step that it resumes from.

        path (Path): The file.
        step (int): Steps taken so far.
        """
        self.path = path
        rows = [row for row in read_log(path) if row["step"] <= step]
        with replaced_file(path) as fresh:
            fresh.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf8")

    def write(self, **row: Any) -> None:
        """Append a row."""
        with self.path.open("a", encoding="utf8") as file:
            file.write(f"{json.dumps(row)}\n")


def read_log(path: Path) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): The rows of a log, without a last one that is cut off."""
    rows: List[Dict[str, Any]] = []
    with suppress(FileNotFoundError, json.JSONDecodeError):
        for line in path.read_text(encoding="utf8").splitlines():
            rows.append(json.loads(line))
    return rows


def fill_masks(lm: "MaskedLM", sentences: Sequence[str]) -> List[List[str]]:
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
    from jinja2 import Environment

    environment = Environment(trim_blocks=True, keep_trailing_newline=True)
    environment.filters.update(n="{:,}".format, perplexity=perplexity, verdict=verdict)
    path.write_text(environment.from_string(PAGE).render(report), encoding="utf8")


PAGE = """\
# Pretraining

{{ corpus.pieces.train | n }} pieces of {{ corpus.documents.train | n }} documents;
{{ corpus.documents.heldout | n }} documents held out; of {{ corpus.read | n }} read,
{{ corpus.duplicates | n }} were duplicates and {{ corpus.excluded | n }} overlapped with excluded
texts.

{{ steps | n }} steps at up to {{ "%g" | format(learn_rate) }}
{%- if head_steps %}, {{ head_steps | n }} more for a new head before them{% endif %}.
Result: the weights of step {{ result_step | n }}.
Batches were {{ "{:.1%}".format(packing_efficiency) }} full
{{- "" if packed else " before padding, which this encoder needs" }}.

| held-out text | loss before | after | perplexity before | after |
| --- | ---: | ---: | ---: | ---: |
{% for name, label in (("heldout", "domain"), ("general", "general")) if name in before %}
| {{ label }} | {{ "%.4f | %.4f" | format(before[name], after[name]) }} | {{ "%.2f | %.2f" | format(
    before[name] | perplexity, after[name] | perplexity) }} |
{% endfor %}
{% if judge %}

{{ judge | verdict }} The interval is that of a paired bootstrap over the docs, for the best of all
evaluations. The docs have chosen the step, so score the trained pipeline on others.
{% endif %}

Before: the original encoder{{ ", except for the added pieces" if vocabulary }},
{% if objective == "tsdae" %}
with all its weights unchanged. The losses are those of a decoder, which restores each text from its
vector after 60 % of the pieces were deleted: compare them only with each other. It was made for
this run, trained by itself for {{ head_steps | n }} steps on the domain's text, and is not in the
result.
{% elif head == "own" %}
under the head that it came with.
{% else %}
with all its weights unchanged. It had no head for masked pieces, so one was made, tied to its
embeddings, and trained by itself for {{ head_steps | n }} steps on the domain's text. The general
sample is scored with the same head, which knows the domain: compare its two losses with each other.
{% endif %}
{% for row in fill_mask %}
{% if loop.first %}

| sentence | before | after |
| --- | --- | --- |
{% endif %}
| {{ row.sentence }} | {{ row.before | join(", ") }} | {{ row.after | join(", ") }} |
{% endfor %}
{% if vocabulary %}

{{ vocabulary.added }} pieces were added to the vocabulary:
{{ "%.3f" | format(vocabulary.pieces_per_word_before) }} pieces per word before,
{{ "%.3f" | format(vocabulary.pieces_per_word_after) }} after.
{% endif %}
"""


def write_json(content: Dict[str, Any], path: Path) -> None:
    """Write a file whole: if the run is killed here, it is neither complete nor in the way.

    content (Dict[str, Any]): What to write.
    path (Path): The file, replaced.
    """
    with replaced_file(path) as fresh:
        fresh.write_text(json.dumps(content, indent=1), encoding="utf8")


def plot_log(rows: Sequence[Dict[str, Any]], path: Path) -> None:
    """Draw the rows of a log into a PNG, SVG or PDF, unless matplotlib is not installed."""
    with suppress(ImportError):
        draw_log(rows).savefig(path, dpi=150)


def draw_log(rows: Sequence[Dict[str, Any]], *, size: Tuple[float, float] = (7.5, 4.2)) -> "Figure":
    """Draw losses and learning rate against steps.

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
