"""Do components train, evaluate and save on a GPU, and agree with the CPU afterwards?

Each pipeline trains on the device, is saved, and predicts there and on the CPU: the largest
difference of scores in fp32, and the share of equal best labels and entities in bf16. `cupy` does
the same with thinc on the device as well (`--gpu-id 0` of spaCy's commands), `frozen` with the
cache of frozen blocks. `resume` kills a pretraining and goes on with it.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from benchmarks.gpu import setup

KINDS = ("textcat", "multilabel", "setfit", "ner", "shared")
# Processes of `nlp.pipe`.
N_PROCESS = 2


def agreement(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Differences between the device and the CPU, by pipeline."""
    figures: Dict[str, Any] = {}
    texts = setup.some_texts(args, 512 if setup.on_gpu() else 24)
    encoder = setup.make_encoder(texts)
    for kind in KINDS:
        figures.update(_compare(kind, encoder, texts))
    frozen = _compare("textcat", encoder, texts, unfreeze=1)
    figures.update({f"frozen_{name}": value for name, value in frozen.items()})
    padded = _compare("ner", encoder, texts, packed=False) if setup.on_gpu() else {}
    figures.update({f"padded_{name}": value for name, value in padded.items()})
    return figures


def cupy(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The same with CuPy, or why there is none."""
    import spacy

    if not spacy.prefer_gpu():
        return {"not_run": "no CuPy, or no GPU"}
    return agreement(args)


def workers(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The largest difference between the scores of `nlp.pipe` with
    `n_process` and without."""
    # A process with a GPU can't be forked.
    multiprocessing.set_start_method("spawn", force=True)
    texts = setup.some_texts(args, 256 if setup.on_gpu() else 8)
    nlp = setup.trained("textcat", setup.make_encoder(texts), texts, precision="fp32")
    here = [doc.cats for doc in nlp.pipe(texts)]
    docs = nlp.pipe(texts, n_process=N_PROCESS, batch_size=max(1, len(texts) // 4))
    there = [doc.cats for doc in docs]
    pairs = zip(here, there, strict=True)
    return {"workers_largest_difference": max(abs(a[k] - b[k]) for a, b in pairs for k in a)}


def resume(args: argparse.Namespace) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Held-out loss after a pretraining, and after one that was killed
    and resumed."""
    texts = setup.some_texts(args, 4000 if setup.on_gpu() else 200)
    encoder = setup.make_encoder(texts)
    folder = Path(tempfile.mkdtemp(prefix="gpu-resume-"))
    (folder / "text.txt").write_text("\n".join(dict.fromkeys(texts)), encoding="utf8")
    config = {
        "encoder": {"name": str(encoder), "device": setup.device()},
        "corpus": {"train": str(folder / "text.txt"), "heldout": 0.1},
        "training": {
            "max_steps": 60 if setup.on_gpu() else 8,
            "head_steps": 2,
            "eval_every": 20 if setup.on_gpu() else 4,
            "step_pieces": 16384 if setup.on_gpu() else 512,
            "batch_pieces": 16384 if setup.on_gpu() else 256,
        },
    }
    _pretrain(config, folder / "whole")
    # A process with a GPU can't be forked.
    process = multiprocessing.get_context("spawn").Process(
        target=_pretrain, args=(config, folder / "killed"), daemon=True
    )
    process.start()
    while process.is_alive() and not list((folder / "killed" / "checkpoints").glob("*/state.json")):
        time.sleep(0.01)
    killed = process.is_alive()
    process.kill()
    process.join()
    _pretrain(config, folder / "killed")
    losses = {
        name: json.loads((folder / name / "report.json").read_text())["after"]["heldout"]
        for name in ("whole", "killed")
    }
    return {
        "resume_was_killed": killed,
        "resume_heldout_difference": abs(losses["whole"] - losses["killed"]),
    }


def _pretrain(config: Dict[str, Any], output: Path) -> None:
    from spacy_reprtune.pretraining.run import pretrain
    from spacy_reprtune.pretraining.settings import settings_from

    pretrain(settings_from(config), output)


def _compare(kind: str, encoder: Path, texts: List[str], **settings: Any) -> Dict[str, Any]:
    import spacy

    nlp = setup.pipeline(kind, setup.encoder_config(encoder, "fp32", **settings))
    examples = setup.examples_of(nlp, texts)
    nlp.initialize(lambda: examples)
    setup.train(nlp, examples, steps=30 if setup.on_gpu() else 3, size=16)
    scores = nlp.evaluate(examples[:16])
    folder = tempfile.mkdtemp(prefix="gpu-agreement-")
    nlp.to_disk(folder)
    owner = "encoder.model" if kind == "shared" else f"{kind}.model.encoder"
    read = {
        name: list(setup.outputs(spacy.load(folder, config=_setting(owner, changed)), texts))
        for name, changed in {
            "device": {"device": setup.device()},
            "cpu": {"device": "cpu"},
            "bf16": {"device": setup.device(), "precision": "bf16"},
        }.items()
    }
    cats = [
        abs(a[label] - b[label])
        for (a, _, _), (b, _, _) in zip(read["device"], read["cpu"], strict=True)
        for label in a
    ]
    ents = [
        abs(x - y)
        for (_, found, own), (_, expected, other) in zip(read["device"], read["cpu"], strict=True)
        if found == expected
        for x, y in zip(own, other, strict=True)
    ]
    same = [
        _best(a) == _best(b) and x == y
        for (a, x, _), (b, y, _) in zip(read["bf16"], read["cpu"], strict=True)
    ]
    equal = [x == y for (_, x, _), (_, y, _) in zip(read["device"], read["cpu"], strict=True)]
    return {
        f"{kind}_fp32_largest_difference": max([*cats, *ents], default=0.0),
        f"{kind}_fp32_texts_with_equal_entities": sum(equal) / len(equal),
        f"{kind}_bf16_texts_with_equal_best": sum(same) / len(same),
        f"{kind}_score": scores.get("ents_f", scores.get("cats_score")),
    }


def _setting(owner: str, changed: Dict[str, str]) -> Dict[str, str]:
    return {f"components.{owner}.{name}": value for name, value in changed.items()}


def _best(cats: Dict[str, float]) -> Any:
    return max(cats, key=cats.get) if cats else None  # type: ignore[arg-type]
