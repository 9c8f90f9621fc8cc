"""The sections of a report, which turn the metrics into blocks."""
