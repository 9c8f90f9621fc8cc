"""Corpora: convert annotated files to one, check it, and choose a recipe for it."""
