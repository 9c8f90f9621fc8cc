"""Results that survive a stop: one JSON line each, written as soon as it is there."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from benchmarks.common import fail, log

Key = Dict[str, Any]


class Results:
    """What has been measured, by what it is a result of."""

    def __init__(self, path: Optional[Path], **settings: Any) -> None:
        """Read what an earlier run has measured.

        path (Optional[Path]): The file, made with the first result; None to keep them in memory.
        settings: What all results of this run depend on, such as threads. Lines with other ones
            stay in the file and are not used.
        """
        self.path, self.settings = path, settings
        self._found: Dict[str, Dict[str, Any]] = {}
        if path is not None and path.is_file():
            for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), start=1):
                try:
                    row = json.loads(line)
                    self._found[_text(row["key"])] = row["result"]
                except (ValueError, KeyError, TypeError):
                    # A stop can cut the last line off; whatever else it is, it is no result.
                    log(f"{path}, line {number} is no result and is left out")
            log(f"{len(self._found)} results in {path}")

    def once(self, measure: Callable[[], Dict[str, Any]], **key: Any) -> Dict[str, Any]:
        """Measure, unless it has been done.

        measure (Callable[[], Dict[str, Any]]): Gives the result, of what JSON can hold.
        key: What it is the result of, beside the settings.
        RETURNS (Dict[str, Any]): The result.
        """
        whole = {**self.settings, **key}
        if _text(whole) not in self._found:
            self._add(whole, measure())
        return self._found[_text(whole)]

    def has(self, **key: Any) -> bool:
        """RETURNS (bool): Whether there is a result of this already."""
        return _text({**self.settings, **key}) in self._found

    def _add(self, key: Key, result: Dict[str, Any]) -> None:
        self._found[_text(key)] = result
        if self.path is None:
            return
        line = json.dumps({"key": key, "result": result}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                file.seek(0, 2)
                if file.tell():
                    file.seek(-1, 2)
                    if file.read(1) != b"\n":
                        # What a stop has cut off stays a line of its own.
                        line = "\n" + line
                file.write(line.encode("utf8"))
        except OSError as error:
            fail(f"can't write results to {self.path}: {error}")


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)
