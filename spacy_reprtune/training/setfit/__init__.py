"""Training with SetFit: readers, batches, the `setfit` library's files and its trainer."""
