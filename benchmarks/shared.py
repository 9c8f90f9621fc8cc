"""Two heads on one encoder: what the second costs in annotation, and whether both learn.

Annotation is timed for `nlp.pipe` over short texts (rotten_tomatoes sentences) and mixed documents,
with a text classifier and an entity recognizer on a shared encoder, with only one of the two on
it, and with the text classifier on an encoder of its own, the cheapest pipeline there is. Training
is on a mixed corpus: some docs have only categories (rotten_tomatoes), the others only entities
(ncbi_disease). The two pipelines with one head are trained on the docs that are theirs. These
trainings can be killed and go on with the same `--results`, side by side if need be.
"""

import argparse
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from benchmarks import common, pipelines
from benchmarks.common import ENCODER, headline_precision, interleave, log, mean_std, ratio
from benchmarks.data import Tagged, Texts, mixed_documents, rotten_tomatoes, tagged
from benchmarks.finished import Finished, Result
from benchmarks.ner_pipelines import make_examples as entity_examples

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

PARTS = ("annotation", "training")
EPOCHS = 3
# spaCy's entity recognizer starts at random and has no rate of its own; at the 5e-5 of the other
# benchmarks it has hardly learned anything after this many steps.
LEARN_RATE = 2e-4
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 384, "upstream": "*"}
ENTITY_HEADS: Dict[str, Dict[str, Any]] = {
    # The quickstart's settings.
    "ner": {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "nO": None,
        "tok2vec": LISTENER,
    },
    "reprtune_ner": {
        "@architectures": "spacy_reprtune.TokenClassifier.v1",
        "encoder": LISTENER,
    },
}

# Which heads each training has, and what of its scores is reported.
TRAININGS = {
    "together": ("cats", "ents"),
    "cats_apart": ("cats",),
    "ents_apart": ("ents",),
}


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=5)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    add("--entities", choices=sorted(ENTITY_HEADS), default="ner", help="entity recognizer")
    add("--precision", default=headline_precision(), help="precision of the encoder")
    add("--docs", type=int, default=None, help="docs of each kind; 2000, quick 120")
    add("--epochs", type=int, default=EPOCHS, help="epochs of each training")
    add("--learn-rate", type=float, default=LEARN_RATE, help="rate of each training")
    common.add_results(parser)
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores="annotation" in args.parts)
    figures: Dict[str, Any] = {"precision": args.precision, "entity_head": args.entities}
    if "annotation" in args.parts:
        figures.update(annotation(args))
    if "training" in args.parts:
        figures.update(training(args))
    common.emit("shared", args, figures)


def annotation(args: argparse.Namespace) -> Dict[str, Any]:
    """Time pipelines with untrained heads, whose cost is that of trained ones.

    RETURNS (Dict[str, Any]): What two heads cost, as a multiple of one.
    """
    sentences = rotten_tomatoes(args)["train"].texts
    examples = _initial_examples(args)
    systems = {
        "both": shared_pipeline(args, "cats", "ents"),
        "cats": shared_pipeline(args, "cats"),
        "ents": shared_pipeline(args, "ents"),
        "own": pipelines.reprtune_textcat(args.precision),
    }
    for nlp in systems.values():
        made = examples(nlp)
        nlp.initialize(lambda made=made: made)
    shuffled = [sentences[i] for i in common.order(len(sentences), 0)]
    n_short, n_mixed = (300, 30) if args.quick else (3000, 300)
    sets = {"short": shuffled[:n_short], "mixed": mixed_documents(sentences, n_mixed, seed=0)}
    figures: Dict[str, Any] = {}
    for name, texts in sets.items():

        def run(nlp: "Language", texts: List[str] = texts) -> None:
            for _ in nlp.pipe(texts, batch_size=128):
                pass

        for nlp in systems.values():
            run(nlp, texts[:16])
        repeats = 3 if args.quick else args.repeats
        times = interleave(
            {key: lambda _, nlp=nlp: run(nlp) for key, nlp in systems.items()}, repeats
        )
        for other in ("cats", "ents", "own"):
            figures.update(ratio(f"{name}_both_over_{other}", times["both"], times[other]))
        figures[f"{name}_both_seconds"] = round(statistics.median(times["both"]), 2)
    return figures


def training(args: argparse.Namespace) -> Dict[str, Any]:
    """Train both heads together on the mixed corpus, and each by itself on its docs.

    RETURNS (Dict[str, Any]): Accuracy of categories and F1 of entities on test, over seeds.
    """
    n_train = args.docs or (120 if args.quick else 2000)
    keys = [
        {
            "training": name,
            "seed": seed,
            "docs": n_train,
            "epochs": args.epochs,
            "learn_rate": args.learn_rate,
            "entities": args.entities if "ents" in heads else None,
            "precision": args.precision,
            "quick": args.quick,
        }
        for seed in (range(1) if args.quick else common.seed_range(args))
        for name, heads in TRAININGS.items()
    ]
    run = [
        (key, partial(_train_and_score, args, n_train, key["training"], key["seed"]))
        for key in keys
    ]
    scores: Dict[str, List[float]] = {}
    for result in Finished(args.results, threads=args.threads).run(run):
        for name, value in result.items():
            scores.setdefault(name, []).append(value)
    figures: Dict[str, Any] = {"docs_of_each_kind": n_train, "epochs": args.epochs}
    figures["learn_rate"] = args.learn_rate
    for name, values in scores.items():
        figures.update(mean_std(name, values))
    return figures


def _train_and_score(args: argparse.Namespace, n_train: int, name: str, seed: int) -> Result:
    """RETURNS (Dict[str, Any]): Scores on test by the name of the figure."""
    heads = TRAININGS[name]
    cats, ents = rotten_tomatoes(args), tagged(args, "ncbi_disease")
    n_test = 200 if args.quick else None
    common.seed_all(seed)
    nlp = shared_pipeline(args, *heads)
    train: List[Example] = []
    if "cats" in heads:
        picked = common.order(len(cats["train"]), 0)[:n_train]
        train += pipelines.make_examples(nlp, cats["train"].take(picked))
    if "ents" in heads:
        train += entity_examples(nlp, ents["train"][:n_train])
    _train(nlp, train, seed, args)
    scores: Result = {}
    if "cats" in heads:
        test = cats["test"].take(common.order(len(cats["test"]), 0)[:n_test])
        found = pipelines.best_labels(nlp, test.texts)
        right = sum(a == b for a, b in zip(found, test.labels, strict=True))
        scores[f"accuracy_{name.removeprefix('cats_')}"] = right / len(test)
    if "ents" in heads:
        result = nlp.evaluate(entity_examples(nlp, ents["test"][:n_test]))
        scores[f"ents_f_{name.removeprefix('ents_')}"] = result["ents_f"] or 0.0
    log(f"seed {seed}: {scores}")
    return scores


def shared_pipeline(args: argparse.Namespace, *heads: str) -> "Language":
    """Build a pipeline on a shared encoder.

    heads (str): "cats", "ents" or both.
    RETURNS (Language): The pipeline, not yet initialized.
    """
    import spacy

    nlp = spacy.blank("en")
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": ENCODER,
        "precision": args.precision,
    }
    nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder})
    if "cats" in heads:
        classifier = {
            "@architectures": "spacy_reprtune.TextClassifier.v1",
            "pooling": "mean",
            "encoder": LISTENER,
        }
        nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": classifier})
    if "ents" in heads:
        nlp.add_pipe(args.entities, name="ner", config={"model": ENTITY_HEADS[args.entities]})
    return nlp


def _initial_examples(args: argparse.Namespace):
    texts = rotten_tomatoes(args)["train"]
    sample: Texts = texts.take(common.order(len(texts), 0)[:32])
    sentences: List[Tagged] = tagged(args, "ncbi_disease")["train"][:32]

    def make(nlp: "Language") -> "List[Example]":
        return pipelines.make_examples(nlp, sample) + entity_examples(nlp, sentences)

    return make


def _train(nlp: "Language", examples: List["Example"], seed: int, args: argparse.Namespace) -> None:
    nlp.initialize(lambda: examples)
    n_steps = -(-len(examples) // pipelines.BATCH_SIZE) * args.epochs
    optimizer = pipelines.adam(n_steps, args.learn_rate)
    for epoch in range(args.epochs):
        batches = pipelines.batches_by_length(examples, seed * args.epochs + epoch)
        losses = pipelines.train_steps(nlp, optimizer, batches)
        log(f"epoch {epoch + 1} of {nlp.pipe_names[1:]}: {losses}")


if __name__ == "__main__":
    main()
