"""Runs in processes of their own, and what they leave behind."""

import multiprocessing
import os
import runpy
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file

# Importing takes longer than any run here: one server imports, and each run is a fork of it.
_FORKS = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
if _FORKS:
    _CONTEXT.set_forkserver_preload(
        ["spacy_reprtune.pretraining.run", "transformers.models.bert.modeling_bert"]
    )


class Run:
    """A call in a process of its own, which has one thread.

    target (Callable): A function of a module.
    arguments: Its arguments.
    environment: Variables of the process.
    """

    def __init__(self, target, *arguments, **environment):
        handle, self._errors = tempfile.mkstemp()
        os.close(handle)
        self.process = _CONTEXT.Process(
            target=_call, args=(self._errors, environment, target, *arguments)
        )
        self.process.start()

    def finish(self, seconds=300):
        """Wait for the end; RETURNS (Tuple[int, str]): The exit code and what stderr got."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "The run did not end in time."
        with open(self._errors, encoding="utf8") as file:
            errors = file.read()
        os.unlink(self._errors)
        return self.process.exitcode, errors

    def kill(self):
        """Kill it, at once. RETURNS (bool): Whether it was still running."""
        self.process.kill()
        self.process.join()
        os.unlink(self._errors)
        return self.process.exitcode != 0

    def wait_for(self, condition, seconds=120):
        """Wait until something is so or the run has ended."""
        deadline = time.monotonic() + seconds
        while self.process.is_alive() and not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _call(errors, environment, target, *arguments):
    os.dup2(os.open(errors, os.O_WRONLY), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    target(*arguments)


def pretrain_with(config, output):
    from spacy_reprtune.pretraining.run import pretrain
    from spacy_reprtune.pretraining.settings import settings_from

    pretrain(settings_from(config), output)


def module_with(*arguments):
    """As `python -m spacy_reprtune.pretraining` runs it."""
    sys.argv[1:] = arguments
    runpy.run_module("spacy_reprtune.pretraining", run_name="__main__", alter_sys=True)


def weights(output):
    return load_file(output / "encoder" / "model.safetensors")


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **(tolerance or {"rtol": 0, "atol": 0}))
