import json
from types import SimpleNamespace

import pytest
from transformers import AutoConfig, AutoModel

from spacy_reprtune.data.checks.pieces import encoder_limit
from spacy_reprtune.encoder.families import piece_limit

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
NO_LIMIT = SimpleNamespace(max_pieces=None)


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [("bert", 64), ("roberta", 62), ("data2vec-text", 62), ("roberta-prelayernorm", 62)],
)
def test_check_and_training_agree_on_how_many_pieces_fit(model_type, expected, tmp_path):
    settings = {**SIZES, "vocab_size": 50, "max_position_embeddings": 64}
    config = AutoConfig.for_model(model_type, **settings)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert piece_limit(AutoModel.from_config(config), None) == expected
    assert encoder_limit(tmp_path, NO_LIMIT) == expected


def test_without_a_limit_of_its_own_an_encoder_has_that_of_its_tokenizer():
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=-1))
    assert piece_limit(model, 128) == 128
    assert piece_limit(model, None) == 512
