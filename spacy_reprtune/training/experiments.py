"""Run an experiment, which is a series of trainings, and keep its results in a file.

After an interruption, an experiment runs only the trainings whose results are not in its file.
"""

import copy
import hashlib
import io
import json
import logging
import statistics
import tempfile
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

import srsly
from thinc.api import Config

from ..files import replaced_file
from .data_digests import data_digests

if TYPE_CHECKING:
    from spacy.language import Language

RowT = TypeVar("RowT")

logger = logging.getLogger("spacy")


def parse_list(text: str, allowed: Callable[[str], bool], what: str) -> List[str]:
    """Read a list from the command line.

    text (str): Values, separated by commas.
    allowed (Callable[[str], bool]): Whether a value can be used.
    what (str): Description of a value, with an example of a list, for the error.
    RETURNS (List[str]): The values, each once.
    RAISES (ValueError): The list is empty, or a value can't be used.
    """
    values = list(dict.fromkeys(part.strip() for part in text.split(",")))
    wrong = [value for value in values if not allowed(value)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not {what}")
    return values


def train(
    config: Config,
    seed: int,
    *,
    use_gpu: int = -1,
    on_start: "Callable[[Language], Any]" = lambda nlp: None,
) -> "Tuple[Language, List[Dict[str, Any]]]":
    """Train once, as `spacy train` does, without saving the pipeline.

    config (Config): A training config, not interpolated. It is not changed.
    seed (int): The seed.
    use_gpu (int): GPU id, or -1.
    on_start (Callable[[Language], Any]): Called with the initialized pipeline before it trains.
    RETURNS (Tuple[Language, List[Dict[str, Any]]]): The pipeline after the last step, and its
        evaluations as `spacy_reprtune.JsonlLogger.v1` writes them.
    RAISES (ValueError): The corpus for training or the one for evaluation is empty.
    """
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train as spacy_train
    from spacy.util import resolve_dot_names

    config = copy.deepcopy(config)
    config["training"]["seed"] = seed
    if "seed" in config.get("system", {}):
        config["system"]["seed"] = seed
    try:
        nlp = init_nlp(config, use_gpu=use_gpu)
    except TypeError as error:
        # spaCy's error for a corpus without examples names a callback.
        if "E930" not in str(error):
            raise
        raise ValueError("There is nothing to train on: is [corpora.train] empty?") from error
    settings = nlp.config.interpolate()
    (dev,) = resolve_dot_names(settings, [settings["training"]["dev_corpus"]])
    if next(iter(dev(nlp)), None) is None:
        raise ValueError("There is nothing to score: is [corpora.dev] empty?")
    on_start(nlp)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        logging = {"@loggers": "spacy_reprtune.JsonlLogger.v1", "path": str(path)}
        nlp.config["training"]["logger"] = logging
        spacy_train(nlp, None, use_gpu=use_gpu, stdout=io.StringIO())
        rows = [row for row in srsly.read_jsonl(path) if row["kind"] == "evaluation"]
    return nlp, rows


def mean_and_std(scores: Sequence[float]) -> Tuple[float, float]:
    """RETURNS (Tuple[float, float]): Mean and standard deviation, which is 0 for one score."""
    return statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0


def fingerprint(*configs: Config, output: Path) -> str:
    """Compute a digest of what an experiment depends on.

    configs (Config): Its full configs.
    output (Path): The file of its results, which may be in a directory that it reads.
    RETURNS (str): Digest of the configs and of the data that they name.
    """
    state = hashlib.blake2b(digest_size=12)
    written = [output, output.with_suffix(".png")]
    for config in configs:
        state.update(config.to_str(interpolate=False).encode())
        state.update(json.dumps(data_digests(config, written)).encode())
    return state.hexdigest()


def read_results(
    path: Path, key: str, row: Type[RowT], own: str, *, what: str, replace: Optional[bool] = None
) -> List[RowT]:
    """Read the results that an earlier call of the same experiment wrote.

    path (Path): The file. It need not exist.
    key (str): The field with the results.
    row (Type): The dataclass of a result.
    own (str): The experiment's `fingerprint`.
    what (str): Name of this kind of experiment, for errors.
    replace (Optional[bool]): Whether results of another experiment may be lost, or None if the
        user can't choose.
    RETURNS (List[RowT]): The results.
    RAISES (ValueError): The file belongs to another experiment, or is something else.
    """
    if not path.exists():
        return []
    try:
        saved = json.loads(path.read_text(encoding="utf8"))
        results = [row(**result) for result in saved[key]]
        theirs = saved["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} was not written by a {what} ({error}). Move it away, or name another --output."
        ) from error
    if theirs == own:
        return results
    if replace:
        logger.info("%s has the results of another config or other data; it is replaced", path)
        return []
    remedy = "Move it away" if replace is None else "Use --replace"
    raise ValueError(
        f"{path} has the results of a {what} with another config or other data. {remedy} to start "
        "over, or name another --output."
    )


def write_results(path: Path, content: Dict[str, Any]) -> None:
    """Replace earlier results, whole or not at all.

    path (Path): The JSON file.
    content (Dict[str, Any]): Its content, with the `fingerprint` and the results.
    """
    with replaced_file(path) as fresh:
        # srsly would round numbers.
        fresh.write_text(json.dumps(content, indent=2), encoding="utf8")
