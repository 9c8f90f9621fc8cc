"""Whether thresholds that are fitted on dev reach their precision on test.

Heads are fitted as probes to a frozen encoder: rotten_tomatoes as exclusive labels; conll2003,
ncbi_disease and wnut17 as entities, and as sentences whose independent labels are the kinds of
entities in them. Each label of a set is a pair that counts once it has a threshold and something is
kept on test. The precision on test is reached, or within its bound: the upper end of its interval
(Clopper and Pearson, one-sided, 95 %) reaches it. Dev and test of a set may differ, which no bound
covers, so halves of both together, drawn at random, show how often the promise is kept otherwise.
"""

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from benchmarks import common, data

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

# The kinds of entities in the sentences of a set are independent labels.
SENTENCES = "_sentences"
SETS = ("rotten_tomatoes", *data.NER_FILES, *(name + SENTENCES for name in data.NER_FILES))
TRAIN = 2000
DRAWS = 50

# Scores of predictions and whether each is right.
Scored = Tuple[List[float], List[bool]]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--precisions", nargs="+", type=float, default=[0.7, 0.8, 0.9])
    parser.add_argument("--work", type=Path, default=None, help="keeps the predictions of each set")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    figures: Dict[str, Any] = {}
    pairs = defaultdict(list)
    for name in args.sets:
        for precision, label, found in measure(args, name):
            key = f"{name} {label} at {precision:g}"
            common.log(f"{key}: {found}")
            figures[key] = found
            pairs[precision].append(found)
    for precision, found in pairs.items():
        given = [pair for pair in found if pair.get("test_kept")]
        held = [pair["halves_broken"] for pair in found if pair["halves_broken"] is not None]
        figures[f"at {precision:g}"] = {
            "labels": len(found),
            "pairs": len(given),
            "reached": sum(pair["test_precision"] >= precision for pair in given),
            "within_bound": sum(pair["test_upper"] >= precision for pair in given),
            "halves_broken": round(sum(held) / len(held), 4) if held else None,
        }
        common.log(f"at {precision:g}: {figures[f'at {precision:g}']}")
    common.emit("thresholds", args, figures)


def measure(args: Any, name: str) -> List[Tuple[float, str, Dict[str, Any]]]:
    """RETURNS (List[Tuple[float, str, Dict[str, Any]]]): Precision, label and figures of pairs."""
    import numpy

    from spacy_reprtune.heads.thresholds import fit_threshold

    dev, test = predictions(args, name)
    results = []
    for precision in args.precisions:
        for label in sorted(dev):
            test.setdefault(label, ([], []))
            scores, right = map(numpy.array, dev[label])
            fit = fit_threshold(scores, right, precision=precision)
            pair = {"threshold": fit.threshold, "dev_kept": fit.n_kept, "dev_right": fit.n_right}
            pair.update(dev_all=fit.n_all, needed=fit.needed)
            if fit.threshold is not None:
                pair.update(on_test(test[label], fit.threshold))
            pair["halves_broken"] = halves(dev[label], test[label], precision)
            results.append((precision, label, pair))
    return results


def predictions(args: Any, name: str) -> List[Dict[str, Scored]]:
    """RETURNS (List[Dict[str, Tuple[List[float], List[bool]]]]): The predictions of each label, on
    dev and on test."""
    path = (
        args.work / f"{name}-{common.encoder_tag()}{'-quick' * args.quick}.json"
        if args.work
        else None
    )
    if path is not None and path.is_file():
        return json.loads(path.read_text(encoding="utf8"))
    nlp, splits = trained(args, name)
    found = [by_label(nlp, splits[split]) for split in ("dev", "test")]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found), encoding="utf8")
    return found


def by_label(nlp: "Language", examples: List["Example"]) -> Dict[str, Scored]:
    """RETURNS (Dict[str, Tuple[List[float], List[bool]]]): The predictions of each label."""
    from spacy.training import Example

    from spacy_reprtune.components.thresholds import scored_predictions

    docs = nlp.pipe(eg.predicted.copy() for eg in examples)
    pairs = [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]
    found: Dict[str, Scored] = defaultdict(lambda: ([], []))
    for label, score, right in scored_predictions(nlp.pipeline[0][1], pairs):  # type: ignore
        found[label][0].append(float(score))
        found[label][1].append(bool(right))
    return found


def on_test(scored: Scored, threshold: float) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What a threshold does on test."""
    from scipy.stats import beta

    kept = [right for score, right in zip(*scored, strict=True) if score >= threshold]
    result = {"test_all": len(scored[0]), "test_kept": len(kept)}
    if kept:
        wrong = len(kept) - sum(kept)
        upper = 1.0 if not wrong else float(beta.ppf(0.95, sum(kept) + 1, wrong))
        result.update(test_precision=round(sum(kept) / len(kept), 4), test_upper=round(upper, 4))
        result["test_coverage"] = round(len(kept) / len(scored[0]), 4)
    return result


def halves(dev: Scored, test: Scored, precision: float) -> Optional[float]:
    """RETURNS (Optional[float]): The share of random halves of dev and test whose threshold misses
    the precision on the other half, beyond its bound; None if no half has a threshold."""
    import numpy

    from spacy_reprtune.heads.thresholds import fit_threshold

    scores, right = numpy.array(dev[0] + test[0]), numpy.array(dev[1] + test[1])
    rng, broken = random.Random(0), []
    for _ in range(DRAWS):
        order = rng.sample(range(len(scores)), len(scores))
        one, other = order[: len(dev[0])], order[len(dev[0]) :]
        fit = fit_threshold(scores[one], right[one], precision=precision)
        if fit.threshold is not None:
            found = on_test((scores[other].tolist(), right[other].tolist()), fit.threshold)
            broken.append(bool(found.get("test_upper", 1.0) < precision))
    return sum(broken) / len(broken) if broken else None


def trained(args: Any, name: str) -> Tuple["Language", Dict[str, List["Example"]]]:
    """RETURNS (Tuple[Language, Dict[str, List[Example]]]): A pipeline whose head is a probe, and
    the examples of each split."""
    from benchmarks import ner_pipelines, pipelines

    n_train, n_rest = (200, 300) if args.quick else (TRAIN, None)
    if name in data.NER_FILES:
        nlp = ner_pipelines.reprtune_ner("fp32", head_init="probe")
        sets, make = data.tagged(args, name), ner_pipelines.make_examples
    elif name == "rotten_tomatoes":
        nlp = pipelines.reprtune_textcat("fp32", head_init="probe")
        sets, make = data.rotten_tomatoes(args), pipelines.make_examples
    else:
        nlp = pipelines.reprtune_textcat("fp32")
        model = nlp.config["components"]["textcat"]["model"]
        config = {"model": model, "head_init": "probe"}
        nlp.replace_pipe("textcat", "reprtune_textcat_multilabel", config=config)
        sets, make = data.tagged(args, name.removesuffix(SENTENCES)), sentences
    splits = {}
    for split, items in sets.items():
        size = n_train if split == "train" else n_rest or len(items)
        chosen = common.order(len(items), 0)[:size]
        part = items.take(chosen) if hasattr(items, "take") else [items[i] for i in chosen]
        splits[split] = make(nlp, part)
    nlp.initialize(lambda: splits["train"])
    return nlp, splits


def sentences(nlp: "Language", items: List[data.Tagged]) -> List["Example"]:
    """RETURNS (List[Example]): Sentences, and which kinds of entities are in each."""
    from benchmarks.ner_pipelines import make_examples

    examples = make_examples(nlp, items)
    labels = sorted({label for item in items for *_, label in item.entities})
    for example, item in zip(examples, items, strict=True):
        kinds = {label for *_, label in item.entities}
        example.reference.cats = {label: float(label in kinds) for label in labels}
    return examples


if __name__ == "__main__":
    main()
