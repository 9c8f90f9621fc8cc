"""The model card of a trained pipeline: a README that the hub and `spacy package` understand."""

import json
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..files import replaced_file
from .blocks import interval_text, join_words
from .bootstrap import RESAMPLES
from .card_facts import CardFacts, EncoderFacts
from .headline import is_exclusive
from .markdown import code, code_cell, markdown_table
from .page import render_template
from .values import part

_OWN_WORDS = "A spaCy pipeline:"
# Title, spaCy's key, type of the metric on the hub.
_SCORES = [
    ("macro F", "cats_macro_f", "f1"),
    ("accuracy", "cats_micro_f", "accuracy"),
    ("macro AUC", "cats_macro_auc", "roc_auc"),
    ("entity precision", "ents_p", "precision"),
    ("entity recall", "ents_r", "recall"),
    ("entity F", "ents_f", "f1"),
    ("tag accuracy", "tag_acc", "accuracy"),
    ("labelled attachment", "dep_las", "accuracy"),
    ("words per second", "speed", ""),
]
_TASKS = {"cats": "text-classification", "ents": "token-classification"}


def write_card(pipeline_dir: Path, facts: CardFacts) -> Path:
    """Write README.md into a pipeline's directory, and what `spacy package` reads into meta.json.

    `spacy package` copies README.md, and takes description, author, license, sources and
    performance from meta.json. `spacy train` leaves scores of dev and losses under performance;
    scores of the test set replace them.

    pipeline_dir (Path): The pipeline, changed in place.
    facts (CardFacts): What to say; its `meta` is written to meta.json.
    RETURNS (Path): The card.
    """
    meta = facts.meta
    # The description of an earlier card is out of date if labels have changed.
    if not meta.get("description") or meta["description"].startswith(_OWN_WORDS):
        meta["description"] = describe(facts)
    if facts.scores is not None:
        meta["performance"] = {k: v for k, v in facts.scores.items() if k != "run"}
    meta["sources"] = _sources(facts)
    path = pipeline_dir / "README.md"
    with replaced_file(path) as fresh:
        fresh.write_text(render_card(facts), encoding="utf8")
    with replaced_file(pipeline_dir / "meta.json") as fresh:
        fresh.write_text(json.dumps(meta, indent=2, ensure_ascii=False), encoding="utf8")
    return path


def render_card(facts: CardFacts) -> str:
    """RETURNS (str): The card in Markdown, with Hugging Face's metadata at the top."""
    labels = facts.meta.get("labels", {})
    return render_template(
        "card.md",
        facts=facts,
        meta=facts.meta,
        metadata=_metadata(facts),
        description=facts.meta.get("description") or describe(facts),
        only_entities=tasks(facts) == [_TASKS["ents"]],
        labels={component: list(map(code, own)) for component, own in labels.items() if own},
        scores=_score_rows(facts),
        per_label=_label_rows(facts),
        resamples=RESAMPLES,
        counts=_counts(facts),
        dropped=_dropped(facts),
        training=_training(facts),
        ece={
            what: facts.scores[key]
            for key, what in (("cats_ece", "labels"), ("ents_ece", "entities"))
            if facts.scores and facts.scores.get(key) is not None
        },
        freezing=freezing,
    )


def describe(facts: CardFacts) -> str:
    """RETURNS (str): The pipeline in one sentence."""
    kinds = []
    for component in facts.config["nlp"]["pipeline"]:
        labels = facts.meta.get("labels", {}).get(component, [])
        factory = facts.config["components"][component].get("factory", component)
        if labels:
            what = "entity types" if "ner" in factory else "labels"
            kinds.append(f"`{component}` with {len(labels)} {what}")
    encoders = dict.fromkeys(f"`{one.hub_id or one.name}`" for one in facts.encoders)
    on = f" on {join_words(list(encoders))}" if encoders else ""
    return f"{_OWN_WORDS} {join_words(kinds) or 'no labels'}{on}."


def tasks(facts: CardFacts) -> List[str]:
    """RETURNS (List[str]): The Hugging Face tasks of a pipeline, text classification first."""
    factories = [settings.get("factory", "") for settings in facts.config["components"].values()]
    found = []
    if any("textcat" in f or "setfit" in f for f in factories):
        found.append(_TASKS["cats"])
    if any(f == "ner" or f.endswith("_ner") for f in factories):
        found.append(_TASKS["ents"])
    return found


def freezing(encoder: EncoderFacts) -> str:
    """RETURNS (str): Which part of an encoder was trained, in words."""
    setting = f"`unfreeze = {json.dumps(encoder.unfreeze)}`"
    if encoder.unfreeze == "all":
        return f"{setting}: the whole encoder was trained"
    if encoder.unfreeze in ("none", 0):
        return f"{setting}: none of it was trained, its weights are the pretrained ones"
    blocks = f" of {encoder.blocks}" if encoder.blocks else ""
    return (
        f"{setting}: the last {encoder.unfreeze}{blocks} blocks were trained, everything below "
        "them has the pretrained weights"
    )


def _metadata(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data_name = facts.data_name or "the author's own test set"
    results = [
        EvalResult(
            task_type=_TASKS[key.split("_")[0]],
            dataset_type="-".join("".join(c if c.isalnum() else " " for c in data_name).split()),
            dataset_name=data_name,
            dataset_split="test",
            metric_type=kind,
            metric_name=title,
            metric_value=round(value, 4),
        )
        for title, key, kind, value in _known_scores(facts)
        if kind and key.split("_")[0] in _TASKS
    ]
    own_tasks = tasks(facts)
    bases = [e.hub_id for e in facts.encoders if e.hub_id]
    return ModelCardData(
        language=facts.meta["lang"],
        license=(facts.meta.get("license") or "").lower() or None,
        library_name="spacy",
        tags=["spacy", "spacy-reprtune", *own_tasks],
        pipeline_tag=own_tasks[0] if own_tasks else None,
        base_model=list(dict.fromkeys(bases)) or None,
        model_name=facts.package,
        eval_results=results or None,
    ).to_yaml()


def _known_scores(facts: CardFacts) -> List[Tuple[str, str, str, float]]:
    """Title, key, type and value of the scores that there are."""
    scores = facts.scores or {}
    found = []
    for title, key, kind in _SCORES:
        if key == "cats_micro_f" and not is_exclusive(scores):
            title, kind = "micro F", "f1"
        if isinstance(scores.get(key), (int, float)):
            found.append((title, key, kind, scores[key]))
    return found


def _score_rows(facts: CardFacts) -> List[Tuple[str, str, str]]:
    """Title, value and interval of each score."""
    intervals = facts.intervals.scores if facts.intervals else {}
    return [
        (
            title,
            f"{value:,.0f}" if key == "speed" else f"{value:.3f}",
            interval_text(intervals.get(key)),
        )
        for title, key, _, value in _known_scores(facts)
    ]


def _label_rows(facts: CardFacts) -> List[List[str]]:
    """Label, precision, recall, F, and interval of F."""
    own = facts.intervals.per_label if facts.intervals else {}
    return [
        [code_cell(label), *(f"{values[k]:.3f}" for k in "prf"), interval_text(own.get(label))]
        for key in ("cats_f_per_type", "ents_per_type")
        for label, values in ((facts.scores or {}).get(key) or {}).items()
    ]


def _counts(facts: CardFacts) -> str:
    """A table with one row per label and one column per split, from either kind of manifest."""
    manifest = facts.manifest or {}
    if "splits" in manifest:
        counts = {
            split: {"texts": own["texts"], **own["labels"], **own["entities"]}
            for split, own in manifest["splits"].items()
        }
        names = list(dict.fromkeys(name for own in counts.values() for name in own))
    else:
        # A harvest has one set for texts and one for entities, of which the pipeline knows one.
        keys = ("topics", "entities")
        counts = {
            split: {n: c for key in keys for n, c in part(part(manifest, key), split).items()}
            for split in ("train", "dev", "test")
        }
        known = {label for labels in facts.meta.get("labels", {}).values() for label in labels}
        names = [n for n in dict.fromkeys(n for own in counts.values() for n in own) if n in known]
    rows = [[name, *(f"{own.get(name, 0):,}" for own in counts.values())] for name in names]
    return markdown_table(["", *counts], rows).rstrip() if rows else ""


def _dropped(facts: CardFacts) -> str:
    counts = {
        what: sum(part(part(facts.manifest, what), "dropped").values())
        for what in ("texts", "entities")
    }
    return join_words([f"{count:,} {what}" for what, count in counts.items() if count])


def _training(facts: CardFacts) -> str:
    training = facts.config.get("training", {})
    optimizer = training.get("optimizer", {})
    rate = optimizer.get("learn_rate")
    if isinstance(rate, dict):
        rate = rate.get("initial_rate", rate.get("@schedules"))
    rows = [
        ("learning rate", rate),
        ("maximum steps", training.get("max_steps")),
        ("maximum epochs", training.get("max_epochs")),
        ("dropout", training.get("dropout")),
        ("weight decay", optimizer.get("L2")),
        ("seed", training.get("seed")),
    ]
    shown = [[name, str(value)] for name, value in rows if value not in (None, {})]
    return markdown_table(["setting", "value"], shown).rstrip()


def _sources(facts: CardFacts) -> Optional[List[Dict[str, str]]]:
    """What `spacy package` lists as sources: encoders and data."""
    sources = {}
    for encoder in facts.encoders:
        name = encoder.hub_id or encoder.name
        url = f"https://huggingface.co/{encoder.hub_id}" if encoder.hub_id else ""
        sources[name] = {"name": name, "url": url, "author": "", "license": ""}
    if facts.data_name:
        data = {"name": facts.data_name, "url": "", "author": ""}
        sources[facts.data_name] = {**data, "license": facts.data_license or ""}
    sources.pop("", None)
    return list(sources.values()) or facts.meta.get("sources")
