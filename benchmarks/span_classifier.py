"""Labels of sentences in one pass over their document, beside a text classifier per sentence.

Two sets. In `sections`, a document is a docstring, and the label of a paragraph is the section that
it is in. In `reviews`, a document is a row of sentences of rotten_tomatoes that have nothing to do
with each other, so what else is in it can only mislead. All systems train on the same sentences for
the same steps. F1 is per sentence. Times are those of `nlp.pipe` over the documents. The text
classifier gets all sentences in one `nlp.pipe`, which is its fastest way, (`by_document`) those of
a document in one, and (`one_by_one`) each in a call of its own. Both start from a probe. The third
system is spaCy's `spancat` on the same encoder, with the sentences as its suggestions. Its head
starts at random, so it has the better of two rates, as its score on test says.
"""

import argparse
from typing import Any, Callable, Dict, List, Optional, Tuple

from benchmarks import common, data, docstring_sections
from benchmarks.annotation_help import shuffled

DOCS, TEST_DOCS, STEPS, BATCH = 200, 60, 100, 4
SENTENCES = 12
RATES = {"spans": (1e-4,), "sentences": (1e-4,), "spancat": (1e-4, 3e-4)}
SETS = {"sections": docstring_sections.LABELS, "reviews": data.LABELS}
SYSTEMS = ("spans", "sentences", "spancat")


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=3)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    figures: Dict[str, Any] = {"precision": "fp32"}
    for name in args.sets:
        for key, value in measure(args, name).items():
            figures[f"{name}_{key}"] = value
    common.emit("span_classifier", args, figures)


def measure(args: argparse.Namespace, name: str) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): F1 and times of the systems on a set."""
    n_docs, n_test, steps = (8, 4, 2) if args.quick else (DOCS, TEST_DOCS, STEPS)
    train, test = documents(args, name, n_docs, n_test)
    gold = [label for doc in test for _, label in doc]
    scores: Dict[str, List[float]] = {system: [] for system in args.systems}
    predict: Dict[str, Callable[[int], Any]] = {}
    for seed in common.seed_range(args):
        for system in args.systems:
            found = []
            for rate in RATES[system]:
                common.seed_all(seed)
                find = trained(system, train, SETS[name], steps, seed, rate)
                found.append((macro_f(find(test), gold, SETS[name]), find))
            score, find = max(found, key=lambda pair: pair[0])
            scores[system].append(score)
            predict[system] = lambda _, find=find: find(test)
            if system == "sentences":
                apart = {
                    "by_document": [[doc] for doc in test],
                    "one_by_one": [[[sentence]] for doc in test for sentence in doc],
                }
                for way, calls in apart.items():
                    predict[way] = lambda _, f=find, calls=calls: [f(docs) for docs in calls]
            common.log(f"{name} {system} {seed}: {scores[system][-1]:.3f}")
    times = common.interleave(predict, args.repeats)
    figures: Dict[str, Any] = {"sentences": len(gold)}
    for system, values in scores.items():
        figures.update(common.mean_std(f"{system}_f", values))
    if "spans" in times:
        for other in times.keys() - {"spans"}:
            figures.update(common.ratio(f"time_of_{other}", times["spans"], times[other]))
    return figures


Sentence = Tuple[str, str]


def documents(
    args: argparse.Namespace, name: str, n_train: int, n_test: int
) -> Tuple[List[List[Sentence]], List[List[Sentence]]]:
    """RETURNS (Tuple[List[List[Sentence]], List[List[Sentence]]]): Sentences with their labels, by
    document, to train on and to test with."""
    found = []
    splits: Any = docstring_sections.docstring_paragraphs() if name == "sections" else None
    for split, n in (("train", n_train), ("test", n_test)):
        if splits is not None:
            found.append([splits[split][i] for i in common.order(len(splits[split]), 0)[:n]])
        else:
            texts = shuffled(data.rotten_tomatoes(args)[split], n * SENTENCES)
            pairs = list(zip(texts.texts, texts.labels, strict=True))
            found.append([pairs[i : i + SENTENCES] for i in range(0, len(pairs), SENTENCES)])
    return found[0], found[1]


def trained(
    name: str,
    train: List[List[Sentence]],
    labels: Tuple[str, ...],
    steps: int,
    seed: int,
    rate: float,
) -> Callable:
    """RETURNS (Callable): Labels of all sentences of documents, by a system that was trained."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": common.ENCODER}
    encoder.update(device="cpu", precision="fp32")
    if name == "sentences":
        model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
        nlp.add_pipe("reprtune_textcat", config={"model": model, "head_init": "probe"})
        batches = [
            [
                Example.from_dict(nlp.make_doc(t), {"cats": {x: float(x == y) for x in labels}})
                for t, y in doc
            ]
            for doc in train
        ]
    else:
        if name == "spans":
            model = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": encoder}
            settings = {"model": model, "spans": "given", "head_init": "probe"}
            nlp.add_pipe("reprtune_span_classifier", config=settings)
        else:
            model = {"@architectures": "spacy.SpanCategorizer.v1", "tok2vec": encoder}
            model["reducer"] = {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128}
            model["scorer"] = {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None}
            # Its best label counts, however sure it is.
            suggester = {"@misc": "given_spans.v1"}
            settings = {"model": model, "suggester": suggester, "threshold": 0.0}
            register_suggester()
            nlp.add_pipe("spancat", config=settings)
        batches = [[Example(place(nlp, doc), place(nlp, doc, labels=True))] for doc in train]
    examples = [example for batch in batches for example in batch]
    optimizer = nlp.initialize(lambda: examples)
    order = common.order(len(batches), seed)
    for step in range(steps):
        chosen = [order[(step * BATCH + i) % len(order)] for i in range(BATCH)]
        optimizer.learn_rate = rate * min(1.0, (step + 1) / 10) * (1.0 - step / steps)
        nlp.update([eg for i in chosen for eg in batches[i]], sgd=optimizer)
    return lambda docs: predicted(nlp, name, docs)


def place(nlp: Any, sentences: List[Sentence], *, labels: bool = False) -> Any:
    """RETURNS (Doc): A document with its sentences as spans, and their labels if asked."""
    doc = nlp.make_doc(" ".join(text for text, _ in sentences))
    start = 0
    doc.spans["given"], doc.spans["sc"] = [], []
    for text, label in sentences:
        end = start + len(text)
        doc.spans["given"].append(doc.char_span(start, end, alignment_mode="expand"))
        if labels:
            doc.spans["sc"].append(doc.char_span(start, end, label, alignment_mode="expand"))
        start = end + 1
    return doc


def register_suggester() -> None:
    """Let spancat look at the sentences only."""
    import numpy
    from spacy.util import registry
    from thinc.api import get_current_ops
    from thinc.types import Ragged

    if "given_spans.v1" in registry.misc:
        return

    @registry.misc("given_spans.v1")
    def make() -> Callable:
        def suggest(docs: Any, *, ops: Any = None) -> Ragged:
            ops = ops or get_current_ops()
            pairs = [[(s.start, s.end) for s in doc.spans["given"]] for doc in docs]
            flat = numpy.array([p for own in pairs for p in own], dtype="i").reshape(-1, 2)
            return Ragged(ops.asarray(flat), ops.asarray1i([len(own) for own in pairs]))

        return suggest


def predicted(nlp: Any, name: str, docs: List[List[Sentence]]) -> List[str]:
    """RETURNS (List[str]): The label of each sentence."""
    if name == "sentences":
        found = nlp.pipe(text for doc in docs for text, _ in doc)
        return [max(doc.cats, key=doc.cats.__getitem__) for doc in found]
    labels = []
    for doc in nlp.pipe(place(nlp, own) for own in docs):
        best: Dict[Tuple[int, int], Tuple[float, str]] = {}
        for span, score in zip(doc.spans["sc"], doc.spans["sc"].attrs["scores"], strict=True):
            at = span.start, span.end
            best[at] = max(best.get(at, (0.0, "")), (float(score), span.label_))
        labels += [best.get((s.start, s.end), (0.0, ""))[1] for s in doc.spans["given"]]
    return labels


def macro_f(found: List[str], gold: List[str], labels: Tuple[str, ...]) -> float:
    """RETURNS (float): The mean F1 over the labels."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, found, labels=labels, average="macro", zero_division=0.0))


if __name__ == "__main__":
    main()
