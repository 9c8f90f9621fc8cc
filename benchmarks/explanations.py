"""Deleting the tokens that `explain` names, beside those of attention and random ones.

A head is fitted to the vectors of the unchanged encoder. For each test text, the five tokens with
the largest contribution to the predicted label are deleted, the five that the last block attends
to most, or five at random, and the text is predicted again. The figure is by how much the
probability falls, and the time of an explanation as a multiple of the time that `nlp` takes for the
text without the five tokens, which is one forward pass.
"""

import random
from typing import Any, Dict, List, Optional

from benchmarks import common, data
from benchmarks.annotation_help import shuffled

TRAIN, TEXTS, DELETED, FEWEST = 2000, 200, 5, 12


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    args = parser.parse_args(argv)
    common.fix_threads(args.threads, cores=False)
    import numpy

    from spacy_reprtune.heads.attribution import STEPS
    from spacy_reprtune.reporting.explain import explain

    splits = data.rotten_tomatoes(args)
    nlp = classifier(shuffled(splits["train"], 200 if args.quick else TRAIN))
    attention = Attention()
    test = shuffled(splits["test"], len(splits["test"])).texts
    docs = [doc for doc in nlp.tokenizer.pipe(test) if len(doc) >= FEWEST]
    docs = [nlp(doc) for doc in docs[: 20 if args.quick else TEXTS]]
    falls: Dict[str, List[float]] = {"explain": [], "attention": [], "random": []}
    rng = random.Random(args.first_seed)
    seconds: List[float] = []
    passes: List[float] = []
    for number, doc in enumerate(docs):
        label = max(doc.cats, key=doc.cats.__getitem__)
        found: List[Any] = []
        seconds.append(common.seconds(lambda d=doc, into=found: into.extend(explain(nlp, d))))
        orders = {
            "explain": numpy.argsort(-found[0].contributions),
            "attention": numpy.argsort(-attention(doc)),
            "random": rng.sample(range(len(doc)), len(doc)),
        }
        for name, order in orders.items():
            gone = {int(i) for i in order[:DELETED]}
            left = nlp.make_doc("".join(t.text_with_ws for t in doc if t.i not in gone))
            time = common.seconds(lambda d=left: nlp(d))
            falls[name].append(doc.cats[label] - left.cats[label])
        # A text that was not seen before: the frozen encoder keeps the vectors of those that were.
        passes.append(time)
        if number % 20 == 19:
            common.log(f"{number + 1} texts")
    figures: Dict[str, Any] = {"texts": len(docs), "passes_per_text": STEPS}
    for name, values in falls.items():
        figures[f"fall_{name}"] = round(float(numpy.mean(values)), 4)
    for other in ("attention", "random"):
        gaps = numpy.array(falls["explain"]) - numpy.array(falls[other])
        figures[f"larger_than_{other}_share"] = round(float((gaps > 0).mean()), 3)
    ratios = numpy.array(seconds) / numpy.array(passes)
    figures["time_in_passes"] = round(float(numpy.median(ratios)), 1)
    figures["time_in_passes_spread"] = numpy.percentile(ratios, [10, 90]).round(1).tolist()
    common.emit("explanations", args, figures)


def classifier(train: data.Texts) -> Any:
    """RETURNS (Language): A pipeline with a head fitted to the unchanged encoder."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": common.ENCODER}
    encoder.update(unfreeze="none", device="cpu")
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
    nlp.add_pipe("reprtune_textcat", config={"model": model, "head_init": "probe"})
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {x: float(x == label) for x in data.LABELS}})
        for text, label in zip(train.texts, train.labels, strict=True)
    ]
    nlp.initialize(lambda: examples)
    return nlp


class Attention:
    """How much the last block attends to each token: the mean over heads and queries."""

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        path = str(common.encoder_directory())
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModel.from_pretrained(path, attn_implementation="eager").eval()

    def __call__(self, doc: Any) -> Any:
        """RETURNS (ndarray): A weight for each token, shape (n_tokens,)."""
        import numpy
        import torch

        inputs = self.tokenizer(
            doc.text, return_tensors="pt", return_offsets_mapping=True, padding=False
        )
        offsets = inputs.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            weights = self.model(**inputs, output_attentions=True).attentions[-1]
        received = weights[0].mean((0, 1)).numpy()
        starts = [token.idx for token in doc]
        found = numpy.zeros(len(doc))
        for (start, end), value in zip(offsets, received, strict=True):
            if start < end:
                found[numpy.searchsorted(starts, start, side="right") - 1] += value
        return found


if __name__ == "__main__":
    main()
