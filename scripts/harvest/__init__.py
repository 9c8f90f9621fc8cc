"""The default corpus, from docstrings of installed packages: `python -m scripts.harvest`."""
