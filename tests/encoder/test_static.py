"""Tables of piece vectors as encoders."""

import pickle

import pytest
import spacy
import torch
from conftest import make_examples

from spacy_reprtune.encoder.load import load_pretrained
from spacy_reprtune.encoder.pieces import PieceTokenizer
from spacy_reprtune.encoder.static import make_table, piece_vectors


@pytest.fixture(scope="module")
def static_config(tiny_encoder):
    """Makes the config block of a text classifier on a table."""

    def config(**settings):
        encoder = {
            "@architectures": "spacy_reprtune.StaticEncoder.v1",
            "name": str(tiny_encoder),
            "width": 8,
            **settings,
        }
        return {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}

    return config


@pytest.fixture
def static(nlp, static_config):
    """A pipeline with a trained classifier, and the examples under `nlp.examples`."""
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": static_config()})
    nlp.examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: nlp.examples)
    optimizer.learn_rate = 0.003
    for _ in range(50):
        nlp.update(nlp.examples, sgd=optimizer)
    return nlp


def test_overfitting_and_every_way_to_save(static, tmp_path):
    assert static.evaluate(static.examples)["cats_score"] == 1.0
    texts = [example.text for example in static.examples]
    expected = [static(text).cats for text in texts]
    static.to_disk(tmp_path)
    for nlp in (
        spacy.load(tmp_path),
        spacy.blank("xx").from_config(static.config).from_bytes(static.to_bytes()),
        pickle.loads(pickle.dumps(static)),
        static,
    ):
        found = [doc.cats for doc in nlp.pipe([*texts, "", "  "])]
        assert all(f == pytest.approx(e) for f, e in zip(found, expected, strict=False))
    assert (tmp_path / "textcat" / "model" / "encoder" / "model.safetensors").is_file()


def test_a_table_holds_the_vectors_of_single_pieces(tiny_encoder, static, static_config):
    model, tokenizer = load_pretrained(tiny_encoder), PieceTokenizer.from_directory(tiny_encoder)
    vectors = piece_vectors(model, tokenizer)
    word = tokenizer(["film"])[0].ids[0]
    ids = torch.tensor([[*tokenizer.prefix, word, *tokenizer.suffix]])
    with torch.no_grad():
        expected = model(ids)[0].mean(1)[0]
    assert torch.allclose(vectors[word], expected, atol=1e-5)
    # All components, without weights: a rotation, so distances have kept their proportions.
    table = make_table(vectors, tokenizer, width=None, sif=None).vectors.weight.detach()
    rows = torch.tensor([piece.ids[0] for piece in tokenizer(["good", "bad", "film"])])
    before, after = torch.cdist(vectors[rows], vectors[rows]), torch.cdist(table[rows], table[rows])
    assert torch.allclose(after / after.max(), before / before.max(), atol=1e-4)
    assert not table[torch.tensor(tokenizer.prefix)].any()


def test_frequent_pieces_weigh_less(tiny_encoder):
    model, tokenizer = load_pretrained(tiny_encoder), PieceTokenizer.from_directory(tiny_encoder)
    vectors = piece_vectors(model, tokenizer)
    plain, weighted = (
        make_table(vectors, tokenizer, width=None, sif=sif).vectors.weight.norm(dim=1)
        for sif in (None, 1e-2)
    )
    ratio = (weighted / plain)[len(tokenizer.tokenizer.all_special_ids) :].detach()
    assert (ratio.diff() > 0).all()


def test_a_table_in_the_place_of_an_encoder_that_reads_order_is_refused(
    static, static_config, encoder_config, nlp, tmp_path
):
    model = {**static_config(), "@architectures": "spacy_reprtune.TokenClassifier.v1"}
    with pytest.raises(ValueError, match="can't recognize entities.*keep_blocks"):
        spacy.blank("xx").add_pipe("reprtune_ner", config={"model": model})
    static.to_disk(tmp_path)
    folder = str(tmp_path / "textcat" / "model" / "encoder")
    again = spacy.blank("xx")
    model = {**static_config(), "encoder": encoder_config(name=folder)}
    again.add_pipe("reprtune_textcat", config={"model": model})
    with pytest.raises(ValueError, match="is a table of piece vectors.*StaticEncoder"):
        again.initialize(lambda: make_examples(again))
    # As a static encoder it is used as it is.
    again = spacy.blank("xx")
    model = static_config(name=folder)
    pipe = again.add_pipe("reprtune_textcat", config={"model": model})
    again.initialize(lambda: make_examples(again))
    trained = static.get_pipe("textcat").encoder.model.vectors.weight
    assert torch.equal(pipe.encoder.model.vectors.weight, trained)


@pytest.mark.parametrize("setting", [{"width": 0}, {"sif": 0.0}, {"table_lr": 0.0}])
def test_settings_out_of_range_are_named(setting, static_config):
    [(name, value)] = setting.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        spacy.blank("xx").add_pipe("reprtune_textcat", config={"model": static_config(**setting)})


def test_a_table_that_does_not_train_stays_as_it_is(nlp, static_config):
    model = static_config(unfreeze="none")
    pipe = nlp.add_pipe("reprtune_textcat", config={"model": model})
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    before = pipe.encoder.model.vectors.weight.detach().clone()
    nlp.update(examples, sgd=optimizer)
    assert torch.equal(pipe.encoder.model.vectors.weight, before)
