"""Choose the recipe that fits the data, the encoder and the time, and explain the choice."""

import math
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import srsly

from .check import DEFAULT_ENCODER, examine
from .corpus import find_splits
from .recipes import (
    BOTH,
    NER,
    PRETRAINING,
    SPANS,
    TEXTCAT,
    available,
    read_value,
    recipe_folder,
    replace_header,
    sections,
    set_value,
)
from .span_recipes import can_classify, explain_spans, fill_spans, largest_group, span_recipe
from .timing import (
    EVALUATIONS,
    Speed,
    estimate,
    measure_speed,
    rate_factor,
    setfit_steps,
    steps_for,
)

# With fewer texts per label on average, contrastive training beats a classifier's loss: Tunstall et
# al. 2022, "Efficient Few-Shot Learning Without Prompts", compare 8 and 64.
FEW = 32
_NAMES = {
    "frozen": "A probe on the frozen encoder",
    "setfit": "SetFit",
    "last-blocks": "Training the last blocks",
    "joint": "Joint fine-tuning",
    "multitask": "One encoder for a text classifier and an entity recognizer",
    "sentences": "A classifier of sentences",
    "overlapping": "A recognizer of spans that may overlap",
}
_TASKS = {"labels": TEXTCAT, "entities": NER, "both": BOTH, "spans": SPANS}


@dataclass(frozen=True)
class Advice:
    """A recipe, and the reasons for it.

    recipe (str): "frozen", "setfit", "last-blocks", "joint", "multitask", "sentences" or
        "overlapping".
    config (str): Commented config.
    why (str): Reasons, in a few sentences.
    seconds (Dict[str, float]): Approximate seconds that each recipe takes on this machine.
    warnings (List[str]): Faults that `check` finds in the data.
    """

    recipe: str
    config: str
    why: str
    seconds: Dict[str, float]
    warnings: List[str]


def advise(
    corpus_dir: Path,
    *,
    minutes: Optional[float] = None,
    device: str = "auto",
    encoder: Optional[str] = None,
    text: Optional[Path] = None,
    lang: str = "en",
    recipe: Optional[str] = None,
    task: Optional[str] = None,
    recipes: Optional[Path] = None,
    curve: Path = Path("metrics/sweep.json"),
    speed: Optional[Speed] = None,
) -> Advice:
    """Choose a recipe and fill in its config.

    Without `minutes`, only the data decides, so a corpus gets the same recipe on every machine.
    With `minutes`, recipes that would take longer on this machine are skipped.

    corpus_dir (Path): Folder with train.spacy and dev.spacy.
    minutes (Optional[float]): How long training may take.
    device (str): "auto", "cpu", "cuda", "cuda:1" or "mps".
    encoder (Optional[str]): Name of an encoder to use instead of the recipe's.
    text (Optional[Path]): Text of the same kind, to pretrain on first.
    lang (str): Language of the pipeline.
    recipe (Optional[str]): Recipe to use, whatever the data is like.
    task (Optional[str]): "labels", "entities", "both" or "spans"; if None, the labels and entities
        of the corpus, and its spans if it has neither.
    recipes (Optional[Path]): Folder of the configs, the shipped ones if None.
    curve (Path): Results of `sweep`, cited if the file exists.
    speed (Optional[Speed]): Speed of the encoder, measured if None.
    RETURNS (Advice): The config and the reasons.
    RAISES (ValueError): An argument is wrong, the corpus can't be trained on, or there is no recipe
        for it.
    """
    from ..bridge.device import configured_device

    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise ValueError(f"--minutes is {minutes:g}; it has to be above 0.")
    if task is not None and task not in _TASKS:
        raise ValueError(f"--task is {task!r}; it can be {', '.join(_TASKS)}.")
    try:
        where = configured_device(device)
    except ValueError as error:
        raise ValueError(
            f"--device is {device}: {error} The encoder is timed here, so run this where you will "
            "train, or use --device cpu."
        ) from error
    report, sample = examine(corpus_dir, encoder=encoder, text=text, lang=lang)
    task = _find_task(report, corpus_dir, task)
    folder = recipes or recipe_folder()
    found = available(_TASKS[task], folder)
    if task == "labels" and not report["exclusive"]:
        # Pairs of texts with some labels in common are neither similar nor different.
        found.pop("setfit", None)
    key = largest_group(report["spans"])
    if task == "spans" and not can_classify(report["spans"][key]):
        found.pop("sentences", None)
    if not found:
        raise ValueError(f"{folder} has no recipe for {task}.")
    if recipe is not None and recipe not in found:
        there = f"There is no recipe '{recipe}' for {task}; there are {', '.join(found)}."
        of_spans = recipe in SPANS and largest_group(report["spans"]) is not None
        raise ValueError(f"{there} It is for spans: --task spans." if of_spans else there)
    speed = speed or measure_speed(sample, encoder or DEFAULT_ENCODER, where)
    seconds = estimate(report, speed, list(found))
    chosen, first = _choose(report, found, seconds, minutes, recipe, task)
    why = " ".join(
        [
            first,
            *explain_spans(report["spans"], task, chosen),
            _describe(speed, device),
            *_long_texts(report, seconds, chosen, minutes),
        ]
    )
    why = f"{why} {_cite(curve)}"
    config = _fill(
        found[chosen].read_text("utf8"),
        report,
        recipe=chosen,
        why=why,
        task=task,
        corpus_dir=corpus_dir,
        encoder=encoder,
        device=device,
        lang=lang,
        width=speed.width,
    )
    if text is not None and (folder / PRETRAINING).is_file():
        config = _mention_pretraining(config, folder / PRETRAINING, text)
    warnings = [f["message"] for f in report["findings"] if f["level"] != "note"]
    return Advice(chosen, config, why, seconds, warnings)


def _find_task(report: Dict[str, Any], corpus_dir: Path, task: Optional[str]) -> str:
    """Find what can be learned from a corpus, or raise an error if it can't be trained on."""
    fatal = [f for f in report["findings"] if f["code"] in ("no_train", "no_dev", "empty_split")]
    has = {
        "labels": bool(report["labels"]),
        "entities": bool(report["entities"]),
        "spans": largest_group(report["spans"]) is not None,
    }
    have = [name for name, there in has.items() if there]
    if fatal or not have:
        reasons = " ".join(f["message"] for f in fatal)
        reasons = reasons or "No text has a label, an entity or a span to train on."
        raise ValueError(f"{corpus_dir} can't be trained on: {reasons}")
    both = ["both"] if has["labels"] and has["entities"] else []
    if task not in (None, *have, *both):
        needs = "labels and entities" if task == "both" else task
        remedy = " `convert --spans-key` puts entities there." if task == "spans" else ""
        raise ValueError(
            f"--task is {task}, which needs {needs}, but the texts of {corpus_dir} only have "
            f"{' and '.join(have)}.{remedy}"
        )
    return task or [*both, *have][0]


def _choose(
    report: Dict[str, Any],
    found: Dict[str, Path],
    seconds: Dict[str, float],
    minutes: Optional[float],
    wanted: Optional[str],
    task: str,
) -> Tuple[str, str]:
    """Choose the recipe, and write a sentence that explains the choice."""
    n_texts = report["splits"]["train"]["texts"]
    group = report["spans"].get(largest_group(report["spans"]))
    labeled = {"entities": report["entities"], "spans": group}.get(task)
    n_labels = len(labeled["labels"] if labeled else report["labels"])
    texts = f"{n_texts:,} texts for {n_labels} labels"
    if wanted:
        return wanted, (
            f"{_NAMES[wanted]}, as you asked for, with {texts}: about {_time(seconds[wanted])}."
        )
    few = "setfit" in found and n_texts < FEW * n_labels
    order = [x for x in ("multitask", "joint", "last-blocks", "frozen") if x in found]
    order = ["setfit", *order] if few else order
    if task == "spans":
        # Neither recipe stands in for the other, however little time there is.
        order = [x for x in found if x == span_recipe(group)] or list(found)
    reason = {
        "setfit": f"there are {texts}, fewer than {FEW} per label, and learning which texts belong "
        "together gets more out of them",
        "multitask": "the texts have labels and entities (--task chooses one of them)",
        "sentences": f"the spans are sentences, in {texts}",
        "overlapping": f"spans have to be found, in {texts}",
    }.get(order[0], f"there are {texts}")
    cost = f"about {_time(seconds[order[0]])}"
    if minutes is None or seconds[order[0]] <= 60 * minutes:
        limit = "" if minutes is None else f" of your {minutes:g} minutes"
        return order[0], f"{_NAMES[order[0]]}, because {reason}; it takes {cost}{limit}."
    for recipe in order[1:]:
        if seconds[recipe] <= 60 * minutes:
            return recipe, (
                f"{_NAMES[recipe]}, because it takes about {_time(seconds[recipe])} of your "
                f"{minutes:g} minutes for {texts}, and {_NAMES[order[0]].lower()} {cost}."
            )
    cheapest = min(order, key=lambda r: seconds[r])
    return cheapest, (
        f"{_NAMES[cheapest]}, the quickest recipe, although it takes about "
        f"{_time(seconds[cheapest])} and you have {minutes:g} minutes."
    )


def _describe(speed: Speed, device: str) -> str:
    """Describe the size of the encoder, where it runs and why."""
    import torch

    text = (
        f"The encoder has {speed.depth} blocks of {speed.width} columns ({speed.weights / 1e6:.0f} "
        f"million weights) and reads {speed.rate:,.0f} pieces per second on {speed.device}"
    )
    if device != "auto":
        return f"{text}, which --device names."
    if speed.device == "cpu" and torch.cuda.is_available():
        return f"{text}: auto follows spaCy's --gpu-id. For the GPU that torch sees: --device cuda."
    seen = "" if torch.cuda.is_available() else ", because torch sees no GPU"
    return f"{text}, which auto chooses{seen}."


def _long_texts(
    report: Dict[str, Any], seconds: Dict[str, float], chosen: str, minutes: Optional[float]
) -> List[str]:
    """Say what helps if training takes too long because texts have many windows."""
    pieces = report["pieces"]
    if minutes is None or seconds[chosen] <= 60 * minutes or not pieces.get("above_window"):
        return []
    begin = (
        f"{pieces['above_window']:.0%} of the texts have several windows of {pieces['window']} "
        "pieces each"
    )
    shorter = seconds[chosen] * pieces["mean_beginning"] / pieces["mean"]
    return [
        f"{begin}. With max_pieces = {pieces['window']} in the encoder's block, which reads only "
        f"the beginning of a text, this takes about {_time(shorter)}."
    ]


def _cite(curve: Path) -> str:
    """Cite the results of a sweep, if there are any."""
    try:
        points = srsly.read_json(curve)["points"]
        parts = [
            f"unfreeze = {p['unfreeze']}: {p['mean']:.3f} in {p['seconds']:.0f} s" for p in points
        ]
    except (ValueError, OSError, KeyError, TypeError):
        return (
            "How much each further block gains on this data is not measured yet: "
            "`spacy reprtune sweep` draws that curve."
        )
    return f"The curve measured in {curve} is {'; '.join(parts)}."


def _fill(
    text: str,
    report: Dict[str, Any],
    *,
    recipe: str,
    why: str,
    task: str,
    corpus_dir: Path,
    encoder: Optional[str],
    device: str,
    lang: str,
    width: int,
) -> str:
    splits = find_splits(corpus_dir)
    for split in ("train", "dev"):
        path = splits[split].as_posix()
        text = set_value(text, "paths", split, path)
        if task == "both":
            # The texts have both, so there is only one corpus.
            source = f"${{paths.{split}}}"
            reader = {"@readers": "spacy.Corpus.v1", "path": source, "gold_preproc": False}
            text = set_value(text, "corpora", split, reader)
    text = set_value(text, "nlp", "lang", lang)
    block = _encoder_block(text)
    if encoder is not None:
        text = set_value(text, "paths", "encoder", encoder)
        if read_value(text, "vars", "width") is not None:
            text = set_value(text, "vars", "width", width)
    if read_value(text, block, "device") is not None or device != "auto":
        text = set_value(text, block, "device", device)
    if task in ("labels", "both") and report["exclusive"] is False:
        text = set_value(text, "components.textcat", "factory", "reprtune_textcat_multilabel")
        text = set_value(text, "components.textcat", "threshold", 0.5)
        scorer = {"@scorers": "spacy.textcat_multilabel_scorer.v2"}
        text = set_value(text, "components.textcat", "scorer", scorer)
    if task == "spans":
        key = largest_group(report["spans"])
        text = fill_spans(text, recipe, key, report["spans"][key])
    n_texts = report["splits"]["train"]["texts"]
    if recipe == "setfit":
        # All texts are used, because there are few.
        text = set_value(text, "corpora.train", "per_class", n_texts)
        steps = setfit_steps(n_texts, width)
        text = set_value(text, "training", "max_steps", steps)
        text = set_value(text, "training", "eval_frequency", max(1, steps // 2))
    size = read_value(text, "training.batcher", "size")
    if recipe not in ("frozen", "setfit") and size and size.isdigit():
        steps = steps_for(n_texts, int(size))
        text = set_value(text, "training", "max_steps", steps)
        text = set_value(text, "training", "eval_frequency", max(1, steps // EVALUATIONS))
    rate_block = "training.optimizer.learn_rate"
    rate = read_value(text, rate_block, "initial_rate")
    factor = rate_factor(width)
    if recipe != "frozen" and rate and factor < 1:
        text = set_value(text, rate_block, "initial_rate", float(f"{float(rate) * factor:.1g}"))
    header = (
        textwrap.fill(
            f"Written for {corpus_dir.as_posix()} by `spacy reprtune init-config`. {why}",
            98,
            break_long_words=False,
            break_on_hyphens=False,
        )
        + f"\n\n  python -m spacy train THIS_FILE --output training/{recipe}"
    )
    return replace_header(text, header)


def _encoder_block(text: str) -> str:
    """Name of the section that names the encoder."""
    return next(
        section
        for section in sections(text)
        if read_value(text, section, "name") == "${paths.encoder}"
    )


def _mention_pretraining(config: str, recipe: Path, text: Path) -> str:
    note = (
        "Pretraining on your own text first:\n\n"
        f"  python -m spacy reprtune mlm {shlex.quote(recipe.as_posix())} --output training/my-mlm "
        f"--paths.text {shlex.quote(text.as_posix())}\n"
        f"\nthen add to the command above: --paths.encoder training/my-mlm/encoder"
    )
    head, rest = config.split("\n\n[", 1)
    lines = "\n".join(f"# {line}".rstrip() for line in note.splitlines())
    return f"{head}\n#\n{lines}\n\n[{rest}"


def _time(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"
