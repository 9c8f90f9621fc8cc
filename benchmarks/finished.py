"""Finished trainings in a file of JSON lines, so that a benchmark can be killed and go on.

Any number of processes may share a file, with the same options or with others: each training is
run by one of them. What is in the file is believed, so begin a new one when the code has changed.
"""

import fcntl
import json
import time
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from benchmarks import common
from benchmarks.common import log

# What tells one training from all others, and what it gave.
Key = Mapping[str, Any]
Result = Dict[str, Any]

# How often to look whether another process has finished a training.
POLL_SECONDS = 5.0


class Finished:
    """Results of trainings by what was trained."""

    def __init__(self, path: Optional[Path] = None, **settings: Any) -> None:
        """Open a file of results.

        path (Optional[Path]): The file, created if need be, or None to keep them in memory.
        settings: What all trainings of this run depend on, such as threads, besides the encoder
            and the processor. Results of other ones can share the file.
        """
        self.settings = {
            "encoder": common.ENCODER,
            "machine": common.processor(),
            **settings,
        }
        self.file = None
        self.results: Dict[str, Result] = {}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Open as long as the object lives: closing any handle of a file ends all its locks.
            self.file = path.open("a+", encoding="utf8")
            self._read()

    def run(self, trainings: Sequence[Tuple[Key, Callable[[], Result]]]) -> Sequence[Result]:
        """Run the trainings that nobody has finished or is running; then wait for the others.

        trainings (Sequence[Tuple[Key, Callable[[], Dict]]]): What tells a training from others,
            all of it JSON, and the training.
        RETURNS (Sequence[Dict[str, Any]]): The result of each.
        """
        left = [(self._name(key), train) for key, train in trainings]
        while True:
            before = len(left)
            left = [(name, train) for name, train in left if not self._finish(name, train)]
            if not left:
                return [self.results[self._name(key)] for key, _ in trainings]
            if len(left) == before:
                time.sleep(POLL_SECONDS)

    def once(self, train: Callable[[], Result], **key: Any) -> Result:
        """RETURNS (Dict[str, Any]): The result of one training, run unless it is there already."""
        return self.run([(key, train)])[0]

    def has(self, **key: Any) -> bool:
        """RETURNS (bool): Whether there is a result of a training already."""
        return self._name(key) in self._read()

    def _finish(self, name: str, train: Callable[[], Result]) -> bool:
        """RETURNS (bool): Whether the training is finished now; False if another process is at
        it."""
        if name in self._read():
            return True
        if self.file is None:
            self.results[name] = train()
            return True
        # A byte behind any end of the file stands for the training. The system gives the lock back
        # when the process ends, however it ends.
        byte = 2**40 + zlib.crc32(name.encode("utf8"))
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        try:
            if name not in self._read():
                self._write(name, train())
            return True
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, byte)

    def _read(self) -> Dict[str, Result]:
        if self.file is None:
            return self.results
        self.file.seek(0)
        for line in self.file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                # Of a process that was killed while it wrote.
                continue
            self.results[json.dumps(row["training"], sort_keys=True)] = row["result"]
        return self.results

    def _write(self, name: str, result: Result) -> None:
        self.results[name] = result
        line = json.dumps({"training": json.loads(name), "result": result})
        # The line break in front ends a line that was cut off.
        self.file.write(f"\n{line}\n")
        self.file.flush()
        log(f"finished {line}")

    def _name(self, key: Key) -> str:
        return json.dumps({**self.settings, **key}, sort_keys=True)
