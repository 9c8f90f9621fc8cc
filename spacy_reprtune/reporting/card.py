"""The model card of a trained pipeline: a README that the hub and `spacy package` understand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ..files import replaced_file
from .blocks import interval_text, join_words
from .bootstrap import RESAMPLES
from .card_facts import CardFacts, EncoderFacts
from .headline import is_exclusive, labels_key, score_kinds, span_keys
from .markdown import code, code_cell, markdown_table, plain
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
    ("labeled attachment", "dep_las", "accuracy"),
    ("words per second", "speed", ""),
]
_TASKS = {"doc.cats": "text-classification", "doc.ents": "token-classification"}


def write_card(pipeline_dir: Path, facts: CardFacts) -> Path:
    """Write README.md into a pipeline's directory, and update meta.json for `spacy package`.

    `spacy package` copies README.md, and takes description, author, license, sources and
    performance from meta.json. Under performance, `spacy train` stores losses and scores on dev;
    scores on the test set replace them.

    pipeline_dir (Path): The pipeline, changed in place.
    facts (CardFacts): Content of the card. Its `meta` is written to meta.json.
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
    dropped = {
        what: sum(part(part(facts.manifest, what), "dropped").values())
        for what in ("texts", "entities")
    }
    return render_template(
        "card.md",
        facts=facts,
        meta=facts.meta,
        metadata=_metadata(facts),
        description=facts.meta.get("description") or describe(facts),
        outputs=_outputs(facts),
        known_scores=_known_scores(facts),
        per_label=[
            (_label_cell(label, kind), own, facts.intervals.per_label.get(key, {}).get(label))
            for kind in score_kinds(facts.scores or {})
            for key in [labels_key(kind)]
            for label, own in ((facts.scores or {}).get(key) or {}).items()
        ],
        resamples=RESAMPLES,
        counts=data_counts(facts),
        dropped=join_words([f"{count:,} {what}" for what, count in dropped.items() if count]),
        training=_training(facts.config.get("training", {})),
        freezing=freezing,
        code=code,
        plain=plain,
        interval_text=interval_text,
        table=markdown_table,
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
    found = {_TASKS.get(output, _TASKS["doc.ents"]) for output in _outputs(facts)}
    return sorted(found)


def _outputs(facts: CardFacts) -> List[str]:
    """The attributes of a doc that hold the predictions, as Python expressions."""
    found = []
    for settings in facts.config["components"].values():
        factory = settings.get("factory", "")
        spans = f"doc.spans[{json.dumps(settings.get('spans_key'), ensure_ascii=False)}]"
        if any(name in factory for name in ("textcat", "setfit", "cascade")):
            found.append("doc.cats")
        elif factory == "ner" or factory.endswith("_ner"):
            found.append(spans if settings.get("overlapping") else "doc.ents")
        elif factory.startswith("spancat") or factory.endswith("_span_classifier"):
            found.append(spans)
    return list(dict.fromkeys(found))


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
            task_type=_TASKS["doc.cats" if key.startswith("cats") else "doc.ents"],
            dataset_type="-".join("".join(c if c.isalnum() else " " for c in data_name).split()),
            dataset_name=data_name,
            dataset_split="test",
            metric_type=kind,
            metric_name=title,
            metric_value=round(value, 4),
        )
        for title, key, kind, value in _known_scores(facts)
        if kind and key.startswith(("cats_", "ents_", "spans_"))
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
    """Title, key, type and value of each available score."""
    scores = facts.scores or {}
    found = []
    spans = [
        (f"{title.replace('entity', 'span')} ({key})", name.replace("ents", f"spans_{key}"), kind)
        for key in span_keys(scores)
        for title, name, kind in _SCORES
        if name.startswith("ents_")
    ]
    for title, key, kind in [*spans, *_SCORES]:
        if key == "cats_micro_f" and not is_exclusive(scores):
            title, kind = "micro F", "f1"
        if isinstance(scores.get(key), (int, float)):
            found.append((title, key, kind, scores[key]))
    return found


def _label_cell(label: str, kind: str) -> str:
    """A label for a table, with the key if it is one of spans."""
    spans = kind.startswith("spans_")
    return f"{code_cell(label)} ({plain(kind[len('spans_') :])})" if spans else code_cell(label)


def data_counts(facts: CardFacts) -> str:
    """RETURNS (str): A table with one row per label and one column per split, from either kind of
    manifest."""
    manifest = facts.manifest or {}
    if "splits" in manifest:
        counts = {
            split: {
                ("", "texts"): own["texts"],
                **{("texts", name): count for name, count in own["labels"].items()},
                **{("entities", name): count for name, count in own["entities"].items()},
            }
            for split, own in manifest["splits"].items()
        }
        rows = dict.fromkeys(row for own in counts.values() for row in own)
    else:
        # A harvest has one set for texts and one for entities, of which the pipeline knows one.
        counts = {
            split: {
                (kind, name): count
                for kind, key in (("texts", "topics"), ("entities", "entities"))
                for name, count in part(part(manifest, key), split).items()
            }
            for split in ("train", "dev", "test")
        }
        known = {label for labels in facts.meta.get("labels", {}).values() for label in labels}
        rows = dict.fromkeys(row for own in counts.values() for row in own if row[1] in known)
    names = Counter(name for _, name in rows)
    cells = [
        [
            # A text and an entity may have the same label.
            f"{name} ({kind})" if kind and names[name] > 1 else name,
            *(f"{own.get((kind, name), 0):,}" for own in counts.values()),
        ]
        for kind, name in rows
    ]
    return markdown_table(["", *counts], cells) if cells else ""


def _training(training: Dict[str, Any]) -> List[List[str]]:
    """The settings to show, with their values."""
    optimizer = training.get("optimizer", {})
    rate = optimizer.get("learn_rate")
    if isinstance(rate, dict):
        rate = rate.get("initial_rate", rate.get("@schedules"))
    settings = {
        "learning rate": rate,
        "maximum steps": training.get("max_steps"),
        "maximum epochs": training.get("max_epochs"),
        "dropout": training.get("dropout"),
        "weight decay": optimizer.get("L2"),
        "seed": training.get("seed"),
    }
    return [[name, str(value)] for name, value in settings.items() if value is not None]


def _sources(facts: CardFacts) -> Optional[List[Dict[str, str]]]:
    """The sources that `spacy package` lists: encoders and data."""
    hub = "https://huggingface.co/"
    known = [(e.hub_id or e.name, hub + e.hub_id if e.hub_id else "", "") for e in facts.encoders]
    known.append((facts.data_name or "", "", facts.data_license or ""))
    sources = {
        name: {"name": name, "url": url, "author": "", "license": license}
        for name, url, license in known
        if name
    }
    return list(sources.values()) or facts.meta.get("sources")
