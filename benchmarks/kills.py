"""Kill a process while it saves a pipeline: what is left is the earlier pipeline or the later one.

For each of four pipelines, the save is killed at several of its file operations, spread from the
first to the last. Then the directory has to hold the files of one of the two states, and no
component of the other. The save after that has to leave nothing of the killed ones behind.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks import common
from benchmarks.fuzz_pipelines import save_encoder, save_pipeline

KINDS = ("textcat", "ner", "shared", "setfit")
Files = Dict[str, bytes]


def main(argv: Optional[List[str]] = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = common.parser(__doc__, seeds=1, repeats=1)
    parser.add_argument("--kills", type=int, default=10, help="kills per pipeline")
    args = parser.parse_args(argv)
    common.fix_threads(1)
    figures: Dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_encoder(Path(folder) / "encoder", "wordpiece")
        for kind in KINDS:
            counts = kill_saves(Path(folder), kind, 2 if args.quick else args.kills)
            common.log(f"{kind}: {counts}")
            figures.update({f"{kind}_{name}": count for name, count in counts.items()})
    common.emit("kills", args, figures)
    if any(count for name, count in figures.items() if name.endswith(("mixed", "leftovers"))):
        sys.exit(1)


def kill_saves(folder: Path, kind: str, n_kills: int) -> Dict[str, int]:
    """Kill saves of one pipeline.

    folder (Path): Folder with the encoder, and for the pipeline.
    kind (str): See `save_pipeline`.
    n_kills (int): Number of kills.
    RETURNS (Dict[str, int]): `kills`, `earlier` and `later` (which state was left), `mixed`
        (neither of them) and `leftovers` (what the next save did not remove).
    """
    import spacy

    from spacy_reprtune.training.saving import save_whole_v1

    save_pipeline(folder / f"first-{kind}", kind, folder / "encoder")
    nlp = spacy.load(folder / f"first-{kind}")
    last = folder / kind / "model-last"
    save_whole_v1()(nlp).to_disk(last)
    earlier = contents(last)
    for name, pipe in nlp.components:
        if name != "encoder":
            pipe.head.output.bias.data.add_(1.0)
    nlp.to_disk(folder / f"later-{kind}")
    later = contents(folder / f"later-{kind}")
    n_operations = save_and_die(nlp, folder / f"counted-{kind}" / "model-last", None)
    counts = dict.fromkeys(("kills", "earlier", "later", "mixed", "leftovers"), 0)
    for k in range(n_kills):
        counts["kills"] += not save_and_die(nlp, last, 1 + k * n_operations // n_kills)
        left = contents(last)
        state = "earlier" if left == earlier else "later" if left == later else "mixed"
        counts[state] += 1
    save_whole_v1()(nlp).to_disk(last)
    counts["leftovers"] = len(list(last.parent.iterdir())) - 1
    counts["mixed"] += contents(last) != later
    return counts


def contents(folder: Path) -> Files:
    """RETURNS (Dict[str, bytes]): All files of a directory, by their relative paths."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def save_and_die(nlp: Any, path: Path, fatal: Optional[int]) -> int:
    """Save in a process that kills itself at a file operation.

    nlp (Language): The pipeline.
    path (Path): The directory.
    fatal (Optional[int]): Number of the operation, from 1; None to save.
    RETURNS (int): Operations until the end; 0 if the process was killed.
    """
    from spacy_reprtune.training.saving import save_whole_v1

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def audit(event: str, arguments: Any) -> None:
            nonlocal count
            if event in ("open", "os.rename", "os.mkdir") and str(path.parent) in str(arguments):
                count += 1
                if count == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        save_whole_v1()(nlp).to_disk(path)
        os.write(writer, str(count).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as file:
        return int(file.read() or 0)


if __name__ == "__main__":
    main()
