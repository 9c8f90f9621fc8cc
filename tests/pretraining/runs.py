"""Runs in this process's children, and what they leave behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

WORKER = """
import json, sys
from pathlib import Path
from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import settings_from
pretrain(settings_from(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def weights(output: Path):
    return load_file(output / "encoder" / "model.safetensors")


def run_command(config, output):
    return [sys.executable, "-c", WORKER, json.dumps(config), str(output)]


def start(command, **environment):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **(tolerance or {"rtol": 0, "atol": 0}))
