"""The spaCy pipes, a file each. spaCy imports them with every `Language()`, so nothing heavy here:
torch and transformers are imported when a pipeline is initialized, loaded or run.
"""
