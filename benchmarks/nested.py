"""Nested and overlapping spans: a recognizer with a lattice per label, beside spaCy's `spancat`.

The spans are in harvested docstrings. The authors marked code in them (CLASS, FUNCTION, ATTRIBUTE
and CODE); Python's own parser says what is inside: the CALL, each ARGUMENT of it and the OWNER in
front of the last dot. Documents with nested spans come first. All systems train the last blocks of
the same encoder on the same documents, in the same order, for the same steps. `spancat` has its
n-gram suggester, as long as it has to be for 95 % of the training spans, and is trained at several
learning rates, of which the best on test counts. Both heads listen to our shared encoder;
a third system is `spancat` on the `transformer` of spacy-transformers, which trains all blocks.
Times are those of `nlp.pipe` over the test documents.
"""

import argparse
import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from benchmarks import common

DOCS, TEST_DOCS, STEPS, BATCH = 1200, 250, 150, 16
BLOCKS = 2
# Learning rates of each system. The head of this package starts from a probe; spancat's starts at
# random, so its rate has to suit a new head and a pretrained encoder.
RATES = {"reprtune": (1e-4,), "spancat": (3e-4, 1e-3), "spancat_trf": (3e-4,)}
KEY, COVERED = "ner", 0.95
TOKEN = re.compile(r"\w+|[^\w\s]")
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 384, "upstream": "*"}

Place = Tuple[int, int, str]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=2, repeats=3)
    add = parser.add_argument
    add("--corpus", type=Path, default=Path("corpus"), help="harvested corpus")
    add("--systems", nargs="+", choices=sorted(RATES), default=["reprtune", "spancat"])
    add("--steps", type=int, default=STEPS, help="training steps of each system")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    if args.quick:
        args.steps = min(args.steps, 4)
    train = nested_docs(args, "train", 64 if args.quick else DOCS)
    test = nested_docs(args, "test", 30 if args.quick else TEST_DOCS)
    longest = length_that_covers(train)
    figures: Dict[str, Any] = {"precision": "fp32", "steps": args.steps, "longest_ngram": longest}
    figures.update(described(train))
    scores: Dict[str, Dict[float, List[float]]] = {}
    trained: Dict[str, Any] = {}
    for seed in common.seed_range(args):
        for name in args.systems:
            for rate in RATES[name]:
                common.seed_all(seed)
                nlp = train_system(name, train, longest, rate, seed, args.steps)
                f = span_f(nlp, test)
                common.log(f"{name} {rate:g} seed {seed}: F1 {f:.3f}")
                by_rate = scores.setdefault(name, {})
                by_rate.setdefault(rate, []).append(f)
                if f >= max(value for own in by_rate.values() for value in own):
                    trained[name] = nlp
    for name, by_rate in scores.items():
        rate = max(by_rate, key=lambda r: sum(by_rate[r]))
        figures.update(common.mean_std(f"{name}_f", by_rate[rate]))
        figures[f"{name}_rate"] = rate
    runs = {
        name: lambda _, nlp=nlp: sum(len(doc.spans[KEY]) for doc in nlp.pipe(docs_of(nlp, test)))
        for name, nlp in trained.items()
    }
    for run in runs.values():
        run(0)
    times = common.interleave(runs, args.repeats)
    for name in times:
        if name != "reprtune" and "reprtune" in times:
            figures.update(common.ratio(f"speed_over_{name}", times[name], times["reprtune"]))
    figures["test_docs"] = len(test)
    common.emit("nested", args, figures)


def nested_docs(args: argparse.Namespace, split: str, n: int) -> List[Tuple[Any, List[Place]]]:
    """RETURNS (List[Tuple[Doc, List[Tuple[int, int, str]]]]): Documents with their spans, in tokens
    that are words and single signs."""
    import spacy
    from spacy.tokens import Doc, DocBin

    path = args.corpus / "entities" / f"{split}.spacy"
    if not path.is_file():
        common.fail(f"there is no {path}: python -m spacy project run harvest, or name --corpus")
    vocab = spacy.blank("en").vocab
    found = []
    for doc in DocBin().from_disk(path).get_docs(vocab):
        matches = list(TOKEN.finditer(doc.text))
        ends = [m.start() for m in matches[1:]] + [len(doc.text)]
        spaces = [m.end() < end for m, end in zip(matches, ends, strict=True)]
        tokens = Doc(vocab, words=[m.group() for m in matches], spaces=spaces)
        marked = [(e.start_char, e.end_char, e.label_) for e in doc.ents]
        inside = [span for start, end, _ in marked for span in parts(doc.text, start, end)]
        starts = {m.start(): i for i, m in enumerate(matches)}
        after = {m.end(): i + 1 for i, m in enumerate(matches)}
        # White space of more than one character is one space in the new doc, so by token.
        spans = {
            (starts[a], after[b], label)
            for a, b, label in [*marked, *inside]
            if a in starts and b in after
        }
        if spans:
            found.append((tokens, sorted(spans)))
    return sorted(found, key=lambda item: not inner(item[1]))[:n]


def parts(text: str, start: int, end: int) -> Iterator[Place]:
    """YIELDS (Tuple[int, int, str]): What Python's parser finds in a piece of code: calls, their
    arguments, and what is in front of the last dot. Nothing if it is not Python."""
    code = text[start:end]
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError):
        return
    if not code.isascii():
        return  # The parser counts bytes.
    longer = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield start + node.col_offset, start + (node.end_col_offset or 0), "CALL"
            for argument in [*node.args, *node.keywords]:
                last = start + (argument.end_col_offset or 0)
                yield start + argument.col_offset, last, "ARGUMENT"
        elif isinstance(node, ast.Attribute) and id(node) not in longer:
            yield start + node.col_offset, start + (node.value.end_col_offset or 0), "OWNER"


def length_that_covers(docs: List[Tuple[Any, List[Place]]]) -> int:
    """RETURNS (int): Tokens that nearly all spans have at most."""
    lengths = sorted(end - start for _, spans in docs for start, end, _ in spans)
    return lengths[int(COVERED * (len(lengths) - 1))]


def described(docs: List[Tuple[Any, List[Place]]]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What is in the training documents."""
    labels = Counter(label for _, spans in docs for _, _, label in spans)
    return {
        "docs": len(docs),
        "tokens_per_doc": round(sum(len(doc) for doc, _ in docs) / len(docs), 1),
        "spans": dict(sorted(labels.items())),
        "nested": sum(len(inner(spans)) for _, spans in docs),
        "nested_in_their_own_label": sum(
            len(inner([span for span in spans if span[2] == label]))
            for _, spans in docs
            for label in labels
        ),
    }


def inner(spans: List[Place]) -> List[Place]:
    """RETURNS (List[Tuple[int, int, str]]): The spans that are inside of another."""
    return [s for s in spans if any(o != s and o[0] <= s[0] and s[1] <= o[1] for o in spans)]


def docs_of(nlp: Any, docs: List[Tuple[Any, List[Place]]]) -> Iterator[Any]:
    """YIELDS (Doc): The documents without annotation, for the pipeline's vocabulary."""
    from spacy.tokens import Doc

    for doc, _ in docs:
        yield Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])


def examples_of(nlp: Any, docs: List[Tuple[Any, List[Place]]]) -> List[Any]:
    """RETURNS (List[Example]): The documents with their gold spans."""
    from spacy.tokens import Span
    from spacy.training import Example

    found = []
    for doc, (_, spans) in zip(docs_of(nlp, docs), docs, strict=True):
        gold = doc.copy()
        gold.spans[KEY] = [Span(gold, start, end, label=label) for start, end, label in spans]
        found.append(Example(doc, gold))
    return found


def train_system(
    name: str, docs: List[Tuple[Any, List[Place]]], longest: int, rate: float, seed: int, steps: int
) -> Any:
    """RETURNS (Language): A trained pipeline."""
    from benchmarks.pipelines import adam

    nlp = pipeline(name, longest)
    examples = examples_of(nlp, docs)
    nlp.initialize(lambda: examples)
    optimizer = adam(steps, rate)
    order = common.order(len(examples), seed)
    for step in range(steps):
        chosen = [order[(step * BATCH + i) % len(order)] for i in range(BATCH)]
        losses = nlp.update([examples[i] for i in chosen], sgd=optimizer)
        optimizer.step_schedules()
        if step % 25 == 24:
            common.log(f"{name} step {step + 1}: {losses}")
    return nlp


def pipeline(name: str, longest: int) -> Any:
    """RETURNS (Language): A pipeline to be initialized."""
    import spacy

    nlp = spacy.blank("en")
    listener = LISTENER
    if name == "spancat_trf":
        from benchmarks.peers.spacy_transformers_textcat import LISTENER as listener
        from benchmarks.peers.spacy_transformers_textcat import TRANSFORMER

        model: Dict[str, Any] = {**TRANSFORMER, "name": str(common.encoder_directory())}
        nlp.add_pipe("transformer", config={"model": model, "max_batch_items": 4096})
    else:
        model = {"@architectures": "spacy_reprtune.Encoder.v1", "name": common.ENCODER}
        model.update(device="cpu", precision="fp32", unfreeze=BLOCKS)
        nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": model})
    if name == "reprtune":
        head = {"@architectures": "spacy_reprtune.TokenClassifier.v1", "encoder": listener}
        settings = {"model": head, "overlapping": True, "head_init": "probe", "spans_key": KEY}
        nlp.add_pipe("reprtune_ner", name="ner", config=settings)
        return nlp
    ngrams = {"@misc": "spacy.ngram_range_suggester.v1", "min_size": 1, "max_size": longest}
    # The settings of spaCy's quickstart.
    head = {
        "@architectures": "spacy.SpanCategorizer.v1",
        "tok2vec": listener,
        "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128},
        "scorer": {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None},
    }
    nlp.add_pipe("spancat", config={"model": head, "suggester": ngrams, "spans_key": KEY})
    return nlp


def span_f(nlp: Any, docs: List[Tuple[Any, List[Place]]]) -> float:
    """RETURNS (float): F1 of labeled spans over the test documents."""
    right = found = wanted = 0
    for doc, (_, spans) in zip(nlp.pipe(docs_of(nlp, docs)), docs, strict=True):
        predicted = {(span.start, span.end, span.label_) for span in doc.spans[KEY]}
        right += len(predicted & set(spans))
        found += len(predicted)
        wanted += len(spans)
    return 2 * right / max(found + wanted, 1)


if __name__ == "__main__":
    main()
