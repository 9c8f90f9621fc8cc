"""Runs in processes of their own, and what they leave behind."""

import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

# Importing takes longer than any run here: one server imports, and each run is a fork of it.
_FORKS = sys.platform == "linux"
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
        handle, errors = tempfile.mkstemp()
        os.close(handle)
        self._errors = Path(errors)
        # Whoever waits for nothing any more must not keep the tests from ending.
        self.process = _CONTEXT.Process(
            target=_call, args=(errors, environment, target, *arguments), daemon=True
        )
        self.process.start()

    def finish(self, seconds=300):
        """Wait for the end.

        RETURNS (Tuple[int, str]): The exit code and what stderr got.
        """
        self.process.join(seconds)
        late = self.kill()
        errors = self._errors.read_text(encoding="utf8")
        self._errors.unlink()
        assert not late, f"The run did not end in time. It said: {errors}"
        return self.process.exitcode, errors

    def kill(self):
        """Kill it, at once.

        RETURNS (bool): Whether it was still running.
        """
        running = self.process.is_alive()
        self.process.kill()
        self.process.join()
        return running

    def wait_for(self, condition, seconds=120):
        """Wait until something is so or the run has ended."""
        deadline = time.monotonic() + seconds
        while self.process.is_alive() and not condition():
            assert time.monotonic() < deadline, self.finish(0)
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


def pretrain_without_spacy(config, output):
    # The server that this is a fork of may have started for a test that needs them.
    for name in list(sys.modules):
        if name.partition(".")[0] in ("spacy", "thinc", "spacy_reprtune"):
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(["spacy", "thinc"]))
    pretrain_with(config, output)


def command_with(*arguments):
    """As `python -m spacy reprtune mlm` runs it, with everything printed to stderr."""
    os.dup2(2, 1)
    sys.argv[1:] = ["reprtune", "mlm", *arguments]
    runpy.run_module("spacy", run_name="__main__", alter_sys=True)


def weights(output):
    return load_file(output / "encoder" / "model.safetensors")


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **(tolerance or {"rtol": 0, "atol": 0}))
