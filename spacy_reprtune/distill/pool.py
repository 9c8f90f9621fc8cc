"""Let a teacher annotate a pool of unlabeled texts, in shards, so that a run can be resumed."""

import shutil
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from spacy.language import Language
from spacy.tokens import Doc, DocBin

from ..annotate.resume import describe_inputs, earlier_run, model_digest, write_manifest
from ..annotate.shards import READABLE, Shard, cut, find_inputs, read_rows
from ..components.entity_recognizer import EntityRecognizer
from ..components.soft_tags import TAGS
from ..files import replaced_file
from ..progress import bar

# Texts per shard. A run that is stopped loses at most the shard that it works on.
SHARD_TEXTS = 2000
GOLD = "gold"
BATCH = 128


class Labeled(NamedTuple):
    """Counts of an annotated pool.

    texts (int): Annotated texts.
    skipped (int): Rows that are damaged, or have no text that the teacher could annotate.
    """

    texts: int
    skipped: int


def label_pool(
    teacher: str,
    inputs: Sequence[Path],
    output: Path,
    *,
    text: str = "text",
    gold: Optional[Path] = None,
    use_gpu: int = -1,
    left_out: Optional[Path] = None,
) -> Labeled:
    """Let a teacher annotate texts, or resume an earlier run. Writes `part-00000.spacy` and so on.

    teacher (str): Directory or name of a pipeline that writes `doc.cats` or `doc.ents`. Their
        probabilities become the values of `doc.cats`. Recognizers of this package add the
        probabilities of tags.
    inputs (Sequence[Path]): Files of texts, or folders of them, in the formats of `reprtune
        annotate` or as .spacy files.
    output (Path): Folder of the training data.
    text (str): Column with the texts, if a file has columns.
    gold (Optional[Path]): A .spacy file of annotated docs to add.
    use_gpu (int): GPU ID, or -1 for the CPU.
    left_out (Optional[Path]): Folder below an input whose files are not texts of the pool. None
        stands for `output`.
    RETURNS (Labeled): Counts.
    RAISES (ValueError): An input is wrong, the folder holds another run, or the teacher writes
        neither categories nor entities.
    """
    paths = find_inputs(inputs, output=left_out or output, readable=(*READABLE, ".spacy"))
    known: Dict[str, Any] = {
        "model": teacher,
        "model_digest": model_digest(teacher),
        "settings": {"text": text, "gold": None if gold is None else str(gold)},
    }
    files = paths if gold is None else [*paths, gold]
    saved = earlier_run(output, known, files)
    if saved is not None:
        shards = [Shard(**shard) for shard in saved["shards"]]
    else:
        known["inputs"] = describe_inputs(files)
        shards = []
        for path in paths:
            first = shards[-1].first + shards[-1].rows if shards else 0
            shards += _cut(path, first, text)
        output.mkdir(parents=True, exist_ok=True)
        if gold is not None:
            with replaced_file(output / f"{GOLD}.spacy") as fresh:
                shutil.copyfile(gold, fresh)
        known["shards"] = [asdict(shard) for shard in shards]
        write_manifest(output, known)
    total = sum(shard.rows for shard in shards)
    parts = [output / f"part-{number:05d}.spacy" for number in range(len(shards))]
    left = [(s, p) for s, p in zip(shards, parts, strict=True) if not p.exists()]
    finished = total - sum(shard.rows for shard, _ in left)
    nlp = _load(teacher, use_gpu) if left else None
    with bar(total=total, initial=finished, what="Annotating", unit="texts") as shown:
        for shard, part in left:
            _label_shard(nlp, shard, part, text)
            shown.update(shard.rows)
    labeled = sum(len(DocBin().from_disk(part)) for part in parts)
    if not labeled:
        raise ValueError(f"The teacher has annotated none of the {total:,} rows of the pool.")
    return Labeled(labeled, total - labeled)


def soft_doc(doc: Doc) -> Doc:
    """Copy the annotation that a student learns from.

    doc (Doc): A doc that the teacher has annotated.
    RETURNS (Doc): A copy with tokens, categories, entities and, if any, the probabilities of tags.
    """
    copy = Doc(doc.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
    copy.cats = {label: float(score) for label, score in doc.cats.items()}
    if doc.has_annotation("ENT_IOB"):
        spans = [copy.char_span(e.start_char, e.end_char, label=e.label_) for e in doc.ents]
        copy.set_ents([span for span in spans if span is not None], default="outside")
    if TAGS in doc.user_data:
        copy.user_data[TAGS] = doc.user_data[TAGS]
    return copy


def _load(teacher: str, use_gpu: int) -> Language:
    from spacy.cli._util import setup_gpu
    from spacy.util import load_model

    setup_gpu(use_gpu, silent=True)
    nlp = load_model(teacher)
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, EntityRecognizer):
            if pipe.overlapping:
                raise ValueError(
                    f"'{pipe.name}' of the teacher '{teacher}' has overlapping = true, and a "
                    "student learns from doc.ents only. Use a teacher with overlapping = false."
                )
            pipe.writes_tags = True
    written = {a for name in nlp.pipe_names for a in nlp.get_pipe_meta(name).assigns}
    if not written & {"doc.cats", "doc.ents"}:
        raise ValueError(
            f"The teacher '{teacher}' has no component that writes doc.cats or doc.ents, but only "
            f"{', '.join(nlp.pipe_names) or 'none at all'}: there is nothing to learn from it."
        )
    # Leave out texts on which a component fails.
    nlp.set_error_handler(lambda name, pipe, docs, error: None)
    return nlp


def _label_shard(nlp: Language, shard: Shard, part: Path, column: str) -> None:
    texts = [
        text
        for text in _texts(shard, column)
        if isinstance(text, str) and text.strip() and len(text) <= nlp.max_length
    ]
    labeled = DocBin(attrs=["ENT_IOB", "ENT_TYPE"], store_user_data=True)
    with nlp.memory_zone():
        for doc in nlp.pipe(texts, batch_size=BATCH):
            if doc.cats or doc.has_annotation("ENT_IOB"):
                labeled.add(soft_doc(doc))
        with replaced_file(part) as fresh:
            labeled.to_disk(fresh)


def _cut(path: Path, first: int, text: str) -> List[Shard]:
    if path.suffix.lower() != ".spacy":
        return cut(path, first, [text], SHARD_TEXTS)
    total = len(DocBin().from_disk(path))
    return [
        Shard(str(path), first + start, min(SHARD_TEXTS, total - start), start, start + SHARD_TEXTS)
        for start in range(0, total, SHARD_TEXTS)
    ]


def _texts(shard: Shard, column: str) -> Iterator[Any]:
    if not shard.path.lower().endswith(".spacy"):
        rows = read_rows(shard, text=column, id=None)
        yield from (row.text for row in rows if row.error is None)
        return
    from spacy.vocab import Vocab

    docs = DocBin().from_disk(shard.path).get_docs(Vocab())
    yield from (doc.text for doc in islice(docs, shard.start, shard.stop))
