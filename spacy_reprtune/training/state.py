"""Save the state that `spacy train` forgets: weights, moments, random states, support sets.

`collect` returns it as tensors and as values that JSON can express, without any pickle. `restore`
restores it in a pipeline that was initialized with the same config and data.
"""

import random
from typing import TYPE_CHECKING, Any, Collection, Dict, Iterator, List, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Model, Optimizer
from thinc.util import to_numpy

from ..components.cascade_pipe import Cascade
from ..components.encoder_pipe import EncoderPipe
from ..components.shared_encoder import SharedEncoder
from ..components.support_set import unique_texts
from ..components.text_classifier import TextClassifier

if TYPE_CHECKING:
    import torch

    from ..bridge.shim import TorchShim
    from ..encoder.cache import PrefixCache

Tensors = Dict[str, "torch.Tensor"]
# Tables of thinc's optimizer, by model id and name of a parameter.
_TABLES = ("mom1", "mom2", "averages")


def check_resumable(nlp: Language, frozen: Collection[str]) -> None:
    """Check that the state of all components can be saved.

    nlp (Language): The initialized pipeline.
    frozen (Collection[str]): Names of the components that do not train.
    RAISES (ValueError): A component has a model whose optimizer is unknown here.
    """
    from ..bridge.shim import TorchShim

    for name, pipe in trained(nlp, frozen):
        for node in pipe.model.walk():
            for shim in node.shims:
                if not isinstance(shim, TorchShim):
                    raise ValueError(
                        f"The training of '{name}' can't be resumed: the optimizer of its "
                        f"{type(shim).__name__} is not known. Use `spacy train`, or list the "
                        "component in [training] frozen_components."
                    )


def trained(nlp: Language, frozen: Collection[str]) -> Iterator[Tuple[str, Any]]:
    """YIELDS (Tuple[str, TrainablePipe]): The components that train, with their names."""
    for name, pipe in nlp.pipeline:
        if (
            name not in frozen
            and getattr(pipe, "is_trainable", False)
            and pipe.model not in (True, False, None)
        ):
            yield name, pipe


def collect(
    nlp: Language, optimizer: Optimizer, frozen: Collection[str]
) -> Tuple[Tensors, Dict[str, Any]]:
    """Collect the state of a training.

    nlp (Language): The pipeline.
    optimizer (Optimizer): The optimizer.
    frozen (Collection[str]): Names of the components that do not train.
    RETURNS (Tuple[Dict[str, Tensor], Dict[str, Any]]): The tensors, on the CPU, and the rest.
    """
    tensors: Dict[str, Any] = {}
    values: Dict[str, Any] = {"counts": {}, "shims": {}, "pipes": {}}
    for where, node, name in _parameters(nlp, frozen):
        key = node.id, name
        tensors[f"{where}/weights"] = node.get_param(name)
        for table in _TABLES:
            if key in (getattr(optimizer, table) or ()):
                tensors[f"{where}/{table}"] = getattr(optimizer, table)[key]
        if key in optimizer.nr_update:
            values["counts"][where] = optimizer.nr_update[key]
    for where, shim in _shims(nlp, frozen):
        own, values["shims"][where] = shim.training_state()
        tensors.update({f"{where}/{name}": tensor for name, tensor in own.items()})
    for name, pipe in trained(nlp, frozen):
        own, values["pipes"][name] = _of_pipe(pipe)
        tensors.update({f"{name}/{key}": array for key, array in own.items()})
    values["strings"] = list(nlp.vocab.strings)
    values["performance"] = nlp.meta.get("performance", {})
    values["random"] = random_states()
    return {name: _on_cpu(tensor) for name, tensor in tensors.items()}, values


def restore(
    nlp: Language,
    optimizer: Optimizer,
    frozen: Collection[str],
    tensors: Tensors,
    values: Dict[str, Any],
) -> None:
    """Restore the result of `collect`.

    nlp (Language): The pipeline, initialized in the same way as before.
    optimizer (Optimizer): A new optimizer with the same config.
    frozen (Collection[str]): Names of the components that do not train.
    tensors (Dict[str, Tensor]): The tensors.
    values (Dict[str, Any]): The rest.
    """
    for where, node, name in _parameters(nlp, frozen):
        # In place, so that the parameter stays in the memory where it was allocated.
        node.get_param(name)[...] = node.ops.asarray(tensors[f"{where}/weights"].numpy())
        for table in _TABLES:
            if f"{where}/{table}" in tensors:
                array = node.ops.asarray(tensors[f"{where}/{table}"].numpy().copy())
                getattr(optimizer, table)[node.id, name] = array
        if where in values["counts"]:
            optimizer.nr_update[node.id, name] = values["counts"][where]
            # A parameter that has had a gradient keeps its momentum in a step without one.
            node.inc_grad(name, node.ops.xp.zeros_like(node.get_param(name)))
    for where, shim in _shims(nlp, frozen):
        own = {n[len(where) + 1 :]: t for n, t in tensors.items() if n.startswith(f"{where}/")}
        shim.restore_training(optimizer, own, values["shims"][where])
    for name, pipe in trained(nlp, frozen):
        _restore_pipe(pipe, name, tensors, values["pipes"][name])
    for string in values["strings"]:
        nlp.vocab.strings.add(string)
    nlp.meta["performance"] = values["performance"]
    set_random_states(values["random"])


def replay(nlp: Language, frozen: Collection[str], batch: Sequence[Example]) -> None:
    """Note a batch that was trained on before, without learning from it again.

    nlp (Language): The pipeline.
    frozen (Collection[str]): Names of the components that do not train.
    batch (Sequence[Example]): The batch.
    """
    for name, pipe in trained(nlp, frozen):
        if isinstance(pipe, TextClassifier) and pipe.few_shot is not None:
            own = unique_texts(pipe.annotated(list(batch)), pipe.kind, name)
            pipe.few_shot.support.add(own, pipe.kind)


def caches(nlp: Language, frozen: Collection[str]) -> List["PrefixCache"]:
    """RETURNS (List[PrefixCache]): The caches of encoders in components that train, each once."""
    found = [shim.module.encoder.cache for _, shim in _shims(nlp, frozen)]
    return list({id(cache): cache for cache in found if cache is not None}.values())


def random_states() -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The states of Python's, numpy's and torch's random generators."""
    import torch

    kind, keys, *rest = numpy.random.get_state()
    states = {
        "python": random.getstate(),
        "numpy": [kind, keys.tolist(), *rest],
        "torch": torch.get_rng_state().tolist(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = [state.tolist() for state in torch.cuda.get_rng_state_all()]
    return states


def set_random_states(states: Dict[str, Any]) -> None:
    """Set the random generators.

    states (Dict[str, Any]): The result of `random_states`, possibly converted to JSON and back.
    """
    import torch

    random.setstate(python_state(states["python"]))
    kind, keys, *rest = states["numpy"]
    numpy.random.set_state((kind, numpy.asarray(keys, dtype=numpy.uint32), *rest))
    torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))
    if "cuda" in states:
        own = [torch.tensor(state, dtype=torch.uint8) for state in states["cuda"]]
        torch.cuda.set_rng_state_all(own)


def python_state(saved: Sequence[Any]) -> Tuple[Any, ...]:
    """RETURNS (Tuple[Any, ...]): A state for `random.setstate` that was possibly JSON before."""
    version, numbers, gauss = saved
    return version, tuple(numbers), gauss


def _parameters(nlp: Language, frozen: Collection[str]) -> Iterator[Tuple[str, Model, str]]:
    """The parameters of thinc's layers, under names that are the same in every process."""
    for name, pipe in trained(nlp, frozen):
        for k, node in enumerate(pipe.model.walk()):
            for parameter in node.param_names:
                if node.has_param(parameter):
                    yield f"{name}/{k}/{parameter}", node, parameter


def _shims(nlp: Language, frozen: Collection[str]) -> "Iterator[Tuple[str, TorchShim]]":
    for name, pipe in trained(nlp, frozen):
        for k, node in enumerate(pipe.model.walk()):
            for j, shim in enumerate(node.shims):
                yield f"{name}/{k}/shim{j}", shim


def _of_pipe(pipe: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The state of a component of this package besides its model."""
    tensors: Dict[str, Any] = {}
    values: Dict[str, Any] = {}
    if isinstance(pipe, EncoderPipe):
        values["cfg"] = pipe.cfg
    if isinstance(pipe, Cascade):
        values["parts"] = {part: own.cfg for part, own in pipe.parts.items()}
    if isinstance(pipe, SharedEncoder) and pipe._balance is not None:
        values["balance"] = {name: own[1:] for name, own in pipe._balance._known.items()}
    if isinstance(pipe, TextClassifier) and pipe.few_shot is not None:
        few_shot = pipe.few_shot
        values["few_shot"] = {"rng": few_shot._rng.getstate(), "stale": few_shot._stale}
        if few_shot._trained_head is not None:
            tensors = dict(zip(("head/weight", "head/bias"), few_shot._trained_head, strict=True))
    return tensors, values


def _restore_pipe(pipe: Any, name: str, tensors: Tensors, values: Dict[str, Any]) -> None:
    from ..components.balance import GradientBalance

    if "cfg" in values:
        pipe.cfg.update(values["cfg"])
    for part, cfg in values.get("parts", {}).items():
        pipe.parts[part].cfg.update(cfg)
    if "balance" in values:
        pipe._balance = GradientBalance()
        pipe._balance._known = {
            head: (pipe._heads[head], *own) for head, own in values["balance"].items()
        }
    if "few_shot" in values:
        few_shot = pipe.few_shot
        few_shot._rng.setstate(python_state(values["few_shot"]["rng"]))
        few_shot._stale = values["few_shot"]["stale"]
        if f"{name}/head/weight" in tensors:
            few_shot._trained_head = tuple(
                tensors[f"{name}/head/{part}"].numpy().copy() for part in ("weight", "bias")
            )


def _on_cpu(tensor: Any) -> "torch.Tensor":
    import torch

    if not isinstance(tensor, torch.Tensor):
        tensor = torch.from_numpy(numpy.ascontiguousarray(to_numpy(tensor)))
    return tensor.detach().cpu().contiguous()
