"""Expand short configs to their full form, with every default of spaCy and of the components."""

from thinc.api import Config


def full_config(config: Config) -> Config:
    """Fill in the settings that a training config leaves out, as `spacy train` does.

    config (Config): A training config, not interpolated.
    RETURNS (Config): The config with all sections and settings, not interpolated.
    """
    from spacy.util import load_model_from_config

    return load_model_from_config(config, auto_fill=True).config
