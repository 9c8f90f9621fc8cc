"""Corpora: harvest one from the installed packages, convert your own, check either."""
