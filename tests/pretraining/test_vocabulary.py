"""New pieces are words of the text; they make it shorter, and start as what they replace."""

import pytest
import torch
from conftest import byte_level_tokenizer, save_encoder, wordpiece_tokenizer

from spacy_reprtune.encoder.pieces import PieceTokenizer
from spacy_reprtune.pretraining.model import load_with_head
from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import VocabularyPart
from spacy_reprtune.pretraining.vocabulary import extend_vocabulary

TEXTS = ["the enzyme kinase is a kinase", "a kinase film", "an enzyme of the plot"] * 10


def extend(path, n=2, min_count=5):
    model, _ = load_with_head(path)
    old = PieceTokenizer.from_directory(path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    new, report = extend_vocabulary(model, old, TEXTS, VocabularyPart(n, min_count))
    return model, before, old, new, report


def letters(tokenizer, ids):
    """The pieces without the marks of a word's beginning or going on."""
    names = tokenizer.tokenizer.convert_ids_to_tokens(ids)
    return [name.replace("##", "").replace("Ġ", "") for name in names]


@pytest.mark.parametrize("make", [wordpiece_tokenizer, byte_level_tokenizer])
@pytest.mark.parametrize("vocab_size", [None, 2000])
def test_words_of_the_text_become_pieces(tmp_path, make, vocab_size):
    tokenizer = make()
    size = {} if vocab_size is None else {"vocab_size": vocab_size}
    model_type = "bert" if make is wordpiece_tokenizer else "roberta"
    path = save_encoder(tmp_path, model_type, tokenizer=tokenizer, **size)
    model, before, old, new, report = extend(path)
    text = "a kinase and the enzyme"
    assert report["words"] == 2
    assert report["pieces_per_word_after"] < report["pieces_per_word_before"]
    shorter, longer = (tokenizer([text])[0].ids.tolist() for tokenizer in (new, old))
    words = letters(new, shorter)
    assert "".join(words) == text.replace(" ", "")
    assert {"kinase", "enzyme"} <= set(words) and len(shorter) < len(longer)
    assert new.tokenizer.mask_token_id == old.tokenizer.mask_token_id
    table = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is table
    place = words.index("kinase")
    rest = longer[place:]
    size = next(n for n in range(1, 9) if "".join(letters(old, rest[:n])) == "kinase")
    own = longer[place : place + size]
    name = next(k for k in before if k.endswith("word_embeddings.weight"))
    torch.testing.assert_close(table[shorter[place]], before[name][own].mean(0))
    torch.testing.assert_close(table[5:90], before[name][5:90])


def test_rare_and_short_words_are_left_as_they_are(tiny_encoder):
    *_, report = extend(tiny_encoder, n=10, min_count=25)
    assert report["words"] == 1


def test_an_adapted_encoder_has_the_new_pieces(tmp_path, settings):
    import transformers
    from transformers import AutoModel, AutoTokenizer

    (tmp_path / "x.txt").write_text(
        "\n".join(f"{text} {i}" for i, text in enumerate(TEXTS * 5)), encoding="utf8"
    )
    run = settings(
        corpus={"train": str(tmp_path / "x.txt")},
        vocabulary={"extend": 2, "min_count": 5},
        training={"max_steps": 1, "head_steps": 1},
    )
    report = pretrain(run, tmp_path / "run")
    assert report["vocabulary"]["added"] == 2
    path = tmp_path / "run" / "encoder"
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.tokenize("the kinase") == ["the", "kinase"]
    pieces = path / "vocab.txt"
    # transformers 5 writes no such file.
    assert pieces.exists() == (int(transformers.__version__.split(".")[0]) < 5)
    if pieces.exists():
        assert "kinase" in pieces.read_text(encoding="utf8").split()
    assert AutoModel.from_pretrained(path).get_input_embeddings().num_embeddings >= len(tokenizer)
    assert pretrain(run, tmp_path / "run") == report


def test_unigram_vocabularies_are_refused(tmp_path):
    from test_masking import unigram_tokenizer

    path = save_encoder(tmp_path, tokenizer=unigram_tokenizer())
    with pytest.raises(ValueError, match="is a Unigram tokenizer"):
        extend(path)
