"""What a pretraining run is configured with: read from a config in spaCy's format, and checked."""

import configparser
import difflib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union, get_type_hints

from ..encoder.freezing import check_unfreeze
from ..encoder.precision import PRECISIONS

UNITS = ("line", "paragraph", "file")
KEEP = ("best", "last")


@dataclass(frozen=True)
class EncoderPart:
    """The encoder to adapt: `[encoder]`.

    name, sha256: As for `spacy_reprtune.Encoder.v1`.
    unfreeze, lr_decay: As there. The vocabulary projection is tied to the embeddings, so it
        trains with them.
    dropout: Of the hidden states; attention has none (Portes et al. 2023, MosaicBERT).
    precision: "auto", "bf16" or "fp32".
    device: "auto" takes a CUDA device where there is one.
    compile: Whether to compile the blocks, in batches of one static shape; for CUDA.
    """

    name: str
    sha256: Optional[str] = None
    unfreeze: Union[str, int] = "all"
    lr_decay: float = 1.0
    dropout: float = 0.0
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        check_unfreeze(self.unfreeze)
        _check(self.precision in PRECISIONS, "encoder", "precision", self, f"one of {PRECISIONS}")
        _check(0.0 < self.lr_decay <= 1.0, "encoder", "lr_decay", self, "above 0, 1 at most")
        _check(0.0 <= self.dropout < 1.0, "encoder", "dropout", self, "0 or more, below 1")


@dataclass(frozen=True)
class CorpusPart:
    """The text: `[corpus]`.

    train: Files and directories: plain text, `.jsonl`, `.spacy`, each also as `.gz`.
    exclude: The same, of texts that must not be trained on, such as dev and test sets.
    general: A sample of general text, to see what is forgotten; or null.
    unit: What a document of a plain text file is: a "line", a "paragraph" (between empty
        lines) or the whole "file".
    text_key: The field of a JSONL row that holds the text.
    heldout: Share of the documents that is held out, by hash of the text.
    eval_pieces: Pieces of the held-out part that are evaluated, at most.
    cache_dir: Where tokenized corpora are kept; null for `corpus/` in the output directory.
    """

    train: Union[str, List[str]]
    exclude: Union[str, List[str], None] = None
    general: Optional[str] = None
    unit: str = "line"
    text_key: str = "text"
    heldout: float = 0.02
    eval_pieces: int = 50_000
    cache_dir: Optional[str] = None

    def __post_init__(self) -> None:
        _check(self.unit in UNITS, "corpus", "unit", self, f"one of {UNITS}")
        _check(0.0 < self.heldout < 1.0, "corpus", "heldout", self, "a share between 0 and 1")
        _check(self.eval_pieces > 0, "corpus", "eval_pieces", self, "1 or more")
        _check(bool(paths_of(self.train)), "corpus", "train", self, "a path or a list of paths")


@dataclass(frozen=True)
class MaskingPart:
    """What is masked: `[masking]`.

    rate: Share of the pieces, in training. Evaluation always masks 15 %.
    whole_words: Whether the pieces of a word are masked together.
    """

    rate: float = 0.2
    whole_words: bool = True

    def __post_init__(self) -> None:
        _check(0.0 < self.rate < 1.0, "masking", "rate", self, "a share between 0 and 1")


@dataclass(frozen=True)
class TrainingPart:
    """The steps: `[training]`.

    seed: Of order, masks, dropout and a new head.
    max_epochs, max_steps: Training ends at whichever comes first; 0 for no such limit.
    step_pieces: Pieces a step, over all processes.
    batch_pieces: Pieces that a device computes at once: memory against speed.
    learn_rate, warmup, final_rate: Linear from 0 over the share `warmup` of the steps, then
        linear down to the share `final_rate` of the peak.
    beta1, beta2, eps, weight_decay, grad_clip: AdamW's; vectors do not decay; one global clip.
    head_steps, head_learn_rate: Steps on a frozen encoder, before the others and at a constant
        rate, where the encoder comes without an MLM head and gets a new one.
    eval_every: Steps between evaluations on the held-out part, each with a checkpoint.
    patience: Evaluations without a better held-out loss after which to stop; 0 for never.
    keep: Whether the "best" weights by held-out loss or the "last" become the result.
    """

    seed: int = 0
    max_epochs: int = 1
    max_steps: int = 0
    step_pieces: int = 8192
    batch_pieces: int = 4096
    learn_rate: float = 1e-4
    warmup: float = 0.06
    final_rate: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    head_steps: int = 100
    head_learn_rate: float = 1e-3
    eval_every: int = 200
    patience: int = 0
    keep: str = "best"

    def __post_init__(self) -> None:
        def check(good: bool, name: str, allowed: str) -> None:
            _check(good, "training", name, self, allowed)

        # What the order of an epoch is drawn with takes no more.
        check(-(2**63) <= self.seed < 2**63, "seed", "a whole number of 64 bits")
        check(self.max_epochs >= 0, "max_epochs", "0 (no limit) or more")
        check(self.max_steps >= 0, "max_steps", "0 (no limit) or more")
        check(bool(self.max_epochs or self.max_steps), "max_steps", "above 0 if max_epochs is 0")
        check(self.batch_pieces >= 16, "batch_pieces", "16 or more")
        check(
            self.step_pieces >= self.batch_pieces and self.step_pieces % self.batch_pieces == 0,
            "step_pieces",
            f"a multiple of batch_pieces ({self.batch_pieces})",
        )
        check(self.learn_rate > 0.0, "learn_rate", "above 0")
        check(self.head_learn_rate > 0.0, "head_learn_rate", "above 0")
        check(0.0 <= self.warmup < 1.0, "warmup", "a share of the steps, below 1")
        check(0.0 <= self.final_rate <= 1.0, "final_rate", "a share of learn_rate")
        check(0.0 <= self.beta1 < 1.0, "beta1", "0 or more, below 1")
        check(0.0 <= self.beta2 < 1.0, "beta2", "0 or more, below 1")
        check(self.eps > 0.0, "eps", "above 0")
        check(self.weight_decay >= 0.0, "weight_decay", "0 or more")
        check(self.grad_clip >= 0.0, "grad_clip", "0 (no clip) or more")
        check(self.head_steps >= 0, "head_steps", "0 or more")
        check(self.eval_every >= 1, "eval_every", "1 or more")
        check(self.patience >= 0, "patience", "0 (never) or more")
        check(self.keep in KEEP, "keep", f"one of {KEEP}")


@dataclass(frozen=True)
class VocabularyPart:
    """Domain words as pieces of their own: `[vocabulary]`.

    extend: How many to add at most; 0 for none.
    min_count: How often a word has to occur in the training text.
    """

    extend: int = 0
    min_count: int = 20

    def __post_init__(self) -> None:
        _check(self.extend >= 0, "vocabulary", "extend", self, "0 (none) or more")
        _check(self.min_count >= 1, "vocabulary", "min_count", self, "1 or more")


@dataclass(frozen=True)
class ReportPart:
    """What the report shows: `[report]`.

    fill_mask: Sentences with `[MASK]` in them, to be filled before and after.
    log_every: Steps between lines of the log.
    """

    fill_mask: List[str] = field(default_factory=list)
    log_every: int = 10

    def __post_init__(self) -> None:
        _check(self.log_every >= 1, "report", "log_every", self, "1 or more")
        for sentence in self.fill_mask:
            if sentence.count("[MASK]") != 1:
                raise ValueError(
                    f"[report] fill_mask: each sentence needs one [MASK], but this has "
                    f"{sentence.count('[MASK]')}: {sentence!r}"
                )


@dataclass(frozen=True)
class Settings:
    """All of it."""

    encoder: EncoderPart
    corpus: CorpusPart
    masking: MaskingPart = field(default_factory=MaskingPart)
    training: TrainingPart = field(default_factory=TrainingPart)
    vocabulary: VocabularyPart = field(default_factory=VocabularyPart)
    report: ReportPart = field(default_factory=ReportPart)

    def to_dict(self) -> Dict[str, Dict[str, Any]]:
        """RETURNS (Dict[str, Dict[str, Any]]): Sections of plain values."""
        return asdict(self)


def read_settings(path: Path, overrides: Optional[Dict[str, Any]] = None) -> Settings:
    """Read a config.

    path (Path): The config. A section `[paths]` may hold variables for the others.
    overrides (Optional[Dict[str, Any]]): Values by "section.name".
    RETURNS (Settings): What it says, checked.
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
            if section not in config and section not in (*PARTS, "paths"):
                raise ValueError(_unknown("section", section, [*PARTS, "paths"], str(path)))
            if section == "paths" and name not in config.get(section, {}):
                known = list(config.get(section, {}))
                raise ValueError(_unknown("variable", name, known, "[paths]"))
            # A section that the config leaves out has its defaults, and can be overridden, too.
            config.setdefault(section, {})
        config = Config().from_str(config.to_str(), overrides=overrides)
    except (ValueError, configparser.Error) as error:
        raise ValueError(f"Can't read the config {path}: {error}") from error
    return settings_from(dict(config))


def settings_from(config: Dict[str, Any]) -> Settings:
    """Make settings from sections of plain values; see `read_settings`."""
    config = {name: section for name, section in config.items() if name != "paths"}
    for name in config:
        if name not in PARTS:
            raise ValueError(_unknown("section", name, [*PARTS, "paths"], "the config"))
    return Settings(**{name: _part(name, config.get(name, {})) for name in PARTS})


def parse_overrides(arguments: Sequence[str]) -> Dict[str, Any]:
    """Read `--section.name value` (or `--section.name=value`) from a command line.

    arguments (Sequence[str]): What is left of it.
    RETURNS (Dict[str, Any]): Values by "section.name", read as JSON where they are JSON.
    RAISES (ValueError): An argument is no override, or one has no value.
    """
    found: Dict[str, Any] = {}
    left = list(arguments)
    while left:
        name = left.pop(0)
        if not name.startswith("--") or "." not in name:
            raise ValueError(
                f"Can't make sense of {name!r}. Settings of the config are overridden with "
                "--section.name value, for example --training.max_steps 1000"
            )
        name, equals, value = name[2:].partition("=")
        name = name.replace("-", "_")
        if not equals:
            if not left or left[0].startswith("--"):
                raise ValueError(f"--{name} has no value.")
            value = left.pop(0)
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def paths_of(value: Union[str, List[str], None]) -> List[Path]:
    """RETURNS (List[Path]): The paths that a setting names."""
    names = [value] if isinstance(value, str) else value or []
    return [Path(name) for name in names if name]


PARTS = {
    "encoder": EncoderPart,
    "corpus": CorpusPart,
    "masking": MaskingPart,
    "training": TrainingPart,
    "vocabulary": VocabularyPart,
    "report": ReportPart,
}


def _part(name: str, values: Dict[str, Any]) -> Any:
    kind = PARTS[name]
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(_unknown("setting", key, list(known), f"[{name}]"))
    checked = {}
    for key, value in values.items():
        if value is None and not _fits(None, hints[key]):
            raise ValueError(f"[{name}] {key} is not set: give it a value in the config, or "
                             f"--{name}.{key} VALUE on the command line.")  # fmt: skip
        if isinstance(value, int) and not isinstance(value, bool) and hints[key] is float:
            value = float(value)
        if not _fits(value, hints[key]):
            raise ValueError(
                f"[{name}] {key} = {value!r}, but it has to be {_describe(hints[key])}."
            )
        checked[key] = value
    try:
        return kind(**checked)
    except TypeError as error:
        # What has no default: the encoder's name and the text.
        missing = str(error).rpartition(": ")[2]
        raise ValueError(f"The config lacks [{name}] {missing}.") from error


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = getattr(hint, "__origin__", None), getattr(hint, "__args__", ())
    if origin is Union:
        return any(_fits(value, h) for h in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if hint is int or hint is float:
        return isinstance(value, hint) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, inner = getattr(hint, "__origin__", None), getattr(hint, "__args__", ())
    if origin is Union:
        return " or ".join(map(_describe, inner))
    if origin is list:
        return "a list of texts"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(hint, "null")


def _unknown(what: str, name: str, known: List[str], where: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{where} has no {what} '{name}'.{hint} There are: {', '.join(known) or 'none'}."


def _check(good: bool, section: str, name: str, part: Any, allowed: str) -> None:
    if not good:
        raise ValueError(f"[{section}] {name} = {getattr(part, name)!r}. It has to be {allowed}.")
