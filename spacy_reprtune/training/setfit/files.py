"""The files of a `setfit` model: a sentence-transformers directory, and a head as a pickle.

Nothing here imports the library: except for the head, its files are JSON and safetensors.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

import numpy
import srsly
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...bridge.shim import TorchShim

HEAD_FILE = "model_head.pkl"
CONFIG_FILE = "config_setfit.json"
# Short names of the poolings that these files can express, and their names there.
POOLING_FLAGS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
}


@dataclass
class Head:
    """A linear head.

    weight (ndarray): Weights in fp32, shape (n_labels, width).
    bias (ndarray): Biases in fp32, shape (n_labels,).
    labels (List[str]): The labels in the order of the rows.
    exclusive (bool): Whether logits go through one softmax, or each through a sigmoid.
    """

    weight: NDArray
    bias: NDArray
    labels: List[str]
    exclusive: bool


@dataclass
class Body:
    """The steps between an encoder and the head.

    pooling (str): "mean", "cls" or "max".
    normalize (bool): Whether vectors are scaled to length 1.
    max_pieces (Optional[int]): Length at which the library truncates texts. In this package, longer
        texts get several windows of that size.
    """

    pooling: str
    normalize: bool
    max_pieces: Optional[int]


def write_body(shim: "TorchShim", path: Path) -> None:
    """Write an encoder as a sentence-transformers directory that all its versions read.

    shim (TorchShim): The shim of a sentence classifier.
    path (Path): The directory, created if it does not exist.
    RAISES (ValueError): Its pooling has no counterpart.
    """
    from ...heads.pooling import pooling_name

    module = shim.module
    encoder, pooling = module.encoder, pooling_name(module.pooling)
    if pooling not in POOLING_FLAGS:
        raise ValueError(
            f"sentence-transformers has no pooling like {pooling!r}. It has "
            f"{', '.join(POOLING_FLAGS)}: train with one of them."
        )
    path.mkdir(parents=True, exist_ok=True)
    encoder.model.save_pretrained(str(path), safe_serialization=True)
    for name, content in encoder.tokenizer.files().items():
        (path / name).write_bytes(content)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if module.normalize:
        modules.append(("2_Normalize", "Normalize"))
    listed = [
        {"idx": i, "name": str(i), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for i, (folder, kind) in enumerate(modules)
    ]
    for folder, _ in modules[1:]:
        (path / folder).mkdir(exist_ok=True)
    flags = {flag: kind == pooling for kind, flag in POOLING_FLAGS.items()}
    srsly.write_json(path / "modules.json", listed)
    srsly.write_json(
        path / "1_Pooling" / "config.json", {"word_embedding_dimension": encoder.width, **flags}
    )
    srsly.write_json(
        path / "sentence_bert_config.json",
        {"max_seq_length": encoder.window, "do_lower_case": False},
    )


def read_body(path: Path) -> Body:
    """Read the pooling and normalization of a sentence-transformers directory.

    path (Path): The directory.
    RETURNS (Body): The settings.
    RAISES (ValueError): It is not such a directory, or some of its parts have no counterpart here.
    """
    if not (path / "modules.json").is_file():
        raise ValueError(
            f"{path} is not a saved setfit model: it has no modules.json. Name the directory that "
            "SetFitModel.save_pretrained wrote."
        )
    kinds = {
        part["type"].rpartition(".")[2]: part for part in srsly.read_json(path / "modules.json")
    }
    foreign = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if foreign or not {"Transformer", "Pooling"} <= set(kinds) or kinds["Transformer"]["path"]:
        raise ValueError(
            f"The model in {path} consists of {', '.join(kinds)}. Only an encoder in the directory "
            "itself, a pooling and a normalization can be imported."
        )
    pooling = srsly.read_json(path / kinds["Pooling"]["path"] / "config.json")
    found = [kind for kind, flag in POOLING_FLAGS.items() if pooling.get(flag)]
    if "pooling_mode" in pooling:
        found = numpy.atleast_1d(pooling["pooling_mode"]).tolist()
    if (
        len(found) != 1
        or found[0] not in POOLING_FLAGS
        or pooling.get("pooling_mode_mean_sqrt_len_tokens")
    ):
        raise ValueError(
            f"The model in {path} pools in a way that has no counterpart here: {pooling}. Only "
            f"{', '.join(POOLING_FLAGS)} can be imported."
        )
    settings = _json(path / "sentence_bert_config.json")
    if settings.get("do_lower_case"):
        raise ValueError(
            f"The model in {path} lower-cases texts in front of its tokenizer (do_lower_case in "
            "sentence_bert_config.json), which has no counterpart here."
        )
    prompts = _json(path / "config_sentence_transformers.json")
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"))
    if prompt:
        raise ValueError(
            f"The model in {path} puts {prompt!r} in front of each text (default_prompt_name in "
            "config_sentence_transformers.json), which has no counterpart here."
        )
    normalize = "Normalize" in kinds or _json(path / CONFIG_FILE).get("normalize_embeddings", False)
    return Body(found[0], bool(normalize), settings.get("max_seq_length"))


def read_head(path: Path, *, trust_pickle: bool) -> Head:
    """Read the head of a saved `setfit` model.

    path (Path): The model's directory.
    trust_pickle (bool): Whether to load the pickle, which runs whatever code it contains.
    RETURNS (Head): The head.
    RAISES (ValueError): The head is a pickle that is not trusted, is missing, can't be read, or is
        of a kind that has no counterpart here.
    """
    file = path / HEAD_FILE
    if not file.is_file():
        raise ValueError(
            f"{path} has no head ({HEAD_FILE}), so the model was never trained. Its encoder can "
            "be trained here: name the directory as [….encoder] name."
        )
    if not trust_pickle:
        raise ValueError(
            f"The head of this model is a pickle ({file}), and loading a pickle runs any code "
            "that its author put into it, with your permissions. If you trust the author, "
            "allow it with --trust-pickle (in Python: trust_pickle=True). Otherwise name the "
            "directory as [….encoder] name and fit a new head to your own examples."
        )
    import joblib

    try:
        head = joblib.load(file)
    except Exception as error:
        # A damaged pickle, or one that needs a library that is not installed, can raise anything.
        raise ValueError(
            f"The head in {file} can't be read ({type(error).__name__}: {error}). Load and save "
            "the model with the versions of setfit and scikit-learn that made it, or copy the file "
            "again."
        ) from error
    return head_arrays(head, _json(path / CONFIG_FILE).get("labels"))


def head_arrays(head: Any, labels: Optional[Sequence[str]]) -> Head:
    """Convert a fitted head to arrays.

    head (Any): scikit-learn's logistic regression (by itself, one against the rest, or one per
        output), or the library's linear torch head.
    labels (Optional[Sequence[str]]): The labels in the model's configuration.
    RETURNS (Head): The head. Its rows are in the order of the columns of its probabilities.
    RAISES (ValueError): The head is of another kind, or two labels have the same name.
    """
    kind = type(head).__name__
    if kind == "LogisticRegression":
        classes = head.classes_.tolist()
        ovr = getattr(head, "multi_class", "auto") == "ovr" or head.solver == "liblinear"
        if len(classes) > 2 and ovr:
            raise ValueError(
                "The head is a logistic regression whose classes were fitted one against the rest "
                "and whose probabilities are scaled to sum to 1, which is not a softmax: it has "
                "no counterpart here."
            )
        weight, bias = head.coef_, head.intercept_
        if len(classes) == 2:
            # scikit-learn has one logit for two labels. Each label gets half of it.
            weight, bias = (
                numpy.concatenate([-weight, weight]) / 2,
                numpy.array([-bias[0], bias[0]]) / 2,
            )
        return _head(weight, bias, [_name(value, labels) for value in classes], exclusive=True)
    if kind == "MultiOutputClassifier" or (kind == "OneVsRestClassifier" and head.multilabel_):
        rows = [_binary_row(estimator) for estimator in head.estimators_]
        width = max(len(weight) for weight, _ in rows)
        weight = numpy.stack([w if len(w) else numpy.zeros(width) for w, _ in rows])
        names = [_name(i, labels) for i in range(len(rows))]
        return _head(weight, numpy.array([b for _, b in rows]), names, exclusive=False)
    if kind == "SetFitHead":
        scale = head.temperature + head.eps
        weight = head.linear.weight.detach().cpu().numpy() / scale
        bias = numpy.zeros(len(weight))
        if head.linear.bias is not None:
            bias = head.linear.bias.detach().cpu().numpy() / scale
        names = [_name(i, labels) for i in range(len(weight))]
        return _head(weight, bias, names, exclusive=not head.multitarget)
    raise ValueError(
        f"The head of this model is a {kind}, which has no counterpart here. Supported are a "
        "LogisticRegression, by itself or in a OneVsRestClassifier or MultiOutputClassifier for "
        "several labels, and the library's SetFitHead."
    )


def write_head(head: Head, path: Path) -> None:
    """Write a head in the form that the library reads: a pickle of scikit-learn's classes.

    head (Head): The head.
    path (Path): The model's directory.
    """
    import joblib
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    n_labels, width = head.weight.shape
    # Fit to zeros to get the attributes of a fitted model, then replace the weights.
    nothing = numpy.zeros((n_labels, width), dtype="f")
    if head.exclusive:
        model = LogisticRegression().fit(nothing, numpy.arange(n_labels))
        weight, bias = head.weight, head.bias
        if n_labels == 2:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        model.coef_, model.intercept_ = weight, bias
    else:
        nothing = numpy.zeros((n_labels + 1, width), dtype="f")
        model = OneVsRestClassifier(LogisticRegression())
        model.fit(nothing, numpy.eye(n_labels + 1, n_labels, dtype=int))
        for row, estimator in enumerate(model.estimators_):
            estimator.coef_, estimator.intercept_ = head.weight[[row]], head.bias[[row]]
    joblib.dump(model, path / HEAD_FILE)
    srsly.write_json(path / CONFIG_FILE, {"labels": head.labels, "normalize_embeddings": False})


def _head(weight: NDArray, bias: NDArray, labels: List[str], *, exclusive: bool) -> Head:
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"The labels of this model are {', '.join(labels)}, so two of them have the same name. "
            f"Give each label its own name in {CONFIG_FILE}."
        )
    return Head(weight.astype("f"), bias.astype("f"), labels, exclusive)


def _name(value: Any, labels: Optional[Sequence[Any]]) -> str:
    # Classes are strings, or numbers that may have names in the configuration.
    if isinstance(value, str):
        return value
    number = int(value)
    return str(labels[number]) if labels and 0 <= number < len(labels) else str(number)


def _binary_row(estimator: Any) -> "tuple[NDArray, float]":
    kind = type(estimator).__name__
    if kind == "_ConstantPredictor":
        # All examples had the label, or none had: probability 1 or 0 to eight digits.
        return numpy.zeros(0), 20.0 if estimator.predict(numpy.zeros((1, 1)))[0] else -20.0
    if kind != "LogisticRegression" or estimator.classes_.tolist() != [0, 1]:
        raise ValueError(
            f"A label of this model has a {kind}, which has no counterpart here. Only a "
            "LogisticRegression between 0 and 1 is supported."
        )
    return estimator.coef_[0], float(estimator.intercept_[0])


def _json(path: Path) -> dict:
    return srsly.read_json(path) if path.is_file() else {}
