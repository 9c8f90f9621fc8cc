"""The parts of a report, a file or two each: what was read goes in, blocks come out."""
