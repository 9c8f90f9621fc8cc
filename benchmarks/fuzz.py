"""Odd texts, damaged files, mutated annotation and mutated rows, for as long as you like.

Four parts take turns. Each case follows from its part and number, so a run goes on where the one
before it in the same folder ended, and any case can be repeated: `--case PART:NUMBER`.

- texts: texts of random Unicode, for each tokenizer family, through a text classifier and a
  recognizer. No crash, no document lost or out of order, and a batch gives what single texts give.
- files: a file of a saved pipeline with flipped bits, cut, or with zeros in it. Loading names the
  file, or the predictions are as before.
- annotation: spans, labels and gaps at random places in training examples. Training and scoring
  work, or a ValueError says what is wrong.
- rows: exports of annotation tools with changed values or characters, through `convert`. Counts
  add up, or a ValueError names the file.

A case that takes over two minutes counts as hanging. What failed is written to the folder, with its
input. The exit status is 1 if anything failed.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from benchmarks import common
from benchmarks.fuzz_inputs import damage, gap, mutate_rows, random_text

HANGS = 120
PARTS = ("texts", "files", "annotation", "rows")
# A batch of texts, so that a case has about as much work in each part.
BATCH = 16


def main(argv: Optional[List[str]] = None) -> None:
    """Run cases for some minutes, and print the counts of all runs in the folder."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--minutes", type=float, default=10, help="time for all parts together")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for what failed")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--case", help="one case to repeat, such as rows:17")
    args = parser.parse_args(argv)
    common.fix_threads(args.threads)
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.case:
            part, number = args.case.split(":")
            Fuzzer(Path(folder)).run(part, int(number))
            print(f"{args.case} passed")
            return
        minutes = 0.2 if args.quick else args.minutes
        counts = fuzz(Path(folder), args.out, minutes, args.part or PARTS)
    common.emit("fuzz", args, counts)
    if any(part["failures"] for part in counts.values()):
        sys.exit(1)


def fuzz(
    folder: Path, out: Path, minutes: float, parts: Tuple[str, ...] = PARTS
) -> Dict[str, Dict[str, int]]:
    """Run the parts in turn, each for about the same time.

    folder (Path): Folder for pipelines and files.
    out (Path): Folder with the counts of earlier runs, and for what fails.
    minutes (float): Time for all parts together.
    parts (Tuple[str, ...]): Names of the parts.
    RETURNS (Dict[str, Dict[str, int]]): `cases`, `inputs` and `failures` per part.
    """
    state = out / "counts.json"
    counts = json.loads(state.read_text()) if state.is_file() else {}
    for part in parts:
        counts.setdefault(part, {"cases": 0, "inputs": 0, "failures": 0})
    fuzzer = Fuzzer(folder)
    spent = dict.fromkeys(parts, 0.0)
    end = time.monotonic() + 60 * minutes
    told = 0.0
    while time.monotonic() < end:
        part = min(spent, key=lambda name: spent[name])
        begin, number = time.monotonic(), counts[part]["cases"]
        try:
            counts[part]["inputs"] += fuzzer.run(part, number)
        except Exception as error:
            counts[part]["failures"] += 1
            where = out / f"{part}-{number}.txt"
            where.write_text(f"{traceback.format_exc()}\n{fuzzer.shown}", "utf8", "replace")
            common.log(f"{part}:{number} failed: {type(error).__name__}: {str(error)[:200]}")
        counts[part]["cases"] += 1
        spent[part] += time.monotonic() - begin
        if time.monotonic() - told > 10:
            _write(state, counts)
            told = time.monotonic()
    _write(state, counts)
    return {part: counts[part] for part in parts}


class Failure(AssertionError):
    """What a case has to keep and did not."""


class Fuzzer:
    """Makes the pipelines once, and runs cases by part and number."""

    def __init__(self, folder: Path) -> None:
        """folder (Path): Folder for pipelines and files."""
        # Imports take long on a busy machine, and are not the case's time.
        import spacy
        import torch
        import transformers  # noqa: F401

        import spacy_reprtune.data.convert  # noqa: F401

        spacy.util.fix_random_seed(0)
        torch.set_num_threads(1)
        self.folder = folder
        # The input of the current case.
        self.shown = ""
        self._pipelines: Dict[str, Any] = {}

    def run(self, part: str, number: int) -> int:
        """Run a case.

        part (str): One of `PARTS`.
        number (int): Number of the case, from which its input follows.
        RETURNS (int): Number of texts, files or rows that were tried.
        RAISES (Exception): What went wrong.
        """
        cases: Dict[str, Callable[[random.Random], int]] = {
            "texts": self._texts,
            "files": self._files,
            "annotation": self._annotation,
            "rows": self._rows,
        }
        self.shown = ""
        if part in ("texts", "files", "annotation"):
            self._pipeline(_FAMILIES[number % len(_FAMILIES)])
        with _limit(HANGS):
            return cases[part](random.Random(f"{part}:{number}"))

    def _texts(self, draw: random.Random) -> int:
        nlp = self._pipelines[draw.choice([*self._pipelines])]
        texts = [random_text(draw) for _ in range(BATCH)]
        self.shown = json.dumps(texts)
        docs = list(nlp.pipe(texts, batch_size=draw.choice([1, 3, 64])))
        if [doc.text for doc in docs] != texts:
            raise Failure("documents are lost, changed or out of order")
        for doc, k in zip(docs, range(4), strict=False):
            single = nlp(texts[k])
            if [(e.start, e.end, e.label) for e in single.ents] != [
                (e.start, e.end, e.label) for e in doc.ents
            ] and not _close(nlp, texts[k]):
                raise Failure(f"entities of {texts[k]!r} differ between a batch and by itself")
            if max(abs(single.cats[x] - doc.cats[x]) for x in doc.cats) > 1e-4:
                raise Failure(f"scores of {texts[k]!r} differ between a batch and by itself")
        for doc in docs:
            if not all(0.0 <= score <= 1.0 for score in doc.cats.values()):
                raise Failure(f"scores of {doc.text!r} are {doc.cats}")
        return len(texts)

    def _files(self, draw: random.Random) -> int:
        import spacy

        family = draw.choice([*self._pipelines])
        source = self.folder / family
        copy = self.folder / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy, copy_function=os.link)
        ours = [p for p in sorted(copy.rglob("*")) if p.is_file() and p.parent != copy]
        file = draw.choice([p for p in ours if p.relative_to(copy).parts[0] in ("textcat", "ner")])
        content = file.read_bytes()
        kind, damaged = damage(draw, content)
        file.unlink()
        file.write_bytes(damaged)
        name = str(file.relative_to(copy))
        self.shown = f"{family}: {name}, {kind}"
        if damaged == content:
            return 0
        try:
            nlp = spacy.load(copy)
        except (ValueError, OSError) as error:
            if str(file) not in str(error):
                raise Failure(f"the error does not name {name} ({kind}): {error}") from error
            return 1
        text = "the film was lovely and the actor never dull"
        before, after = self._pipelines[family](text), nlp(text)
        if (before.cats, [e.text for e in before.ents]) != (
            after.cats,
            [e.text for e in after.ents],
        ):
            raise Failure(f"{name} ({kind}) is loaded silently and predicts otherwise")
        return 1

    def _annotation(self, draw: random.Random) -> int:
        import spacy
        from spacy.training import Example

        nlp = spacy.load(self.folder / draw.choice([*self._pipelines]))
        examples = []
        for _ in range(draw.randint(1, 6)):
            doc = nlp.make_doc(random_text(draw)[:300])
            gold = doc.copy()
            gap(draw, gold)
            examples.append(Example(doc, gold))
        self.shown = json.dumps([eg.reference.to_json() for eg in examples], default=str)
        try:
            if draw.random() < 0.3:
                nlp.initialize(lambda: examples)
            losses = nlp.update(examples, sgd=nlp.resume_training())
            if any(value != value for value in losses.values()):
                raise Failure(f"losses are {losses}")
            nlp.evaluate(examples)
        except ValueError as error:
            if not str(error).strip():
                raise Failure("a ValueError without a message") from error
        return len(examples)

    def _rows(self, draw: random.Random) -> int:
        from spacy_reprtune.data.convert import convert

        path, n_rows = mutate_rows(draw, self.folder / "rows")
        shown = path / "a.ann" if path.is_dir() else path
        self.shown = f"{path.name}\n{shown.read_bytes()!r}"
        out = self.folder / "corpus"
        shutil.rmtree(out, ignore_errors=True)
        try:
            manifest = convert({"train": path}, out, split="100")
        except ValueError as error:
            if path.name not in str(error):
                raise Failure(f"the error does not name {path.name}: {error}") from error
            return n_rows
        for what in ("texts", "entities"):
            counts = manifest[what]
            if counts["in"] != counts["out"] + sum(counts["dropped"].values()):
                raise Failure(f"{what} do not add up: {counts}")
        return n_rows

    def _pipeline(self, family: str) -> None:
        """Make and save the pipeline of a family, the first time that it is asked for."""
        if family in self._pipelines:
            return
        import spacy

        encoder = self.folder / f"encoder-{family}"
        save_encoder(encoder, family)
        nlp = spacy.blank("en")
        settings = {
            "@architectures": "spacy_reprtune.Encoder.v1",
            "name": str(encoder),
            "precision": "fp32",
            "device": "cpu",
        }
        for factory, head in (("textcat", "TextClassifier"), ("ner", "TokenClassifier")):
            model = {"@architectures": f"spacy_reprtune.{head}.v1", "encoder": settings}
            nlp.add_pipe(f"reprtune_{factory}", name=factory, config={"model": model})
        nlp.initialize(lambda: _examples(nlp))
        nlp.to_disk(self.folder / family)
        self._pipelines[family] = spacy.load(self.folder / family)


_FAMILIES = ("wordpiece", "byte-bpe", "unigram")
_WORDS = "the a film actor scene was is lovely dull great never warm and of in".split()


def save_encoder(path: Path, family: str) -> None:
    """Write a random encoder of two blocks with a tokenizer of a family.

    path (Path): The directory.
    family (str): "wordpiece" (BERT), "byte-bpe" (RoBERTa) or "unigram" with byte fallback (as
        multilingual encoders have it).
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(k) for k in range(97, 123)]
    if family == "wordpiece":
        pieces = dict.fromkeys([*special, *_WORDS, *letters, *(f"##{x}" for x in letters)])
        vocabulary = {piece: k for k, piece in enumerate(pieces)}
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer()
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif family == "byte-bpe":
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        pieces = {piece: k for k, piece in enumerate([*special, *alphabet, "th", "the"])}
        merges = [("t", "h"), ("th", "e")]
        backend = Tokenizer(models.BPE(vocab=pieces, merges=merges, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        scored = [(piece, 0.0) for piece in special]
        scored += [(f"<0x{k:02X}>", -9.0) for k in range(256)]
        scored += [(piece, -3.0) for piece in (*letters, "▁", *(f"▁{word}" for word in _WORDS))]
        backend = Tokenizer(models.Unigram(scored, unk_id=1, byte_fallback=True))
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
    ids = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    names = dict(zip(keys, special, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


def _examples(nlp: Any) -> List[Any]:
    from spacy.training import Example

    return [
        Example.from_dict(nlp.make_doc(text), {"cats": cats, "entities": entities})
        for text, cats, entities in (
            ("the lovely film", {"good": 1.0, "bad": 0.0}, [(11, 15, "FILM")]),
            ("a dull actor", {"good": 0.0, "bad": 1.0}, [(7, 12, "ACTOR")]),
        )
    ]


def _close(nlp: Any, text: str) -> bool:
    """Whether the scores of tags are so close that the last bit of a product decides."""
    import numpy

    pipe = nlp.get_pipe("ner")
    doc = nlp.make_doc(text)
    single = pipe.model.predict([doc])
    both = pipe.model.predict([doc, nlp.make_doc("the film was never dull " * 3)])
    difference = single.logits - both.logits[: len(single.logits)]
    return bool(numpy.abs(difference).max(initial=0.0) < 1e-4)


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(signum: int, frame: Any) -> None:
        raise Failure(f"hangs: not done after {seconds} seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _write(state: Path, counts: Dict[str, Any]) -> None:
    fresh = state.with_suffix(".part")
    fresh.write_text(json.dumps(counts, indent=2))
    fresh.replace(state)


if __name__ == "__main__":
    main()
