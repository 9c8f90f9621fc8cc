"""Copy a trained pipeline so that its encoders run in ONNX Runtime."""

import importlib.util
import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from ..bridge.onnx_model import HEADS
from ..bridge.onnx_shim import SETTINGS, TOKENIZER
from ..heads.onnx_head import OnnxSettings
from ..manifest import write_manifest
from .agreement import agreement

if TYPE_CHECKING:
    from spacy.language import Language

    from ..components.encoder_pipe import EncoderPipe
    from .int8 import Int8

EXPORTED = ("reprtune_textcat", "reprtune_textcat_multilabel", "reprtune_setfit", "reprtune_ner")
# Libraries that an export needs, all in the extra.
_NEEDED = ("onnx", "onnxruntime", "onnxscript")
# Requirement of an exported pipeline: the oldest version that reads graphs of torch's exporter.
REQUIRES = "onnxruntime>=1.20"
# Scores of the exported pipeline may differ by this much.
TOLERANCE = 1e-4
_TEXTS = ("The film was great, and the music too.", "No.", "", "Berlin is a city in Germany. " * 60)
_INSTEAD = "Package the pipeline without --runtime onnx."


@contextmanager
def with_onnx(model_dir: Path, int8: "Optional[Int8]" = None) -> Iterator[Tuple[Path, List[str]]]:
    """Make a temporary copy of a trained pipeline whose encoders run in ONNX Runtime.

    model_dir (Path): The trained pipeline, which isn't changed.
    int8 (Optional[Int8]): How to quantize, or None for fp32.
    YIELDS (Tuple[Path, List[str]]): The copy, and the measurements, as sentences.
    RAISES (ImportError): The extra is not installed.
    RAISES (ValueError): A component can't be exported, or the exported one predicts something else.
    """
    import spacy

    _check_installed()
    config = _read_config(model_dir)
    names = _check_components(config, model_dir)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / model_dir.resolve().name
        shutil.copytree(model_dir, copy)
        nlp = spacy.load(model_dir, config={"components": _exact(config, names)})
        pipes = {name: _pipe(nlp, name) for name in names}
        for name, pipe in pipes.items():
            _export(pipe, model_dir / name / "model" / "encoder", copy / name)
            _rewrite(config, name)
        config.to_disk(copy / "config.cfg")
        _require_runtime(copy / "meta.json")
        exported = spacy.load(copy)
        report = [_compare(nlp, exported)]
        if int8 is not None:
            report += int8.quantize(nlp, exported, pipes, copy)
        yield copy, report


def write_component(
    folder: Path, pipe: "EncoderPipe", graphs: Dict[str, bytes], settings: OnnxSettings
) -> None:
    """Write an exported component in place of a trained one.

    folder (Path): The component's directory.
    pipe (EncoderPipe): The component, whose settings and tokenizer are written.
    graphs (Dict[str, bytes]): The graphs of `OnnxHead`.
    settings (OnnxSettings): How the component reads texts.
    """
    shutil.rmtree(folder / "model")
    (folder / "model").mkdir()
    for name, graph in graphs.items():
        (folder / "model" / f"{name}.onnx").write_bytes(graph)
    (folder / "model" / SETTINGS).write_bytes(settings.to_json())
    tokenizer = pipe.encoder.tokenizer.to_json()
    (folder / "model" / TOKENIZER).write_text(tokenizer, encoding="utf8")
    text = json.dumps(pipe.cfg, indent=2, ensure_ascii=False)
    (folder / "cfg").write_text(text, encoding="utf8")
    write_manifest(folder)


def settings_of(pipe: "EncoderPipe", weights: str = "fp32") -> OnnxSettings:
    """RETURNS (OnnxSettings): How the exported component reads texts, given the trained one."""
    encoder, head = pipe.encoder, pipe.head
    transitions = getattr(head, "transitions", None)
    return OnnxSettings(
        n_labels=pipe.n_columns,
        window=encoder.window,
        overlap=encoder.settings.overlap,
        max_pieces=encoder.settings.max_pieces,
        batch_pieces=encoder.settings.batch_pieces,
        padding=encoder.padding,
        pad_id=encoder.tokenizer.pad_id,
        weights=weights,
        piece_pooling=getattr(head, "piece_pooling", "mean"),
        transitions=None if transitions is None else transitions.tolist(),
    )


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'--runtime onnx needs {", ".join(missing)}: pip install "spacy-reprtune[onnx]"'
        )


def _read_config(model_dir: Path) -> Any:
    from spacy.util import load_config

    if not (model_dir / "config.cfg").is_file():
        raise ValueError(f"There is no trained pipeline in {model_dir}: it has no config.cfg.")
    return load_config(model_dir / "config.cfg")


def _check_components(config: Any, model_dir: Path) -> List[str]:
    """RETURNS (List[str]): The components to export, after a check that all can be exported."""
    names = []
    for name, block in config["components"].items():
        factory = block.get("factory", "")
        model = block.get("model", {})
        if factory not in EXPORTED:
            if factory.startswith("reprtune_"):
                raise ValueError(
                    f"'{name}' can't be exported: --runtime onnx exports the factories "
                    f"{', '.join(EXPORTED)}, and it is a {factory}. {_remedy(factory)}"
                )
            continue
        if _head_of(model) == "OnnxModel":
            raise ValueError(f"'{name}' runs in ONNX Runtime already: package it as it is.")
        encoder = model.get("encoder", {}).get("@architectures", "")
        if _head_of(model) not in HEADS or not encoder.endswith("Encoder.v1"):
            raise ValueError(
                f"'{name}' can't be exported: it has no encoder of its own, but reads the vectors "
                "of another component. Train it with a spacy_reprtune.Encoder.v1 of its own. "
                f"{_INSTEAD}"
            )
        if not (model_dir / name / "model" / "encoder" / "config.json").is_file():
            raise ValueError(
                f"'{name}' can't be exported: {model_dir / name} has no model/encoder. Train it "
                "with an encoder of its own."
            )
        names.append(name)
    if not names:
        raise ValueError(
            f"{model_dir} has no component to export: --runtime onnx is for "
            f"{', '.join(EXPORTED)}. {_INSTEAD}"
        )
    return names


def _exact(config: Any, names: List[str]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Settings with which torch computes as exactly as it can, so that
    only the runtimes are compared."""
    settings: Dict[str, Any] = {}
    for name in names:
        settings[name] = {"model": {"encoder": {"device": "cpu"}}}
        # A static table has only this precision.
        if "precision" in config["components"][name]["model"]["encoder"]:
            settings[name]["model"]["encoder"]["precision"] = "fp32"
    return settings


def _remedy(factory: str) -> str:
    if factory == "reprtune_cascade":
        return f"Package one of its two classifiers as a pipeline of its own. {_INSTEAD}"
    if factory == "reprtune_encoder":
        return f"Train each head with an encoder of its own. {_INSTEAD}"
    return _INSTEAD


def _head_of(model: Dict[str, Any]) -> str:
    """RETURNS (str): Name of a registered architecture, without the package and the version."""
    return model.get("@architectures", "").removeprefix("spacy_reprtune.").partition(".")[0]


def _pipe(nlp: "Language", name: str) -> Any:
    return dict(nlp._components)[name]


def _export(pipe: "EncoderPipe", encoder_dir: Path, folder: Path) -> None:
    from ..encoder.load import load_pretrained
    from .onnx_graphs import export_encoder, export_head

    try:
        # Undo what was prepared for training on a CPU.
        graphs = {"encoder": export_encoder(load_pretrained(encoder_dir)), **export_head(pipe.head)}
    except ValueError as error:
        raise ValueError(f"'{pipe.name}' can't be exported: {error}. {_INSTEAD}") from error
    write_component(folder, pipe, graphs, settings_of(pipe))


def _rewrite(config: Any, name: str) -> None:
    block = config["components"][name]
    block["model"] = {
        "@architectures": "spacy_reprtune.OnnxModel.v1",
        "head": _head_of(block["model"]),
        "threads": None,
    }


def _require_runtime(path: Path) -> None:
    meta = json.loads(path.read_text(encoding="utf8"))
    meta["requirements"] = [*meta.get("requirements", []), REQUIRES]
    path.write_text(json.dumps(meta, indent=2, ensure_ascii=False), encoding="utf8")


def _compare(nlp: "Language", exported: "Language") -> str:
    measured = agreement(nlp, exported, _TEXTS)
    if measured.largest_difference > TOLERANCE:
        raise ValueError(
            f"The exported pipeline's scores differ from torch's by "
            f"{measured.largest_difference:.2g}, more than {TOLERANCE:g}, so it is not packaged. "
            f"{_INSTEAD}"
        )
    if measured.first is not None:
        raise ValueError(
            f"The exported pipeline annotates {_TEXTS[measured.first]!r} differently from torch, "
            f"so it is not packaged. {_INSTEAD}"
        )
    return (
        f"In ONNX Runtime (fp32), the largest difference from torch's scores is "
        f"{measured.largest_difference:.2g}."
    )
