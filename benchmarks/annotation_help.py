"""Planted annotation errors that `check --labels` finds, and texts that `next` saves.

Labels: 5 % and 10 % of the labels are replaced, at random or within the pair of labels that heads
confuse most; the figure is the share of replaced labels among the first so many suspects. Entities:
5 % are shifted by a token, dropped, or given another label. Next: texts that have to be annotated
until a head on the encoder's vectors has 95 % of the accuracy that it has with the whole pool, in
rounds of 25, chosen at random, by the margin only, and as `next` chooses. No encoder is trained.
"""

import argparse
import hashlib
import random
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from benchmarks import common, data
from benchmarks.finished import Finished

PARTS = ("labels", "entities", "next")
SETS = ("sources", "topics", "rotten_tomatoes")
# Sentences of each corpus in the set "sources", and of each set for entities.
PER_SOURCE, SENTENCES = 400, 2500
# Texts of the larger sets.
POOL, TEST = 2000, 1000
ROUND, ROUNDS = 25, 40
ENOUGH = 0.95


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=5, repeats=1)
    common.add_results(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sets", nargs="+", default=[*SETS, *data.NER_FILES])
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps vectors")
    parser.add_argument(
        "--corpus", type=Path, default=Path("corpus"), help="harvested corpus, for the topics"
    )
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    done = Finished(
        args.results, quick=args.quick, threads=args.threads, corpus=str(args.corpus.resolve())
    )
    figures: Dict[str, Any] = {}
    for name in SETS:
        if name in args.sets and {"labels", "next"} & {*args.parts}:
            texts, test = text_set(args, name)
            if "labels" in args.parts:
                figures.update(label_figures(args, done, name, texts))
            if "next" in args.parts:
                figures.update(next_figures(args, done, name, texts, test))
    for name in data.NER_FILES:
        if name in args.sets and "entities" in args.parts:
            figures.update(entity_figures(args, done, name))
    common.emit("annotation_help", args, figures)


def text_set(args: argparse.Namespace, name: str) -> Tuple[data.Texts, data.Texts]:
    """RETURNS (Tuple[Texts, Texts]): The texts to annotate, and test texts."""
    if name == "topics":
        splits = {split: harvested(args, split) for split in ("train", "test")}
    elif name == "rotten_tomatoes":
        splits = data.rotten_tomatoes(args)
    else:
        # Which corpus a sentence comes from: five kinds of text.
        splits = {}
        for split, size in (("train", PER_SOURCE), ("test", PER_SOURCE // 4)):
            sources = {n: tagged_texts(args, n, split, size) for n in data.NER_FILES}
            sources["rotten_tomatoes"] = sample(data.rotten_tomatoes(args)[split].texts, size)
            sources["docstrings"] = sample(harvested(args, split).texts, size)
            texts = [text for own in sources.values() for text in own]
            splits[split] = data.Texts(texts, [n for n, own in sources.items() for _ in own])
    return shuffled(splits["train"], POOL), shuffled(splits["test"], TEST)


def harvested(args: argparse.Namespace, split: str) -> data.Texts:
    """RETURNS (Texts): The passages of the default corpus and their topics."""
    import spacy

    from spacy_reprtune.data.corpus import read_docs

    path = args.corpus / "topics" / f"{split}.spacy"
    if not path.exists():
        common.fail(f"there is no {path}: python -m spacy project run harvest, or name --corpus")
    docs = list(read_docs(path, spacy.blank("en").vocab))
    return data.Texts([d.text for d in docs], [max(d.cats, key=d.cats.__getitem__) for d in docs])


def tagged_texts(args: argparse.Namespace, name: str, split: str, size: int) -> List[str]:
    """RETURNS (List[str]): Sentences of an entity set."""
    long = [" ".join(s.words) for s in data.tagged(args, name)[split] if len(s.words) > 5]
    return sample(long, size)


def sample(items: List[Any], size: int) -> List[Any]:
    """RETURNS (List[Any]): So many of them, the same ones in every run."""
    return random.Random(0).sample(items, min(size, len(items)))


def shuffled(texts: data.Texts, size: int) -> data.Texts:
    """RETURNS (Texts): So many texts in random order."""
    return texts.take(common.order(len(texts), 0)[:size])


def kept(args: argparse.Namespace, kind: str, texts: List[str], compute: Callable[[], Any]) -> Any:
    """RETURNS (ndarray): Vectors, read from `--work` if they are there."""
    import numpy

    if args.work is None:
        return compute()
    digest = hashlib.sha256("\0".join([kind, common.ENCODER, *texts]).encode()).hexdigest()[:20]
    path = args.work / f"{digest}.npy"
    if not path.exists():
        args.work.mkdir(parents=True, exist_ok=True)
        numpy.save(path, compute())
    return numpy.load(path)


def vectors_of(args: argparse.Namespace, texts: List[str]) -> Any:
    """RETURNS (ndarray): Vectors of texts."""
    from spacy_reprtune.data.vectors import load_encoder, text_vectors

    return kept(args, "texts", texts, lambda: text_vectors(load_encoder(common.ENCODER), texts))


def label_figures(
    args: argparse.Namespace, done: Finished, name: str, texts: data.Texts
) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Precision among the first suspects."""
    import numpy

    vectors = vectors_of(args, texts.texts)
    names = sorted(set(texts.labels))
    classes = numpy.array([names.index(label) for label in texts.labels])
    figures: Dict[str, Any] = {}
    for kind in ("random", "pair"):
        for share in (0.05, 0.10):
            values = []
            for seed in common.seed_range(args):

                def one(kind: str = kind, share: float = share, seed: int = seed) -> Dict[str, Any]:
                    planted = planted_labels(
                        vectors, texts.texts, classes, names, kind, share, seed
                    )
                    return {"precision": planted}

                key = {"part": "labels", "set": name, "kind": kind, "share": share, "seed": seed}
                values.append(done.once(one, **key)["precision"])
            figures.update(common.mean_std(f"labels_{name}_{kind}_{share:.0%}", values))
    return figures


def planted_labels(
    vectors: Any,
    texts: List[str],
    classes: Any,
    names: List[str],
    kind: str,
    share: float,
    seed: int,
) -> float:
    """RETURNS (float): Share of planted labels among the first suspects, as many as there are."""
    import numpy

    from spacy_reprtune.data.suspects import label_suspects
    from spacy_reprtune.heads.held_out import held_out_probabilities

    rng = numpy.random.default_rng(seed)
    rows = numpy.arange(len(classes))
    wrong = classes.copy()
    if kind == "pair":
        guesses = held_out_probabilities(vectors, classes, len(names)).argmax(1)
        confused = numpy.zeros((len(names), len(names)))
        numpy.add.at(confused, (classes, guesses), guesses != classes)
        pair = numpy.unravel_index((confused + confused.T).argmax(), confused.shape)
        rows = numpy.flatnonzero(numpy.isin(classes, pair))
        chosen = rng.choice(rows, round(share * len(rows)), replace=False)
        wrong[chosen] = sum(pair) - classes[chosen]
    else:
        chosen = rng.choice(rows, round(share * len(rows)), replace=False)
        shift = rng.integers(1, len(names), len(chosen))
        wrong[chosen] = (classes[chosen] + shift) % len(names)
    cats = [{n: float(n == names[c]) for n in names} for c in wrong]
    found = label_suspects(vectors, cats, texts)
    found.sort(key=lambda item: -item[1])
    # Of the pair's texts, where only these have errors: the others would be found as well.
    found = [item for item in found if item[0] in set(rows.tolist())]
    return len({row for row, *_ in found[: len(chosen)]} & set(chosen.tolist())) / len(chosen)


def entity_figures(args: argparse.Namespace, done: Finished, name: str) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Precision among the first suspects."""
    values = []
    for seed in common.seed_range(args):
        key = {"part": "entities", "set": name, "seed": seed}
        result = done.once(lambda seed=seed: planted_entities(args, name, seed), **key)
        values.append(result["precision"])
    return common.mean_std(f"entities_{name}", values)


def planted_entities(args: argparse.Namespace, name: str, seed: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Precision and number of planted errors."""
    import numpy
    import spacy
    from spacy.tokens import Doc, Span

    from spacy_reprtune.data.entity_suspects import entity_suspects
    from spacy_reprtune.data.vectors import load_encoder, token_vectors

    vocab = spacy.blank("en").vocab
    docs = []
    for sentence in sample(data.tagged(args, name)["train"], SENTENCES):
        doc = Doc(vocab, words=sentence.words)
        doc.set_ents([Span(doc, a, b, label=label) for a, b, label in sentence.entities])
        docs.append(doc)
    texts = [doc.text for doc in docs]
    vectors = kept(args, "tokens", texts, lambda: token_vectors(load_encoder(common.ENCODER), docs))
    planted = plant(docs, random.Random(seed))
    found = sorted(entity_suspects(vectors, docs), key=lambda item: -item[1].doubt)
    hits = 0
    for doc, reading in found[: len(planted)]:
        both = [*reading.gold, *reading.suggested]
        start, end = min(e[0] for e in both), max(e[1] for e in both)
        hits += any(d == doc and a < end and b > start for d, a, b in planted)
    assert numpy.isfinite(vectors).all()
    return {"precision": hits / len(planted), "planted": len(planted)}


def plant(docs: List[Any], rng: random.Random, share: float = 0.05) -> List[Tuple[int, int, int]]:
    """Shift, drop or relabel a share of the entities.

    RETURNS (List[Tuple[int, int, int]]): Doc, first token and the one after the last of each.
    """
    from spacy.tokens import Span

    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    places = [(i, k) for i, doc in enumerate(docs) for k in range(len(doc.ents))]
    chosen = set(rng.sample(places, round(share * len(places))))
    planted = []
    for i, doc in enumerate(docs):
        kept_ents: List[Span] = []
        for k, ent in enumerate(doc.ents):
            if (i, k) not in chosen:
                kept_ents.append(ent)
                continue
            kinds = ["shift", "drop", "relabel"] if len(labels) > 1 else ["shift", "drop"]
            kind = rng.choice(kinds)
            start, end = ent.start, ent.end
            if kind == "relabel":
                other = rng.choice([label for label in labels if label != ent.label_])
                kept_ents.append(Span(doc, start, end, label=other))
            elif kind == "shift":
                taken = {
                    t
                    for e in (*doc.ents, *kept_ents)
                    if e.start != ent.start
                    for t in range(*_of(e))
                }
                moves = [(-1, 0), (1, 0), (0, -1), (0, 1)]
                moved = [(start + a, end + b) for a, b in moves]
                moved = [
                    (a, b)
                    for a, b in moved
                    if 0 <= a < b <= len(doc) and taken.isdisjoint(range(a, b))
                ]
                if not moved:
                    kept_ents.append(ent)
                    continue
                a, b = rng.choice(moved)
                kept_ents.append(Span(doc, a, b, label=ent.label_))
                start, end = min(a, start), max(b, end)
            planted.append((i, start, end))
        doc.set_ents(kept_ents)
    return planted


def _of(ent: Any) -> Tuple[int, int]:
    return ent.start, ent.end


def next_figures(
    args: argparse.Namespace, done: Finished, name: str, pool: data.Texts, test: data.Texts
) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Texts until 95 % of the accuracy, and shares of random's."""
    import numpy

    names = sorted(set(pool.labels))
    sides = [
        (vectors_of(args, side.texts), numpy.array([names.index(x) for x in side.labels]))
        for side in (pool, test)
    ]
    needed: Dict[str, List[float]] = {}
    for how in ("random", "margin", "next"):
        for seed in common.seed_range(args):
            key = {"part": "next", "set": name, "how": how, "seed": seed}
            result = done.once(lambda how=how, seed=seed: simulate(*sides, how, seed), **key)
            needed.setdefault(how, []).append(result["texts"])
    figures: Dict[str, Any] = {}
    for how, values in needed.items():
        figures.update(common.mean_std(f"next_{name}_{how}_texts", values, 1))
    for how in ("margin", "next"):
        share = sum(needed[how]) / sum(needed["random"])
        figures[f"next_{name}_{how}_share_of_random"] = round(share, 3)
    return figures


def simulate(pool: Tuple[Any, Any], test: Tuple[Any, Any], how: str, seed: int) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Number of texts until the accuracy is enough, at most all."""
    import numpy

    from spacy_reprtune.annotate.choose import choose_typical, choose_unsure
    from spacy_reprtune.heads.losses import softmax
    from spacy_reprtune.heads.probe import fit_classes

    (vectors, classes), (test_vectors, test_classes) = pool, test
    n_labels = int(classes.max()) + 1

    def fitted(rows: Any) -> Any:
        return fit_classes(vectors[rows], classes[rows], n_labels, strength=0.1)

    def accuracy(head: Any) -> float:
        guesses = (test_vectors @ head.weight.T + head.bias).argmax(1)
        return float((guesses == test_classes).mean())

    goal = ENOUGH * accuracy(fitted(numpy.arange(len(classes))))
    rng = numpy.random.default_rng(seed)
    chosen = rng.permutation(len(classes))[:ROUND].tolist()
    if how == "next":
        chosen = choose_typical(vectors, ROUND, seed=seed)
    for _ in range(ROUNDS):
        left = numpy.setdiff1d(numpy.arange(len(classes)), chosen)
        doubts = rng.random(len(left))
        if len(numpy.unique(classes[chosen])) > 1:
            head = fitted(numpy.array(chosen))
            if accuracy(head) >= goal:
                break
            if how != "random":
                likely = numpy.sort(softmax(vectors[left] @ head.weight.T + head.bias), axis=1)
                doubts = 1.0 - (likely[:, -1] - likely[:, -2])
        if how == "next":
            chosen += left[choose_unsure(vectors[left], doubts, ROUND, seed=seed)].tolist()
        else:
            chosen += left[numpy.argsort(-doubts)[:ROUND]].tolist()
    return {"texts": len(chosen)}


if __name__ == "__main__":
    main()
