"""Reports, model cards and explanations. Every number comes from files in `metrics/`."""
