"""What the few-shot benchmark trains: this project's component, and the `setfit` library."""

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from benchmarks import common
from benchmarks.common import ENCODER, headline_precision
from benchmarks.data import LABELS, Texts
from benchmarks.few_shot_data import FewShot
from benchmarks.peers.setfit_trainer import SetFitPeer, steps_of
from benchmarks.pipelines import adam, best_labels

if TYPE_CHECKING:
    from spacy.language import Language

STEPS, RATE, BATCH_SIZE = 20, 5e-5, 32
BOOK_ITERATIONS = 20
# Of the library's default, to extrapolate from.
TIMED_STEPS = (10, 40)
# What is trained on each sample, in this order, and the suffixes of their accuracies.
SYSTEMS = {
    "probe": "_probe",
    "ours": "",
    "ours_fp32": "_fp32",
    "ours_supcon": "_supcon",
    "ours_names": "_names",
    "book": "_setfit",
    "default": "_setfit_default",
}


def train(name: str, data: FewShot, seed: int, args: argparse.Namespace) -> Dict[str, Any]:
    """Train a system on a sample.

    name (str): One of SYSTEMS.
    data (FewShot): Where the sample is from, and what is scored.
    seed (int): Seed of the sample and of the training.
    args (argparse.Namespace): The parsed command line.
    RETURNS (Dict[str, Any]): Seconds; accuracy and F1 (of "positive", or else the mean over all
        labels), None where the seconds are extrapolated; the steps of the training and those of
        them that ran.
    """
    sample = data.sample(seed)
    if name == "book":
        return run_peer(data.test, sample, seed, BOOK_ITERATIONS)
    if name == "default":
        return run_peer(data.test, sample, seed, None, cap_seconds=60.0 * args.cap_minutes)
    steps = 0 if name == "probe" else STEPS
    precision = "fp32" if name == "ours_fp32" else headline_precision()
    loss = "supcon" if name == "ours_supcon" else "cosine"
    start = time.perf_counter()
    if name == "ours_names":
        nlp, steps = best_on_dev(data, sample, seed), 2 * STEPS
    else:
        nlp = ours(sample, seed, steps=steps, contrastive=loss, precision=precision)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        **scores(best_labels(nlp, data.test.texts), data.test.labels),
        "steps": steps,
        "measured_steps": steps,
    }


def best_on_dev(data: FewShot, sample: Texts, seed: int) -> "Language":
    """RETURNS (Language): The better one on dev of a training with the texts only and one with the
    names of the labels beside them."""
    trained = [
        ours(texts, seed, contrastive="supcon") for texts in (sample, data.with_names(sample))
    ]
    return max(trained, key=lambda nlp: accuracy(nlp, data.dev))


def ours(
    sample: Texts,
    seed: int,
    *,
    steps: int = STEPS,
    rate: float = RATE,
    contrastive: str = "cosine",
    precision: Optional[str] = None,
    on_step: Callable[[int, "Language"], None] = lambda done, nlp: None,
) -> "Language":
    """Train this project's component from loading the encoder to a fitted head.

    on_step (Callable[[int, Language], None]): Called before the first step and after each one, with
        the steps that are done and the pipeline.
    RETURNS (Language): The trained pipeline.
    """
    import spacy
    from spacy.training import Example
    from spacy.util import registry

    common.seed_all(seed)
    nlp = spacy.blank("en")
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": ENCODER,
        "precision": precision or headline_precision(),
    }
    model = {"@architectures": "spacy_reprtune.SentenceClassifier.v1", "encoder": encoder}
    settings = {"model": model, "contrastive": contrastive}
    pipe: Any = nlp.add_pipe("reprtune_setfit", name="textcat", config=settings)
    labels = sorted(set(sample.labels))
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {k: float(k == gold) for k in labels}})
        for text, gold in zip(sample.texts, sample.labels, strict=True)
    ]
    nlp.initialize(lambda: examples)
    optimizer = adam(max(steps, 1), rate)
    batcher = registry.batchers.get("spacy_reprtune.batch_by_class.v1")(size=BATCH_SIZE, seed=seed)
    done = epoch = 0
    on_step(0, nlp)
    while done < steps:
        shuffled = [examples[i] for i in common.order(len(examples), 1000 * seed + epoch)]
        epoch += 1
        for batch in batcher(shuffled):
            if done < steps:
                nlp.update(batch, sgd=optimizer, losses={})
                optimizer.step_schedules()
                done += 1
                on_step(done, nlp)
    pipe.before_save()
    return nlp


def run_peer(
    test: Texts,
    sample: Texts,
    seed: int,
    iterations: Optional[int],
    *,
    cap_seconds: Optional[float] = None,
) -> Dict[str, Any]:
    """Train with the library.

    test, sample (Texts): To score, and to train with.
    seed (int): Seed of the trainer.
    iterations (Optional[int]): The book's setting, or None for the library's default.
    cap_seconds (Optional[float]): The longest training that runs, or None for no limit. What
        would take longer is extrapolated: from the measured seconds per step, and the number of
        steps, which is known exactly.
    RETURNS (Dict[str, Any]): As `train`.
    """
    steps = steps_of(sample.labels, iterations)

    def peer(**settings: Any) -> SetFitPeer:
        return SetFitPeer(
            sample.texts, sample.labels, num_iterations=iterations, seed=seed, **settings
        )

    if cap_seconds is not None and steps > TIMED_STEPS[1]:
        # Two lengths: what is not a step (loading, making pairs) is in both.
        few, many = TIMED_STEPS
        short, long = (peer(max_steps=n).train_body() for n in (few, many))
        seconds = long + (steps - many) * (long - short) / (many - few)
        if seconds > cap_seconds:
            return {
                "seconds": seconds,
                "accuracy": None,
                "f1": None,
                "steps": steps,
                "measured_steps": many,
            }
    start = time.perf_counter()
    trained = peer()
    trained.train()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        **scores(trained.predict(test.texts), test.labels),
        "steps": steps,
        "measured_steps": steps,
    }


def accuracy(nlp: "Language", test: Texts) -> float:
    """RETURNS (float): Share of texts whose best label is the gold one."""
    return scores(best_labels(nlp, test.texts), test.labels)["accuracy"]


def scores(found: List[str], gold: List[str]) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Accuracy, and F1 of "positive" or else the mean over labels."""
    from sklearn.metrics import f1_score

    found = list(found)
    share = statistics.fmean(a == b for a, b in zip(found, gold, strict=True))
    if set(gold) == set(LABELS):
        f1 = f1_score(gold, found, pos_label="positive")
    else:
        f1 = f1_score(gold, found, average="macro")
    return {"accuracy": share, "f1": float(f1)}
