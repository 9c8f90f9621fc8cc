"""`spacy_reprtune.Encoder.v1`: the encoder for spaCy's configs, as a thinc model."""

from typing import TYPE_CHECKING, Callable, List, Optional, Tuple, Union

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

if TYPE_CHECKING:
    from ..encoder.align import TokenSpans
    from ..encoder.module import EncoderSettings

DocsToTokenVectors = Model[List[Doc], List[Floats2d]]


@registry.architectures("spacy_reprtune.Encoder.v1")
def Encoder_v1(
    name: str,
    *,
    # int comes first: with spaCy 3.8.7, a config takes the first type that fits a value.
    unfreeze: Union[int, str] = "all",
    window: Optional[int] = None,
    overlap: int = 0,
    batch_pieces: int = 4096,
    packed: Union[bool, str] = "auto",
    precision: str = "auto",
    device: str = "auto",
    cache_mb: int = 1000,
    cache_dir: Optional[str] = None,
    lr_decay: float = 1.0,
    unfreeze_every: Optional[int] = None,
    reinit_last: int = 0,
    max_pieces: Optional[int] = None,
    keep_blocks: Optional[List[int]] = None,
    sha256: Optional[str] = None,
) -> DocsToTokenVectors:
    """A pretrained transformer encoder.

    Inside one of this package's heads, it is part of the head's model. By itself, it computes a
    vector for each token, the mean of its pieces, so spaCy's own components also accept it as their
    `tok2vec`.

    The weights are read when the pipeline is initialized; a trained pipeline has its own copy
    and never looks for `name` again.

    name (str): A model id on the Hugging Face hub, a directory, or `package:module/path` for a
        folder inside an installed Python package. With `@sha256:` and 64 hexadecimal digits after
        it, `model.safetensors` must have that digest.
    unfreeze (Union[int, str]): Blocks that train: "all", "none", or the last N blocks.
    window (Optional[int]): Pieces in a window, special pieces included; null for as many as
        the encoder takes. Longer texts get several windows.
    overlap (int): Pieces that neighboring windows of a text share.
    batch_pieces (int): Padded pieces that are computed at once: a trade of memory for speed.
    packed (Union[bool, str]): Whether to compute the windows of a batch in one row without padding.
        "auto" does so on CUDA in half precision, true on every device. Both first test whether the
        encoder computes the same vectors this way. false never packs.
    precision (str): "auto" computes in bf16 where the hardware does that faster, "bf16" always,
        "fp32" never. Weights are kept and saved in fp32.
    device (str): "auto" follows spaCy's `--gpu-id`; otherwise a torch device. "cuda" works without
        CuPy.
    cache_mb (int): Memory for the outputs of frozen blocks while training, in units of
        1,000,000 bytes; 0 to compute them each time. All encoders of a process with the same two
        cache settings share it.
    cache_dir (Optional[str]): Directory for outputs that do not fit into memory, or null to compute
        them again. It can be kept for the next training: outputs of other weights are never used.
    lr_decay (float): Learning rate of a block as a fraction of the rate of the block above it.
    unfreeze_every (Optional[int]): Number of updates after which one more block begins to train,
        from the head downwards until `unfreeze` is reached; null to train all from the start.
    reinit_last (int): How many of the last blocks start from random weights.
    max_pieces (Optional[int]): Pieces of a text that are read, special pieces included; null for
        all. The tokens in the rest of a longer text have vectors of zeros and no entities.
    keep_blocks (Optional[List[int]]): The blocks to keep, counted from 0 and in order, such as
        [0, 2, 4] for a student with half the blocks of its teacher; null for all. `unfreeze`
        counts only these blocks.
    sha256 (Optional[str]): Deprecated: put the digest in the name.
    RETURNS (Model[List[Doc], List[Floats2d]]): Docs to one row per token, shape (n_tokens, width).
    RAISES (ValueError): A setting is out of range.
    """
    from ..encoder.load import with_digest
    from ..encoder.module import EncoderSettings

    settings = EncoderSettings(
        name=with_digest(name, sha256),
        unfreeze=unfreeze,
        window=window,
        overlap=overlap,
        batch_pieces=batch_pieces,
        packed=packed,
        precision=precision,
        device=device,
        cache_mb=cache_mb,
        cache_dir=cache_dir,
        lr_decay=lr_decay,
        unfreeze_every=unfreeze_every,
        reinit_last=reinit_last,
        max_pieces=max_pieces,
        keep_blocks=None if keep_blocks is None else tuple(keep_blocks),
    )
    return encoder_model(settings)


def encoder_model(settings: "EncoderSettings") -> DocsToTokenVectors:
    """Make the model of an encoder.

    settings (EncoderSettings): The settings.
    RETURNS (Model[List[Doc], List[Floats2d]]): Docs to one row per token.
    """
    from .shim import TorchShim

    return Model(
        "reprtune_encoder",
        forward,
        init=init,
        dims={"nO": None},
        shims=[TorchShim(settings, _build)],
    )


def forward(
    model: DocsToTokenVectors, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    """Compute the vectors of tokens.

    model (Model[List[Doc], List[Floats2d]]): The model.
    docs (List[Doc]): The docs.
    is_train (bool): Whether `backprop` will be called.
    RETURNS (Tuple[List[Floats2d], Callable]): A matrix per doc, one row per token (zeros for a
        token without a piece), and a function that takes their gradients.
    """
    shim = model.shims[0]
    rows, backward = None if is_train else shim.started(docs), None
    if rows is None:
        rows, backward = shim(([token_spans(doc) for doc in docs], 0.0), is_train)
    lengths = [len(doc) for doc in docs]
    vectors = model.ops.unflatten(model.ops.asarray2f(rows), model.ops.asarray1i(lengths))

    def backprop(d_vectors: List[Floats2d]) -> List[Doc]:
        backward(model.ops.flatten(d_vectors))
        return docs

    return vectors, backprop


def init(
    model: DocsToTokenVectors,
    X: Optional[List[Doc]] = None,
    Y: Optional[List[Floats2d]] = None,
) -> None:
    """Load the pretrained weights.

    model (Model[List[Doc], List[Floats2d]]): The model.
    X (Optional[List[Doc]]): Not used.
    Y (Optional[List[Floats2d]]): Not used.
    """
    model.shims[0].initialize(0)
    model.set_dim("nO", model.shims[0].module.encoder.width, force=True)


def _build(encoder, _: int):
    from ..encoder.token_vectors import TokenVectors

    return TokenVectors(encoder)


def token_spans(doc: Doc) -> "TokenSpans":
    """RETURNS (TokenSpans): The text of a doc and the character offsets of its tokens."""
    from ..encoder.align import TokenSpans

    spans = doc.to_array(["IDX", "LENGTH"]).astype("int64").reshape(-1, 2)
    return TokenSpans(doc.text, spans[:, 0], spans.sum(1))
