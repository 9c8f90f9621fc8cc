"""Which recipe fits the data, the machine and the time, and why."""

import math
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import srsly

from .check import DEFAULT_ENCODER, check
from .corpus import find_splits, read_docs
from .recipes import (
    NER,
    PRETRAINING,
    TEXTCAT,
    available,
    read_value,
    recipe_folder,
    replace_header,
    set_value,
)

# Below so many texts a label, on average, contrastive training is ahead of a classifier's loss:
# Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts", compare 8 and 64.
FEW = 32
# Passes over the training texts, and the steps that warm-up and decay need at least.
EPOCHS = 3
MIN_STEPS = 120
BATCH = 16
EVALUATIONS = 6
# The gradient of a matrix product is two products: a training step is three forward passes.
_STEP = 3
# Seconds for which the encoder is timed.
_TIMED = 3.0
_NAMES = {
    "frozen": "A solved head on the frozen encoder",
    "setfit": "SetFit",
    "last-blocks": "Training the last blocks",
    "joint": "Joint fine-tuning",
}


@dataclass(frozen=True)
class Advice:
    """What to train.

    recipe (str): "frozen", "setfit", "last-blocks" or "joint".
    config (str): The config, complete and commented.
    why (str): Two sentences.
    seconds (Dict[str, float]): About how long each recipe takes on this machine.
    warnings (List[str]): What `check` has against the data.
    """

    recipe: str
    config: str
    why: str
    seconds: Dict[str, float]
    warnings: List[str]


def advise(
    corpus_dir: Path,
    *,
    minutes: float,
    device: str = "auto",
    encoder: Optional[str] = None,
    text: Optional[Path] = None,
    lang: str = "en",
    recipe: Optional[str] = None,
    recipes: Optional[Path] = None,
    curve: Path = Path("metrics/sweep.json"),
    speed: Optional[float] = None,
) -> Advice:
    """Choose a recipe and fill in its config.

    corpus_dir (Path): With train.spacy and dev.spacy.
    minutes (float): How long training may take.
    device (str): "auto", "cpu", "cuda".
    encoder (Optional[str]): Name of another encoder than the recipe's.
    text (Optional[Path]): Text of the same kind, for pretraining first.
    lang (str): Language of the pipeline.
    recipe (Optional[str]): A recipe to take whatever the data is like.
    recipes (Optional[Path]): Folder of the configs, the shipped ones if None.
    curve (Path): What `sweep` measured, cited if it exists.
    speed (Optional[float]): Pieces a second of the encoder, measured if None.
    RETURNS (Advice): The config and the reasons.
    RAISES (ValueError): The corpus can't be trained on, or there is no recipe for it.
    """
    if minutes <= 0:
        raise ValueError(f"--minutes is {minutes:g}; it has to be above 0.")
    report = check(corpus_dir, encoder=encoder, text=text, lang=lang)
    fatal = [f for f in report["findings"] if f["code"] in ("no_train", "no_dev", "empty_split")]
    if fatal or not (report["labels"] or report["entities"]):
        reasons = " ".join(f["message"] for f in fatal) or "No text has a label or an entity."
        raise ValueError(f"{corpus_dir} can't be trained on: {reasons}")
    folder = recipes or recipe_folder()
    is_textcat = bool(report["labels"])
    found = available(TEXTCAT if is_textcat else NER, folder)
    if is_textcat and not report["exclusive"]:
        # Pairs of texts with some labels in common are neither alike nor different.
        found.pop("setfit", None)
    if not found:
        kind = "text classification" if is_textcat else "entities"
        raise ValueError(f"{folder} has no recipe for {kind}.")
    if recipe is not None and recipe not in found:
        raise ValueError(f"There is no recipe '{recipe}'; there are {', '.join(found)}.")
    component = "textcat" if is_textcat else "ner"
    rate, depth = (
        (speed, 6) if speed else (measure_speed(corpus_dir, encoder or DEFAULT_ENCODER, device))
    )
    seconds = estimate(report, rate, depth, list(found))
    chosen, first = _choose(report, found, seconds, minutes, rate, recipe)
    why = f"{first} {_cite(curve)}"
    config = _fill(
        found[chosen].read_text("utf8"),
        report,
        recipe=chosen,
        why=why,
        component=component,
        corpus_dir=corpus_dir,
        encoder=encoder,
        device=device,
        lang=lang,
    )
    if text is not None and (folder / PRETRAINING).is_file():
        config = _mention_pretraining(config, folder / PRETRAINING, text, component)
    warnings = [f["message"] for f in report["findings"] if f["level"] != "note"]
    return Advice(chosen, config, why, seconds, warnings)


def measure_speed(corpus_dir: Path, encoder: str, device: str) -> Tuple[float, int]:
    """Time the encoder on some of the texts.

    corpus_dir (Path): The corpus.
    encoder (str): Its name.
    device (str): As in the config.
    RETURNS (Tuple[float, int]): Pieces a second, without gradients, and the number of blocks.
    RAISES (ValueError): There is no such encoder or device, or no text to time it on.
    """
    import spacy
    import torch

    from ..encoder.freezing import find_blocks
    from ..encoder.load import load_pretrained, resolve_encoder
    from ..encoder.pieces import PieceTokenizer
    from .checks.pieces import encoder_limit

    path = resolve_encoder(encoder)
    tokenizer = PieceTokenizer.from_directory(path)
    limit = encoder_limit(path, tokenizer)
    where = "cuda" if device.startswith("cuda") else "cpu"
    if where == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"--device is {device}, and torch finds no CUDA device here to time the encoder on. "
            "Run this where you will train, or use --device cpu."
        )
    model = load_pretrained(path).to(where)
    docs = read_docs(find_splits(corpus_dir)["train"], spacy.blank("en").vocab)
    texts = [doc.text for _, doc in zip(range(128), docs)]  # noqa: B905
    ids = sorted((p.ids[: limit - 2] for p in tokenizer(texts) if len(p)), key=len)
    if not ids:
        raise ValueError(
            f"The texts in {corpus_dir} have no word that the encoder could be timed on."
        )
    batches = [ids[k : k + 16] for k in range(0, len(ids), 16)]
    done, spent = 0, 0.0
    with torch.inference_mode():
        for k in range(1000):
            batch = batches[k % len(batches)]
            start = time.perf_counter()
            rows = torch.nn.utils.rnn.pad_sequence(
                [torch.as_tensor(row, dtype=torch.long) for row in batch], batch_first=True
            )
            mask = torch.arange(rows.shape[1]) < torch.tensor([[len(row)] for row in batch])
            model(input_ids=rows.to(where), attention_mask=mask.to(where))
            if where == "cuda":
                torch.cuda.synchronize()
            # The first pass warms up.
            if k:
                spent += time.perf_counter() - start
                done += sum(len(row) for row in batch)
            if spent > _TIMED:
                break
    return done / spent, len(find_blocks(model))


def estimate(
    report: Dict[str, Any], rate: float, depth: int, recipes: List[str]
) -> Dict[str, float]:
    """Say about how long each recipe takes, from the encoder's measured speed.

    report (Dict[str, Any]): Of `check`.
    rate (float): Pieces a second, forward.
    depth (int): Blocks of the encoder.
    recipes (List[str]): Their names.
    RETURNS (Dict[str, float]): Recipe to seconds.
    """
    # Two special pieces a text.
    mean = report["pieces"].get("mean", 0.0) + 2
    n_texts = report["splits"]["train"]["texts"]
    passes = _steps(n_texts, BATCH) / math.ceil(n_texts / BATCH)
    train = n_texts * mean / rate
    dev = report["splits"]["dev"]["texts"] * mean / rate
    costs = {
        # The texts pass the frozen blocks once, and dev as well.
        "frozen": train + dev,
        "last-blocks": train + dev + (passes * _STEP * train + EVALUATIONS * dev) * 2 / depth,
        "joint": passes * _STEP * train + EVALUATIONS * dev,
    }
    # What SetFit takes depends on its pairs, not on passes.
    return {recipe: round(costs[recipe], 1) for recipe in recipes if recipe in costs}


def _steps(n_texts: int, batch: int) -> int:
    return max(MIN_STEPS, EPOCHS * math.ceil(n_texts / batch))


def _choose(
    report: Dict[str, Any],
    found: Dict[str, Path],
    seconds: Dict[str, float],
    minutes: float,
    rate: float,
    wanted: Optional[str],
) -> Tuple[str, str]:
    n_texts = report["splits"]["train"]["texts"]
    n_labels = len(report["labels"]) or len(report["entities"].get("labels", {}))
    measured = f"{rate:,.0f} pieces a second on this machine"
    if wanted and wanted not in seconds:
        return (
            wanted,
            f"{_NAMES[wanted]}, as asked for, on {n_texts:,} texts for {n_labels} labels.",
        )
    if wanted:
        return wanted, (
            f"{_NAMES[wanted]}, as asked for: about {_time(seconds[wanted])} for {n_texts:,} "
            f"texts, by the encoder's {measured}."
        )
    if "setfit" in found and n_texts < FEW * n_labels:
        return "setfit", (
            f"SetFit, because there are {n_texts:,} texts for {n_labels} labels, fewer than {FEW} "
            "each, where learning which texts belong together gets more out of them."
        )
    for recipe in ("joint", "last-blocks", "frozen"):
        if recipe in found and seconds[recipe] <= 60 * minutes:
            more = [r for r in ("joint", "last-blocks") if r in found and seconds[r] > 60 * minutes]
            instead = (
                f", and {_NAMES[more[0]].lower()} about {_time(seconds[more[0]])}" if more else ""
            )
            return recipe, (
                f"{_NAMES[recipe]}, because {n_texts:,} texts take it about "
                f"{_time(seconds[recipe])} of your {minutes:g} minutes{instead}, by the encoder's "
                f"{measured}."
            )
    cheapest = min(seconds, key=lambda r: seconds[r])
    return cheapest, (
        f"{_NAMES[cheapest]}, the quickest there is, although it takes about "
        f"{_time(seconds[cheapest])} and you have {minutes:g} minutes, by the encoder's {measured}."
    )


def _cite(curve: Path) -> str:
    """What was measured, if it was."""
    try:
        points = srsly.read_json(curve)["points"]
        parts = [
            f"unfreeze = {p['unfreeze']}: {p['mean']:.3f} in {p['seconds']:.0f} s" for p in points
        ]
    except (ValueError, OSError, KeyError, TypeError):
        return (
            "How much each block more gives on this data is not measured yet: "
            "`spacy reprtune sweep` draws that curve."
        )
    return f"The curve measured in {curve} is {'; '.join(parts)}."


def _fill(
    text: str,
    report: Dict[str, Any],
    *,
    recipe: str,
    why: str,
    component: str,
    corpus_dir: Path,
    encoder: Optional[str],
    device: str,
    lang: str,
) -> str:
    splits = find_splits(corpus_dir)
    text = set_value(text, "paths", "train", splits["train"].as_posix())
    text = set_value(text, "paths", "dev", splits["dev"].as_posix())
    text = set_value(text, "nlp", "lang", lang)
    if encoder is not None:
        text = set_value(text, "paths", "encoder", encoder)
        text = set_value(text, _path(component), "sha256", None)
    if read_value(text, _path(component), "device") is not None:
        text = set_value(text, _path(component), "device", device)
    if report["exclusive"] is False:
        text = set_value(text, "components.textcat", "factory", "reprtune_textcat_multilabel")
        text = set_value(text, "components.textcat", "threshold", 0.5)
        scorer = {"@scorers": "spacy.textcat_multilabel_scorer.v2"}
        text = set_value(text, "components.textcat", "scorer", scorer)
    size = read_value(text, "training.batcher", "size")
    if recipe in ("joint", "last-blocks") and size and size.isdigit():
        n_texts = report["splits"]["train"]["texts"]
        steps = _steps(n_texts, int(size))
        text = set_value(text, "training", "max_steps", steps)
        text = set_value(text, "training", "eval_frequency", max(1, steps // EVALUATIONS))
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


def _mention_pretraining(config: str, recipe: Path, text: Path, component: str) -> str:
    note = (
        "Pretraining on your own text first:\n\n"
        f"  python -m spacy reprtune mlm {recipe.as_posix()} --output training/my-mlm "
        f"--paths.text {text.as_posix()}\n"
        "\nthen add to the command above: --paths.encoder training/my-mlm/encoder "
        f"--{_path(component)}.sha256 null"
    )
    head, rest = config.split("\n\n[", 1)
    lines = "\n".join(f"# {line}".rstrip() for line in note.splitlines())
    return f"{head}\n#\n{lines}\n\n[{rest}"


def _path(component: str) -> str:
    return f"components.{component}.model.encoder"


def _time(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"
