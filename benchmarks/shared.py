"""Two heads on one encoder: what the second costs in annotation, and whether both learn.

Annotation is timed for `nlp.pipe` over short texts (rotten_tomatoes sentences) and mixed documents,
with a text classifier and an entity recogniser on a shared encoder, with each of the two alone on
one, and with the text classifier on an encoder of its own, the cheapest pipeline there is. Training
is on a mixed corpus: some docs have only categories (rotten_tomatoes), the others only entities
(ncbi_disease). The two pipelines with one head are trained on the docs that are theirs.
"""

import argparse
import statistics
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from benchmarks import common, pipelines
from benchmarks.common import ENCODER, headline_precision, interleave, log, mean_std, ratio
from benchmarks.data import Texts, folder, mixed_documents, rotten_tomatoes

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

EPOCHS = 3
# spaCy's entity recogniser starts at random and has no rate of its own; at the 5e-5 of the other
# benchmarks it is still at the beginning after as many steps as these.
LEARN_RATE = 2e-4
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "upstream": "*",
    "pooling": {"@layers": "reduce_mean.v1"},
}
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

# Words of a sentence and the tag of each.
Sentence = Tuple[List[str], List[str]]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=3, repeats=5)
    parser.add_argument("--entities", choices=sorted(ENTITY_HEADS), default="ner")
    parser.add_argument("--precision", default=None, help="default: bf16 where the CPU has it")
    parser.add_argument("--docs", type=int, default=None, help="of each kind; 2000, quick 120")
    args = parser.parse_args(argv)
    args.precision = args.precision or headline_precision()
    common.fix_threads(args.threads)
    figures: Dict[str, Any] = {"precision": args.precision, "entity_head": args.entities}
    figures.update(annotation(args))
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
    """Train both heads together on the mixed corpus, and each alone on its docs.

    RETURNS (Dict[str, Any]): Accuracy of categories and F1 of entities on test, over seeds.
    """
    cats, ents = rotten_tomatoes(args), ncbi_disease(args)
    n_train = args.docs or (120 if args.quick else 2000)
    n_test = 200 if args.quick else None
    scores: Dict[str, List[float]] = {}
    for seed in range(1 if args.quick else args.seeds):
        for name, heads in {
            "together": ("cats", "ents"),
            "cats_apart": ("cats",),
            "ents_apart": ("ents",),
        }.items():
            common.seed_all(seed)
            nlp = shared_pipeline(args, *heads)
            train: List[Example] = []
            if "cats" in heads:
                picked = common.order(len(cats["train"]), 0)[:n_train]
                train += pipelines.make_examples(nlp, cats["train"].take(picked))
            if "ents" in heads:
                train += entity_examples(nlp, ents["train"][:n_train])
            _train(nlp, train, seed)
            if "cats" in heads:
                picked = common.order(len(cats["test"]), 0)[:n_test]
                test = cats["test"].take(picked)
                found = pipelines.best_labels(nlp, test.texts)
                right = sum(a == b for a, b in zip(found, test.labels, strict=True))
                _record(scores, f"accuracy_{name.removeprefix('cats_')}", right / len(test))
            if "ents" in heads:
                result = nlp.evaluate(entity_examples(nlp, ents["test"][:n_test]))
                _record(scores, f"ents_f_{name.removeprefix('ents_')}", result["ents_f"] or 0.0)
    figures: Dict[str, Any] = {"docs_of_each_kind": n_train, "epochs": EPOCHS}
    for name, values in scores.items():
        figures.update(mean_std(name, values))
    return figures


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
    model = {"@architectures": "spacy_reprtune.SharedEncoder.v1", "encoder": encoder}
    nlp.add_pipe("transformer", config={"model": model})
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


def ncbi_disease(args: argparse.Namespace) -> Dict[str, List[Sentence]]:
    """Read the NCBI disease corpus (Doğan et al. 2014).

    RETURNS (Dict[str, List[Sentence]]): "train" and "test".
    """
    path = folder(args, "ncbi_disease")
    splits = {}
    for split in ("train", "test"):
        blocks = (path / f"{split}.tsv").read_text(encoding="utf8").strip().split("\n\n")
        sentences = []
        for block in blocks:
            rows = [line.split("\t") for line in block.splitlines() if line.strip()]
            if rows:
                sentences.append(([row[0] for row in rows], [_tag(row[-1]) for row in rows]))
        splits[split] = sentences
    return splits


def entity_examples(nlp: "Language", sentences: List[Sentence]) -> List["Example"]:
    """RETURNS (List[Example]): An example a sentence, tokenised as published."""
    from spacy.tokens import Doc
    from spacy.training import Example

    return [
        Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words, ents=tags))
        for words, tags in sentences
    ]


def _tag(tag: str) -> str:
    tag = tag.strip()
    return tag if "-" in tag or tag == "O" else f"{tag}-DISEASE"


def _initial_examples(args: argparse.Namespace):
    texts = rotten_tomatoes(args)["train"]
    sample: Texts = texts.take(common.order(len(texts), 0)[:32])
    sentences = ncbi_disease(args)["train"][:32]

    def make(nlp: "Language") -> "List[Example]":
        return pipelines.make_examples(nlp, sample) + entity_examples(nlp, sentences)

    return make


def _train(nlp: "Language", examples: List["Example"], seed: int) -> None:
    from thinc.api import Adam, warmup_linear

    nlp.initialize(lambda: examples)
    n_steps = -(-len(examples) // pipelines.BATCH_SIZE) * EPOCHS
    optimizer = Adam(
        warmup_linear(LEARN_RATE, n_steps // 10, n_steps),  # type: ignore[arg-type]
        L2=pipelines.WEIGHT_DECAY,
        grad_clip=pipelines.GRAD_CLIP,
        use_averages=False,
        L2_is_weight_decay=True,
    )
    for epoch in range(EPOCHS):
        batches = pipelines.batches_by_length(examples, seed * EPOCHS + epoch)
        losses = pipelines.train_steps(nlp, optimizer, batches)
        log(f"epoch {epoch + 1} of {nlp.pipe_names[1:]}: {losses}")


def _record(scores: Dict[str, List[float]], name: str, value: float) -> None:
    log(f"{name}: {value:.4f}")
    scores.setdefault(name, []).append(value)


if __name__ == "__main__":
    main()
