"""The settings of a pretraining run: read from a config in spaCy's format and validated."""

import configparser
import difflib
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, Optional, Union

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from ..encoder.freezing import check_unfreeze

# Strict: `true` is not a number, and "5" is not 5.
_STRICT = ConfigDict(strict=True, extra="forbid")

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
BelowOne = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


@dataclass(frozen=True, config=_STRICT)
class EncoderPart:
    """The encoder to adapt: `[encoder]`.

    name: See `spacy_reprtune.Encoder.v1`.
    unfreeze, lr_decay: See `spacy_reprtune.Encoder.v1`. The vocabulary projection is tied to the
        embeddings, so it trains with them.
    dropout: Dropout rate of the hidden states. Attention has no dropout (Portes et al. 2023,
        MosaicBERT).
    precision: "auto", "bf16" or "fp32".
    device: See `spacy_reprtune.Encoder.v1`.
    compile: Whether to compile the blocks, in batches of one static shape. For CUDA.
    """

    name: str
    unfreeze: Union[str, int] = "all"
    lr_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    dropout: BelowOne = 0.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        check_unfreeze(self.unfreeze)


@dataclass(frozen=True, config=_STRICT)
class CorpusPart:
    """The text: `[corpus]`.

    train: Files and directories: plain text, `.jsonl`, `.spacy`, each also as `.gz`.
    exclude: Files and directories whose texts must not be trained on, such as dev and test sets.
    general: A sample of general text that shows what is forgotten, or null.
    unit: What a document of a plain text file is: a "line", a "paragraph" (between empty
        lines) or the whole "file".
    text_key: The field of a JSONL row that holds the text.
    heldout: Share of the documents that is held out, chosen by a hash of the text.
    eval_pieces: The most pieces of the held-out part that are evaluated.
    cache_dir: Where tokenized corpora are kept; null for `corpus/` in the output directory.
    """

    train: Union[str, List[str]]
    exclude: Union[str, List[str], None] = None
    general: Optional[str] = None
    unit: Literal["line", "paragraph", "file"] = "line"
    text_key: str = "text"
    heldout: Share = 0.02
    eval_pieces: Positive = 50_000
    cache_dir: Optional[str] = None

    def __post_init__(self) -> None:
        if not paths_of(self.train):
            raise ValueError(f"train = {self.train!r}. Use a path or a list of paths.")


@dataclass(frozen=True, config=_STRICT)
class MaskingPart:
    """What is masked with `objective = "mlm"`: `[masking]`.

    rate: Share of the pieces that is masked in training. Evaluation always masks 15 %.
    whole_words: Whether the pieces of a word are masked together.
    """

    rate: Share = 0.2
    whole_words: bool = True


@dataclass(frozen=True, config=_STRICT)
class TrainingPart:
    """The steps: `[training]`.

    objective: "mlm" to restore masked pieces, each from the pieces around it; "tsdae" to restore a
        whole text from its vector, the mean over the pieces that are left after 60 % were deleted
        (Wang et al. 2021, TSDAE). "tsdae" is for sentence encoders and texts of a sentence or two;
        its decoder is not part of the result.
    seed: Seed of the order, the masks, dropout and a new head.
    max_epochs, max_steps: Training ends at whichever comes first; 0 for no such limit.
    step_pieces: Pieces per step, over all processes.
    batch_pieces: Pieces that a device computes at once. More is faster and takes more memory.
    learn_rate, warmup, final_rate: The rate rises linearly from 0 over the share `warmup` of the
        steps, then falls linearly to the share `final_rate` of the peak.
    beta1, beta2, eps, weight_decay, grad_clip: AdamW's settings. Vectors do not decay; the
        gradient is clipped by its global norm.
    head_steps, head_learn_rate: Steps on a frozen encoder, before the others and at a constant
        rate, where the encoder comes without an MLM head and gets a new one, and for the decoder of
        "tsdae".
    keep_vectors: Weight of one minus the cosine between the mean vectors of each window, unmasked,
        before and after: it holds on to what a sentence encoder was tuned for. Pieces to restore
        count 1. Above 0, a step costs more than twice the time, and the encoder is in memory twice.
    eval_every: Steps between evaluations on the held-out part, each with a checkpoint.
    patience: Evaluations without a better held-out loss after which to stop; 0 for never.
    keep: Whether the "best" weights by held-out loss or the "last" become the result.
    """

    objective: Literal["mlm", "tsdae"] = "mlm"
    # The generator of an epoch's order takes 64 bits.
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    max_epochs: Count = 1
    max_steps: Count = 0
    step_pieces: int = 8192
    batch_pieces: Annotated[int, Field(ge=16)] = 4096
    learn_rate: Rate = 1e-4
    warmup: BelowOne = 0.06
    final_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.98
    eps: Rate = 1e-6
    weight_decay: NotNegative = 0.01
    grad_clip: NotNegative = 1.0
    head_steps: Count = 100
    head_learn_rate: Rate = 1e-3
    keep_vectors: NotNegative = 0.0
    eval_every: Positive = 200
    patience: Count = 0
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        if not self.max_epochs and not self.max_steps:
            raise ValueError("max_steps = 0. It has to be above 0 if max_epochs is 0.")
        if self.step_pieces < self.batch_pieces or self.step_pieces % self.batch_pieces:
            raise ValueError(
                f"step_pieces = {self.step_pieces}. It has to be a multiple of batch_pieces "
                f"({self.batch_pieces})."
            )


@dataclass(frozen=True, config=_STRICT)
class VocabularyPart:
    """Domain words as pieces of their own: `[vocabulary]`.

    extend: The most words to add; 0 for none.
    min_count: How often a word has to occur in the training text.
    """

    extend: Count = 0
    min_count: Positive = 20


@dataclass(frozen=True, config=_STRICT)
class ReportPart:
    """What the report shows: `[report]`.

    fill_mask: Sentences with `[MASK]` in them, to be filled before and after.
    log_every: Steps between lines of the log.
    """

    fill_mask: List[str] = field(default_factory=list)
    log_every: Positive = 10

    def __post_init__(self) -> None:
        for sentence in self.fill_mask:
            if sentence.count("[MASK]") != 1:
                raise ValueError(
                    f"fill_mask: each sentence needs one [MASK], but this has "
                    f"{sentence.count('[MASK]')}: {sentence!r}"
                )


@dataclass(frozen=True, config=_STRICT)
class JudgePart:
    """What decides whether pretraining has helped: `[judge]`.

    corpus: A .spacy file with categories or entities, or null. A probe is scored on its docs at
        each evaluation, and `keep = "best"` goes by that score instead of the held-out loss; the
        original encoder is one of the candidates.
    recipe: A training config, or null. At the end it is trained on each half of the docs and scored
        on the other, with the original encoder and with the adapted one that is best by the probe,
        or else the last one. The better of the two is kept.
    """

    corpus: Optional[str] = None
    recipe: Optional[str] = None

    def __post_init__(self) -> None:
        """RAISES (ValueError): There is a recipe without docs to train it on."""
        if self.recipe and not self.corpus:
            raise ValueError("recipe needs corpus, the docs that it is trained on.")


@dataclass(frozen=True)
class Settings:
    """All settings of a run, one attribute per section."""

    encoder: EncoderPart
    corpus: CorpusPart
    masking: MaskingPart = field(default_factory=MaskingPart)
    training: TrainingPart = field(default_factory=TrainingPart)
    vocabulary: VocabularyPart = field(default_factory=VocabularyPart)
    report: ReportPart = field(default_factory=ReportPart)
    judge: JudgePart = field(default_factory=JudgePart)

    def to_dict(self) -> Dict[str, Dict[str, Any]]:
        """RETURNS (Dict[str, Dict[str, Any]]): The sections with plain values."""
        return asdict(self)


PARTS = {part.name: part.type for part in fields(Settings)}


def read_settings(path: Path, overrides: Optional[Dict[str, Any]] = None) -> Settings:
    """Read a config.

    path (Path): The config. A section `[paths]` may hold variables for the others.
    overrides (Optional[Dict[str, Any]]): Values by "section.name".
    RETURNS (Settings): The validated settings.
    RAISES (ValueError): A section or setting is unknown, missing, or of the wrong type or range.
    """
    from confection import Config

    if not path.is_file():
        raise ValueError(f"There is no config {path}.")
    overrides = overrides or {}
    try:
        config = Config().from_disk(path, interpolate=False)
        for key in overrides:
            section, _, name = key.partition(".")
            if section not in config:
                _check_known(section, [*PARTS, "paths"], str(path), "section")
            if section == "paths":
                _check_known(name, list(config.get("paths", {})), "[paths]", "variable")
            # A section that the config leaves out has its defaults and can be overridden, too.
            config.setdefault(section, {})
        config = Config().from_str(config.to_str(), overrides=overrides)
    except (ValueError, configparser.Error) as error:
        raise ValueError(f"Can't read the config {path}: {error}") from error
    return settings_from(dict(config))


def settings_from(config: Dict[str, Any]) -> Settings:
    """Make settings from sections of plain values; see `read_settings`."""
    for name in config:
        _check_known(name, [*PARTS, "paths"], "the config", "section")
    settings = Settings(**{name: _part(name, config.get(name, {})) for name in PARTS})
    if settings.training.objective == "tsdae":
        _check_denoising(settings)
    return settings


def paths_of(value: Union[str, List[str], None]) -> List[Path]:
    """RETURNS (List[Path]): The paths that a setting names."""
    names = [value] if isinstance(value, str) else value or []
    return [Path(name) for name in names if name]


def _part(section: str, values: Dict[str, Any]) -> Any:
    for name in values:
        _check_known(name, [f.name for f in fields(PARTS[section])], f"[{section}]", "setting")
    try:
        return PARTS[section](**values)
    except ValidationError as error:
        first, *others = error.errors()
    if not first["loc"]:
        # Raised by `__post_init__`, which looks at several settings.
        raise ValueError(f"[{section}] {first['ctx']['error']}")
    name = first["loc"][0]
    if values.get(name) is None:
        raise ValueError(
            f"[{section}] {name} is not set: give it a value in the config, or "
            f"--{section}.{name} VALUE on the command line."
        )
    # One message for each type that the setting may have.
    allowed = [e["msg"] for e in (first, *others) if e["loc"][0] == name]
    allowed = " or ".join(dict.fromkeys(text.removeprefix("Input should ") for text in allowed))
    raise ValueError(f"[{section}] {name} = {values[name]!r}. It has to {allowed}.")


def _check_denoising(settings: Settings) -> None:
    if settings.encoder.compile:
        raise ValueError(
            "[encoder] compile = True needs batches of one shape, and '[training] objective = "
            '"tsdae"\' deletes pieces, in each batch another number of them. Set compile to false.'
        )
    if settings.report.fill_mask:
        raise ValueError(
            '[report] fill_mask is for \'[training] objective = "mlm"\': the decoder of "tsdae" '
            "restores whole texts and fills no masks. Set fill_mask to []."
        )


def _check_known(name: str, known: List[str], where: str, what: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        listed = ", ".join(known) or "none"
        raise ValueError(f"{where} has no {what} '{name}'.{hint} There are: {listed}.")
