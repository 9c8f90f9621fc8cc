"""The model card of a trained pipeline: a README that the hub and `spacy package` understand."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import srsly

from .bootstrap import RESAMPLES
from .card_facts import CardFacts, EncoderFacts
from .intervals import Interval, show_interval
from .table import code, code_cell, markdown_table

# What is said where something is not known: a reader can tell it from what was left out.
MISSING = "missing"
_OWN_WORDS = "A spaCy pipeline:"
_DATA_SPLITS = ("train", "dev", "test")
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
    ("words a second", "speed", ""),
]
_TASKS = {"cats": "text-classification", "ents": "token-classification"}


def write_card(pipeline_dir: Path, facts: CardFacts) -> Path:
    """Write README.md into a pipeline's directory, and what `spacy package` reads into meta.json.

    `spacy package` takes a README.md that it finds, and copies description, author, licence,
    sources and performance of meta.json into the package's metadata. `spacy train` leaves scores
    of dev and losses under performance; those of the test set take their place.

    pipeline_dir (Path): The pipeline, changed in place.
    facts (CardFacts): What to say; its `meta` is what is written to meta.json.
    RETURNS (Path): The card.
    """
    meta = facts.meta
    # An earlier card's own words are said anew: labels may have changed.
    if not meta.get("description") or meta["description"].startswith(_OWN_WORDS):
        meta["description"] = describe(facts)
    if facts.scores is not None:
        left_out = ("run",)
        meta["performance"] = {k: v for k, v in facts.scores.items() if k not in left_out}
    meta["sources"] = _sources(facts)
    path = pipeline_dir / "README.md"
    for file, write in (
        (path, lambda target: target.write_text(render_card(facts), encoding="utf8")),
        (pipeline_dir / "meta.json", lambda target: srsly.write_json(target, meta)),
    ):
        temporary = file.with_name(f".{file.name}.tmp")
        write(temporary)
        temporary.replace(file)
    return path


def render_card(facts: CardFacts) -> str:
    """RETURNS (str): The card, in Markdown, with Hugging Face's metadata at the top."""
    sections: List[Tuple[str, Callable[[CardFacts], str]]] = [
        ("Use", _use),
        ("Labels", _labels),
        ("Test scores", _scores),
        ("Data", _data),
        ("Encoder", _encoder),
        ("Calibration", _calibration),
        ("Training", _training),
        ("Licence", _license),
        ("Versions", _versions),
    ]
    head = f"---\n{_front_matter(facts)}\n---\n\n# {facts.package}\n\n"
    head += f"{facts.meta.get('description') or describe(facts)}\n\n"
    body = "\n".join(f"## {title}\n\n{write(facts).rstrip()}\n" for title, write in sections)
    return head + body


def describe(facts: CardFacts) -> str:
    """RETURNS (str): The pipeline in one sentence."""
    kinds = []
    for component in facts.config["nlp"]["pipeline"]:
        labels = facts.meta.get("labels", {}).get(component, [])
        factory = facts.config["components"][component].get("factory", component)
        if labels:
            what = "entity types" if "ner" in factory else "labels"
            kinds.append(f"`{component}` with {len(labels)} {what}")
    encoders = [encoder.hub_id or encoder.name for encoder in facts.encoders]
    on = f" on {_and(f'`{name}`' for name in dict.fromkeys(encoders))}" if encoders else ""
    return f"{_OWN_WORDS} {_and(kinds) or 'no labels'}{on}."


def tasks(facts: CardFacts) -> List[str]:
    """RETURNS (List[str]): The Hugging Face tasks of a pipeline, texts before tokens."""
    factories = [settings.get("factory", "") for settings in facts.config["components"].values()]
    found = []
    if any("textcat" in f or "setfit" in f for f in factories):
        found.append(_TASKS["cats"])
    if any(f == "ner" or f.endswith("_ner") for f in factories):
        found.append(_TASKS["ents"])
    return found


def _front_matter(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data_name = facts.data_name or "the author's own test set"
    results = []
    for title, key, kind in _known_scores(facts):
        value = (facts.scores or {})[key]
        task = _TASKS.get(key.split("_")[0])
        if kind and task and isinstance(value, float):
            results.append(
                EvalResult(
                    task_type=task,
                    dataset_type=_slug(data_name),
                    dataset_name=data_name,
                    dataset_split="test",
                    metric_type=kind,
                    metric_name=title,
                    metric_value=round(value, 4),
                )
            )
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


def _use(facts: CardFacts) -> str:
    name, version = facts.package, facts.meta["version"]
    wheel = f"{name}-{version}-py3-none-any.whl"
    place = f"https://huggingface.co/{facts.repo}/resolve/main/{wheel}" if facts.repo else wheel
    out = "doc.ents" if tasks(facts) == [_TASKS["ents"]] else "doc.cats"
    text = (
        f"```bash\npip install {place}\n```\n\n"
        f'```python\nimport spacy\n\nnlp = spacy.load("{name}")\n'
        f'doc = nlp("A text.")\nprint({out})\n```\n\n'
        f"The package requires `spacy-reprtune`, whose wheel can lie beside it (`pip install "
        "--find-links DIRECTORY`). Loading needs no network.\n"
    )
    if facts.repo:
        text += (
            "\nWithout installing it, but with `spacy-reprtune` installed:\n\n"
            "```python\nfrom huggingface_hub import snapshot_download\nimport spacy\n\n"
            f'nlp = spacy.load(snapshot_download("{facts.repo}"))\n```\n'
        )
    return text


def _labels(facts: CardFacts) -> str:
    parts = []
    for component, labels in facts.meta.get("labels", {}).items():
        if labels:
            parts.append(f"- `{component}`: {', '.join(map(code, labels))}\n")
    return "".join(parts) or "The pipeline has no labels.\n"


def _scores(facts: CardFacts) -> str:
    if facts.scores is None:
        return f"{MISSING.capitalize()}: no scores were given (`reprtune card --metrics FILE`).\n"
    intervals = facts.intervals
    rows = []
    for title, key, _ in _known_scores(facts):
        value = facts.scores[key]
        shown = f"{value:,.0f}" if key == "speed" else f"{value:.3f}"
        interval = intervals.scores.get(key) if intervals else None
        rows.append([title, shown, show_interval(interval)])
    text = markdown_table(["score", "test", "95 % interval"], rows)
    if intervals:
        text += (
            f"\nIntervals are percentiles of {RESAMPLES:,} bootstrap samples of the "
            f"{intervals.docs:,} test documents.\n"
        )
    else:
        text += f"\nIntervals are {MISSING}: {facts.no_intervals}.\n"
    per_label = _per_label(facts)
    return f"{text}\n{per_label}" if per_label else text


def _known_scores(facts: CardFacts) -> List[Tuple[str, str, str]]:
    """Title, key and type of the scores that there are."""
    scores = facts.scores or {}
    known = [score for score in _SCORES if scores.get(score[1]) is not None]
    if scores.get("cats_score_desc") == "macro AUC":
        # Of independent labels it is no accuracy.
        known = [("micro F", k, "f1") if k == "cats_micro_f" else (t, k, m) for t, k, m in known]
    return known


def _per_label(facts: CardFacts) -> str:
    own: Dict[str, Interval] = facts.intervals.per_label if facts.intervals else {}
    rows = []
    for key in ("cats_f_per_type", "ents_per_type"):
        for label, values in ((facts.scores or {}).get(key) or {}).items():
            numbers = [f"{values[k]:.3f}" for k in ("p", "r", "f")]
            rows.append([code_cell(label), *numbers, show_interval(own.get(label))])
    header = ["label", "precision", "recall", "F", "95 % interval of F"]
    return markdown_table(header, rows) if rows else ""


def _data(facts: CardFacts) -> str:
    manifest = facts.manifest
    lines = [f"- Name: {facts.data_name or MISSING}", f"- Licence: {facts.data_license or MISSING}"]
    if manifest is None:
        lines.append(f"- Counts and origin: {MISSING} (`reprtune card --manifest FILE`)")
        return "\n".join(lines) + "\n"
    for source in manifest.get("sources", {}).values():
        digest = f", MD5 `{source['md5']}`" if "md5" in source else ""
        lines.append(f"- Source: `{source['name']}` ({source['format']}{digest})")
    if manifest.get("packages"):
        packages = ", ".join(f"{k} {v}" for k, v in manifest["packages"].items())
        lines.append(f"- Source: docstrings of {packages}; seed {manifest.get('seed')}")
    header, rows = _counts(manifest, facts)
    if not rows:
        lines.append(f"- Counts of these labels: {MISSING} in the manifest")
    text = "\n".join(lines) + "\n"
    if rows:
        text += "\n" + markdown_table(header, rows)
    dropped = {
        what: sum(manifest[what]["dropped"].values())
        for what in ("texts", "entities")
        if isinstance(manifest.get(what), dict) and "in" in manifest[what]
    }
    if any(dropped.values()):
        counts = _and(f"{count:,} {what}" for what, count in dropped.items() if count)
        text += f"\nLeft out in conversion: {counts}.\n"
    return text


def _counts(manifest: Dict[str, Any], facts: CardFacts) -> Tuple[List[str], List[List[str]]]:
    """A row a label of the pipeline, a column a split."""
    if "splits" in manifest:
        per_split = {
            name: {"texts": part["texts"], **part["labels"], **part["entities"]}
            for name, part in manifest["splits"].items()
        }
        rows = ["texts", *dict.fromkeys(k for part in per_split.values() for k in part)]
    else:
        parts = ("topics", "entities")
        per_split = {
            name: {k: v for part in parts for k, v in manifest.get(part, {}).get(name, {}).items()}
            for name in _DATA_SPLITS
        }
        # A harvest has a set for texts and one for entities.
        own = {label for labels in facts.meta.get("labels", {}).values() for label in labels}
        rows = [k for k in dict.fromkeys(k for p in per_split.values() for k in p) if k in own]
    table = [
        [name, *(f"{part.get(name, 0):,}" for part in per_split.values())]
        for name in dict.fromkeys(rows)
    ]
    return ["", *per_split], table


def _encoder(facts: CardFacts) -> str:
    if not facts.encoders:
        return "No component has an encoder of spacy-reprtune.\n"
    return "\n".join(_one_encoder(encoder, facts) for encoder in facts.encoders)


def _one_encoder(encoder: EncoderFacts, facts: CardFacts) -> str:
    before = f"`{encoder.sha256_before}`" if encoder.sha256_before else f"{MISSING} (not asked for)"
    known = f" (`{encoder.hub_id}`)" if encoder.hub_id and encoder.hub_id != encoder.name else ""
    several = f" of `{encoder.component}`" if len(facts.encoders) > 1 else ""
    return (
        f"- Encoder{several}: `{encoder.name or MISSING}`{known}, {encoder.family}, "
        f"{encoder.parameters:,} parameters, {encoder.blocks or '?'} blocks of width "
        f"{encoder.width or '?'}\n"
        f"- sha256 of the pretrained weights: {before}\n"
        f"- sha256 of the trained weights: `{encoder.sha256}` ({encoder.weights})\n"
        f"- Window: {encoder.window or 'as many'} word pieces"
        f"{'' if encoder.window else ' as the encoder takes'}; longer texts get several\n"
        f"- Freezing: {freezing(encoder)}\n"
    )


def freezing(encoder: EncoderFacts) -> str:
    """RETURNS (str): What of an encoder trained, in words."""
    setting = f"`unfreeze = {srsly.json_dumps(encoder.unfreeze)}`"
    if encoder.unfreeze == "all":
        return f"{setting}: the whole encoder trained"
    if encoder.unfreeze in ("none", 0):
        return f"{setting}: nothing of it trained, its weights are the pretrained ones"
    blocks = f" of {encoder.blocks}" if encoder.blocks else ""
    return (
        f"{setting}: the last {encoder.unfreeze}{blocks} blocks trained, everything below them "
        "has the pretrained weights"
    )


def _calibration(facts: CardFacts) -> str:
    lines = [
        f"- Temperature of `{component}`: {value:g}, fitted to dev"
        if value != 1.0
        else f"- Temperature of `{component}`: 1 (not fitted, or no better one found)"
        for component, value in facts.temperatures.items()
    ]
    scores = facts.scores or {}
    for key, what in (("cats_ece", "labels"), ("ents_ece", "entities")):
        if isinstance(scores.get(key), float):
            lines.append(f"- Expected calibration error of {what} on test: {scores[key]:.3f}")
    if not any(scores.get(key) is not None for key in ("cats_ece", "ents_ece")):
        lines.append(f"- Expected calibration error on test: {MISSING}")
    return "\n".join(lines) + "\n"


def _training(facts: CardFacts) -> str:
    training = facts.config.get("training", {})
    optimizer = training.get("optimizer", {})
    rate = optimizer.get("learn_rate")
    if isinstance(rate, dict):
        rate = rate.get("initial_rate", rate.get("@schedules"))
    rows = [
        ("learning rate", rate),
        ("steps at most", training.get("max_steps")),
        ("epochs at most", training.get("max_epochs")),
        ("dropout", training.get("dropout")),
        ("weight decay", optimizer.get("L2")),
        ("seed", training.get("seed")),
    ]
    shown = [[name, str(value)] for name, value in rows if value not in (None, {})]
    table = markdown_table(["setting", "value"], shown)
    return f"{table}\nAll settings are in `config.cfg`. 0 steps or epochs at most are no limit.\n"


def _license(facts: CardFacts) -> str:
    own = facts.meta.get("license")
    text = f"- Of this pipeline: {own or f'{MISSING} (`reprtune card --license`)'}\n"
    return text + f"- Of the data: {facts.data_license or MISSING}\n"


def _versions(facts: CardFacts) -> str:
    rows = [[name, version] for name, version in facts.versions.items()]
    text = markdown_table(["package", "version when this card was written"], rows)
    requirement = facts.meta.get("spacy_version") or MISSING
    return f"{text}\nThe pipeline requires spaCy {requirement}.\n"


def _sources(facts: CardFacts) -> Optional[List[Dict[str, str]]]:
    """What `spacy package` prints as sources: the encoder, the data."""
    sources = []
    for encoder in facts.encoders:
        name = encoder.hub_id or encoder.name
        url = f"https://huggingface.co/{encoder.hub_id}" if encoder.hub_id else ""
        sources.append({"name": name, "url": url, "author": "", "license": ""})
    if facts.data_name:
        license_name = facts.data_license or ""
        sources.append({"name": facts.data_name, "url": "", "author": "", "license": license_name})
    unique = {source["name"]: source for source in sources if source["name"]}
    return list(unique.values()) or facts.meta.get("sources")


def _and(parts: Any) -> str:
    *first, last = list(parts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
