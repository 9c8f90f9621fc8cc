"""The spaCy pipes, one per file. spaCy imports these files with every `Language()`, so they import
nothing heavy: torch and transformers are imported when a pipeline is initialized, loaded or run.
"""
