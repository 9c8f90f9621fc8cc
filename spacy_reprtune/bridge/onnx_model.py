"""`spacy_reprtune.OnnxModel.v1`: a head and its encoder in ONNX Runtime."""

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

from . import sentence_classifier, token_classifier
from .head_model import run_head

if TYPE_CHECKING:
    from .onnx_shim import OnnxShim


def text_logits(
    model: Model[List[Doc], Floats2d], docs: List[Doc], is_train: bool
) -> Tuple[Floats2d, Callable]:
    """Compute the logits of docs; see `run_head`.

    model (Model[List[Doc], Floats2d]): The model.
    docs (List[Doc]): The docs.
    is_train (bool): Has to be false.
    RETURNS (Tuple[Floats2d, Callable]): Logits, shape (n_docs, n_labels), and a function that
        raises an error.
    """
    (_, logits), backprop = run_head(model, docs, is_train)
    return logits, backprop


# For each architecture that can be exported: the name of its model, its forward pass, and the
# method of `OnnxHead` that computes its output.
HEADS: Dict[str, Tuple[str, Callable, str]] = {
    "TextClassifier": ("reprtune_text_classifier", text_logits, "texts"),
    "SentenceClassifier": ("reprtune_sentence_classifier", sentence_classifier.forward, "texts"),
    "TokenClassifier": ("reprtune_token_classifier", token_classifier.forward, "tokens"),
}


@registry.architectures("spacy_reprtune.OnnxModel.v1")
def OnnxModel_v1(head: str, *, threads: Optional[int] = None) -> Model[List[Doc], Any]:
    """A trained head with its encoder, exported by `reprtune package --runtime onnx`. It needs
    neither torch nor transformers, and can't be trained.

    head (str): What was exported: "TextClassifier", "SentenceClassifier" or "TokenClassifier".
    threads (Optional[int]): Threads to compute with; null for the environment variable
        OMP_NUM_THREADS, or else one per core. With `n_process`, each process has one.
    RETURNS (Model[List[Doc], Any]): Docs to the output of the architecture of that name.
    RAISES (ValueError): A setting is out of range.
    """
    from .onnx_shim import OnnxShim

    if head not in HEADS:
        raise ValueError(f"head = {head!r}. Use one of {', '.join(HEADS)}.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads = {threads}. Use 1 or more, or null.")
    name, forward, run = HEADS[head]
    shim = OnnxShim(run, threads=threads)
    return Model(name, forward, init=_init, dims={"nO": None}, shims=[shim])


def _init(model: Model[List[Doc], Any], X: Any = None, Y: Any = None) -> None:
    shim: OnnxShim = model.shims[0]  # type: ignore[assignment]
    shim.initialize()
