"""`python -m spacy_reprtune.pretraining CONFIG --output DIR [overrides]`, alone or under
`torchrun` or `accelerate launch`."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import List, Optional

from .settings import parse_overrides, read_settings


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line.

    argv (Optional[List[str]]): The arguments; those of the process if None.
    RETURNS (int): The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m spacy_reprtune.pretraining",
        description="Adapt an encoder to your text by masked-language-model pretraining.",
        epilog="Settings of the config are overridden with --section.name value.",
    )
    parser.add_argument("config", type=Path, help="pretraining config, such as configs/mlm.cfg")
    parser.add_argument("--output", "-o", type=Path, required=True, help="directory of the run")
    parser.add_argument("--from", dest="texts", help="train on the texts of this file instead")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress bar")
    args, rest = parser.parse_known_args(argv)
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(message)s")
    try:
        overrides = parse_overrides(rest)
        if args.texts:
            overrides["corpus.train"] = args.texts
        settings = read_settings(args.config, overrides)
        from .run import pretrain

        report = pretrain(settings, args.output, fresh=args.fresh, progress=not args.quiet)
    except ValueError as error:
        print(f"Cannot pretrain: {error}", file=sys.stderr)
        return 1
    if first:
        before, after = (report[key]["heldout"] for key in ("before", "after"))
        print(f"held-out loss {before:.4f} -> {after:.4f}; encoder in {args.output / 'encoder'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
