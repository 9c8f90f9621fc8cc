"""A head that listens, in a pipeline without the encoder that it listens to."""

import pytest
import spacy
from conftest import make_entity_examples, make_examples

HEADS = {"textcat": "TextClassifier", "ner": "TokenClassifier"}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_without_its_encoder_is_an_error_and_no_guess(name, nlp, encoder_config):
    nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder_config()})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    model = {"@architectures": f"spacy_reprtune.{HEADS[name]}.v1", "encoder": listener}
    nlp.add_pipe(f"reprtune_{name}", name=name, config={"model": model})
    examples = make_examples(nlp) + make_entity_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp("a film")
    sourced = spacy.blank("en")
    sourced.add_pipe(name, source=nlp)
    with pytest.raises(ValueError, match=r"no component has token vectors.*reprtune_encoder"):
        sourced("a film")
    with (
        nlp.select_pipes(enable=name),
        pytest.raises(ValueError, match="enable the one that is there"),
    ):
        nlp("a film")
    assert sourced("").text == ""
