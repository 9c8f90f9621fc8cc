"""Start on the next batch of a stream while a device computes the one before it.

A CUDA device computes while the host continues, as long as nobody reads a result. So the pass over
a batch is started before the previous batch is decoded and written to its docs. No thread is
needed: Python code in a second one would only take turns with the first.
"""

import logging
import operator
import threading
from typing import Any, Callable, Iterator, List, Optional, Tuple

import torch
from spacy.tokens import Doc

from ..encoder.transfer import Arriving, runs_behind

logger = logging.getLogger("spacy")


class Ahead(threading.local):
    """The outputs of batches that were started ahead, kept until they are asked for.

    Each thread has outputs of its own, because threads may predict at the same time.
    """

    def __init__(self) -> None:
        self._starting = False
        # What the model was asked for while a batch was started: all of the batch, or some of it.
        self._asked: List[Doc] = []
        # Docs, the version of the weights, and the output.
        self._started: List[Tuple[List[Doc], int, Any]] = []

    def batches(
        self,
        batches: Iterator[List[Doc]],
        predict: Callable[[List[Doc]], Any],
        device: torch.device,
    ) -> Iterator[List[Doc]]:
        """Yield batches. On a device that computes while the host continues, each batch is started
        before the previous one is yielded.

        batches (Iterator[List[Doc]]): The batches.
        predict (Callable[[List[Doc]], Any]): The prediction of the model.
        device (torch.device): Where the model computes.
        YIELDS (List[Doc]): The batches, in order.
        """
        if not runs_behind(device):
            yield from batches
            return
        waiting: Optional[List[Doc]] = None
        try:
            for docs in batches:
                self._start(predict, docs)
                if waiting is not None:
                    yield waiting
                waiting = docs
        except Exception:
            # The stream failed after a batch that can still be predicted.
            if waiting is not None:
                yield waiting
            raise
        else:
            if waiting is not None:
                yield waiting
        finally:
            self.forget()

    def hold(self, output: Any, module: torch.nn.Module) -> Any:
        """Hold an output back if its batch is only being started.

        output (Union[Tensor, Tuple[Optional[Tensor], ...]]): What a module computes.
        module (Module): The module.
        RETURNS (Union[Tensor, Tuple[Optional[Tensor], ...]]): The same output.
        """
        if self._starting:
            raise _Started(_version(module), _each(Arriving, output))
        return output

    def take(self, docs: List[Doc], module: torch.nn.Module) -> Any:
        """Find the output of a batch that was started.

        docs (List[Doc]): The batch.
        module (Module): The module that would compute it now.
        RETURNS (Union[Tensor, Tuple[Optional[Tensor], ...]]): The output, on the CPU; None if the
            batch was not started, or was started with other weights.
        """
        if self._starting:
            self._asked = docs
        for k, (known, before, output) in enumerate(self._started):
            if len(known) == len(docs) and all(map(operator.is_, known, docs)):
                del self._started[k]
                return _each(Arriving.wait, output) if before == _version(module) else None
        return None

    def forget(self) -> None:
        """Drop all outputs, which come from earlier weights or will not be asked for."""
        self._started.clear()

    def _start(self, predict: Callable[[List[Doc]], Any], docs: List[Doc]) -> None:
        self._starting = True
        try:
            predict(docs)
        except _Started as started:
            self._started.append((self._asked, *started.args))
        except Exception:
            # Raised again when it is the batch's turn to be predicted.
            logger.debug("A batch could not be started ahead.", exc_info=True)
        finally:
            self._starting = False


class _Started(Exception):
    """Ends a prediction as soon as the device has all of its work."""


def _version(module: torch.nn.Module) -> int:
    # Loading or fitting weights increases a tensor's version. A fused update does not, so the shim
    # calls `forget`.
    return sum(parameter._version for parameter in module.parameters())


def _each(call: Callable[[Any], Any], output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(None if part is None else call(part) for part in output)
    return call(output)
