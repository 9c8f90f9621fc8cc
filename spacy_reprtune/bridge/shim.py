"""Run a torch module of this package behind a thinc model."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

import srsly
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save_file
from safetensors.torch import save as save_tensors
from spacy.tokens import Doc
from thinc.api import Shim
from thinc.util import to_numpy

from ..encoder.load import build_empty, check_directory, load_pretrained, resolve_encoder
from ..encoder.module import Encoder, EncoderSettings
from ..encoder.pieces import PieceTokenizer
from ..encoder.transfer import on_host
from ..encoder.weight_files import read_header, read_json_object
from .ahead import Ahead
from .device import configured_device
from .optimizer import TorchOptimizer
from .overview import training_overview

if TYPE_CHECKING:
    from thinc.api import Optimizer

Build = Callable[[Encoder, int], torch.nn.Module]


class TorchShim(Shim):
    """Runs, updates, saves and loads a module that consists of an encoder and a head.

    thinc's own shim updates tensor by tensor, autocasts on CUDA only and pickles. This one passes
    the gradient to torch's optimizer, leaves precision to the encoder, and writes safetensors.
    """

    trains = True

    def __init__(self, settings: EncoderSettings, build: Build, *, head_lr: float = 1.0) -> None:
        """Prepare a module; its weights come with `initialize` or one of the `from_` methods.

        settings (EncoderSettings): How to run the encoder.
        build (Callable[[Encoder, int], Module]): Builds a new module, given the encoder and the
            number of labels. The module holds the encoder as `encoder`, takes the inputs of the
            model as its one argument, and has a `dropout_rate`.
        head_lr (float): Learning rate of the head as a multiple of the optimizer's.
        """
        super().__init__(None)
        self.settings = settings
        self.build = build
        self.head_lr = head_lr
        self.n_labels: Optional[int] = None
        # Whether the log already says what trains.
        self.announced = False
        self._updater: Optional[TorchOptimizer] = None
        # Backward passes whose gradients wait for `finish_update`.
        self.n_backward = 0
        self._n_updates = 0
        self._process = os.getpid()
        self.ahead = Ahead()

    @property
    def module(self) -> torch.nn.Module:
        """RETURNS (Module): The module.

        RAISES (ValueError): There are no weights yet.
        """
        if self._model is None:
            raise ValueError(
                "This model has no weights yet: call nlp.initialize() to load the pretrained "
                "encoder, or load a trained pipeline with spacy.load()."
            )
        self.take_one_thread_after_fork()
        return self._model

    def take_one_thread_after_fork(self) -> None:
        """In a worker of `nlp.pipe`, compute with one thread. A fork does not copy the threads of
        OpenMP, so with more than one it would wait forever. Each process has a core anyway."""
        if os.getpid() != self._process:
            torch.set_num_threads(1)
            self._process = os.getpid()

    @property
    def updater(self) -> TorchOptimizer:
        """RETURNS (TorchOptimizer): Updates the weights; created when it is first needed."""
        if self._updater is None:
            factors = self.module.encoder.rate_factors()
            factors.update(dict.fromkeys(self._head_parameters(), self.head_lr))
            self._updater = TorchOptimizer(self.module, factors)
        return self._updater

    def training_state(self) -> Tuple[Dict[str, torch.Tensor], Dict[str, Any]]:
        """Get the state that another process needs to continue the training.

        RETURNS (Tuple[Dict[str, Tensor], Dict[str, Any]]): Weights that training may have changed,
            and the moments of the optimizer; and the rest, as values that JSON can express.
        """
        head = set(self._head_parameters())
        named = self.module.named_parameters()
        tensors = {f"weights/{n}": p for n, p in named if p.requires_grad or p in head}
        groups, moments = self.updater.state()
        tensors.update({f"moments/{name}": tensor for name, tensor in moments.items()})
        return tensors, {"n_updates": self._n_updates, "groups": groups}

    def restore_training(
        self, optimizer: "Optimizer", tensors: Dict[str, torch.Tensor], values: Dict[str, Any]
    ) -> None:
        """Restore the result of `training_state`. The model has to be initialized in the same way
        as before.

        optimizer (thinc.api.Optimizer): The optimizer that `finish_update` will be given.
        tensors (Dict[str, Tensor]): Weights and moments.
        values (Dict[str, Any]): The rest.
        """
        self._n_updates = values["n_updates"]
        self.module.encoder.begin_step(self._n_updates)
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if f"weights/{name}" in tensors:
                    parameter.copy_(tensors[f"weights/{name}"])
        prefix = "moments/"
        moments = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        self.module.encoder.weights_changed()
        self.updater.restore(optimizer, values["groups"], moments)

    def initialize(self, n_labels: int) -> None:
        """Load the pretrained encoder, and build a new head.

        n_labels (int): Columns of the output.
        """
        path = resolve_encoder(self.settings.name)
        tokenizer = PieceTokenizer.from_directory(path)
        device = configured_device(self.settings.device, loading=False)
        model = self.settings.prepare(load_pretrained(path), tokenizer, device)
        self._set(model, tokenizer, n_labels, loading=False)
        self.module.encoder.caching = True

    def __call__(
        self, inputs: Tuple[Any, float], is_train: bool
    ) -> Tuple[Any, Callable[[Any], None]]:
        """Run the module.

        inputs (Tuple[Any, float]): The module's argument, and the dropout rate of the head.
        is_train (bool): Whether the second return value will be called.
        RETURNS (Tuple[Union[ndarray, Tuple[Optional[ndarray], ...]], Callable]): The output of the
            module, as a numpy array or a tuple of arrays; and a function that takes a gradient of
            the same form and adds to the gradients of the weights.
        """
        module = self.module
        argument, module.dropout_rate = inputs
        if not is_train:
            module.eval()
            with torch.no_grad():
                output = module(argument)
            return _arrays(self.ahead.hold(output, module)), _no_backward
        module.train()
        module.encoder.caching = True
        try:
            with torch.enable_grad():
                output = module(argument)
        finally:
            # So that other code can use the module directly, without dropout.
            module.eval()

        def backward(d_output: Any) -> None:
            pairs = [
                (tensor, _gradient(gradient, tensor))
                for tensor, gradient in zip(_parts(output), _parts(d_output), strict=True)
                if tensor is not None and tensor.requires_grad
            ]
            if not pairs:
                return
            # Long texts are recomputed in the backward pass, with the same dropout.
            module.train()
            try:
                torch.autograd.backward(*zip(*pairs, strict=True))
            finally:
                module.eval()
            self.n_backward += 1

        return _arrays(output), backward

    def batches(self, docs: Iterator[List[Doc]], predict: Callable) -> Iterator[List[Doc]]:
        """See `Ahead.batches`. Without weights, the device is the CPU."""
        device = "cpu" if self._model is None else self._model.encoder.device
        return self.ahead.batches(docs, predict, torch.device(device))

    def started(self, docs: List[Doc]) -> Any:
        """RETURNS (Any): The output for docs that were started ahead, as `__call__` returns it;
        None if they were not."""
        output = self.ahead.take(docs, self.module)
        return None if output is None else _arrays(output)

    def finish_update(self, optimizer: "Optimizer") -> None:
        """Apply the gradients with the settings of a spaCy optimizer.

        optimizer (thinc.api.Optimizer): The optimizer.
        """
        self.ahead.forget()
        n_backward, self.n_backward = max(self.n_backward, 1), 0
        self.updater.step(optimizer, n_backward=n_backward)
        self.module.encoder.weights_changed()
        self._n_updates += 1
        self.module.encoder.begin_step(self._n_updates)

    def resize(self, mapping: NDArray, bias: NDArray) -> None:
        """Give the head different outputs. The optimizer starts again.

        mapping (ndarray): The new outputs (rows) as sums of the present ones (columns).
        bias (ndarray): Added to the bias of each new output.
        """
        self.module.resize(mapping, bias)
        self.n_labels = len(mapping)
        self._updater = None

    def overview(self, texts: Optional[Iterator[str]] = None) -> str:
        """Describe what is going to train.

        texts (Optional[Iterator[str]]): The training texts, to estimate the size of the cache.
        RETURNS (str): A table; see `training_overview`.
        """
        encoder = self.module.encoder
        rows = None
        if texts is not None and encoder.caches:
            pieces = encoder.tokenize(list(dict.fromkeys(texts)), cached=True)
            rows = self.module.cached_rows(encoder.windows(pieces))
        return training_overview(encoder, self._head_parameters(), self.head_lr, rows=rows)

    def _head_parameters(self) -> List[torch.nn.Parameter]:
        inside = set(self.module.encoder.parameters())
        return [p for p in self.module.parameters() if p not in inside]

    @contextmanager
    def use_params(self, params: Any) -> Iterator[None]:
        """Averaged parameters are not kept for torch weights, so there is nothing to swap."""
        yield

    def to_device(self, device_type: str, device_id: int) -> None:
        """Not needed: the `device` setting decides where the module runs."""

    def copy(self) -> "TorchShim":
        """RETURNS (TorchShim): A shim with a copy of the weights."""
        make, arguments = self.__reduce__()
        return make(*arguments)

    def __reduce__(self) -> Tuple[Callable[..., "TorchShim"], Tuple[Any, ...]]:
        """Pickle for workers of `nlp.pipe` that are not forked (Windows, macOS)."""
        return _remake, (type(self), self._arguments(), self.head_lr, self.to_bytes())

    def _arguments(self) -> Tuple[Any, ...]:
        return self.settings, self.build

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Configuration, tokenizer and weights as msgpack."""
        if self._model is None:
            return srsly.msgpack_dumps({})
        encoder = self.module.encoder
        return srsly.msgpack_dumps(
            {
                "n_labels": self.n_labels,
                "config": encoder.model.config.to_dict(),
                "tokenizer": encoder.tokenizer.files(),
                "encoder": save_tensors(on_host(encoder.model.state_dict())),
                "head": save_tensors(self._head_tensors()),
            }
        )

    def from_bytes(self, data: bytes) -> "TorchShim":
        """Load the result of `to_bytes`.

        data (bytes): The bytes.
        RETURNS (TorchShim): Itself.
        """
        saved = srsly.msgpack_loads(data)
        if not saved:
            return self
        model = build_empty(saved["config"])
        model.load_state_dict(load_tensors(saved["encoder"]))
        self._set(model, PieceTokenizer.from_files(saved["tokenizer"]), saved["n_labels"])
        self._load_head(load_tensors(saved["head"]))
        return self

    def to_directory(self, path: Path) -> None:
        """Save to a directory: `encoder/`, which any Hugging Face library can load and which can
        be the encoder of another model, and the head beside it.

        path (Path): The directory, created if it does not exist.
        """
        path.mkdir(parents=True, exist_ok=True)
        encoder = self.module.encoder
        encoder.model.save_pretrained(str(path / "encoder"), safe_serialization=True)
        for name, content in encoder.tokenizer.files().items():
            (path / "encoder" / name).write_bytes(content)
        save_file(self._head_tensors(), str(path / "head.safetensors"))
        srsly.write_json(path / "head.json", {"n_labels": self.n_labels})

    def from_directory(self, path: Path) -> "TorchShim":
        """Load the files that `to_directory` wrote.

        path (Path): The directory.
        RETURNS (TorchShim): Itself.
        RAISES (ValueError): A file is missing or damaged, or the files do not fit together.
        """
        folder = path / "encoder"
        check_directory(folder, str(folder))
        n_labels = _count_labels(path)
        tokenizer = PieceTokenizer.from_directory(folder)
        self._set(load_pretrained(folder), tokenizer, n_labels)
        self._load_head(load_file(str(path / "head.safetensors")), path)
        return self

    def _set(
        self, model: Any, tokenizer: PieceTokenizer, n_labels: int, *, loading: bool = True
    ) -> None:
        device = configured_device(self.settings.device, loading=loading)
        self._set_module(Encoder(model, tokenizer, self.settings, device), n_labels)

    def _set_module(self, encoder: torch.nn.Module, n_labels: int) -> None:
        self._model = self.build(encoder, n_labels)
        self._model.eval()
        self.n_labels = n_labels
        self._updater = None
        self.n_backward = 0
        self._n_updates = 0

    def _head_tensors(self) -> Dict[str, torch.Tensor]:
        state = self.module.state_dict()
        return on_host({k: v for k, v in state.items() if not k.startswith("encoder.")})

    def _load_head(self, tensors: Dict[str, torch.Tensor], path: Optional[Path] = None) -> None:
        where = "" if path is None else f" in {path / 'head.safetensors'}"
        own = self._head_tensors()
        wrong = [
            name
            for name in sorted({*own, *tensors})
            if name not in own or name not in tensors or own[name].shape != tensors[name].shape
        ]
        if wrong:
            raise ValueError(
                f"The saved head{where} does not fit the one that the config describes "
                f"({wrong[0]}). Load a pipeline with the config that it was saved with."
            )
        bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if bad:
            raise ValueError(
                f"The saved head{where} has weights that are infinite or NaN ({bad[0]}): the file "
                "is damaged, or the training that wrote it had failed."
            )
        self.module.load_state_dict(tensors, strict=False)


def _remake(
    kind: Type[TorchShim], arguments: Tuple[Any, ...], head_lr: float, data: bytes
) -> TorchShim:
    return kind(*arguments, head_lr=head_lr).from_bytes(data)


def _count_labels(path: Path) -> int:
    """Read the number of labels, and compare it with the weights before allocating memory."""
    n_labels = read_json_object(path / "head.json").get("n_labels")
    sizes = {tensor.shape[0] for tensor in read_header(path / "head.safetensors") if tensor.shape}
    number = isinstance(n_labels, int) and not isinstance(n_labels, bool)
    # A model without a head (the encoder of a pipeline) has no labels.
    if not number or n_labels not in sizes | {0}:
        raise ValueError(
            f"{path / 'head.json'} says n_labels = {n_labels!r}, but no tensor in "
            "head.safetensors beside it has that many rows: the files belong to different models, "
            "or head.json is damaged."
        )
    return n_labels


def _parts(output: Any) -> Tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def _arrays(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(map(_arrays, output))
    return None if output is None else output.detach().cpu().numpy()


def _gradient(array: Any, tensor: torch.Tensor) -> torch.Tensor:
    # A copy in memory that torch has aligned: the last bit of a matrix product can depend on where
    # its factors begin.
    return torch.as_tensor(to_numpy(array), dtype=tensor.dtype).clone().to(tensor.device)


def _no_backward(d_output: Any) -> None:
    """Do nothing: the pass kept no graph."""
