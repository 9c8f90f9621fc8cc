"""One case of `benchmarks.fuzz` at a time, by part and number."""

import json
import os
import random
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

from benchmarks.fuzz_inputs import damage, gap, mutate_rows, random_text
from benchmarks.fuzz_pipelines import FAMILIES, KINDS, load_english, save_encoder, save_pipeline

PARTS = ("texts", "files", "annotation", "rows")
HANGS = 120
# Texts per case, and how many of them run once more: in another order, and by themselves.
BATCH, AGAIN, SINGLES = 256, 64, 6


class Failure(AssertionError):
    """What a case has to keep and did not."""


class Fuzzer:
    """Makes the pipelines once, and runs cases by part and number."""

    def __init__(self, folder: Path, *, batch: int = BATCH, english: bool = True) -> None:
        """folder (Path): Folder for pipelines and files.
        batch (int): Texts per case.
        english (bool): Whether texts are cut by the English tokenizer, which takes a second to load
            for each pipeline.
        """
        # Imports take long on a busy machine, and are not the case's time.
        import spacy
        import torch
        import transformers  # noqa: F401

        import spacy_reprtune.data.convert  # noqa: F401

        spacy.blank("xx")
        spacy.util.fix_random_seed(0)
        torch.set_num_threads(1)
        self.folder = folder
        self.batch, self.english = batch, english
        # The input of the current case.
        self.shown = ""
        self._loaded: Dict[str, Any] = {}

    def run(self, part: str, number: int) -> int:
        """Run a case.

        part (str): One of `PARTS`.
        number (int): Number of the case, from which its input follows.
        RETURNS (int): Number of texts, files, examples or changed rows that were tried.
        RAISES (Exception): What went wrong.
        """
        draw = random.Random(f"{part}:{number}")
        self.shown = ""
        if part == "rows":
            with _limit(HANGS):
                return self._rows(draw)
        family = FAMILIES[number % len(FAMILIES)]
        source = self._saved(family, KINDS[number // len(FAMILIES) % len(KINDS)])
        cases: Dict[str, Callable[[random.Random, Path], int]] = {
            "texts": self._texts,
            "files": self._files,
            "annotation": self._annotation,
        }
        with _limit(HANGS):
            return cases[part](draw, source)

    def _texts(self, draw: random.Random, source: Path) -> int:
        nlp = self._load(source, "English" if self.english else "")
        texts = [random_text(draw) for _ in range(self.batch)]
        self.shown = json.dumps(texts)
        docs = self._pipe(nlp, texts, draw.choice([32, 64, 512]))
        order = draw.sample(range(len(texts)), min(AGAIN, len(texts)))
        again = self._pipe(nlp, [texts[k] for k in order], draw.choice([7, 19, 32]))
        pairs = [
            (docs[k], doc, "batches of another order") for k, doc in zip(order, again, strict=True)
        ]
        for k in draw.sample(range(len(texts)), min(SINGLES, len(texts))):
            pairs.append((docs[k], nlp(texts[k]), "by itself"))
        for doc, other, how in pairs:
            if _entities(doc) != _entities(other) and not _close(nlp, doc.text):
                raise Failure(f"entities of {doc.text!r} differ between a batch and {how}")
            if max((abs(other.cats[x] - doc.cats[x]) for x in doc.cats), default=0) > 1e-4:
                raise Failure(f"scores of {doc.text!r} differ between a batch and {how}")
        for doc in docs:
            if not doc.cats or not all(0.0 <= score <= 1.0 for score in doc.cats.values()):
                raise Failure(f"scores of {doc.text!r} are {doc.cats}")
        return len(texts)

    def _pipe(self, nlp: Any, texts: List[str], batch_size: int) -> List[Any]:
        try:
            docs = list(nlp.pipe(texts, batch_size=batch_size))
        except Exception:
            # Which one it was.
            for text in texts:
                self.shown = json.dumps([text])
                nlp(text)
            self.shown = json.dumps(texts)
            raise
        if [doc.text for doc in docs] != texts:
            raise Failure("documents are lost, changed or out of order")
        return docs

    def _files(self, draw: random.Random, source: Path) -> int:
        import spacy

        copy = self.folder / "damaged" / source.name
        if not copy.exists():
            shutil.copytree(source, copy, copy_function=os.link)
        component = draw.choice([path.parent for path in sorted(copy.glob("*/manifest.json"))])
        file = draw.choice([path for path in sorted(component.rglob("*")) if path.is_file()])
        content = file.read_bytes()
        kind, damaged = damage(draw, content)
        name = str(file.relative_to(copy))
        verify = draw.random() < 0.7
        self.shown = f"{source.name}: {name}, {kind}, {'' if verify else 'not '}verified"
        if damaged == content:
            return 0
        file.unlink()
        file.write_bytes(damaged)
        os.environ["SPACY_REPRTUNE_VERIFY"] = str(verify)
        try:
            if draw.random() < 0.1:
                nlp = spacy.load(copy)
            else:
                # The same as what loading does with this directory, without the rest.
                nlp = self._load(source, "again")
                nlp.get_pipe(component.name).from_disk(component)
            after = nlp(_SENTENCE)
        except (ValueError, OSError) as error:
            if str(file if verify else component) not in str(error):
                raise Failure(f"the error does not name {name} ({kind}): {error}") from error
            return 1
        finally:
            del os.environ["SPACY_REPRTUNE_VERIFY"]
            file.unlink()
            os.link(source / name, file)
        before = self._load(source)(_SENTENCE)
        same = before.cats == after.cats and _entities(before) == _entities(after)
        if verify and not same:
            raise Failure(f"{name} ({kind}) is loaded silently and predicts otherwise")
        return 1

    def _annotation(self, draw: random.Random, source: Path) -> int:
        import spacy
        from spacy.training import Example

        nlp = spacy.load(source)
        examples = []
        for _ in range(draw.randint(4, 12)):
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

        mutated = mutate_rows(draw, self.folder / "rows")
        path, untouched = mutated.path, mutated.n_untouched
        content = (path / "a.ann" if path.is_dir() else path).read_bytes()
        self.shown = "\n".join([path.name, *mutated.changes, repr(content)])
        out = self.folder / "corpus"
        try:
            manifest = convert({"train": path}, out, split="100", lang="xx")
        except ValueError as error:
            if path.name not in str(error):
                raise Failure(f"the error does not name {path.name}: {error}") from error
            if untouched:
                raise Failure(f"{untouched} untouched rows are lost: {error}") from error
            return len(mutated.changes)
        for what in ("texts", "entities"):
            counts = manifest[what]
            if counts["in"] != counts["out"] + sum(counts["dropped"].values()):
                raise Failure(f"{what} do not add up: {counts}")
        if manifest["texts"]["out"] < untouched:
            raise Failure(f"{untouched} rows are untouched; texts: {manifest['texts']}")
        return len(mutated.changes)

    def _saved(self, family: str, kind: str) -> Path:
        """The directory of a pipeline, which is made the first time that it is asked for."""
        path = self.folder / f"{kind}-{family}"
        if not path.exists():
            encoder = self.folder / f"encoder-{family}"
            if not encoder.exists():
                save_encoder(encoder, family)
            save_pipeline(path, kind, encoder)
        return path

    def _load(self, source: Path, purpose: str = "") -> Any:
        import spacy

        key = f"{source.name}:{purpose}"
        if key not in self._loaded:
            load = load_english if purpose == "English" else spacy.load
            self._loaded[key] = load(source)
        return self._loaded[key]


_SENTENCE = "the film was lovely and the actor never dull"


def _entities(doc: Any) -> List[Any]:
    return [(ent.start, ent.end, ent.label) for ent in doc.ents]


def _close(nlp: Any, text: str) -> bool:
    """Whether the scores of tags are so close that the last bit of a product decides."""
    import numpy

    pipe = nlp.get_pipe("ner")
    doc = nlp.make_doc(text)
    other = nlp.make_doc("the film was never dull " * 3)
    with nlp.select_pipes(disable=[name for name in nlp.pipe_names if name != "encoder"]):
        doc, [_, beside] = nlp(text), list(nlp.pipe([other, nlp.make_doc(text)], batch_size=2))
    single = pipe.model.predict([doc])
    both = pipe.model.predict([beside, other])
    difference = single.logits - both.logits[: len(single.logits)]
    return bool(numpy.abs(difference).max(initial=0.0) < 1e-4)


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """Stop a case that computes for too long, or that waits for something that never comes.

    On a busy machine a case may take many times its own seconds.
    """

    def stop(signum: int, frame: Any) -> None:
        raise Failure(f"hangs: not done after {seconds} seconds of computing")

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, 1), signal.ITIMER_REAL: (signal.SIGALRM, 30)}
    previous = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, times) in timers.items():
        signal.setitimer(timer, seconds * times)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)
