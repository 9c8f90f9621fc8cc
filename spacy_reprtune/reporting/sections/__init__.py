"""The sections of a report, a file or two each: they turn what was read into blocks."""
