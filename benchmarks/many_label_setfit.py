"""SetFit on many labels with few texts of each, beside logistic regression on untouched vectors.

40, 77 and 60 labels, 8 texts of each, all-MiniLM-L6-v2. Ours is the recipe of textcat_setfit.cfg:
20 steps, and the evaluation that is best on dev counts, of which the first is the linear probe. The
regression has vectors of length 1; its C is the one of 0.1, 1 and 10 that is best on dev.
Accuracy on test, paired by sample.
"""

import statistics
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from benchmarks import common
from benchmarks.data import Texts
from benchmarks.few_shot_data import FewShot
from benchmarks.few_shot_systems import STEPS, accuracy, ours
from benchmarks.finished import Finished
from benchmarks.many_label_data import many_label_sets

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spacy.language import Language

STRENGTHS = (0.1, 1.0, 10.0)
EVALUATE_EVERY = 10


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=5)
    common.add_results(parser)
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    finished = Finished(args.results, quick=args.quick, threads=args.threads)
    figures: Dict[str, Any] = {}
    for name, data in many_label_sets().items():
        rows = []
        for seed in range(1) if args.quick else common.seed_range(args):
            rows.append(
                finished.once(lambda d=data, s=seed: measure(d, s, args.quick), set=name, seed=seed)
            )
            common.log(f"{name} seed {seed}: {rows[-1]}")
        figures[f"{name}_labels"] = len(set(data.train.labels))
        for system in ("regression", "probe", "ours"):
            figures.update(
                common.mean_std(f"{name}_{system}_accuracy", [row[system] for row in rows])
            )
        gains = [row["ours"] - row["regression"] for row in rows]
        figures.update(common.mean_std(f"{name}_gain", gains))
        figures[f"{name}_lowest_gain"] = round(min(gains), 4)
    common.emit("many_label_setfit", args, figures)


def measure(data: FewShot, seed: int, quick: bool) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Accuracy on test of the regression, of our probe, and of the
    evaluation that was best on dev."""
    dev, test = data.dev, data.test
    if quick:
        dev, test = (part.take(common.order(len(part), 0)[:100]) for part in (dev, test))
    sample = data.sample(seed)
    found: Dict[str, float] = {}
    best = -1.0

    def on_step(done: int, nlp: "Language") -> None:
        nonlocal best
        if done % EVALUATE_EVERY:
            return
        if done == 0:
            found["regression"] = _regression(nlp, sample, dev, test)
        on_dev, on_test = accuracy(nlp, dev), accuracy(nlp, test)
        found.setdefault("probe", on_test)
        if on_dev > best:
            best, found["ours"], found["steps"] = on_dev, on_test, done

    ours(
        sample,
        seed,
        steps=EVALUATE_EVERY if quick else STEPS,
        contrastive="supcon",
        on_step=on_step,
    )
    return found


def _regression(nlp: "Language", sample: Texts, dev: Texts, test: Texts) -> float:
    from sklearn.linear_model import LogisticRegression

    head = nlp.get_pipe("textcat").head  # type: ignore[attr-defined]
    vectors: List[NDArray] = [head.vectors(part.texts) for part in (sample, dev, test)]
    scored = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(vectors[0], sample.labels)
        shares = [
            statistics.fmean(a == b for a, b in zip(model.predict(x), part.labels, strict=True))
            for x, part in zip(vectors[1:], (dev, test), strict=True)
        ]
        scored.append((shares[0], -strength, shares[1]))
    # Among equal values on dev, the smallest C.
    return max(scored)[2]


if __name__ == "__main__":
    main()
