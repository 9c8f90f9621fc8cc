"""Training with SetFit: samples, batches of pairs, the `setfit` library's files and its trainer."""
