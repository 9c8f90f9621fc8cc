"""Quantize encoders to weights of one byte for ONNX Runtime, fit their heads again, and check them.

Quantized vectors differ a little from those that a head was trained on. So the last layer is fitted
again, to compute from them what it computed from the exact vectors, and the temperature is fitted
to gold values.
"""

import itertools
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Tuple

import numpy
from numpy.typing import NDArray

from ..components.streams import LOOK_AHEAD_DOCS
from .agreement import predictions

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

    from ..components.encoder_pipe import EncoderPipe

# Share of decisions that have to be the same, and how many times faster the package has to be.
LEAST_EQUAL = 0.99
LEAST_GAIN = 1.05
SECONDS = 10.0
# Texts or pieces that a last layer is fitted to: enough for its few hundred columns.
FITTED_ROWS = 50_000
# Penalties that keep the fitted layer near the trained one, in mean squares of the vectors.
_RIDGES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass
class Int8:
    """Settings for the quantization and its checks.

    train (Path): Texts to fit the last layers to, a .spacy file or a folder of them.
    dev (Path): Texts to fit temperatures to, and to compare decisions on.
    limit (int): The most texts to use of train and of dev.
    insist (bool): Whether to package a pipeline that failed a check.
    seconds (float): How long to compare the speed.
    """

    train: Path
    dev: Path
    limit: int = 500
    insist: bool = False
    seconds: float = SECONDS

    def quantize(
        self,
        nlp: "Language",
        exported: "Language",
        pipes: "Dict[str, EncoderPipe]",
        copy: Path,
    ) -> List[str]:
        """Quantize the encoders of an exported pipeline.

        nlp (Language): The trained pipeline, in fp32. Its heads and temperatures are changed.
        exported (Language): The exported pipeline, in fp32.
        pipes (Dict[str, EncoderPipe]): The components of `nlp` that were exported.
        copy (Path): The directory that `exported` was loaded from, changed in place.
        RETURNS (List[str]): The measurements, as sentences.
        RAISES (ValueError): A corpus has no texts, or a check failed and `insist` is not set.
        """
        import spacy

        from .onnx_graphs import export_head
        from .onnx_package import settings_of, write_component

        train, dev = (self._read(nlp, path) for path in (self.train, self.dev))
        texts = [example.reference.text for example in dev]
        before = predictions(nlp, texts)
        reduced = not has_vnni()
        for name, pipe in pipes.items():
            exact = _rows(pipe, train)
            encoder = _quantized((copy / name / "model" / "encoder.onnx").read_bytes(), reduced)
            _compute_with(pipe, encoder)
            _fit_output(pipe, exact, _rows(pipe, train))
            pipe.calibrate(dev)
            graphs = {"encoder": encoder, **export_head(pipe.head)}
            write_component(copy / name, pipe, graphs, settings_of(pipe, "int8"))
        quantized = spacy.load(copy)
        shares = equal_decisions(before, predictions(quantized, texts))
        speeds = compare_speed([exported, quantized], texts, self.seconds)
        gain = speeds[1] / speeds[0]
        report = [
            f"int8 ({'7 bits, as this CPU has no VNNI' if reduced else '8 bits'}): "
            + ", ".join(f"{share:.2%} of {what} as in fp32" for what, share in shares.items())
            + f" on {len(texts):,} texts.",
            f"{speeds[1]:,.0f} texts per second with int8 and {speeds[0]:,.0f} with fp32 on this "
            f"CPU: {gain:.2f} times as fast.",
        ]
        failed = [f"fewer than {LEAST_EQUAL:.0%}"] * (min(shares.values()) < LEAST_EQUAL)
        failed += ["not faster by 5 %"] * (gain < LEAST_GAIN)
        if failed and not self.insist:
            raise ValueError(
                f"{' '.join(report)} That is {' and '.join(failed)}, so nothing is packaged. Leave "
                "out --int8, or use --insist to package it anyway."
            )
        return report

    def _read(self, nlp: "Language", path: Path) -> "List[Example]":
        from spacy.training import Corpus

        found = list(itertools.islice(Corpus(path)(nlp), self.limit))
        if not found:
            raise ValueError(f"{path} has no texts, and --int8 needs some to fit and to compare.")
        return found


def has_vnni() -> bool:
    """RETURNS (bool): Whether this CPU adds products of bytes without overflow, as x86 CPUs with
    VNNI and other architectures do. Otherwise, weights have to stay within 7 bits."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf8")
    except OSError:
        import torch

        return bool(getattr(torch.cpu, "_is_vnni_supported", lambda: False)())


def equal_decisions(
    one: Sequence[Dict[str, Any]], other: Sequence[Dict[str, Any]]
) -> Dict[str, float]:
    """Compare the decisions of two pipelines.

    one, other (Sequence[Dict[str, Any]]): Results of `predictions` for the same texts.
    RETURNS (Dict[str, float]): "texts", the share of texts with the same labels, and "entities",
        the share that both found of all entities that either found. Each is left out if there are
        no labels or no entities.
    """
    labels = [a["labels"] == b["labels"] for a, b in zip(one, other, strict=True) if a["cats"]]
    both = either = 0
    for a, b in zip(one, other, strict=True):
        first, second = ({tuple(ent[:3]) for ent in found["ents"]} for found in (a, b))
        both += len(first & second)
        either += len(first | second)
    shares = {"texts": sum(labels) / len(labels)} if labels else {}
    if either or not shares:
        shares["entities"] = both / either if either else 1.0
    return shares


def compare_speed(
    pipelines: "Sequence[Language]", texts: Sequence[str], seconds: float
) -> List[float]:
    """Time pipelines in turn.

    pipelines (Sequence[Language]): The pipelines.
    texts (Sequence[str]): The texts.
    seconds (float): Time limit for all turns. Each pipeline has at least two.
    RETURNS (List[float]): Texts per second of each pipeline in its fastest turn.
    """
    # Turns of a tenth of the time or less.
    part, start = list(texts[:16]), time.perf_counter()
    for nlp in pipelines:
        list(nlp.pipe(part))
    turn = (time.perf_counter() - start) / len(part)
    part = list(texts[: max(16, int(seconds / 10 / turn))])
    best = [0.0] * len(pipelines)
    start, rounds = time.perf_counter(), 0
    while rounds < 2 or time.perf_counter() - start < seconds:
        for k, nlp in enumerate(pipelines):
            begun = time.perf_counter()
            list(nlp.pipe(part))
            best[k] = max(best[k], len(part) / (time.perf_counter() - begun))
        rounds += 1
    return best


def fit_again(
    weight: NDArray, bias: NDArray, vectors: NDArray, logits: NDArray
) -> Tuple[NDArray, NDArray]:
    """Fit a linear layer by least squares to compute from other vectors what it computed from the
    exact ones. A penalty keeps it near the trained weights; its strength is the best one on a fifth
    of the rows, which are held out.

    weight, bias (ndarray): The trained layer, shape (n_columns, width) and (n_columns,).
    vectors (ndarray): The other vectors, shape (n_rows, width).
    logits (ndarray): Output of the layer for the exact vectors, shape (n_rows, n_columns).
    RETURNS (Tuple[ndarray, ndarray]): Weight and bias, fp32: the trained ones if none are better.
    """
    rows = numpy.concatenate([vectors, numpy.ones((len(vectors), 1))], axis=1).astype(numpy.float64)
    start = numpy.concatenate([weight.T, bias[None]]).astype(numpy.float64)
    missing = logits - rows @ start
    held_out = numpy.random.default_rng(0).random(len(rows)) < 0.2
    best, chosen = float((missing[held_out] ** 2).sum()), None
    for ridge in _RIDGES if 5 < held_out.sum() < len(rows) - 5 else ():
        step = _solve(rows[~held_out], missing[~held_out], ridge)
        error = float(((missing[held_out] - rows[held_out] @ step) ** 2).sum())
        if error < best:
            best, chosen = error, ridge
    if chosen is not None:
        start += _solve(rows, missing, chosen)
    return start[:-1].T.astype("f"), start[-1].astype("f")


def _solve(rows: NDArray, missing: NDArray, ridge: float) -> NDArray:
    square = rows.T @ rows
    strength = ridge * float(numpy.trace(square)) / len(square)
    return numpy.linalg.solve(square + strength * numpy.eye(len(square)), rows.T @ missing)


def _quantized(graph: bytes, reduced: bool) -> bytes:
    from onnxruntime.quantization import quantize_dynamic

    from .onnx_graphs import quiet

    with tempfile.TemporaryDirectory() as folder, quiet():
        before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(graph)
        quantize_dynamic(before, after, per_channel=True, reduce_range=reduced)
        return after.read_bytes()


def _compute_with(pipe: "EncoderPipe", graph: bytes) -> None:
    """Let the torch module of a component get its vectors from an exported encoder."""
    import torch

    from .onnx_graphs import session_of

    session = session_of(graph)
    names = [given.name for given in session.get_inputs()]

    def vectors(batch: Any, pooling: Any) -> torch.Tensor:
        given = zip(names, (batch.ids.numpy(), batch.mask.numpy()), strict=True)
        return torch.from_numpy(session.run(None, dict(given))[0])

    pipe.encoder._vectors = vectors


def _rows(pipe: "EncoderPipe", examples: "Sequence[Example]") -> Tuple[NDArray, NDArray]:
    """RETURNS (Tuple[ndarray, ndarray]): Input and output of the last layer of a component."""
    given: List[Tuple[NDArray, NDArray]] = []

    def note(layer: Any, inputs: Tuple[Any, ...], output: Any) -> None:
        given.append((inputs[0].numpy(), output.numpy()))

    handle = pipe.head.output.register_forward_hook(note)
    try:
        for docs in _blocks([example.predicted for example in examples]):
            pipe.model.predict(docs)
            if sum(len(rows) for rows, _ in given) >= FITTED_ROWS:
                break
    finally:
        handle.remove()
    vectors, logits = (numpy.concatenate(part) for part in zip(*given, strict=True))
    return vectors, logits


def _blocks(docs: List[Any]) -> Iterator[List[Any]]:
    for start in range(0, len(docs), LOOK_AHEAD_DOCS):
        yield docs[start : start + LOOK_AHEAD_DOCS]


def _fit_output(
    pipe: "EncoderPipe", exact: Tuple[NDArray, NDArray], quantized: Tuple[NDArray, NDArray]
) -> None:
    import torch

    output = pipe.head.output
    weight, bias = (tensor.detach().numpy() for tensor in (output.weight, output.bias))
    weight, bias = fit_again(weight, bias, quantized[0], exact[1])
    with torch.no_grad():
        output.weight.copy_(torch.from_numpy(weight))
        output.bias.copy_(torch.from_numpy(bias))
