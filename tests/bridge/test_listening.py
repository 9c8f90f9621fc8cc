"""Heads whose token vectors come from another component."""

import numpy
import pytest
import spacy
import torch
from conftest import make_examples, save_encoder
from hypothesis import given
from hypothesis import strategies as st
from spacy.training import Example
from spacy.util import registry
from thinc.api import Adam

from spacy_reprtune.bridge.head_model import head_model, is_encoder, run_head
from spacy_reprtune.encoder.token_rows import TokenRows
from spacy_reprtune.heads.pooling import find_pooling

STOCK_LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "pooling": {"@layers": "reduce_mean.v1"},
}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}


def classifier(encoder=LISTENER, **settings):
    return {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder, **settings}


@pytest.fixture
def stock(nlp, tiny_encoder):
    """A pipeline with a stock transformer."""
    pytest.importorskip("spacy_transformers", reason="the extra [spacy-transformers]")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(tiny_encoder),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1"},
    }
    nlp.add_pipe("transformer", config={"model": model})
    return nlp


@pytest.fixture
def shared(nlp, encoder_config, tmp_path):
    """A pipeline with a shared encoder, without dropout."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = encoder_config(name=str(save_encoder(tmp_path / "bert", **rates)))
    nlp.add_pipe("reprtune_encoder", name="encoder", config={"model": encoder})
    return nlp


def stock_weights(nlp):
    module = nlp.get_pipe("transformer").model.transformer
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def steps(nlp, examples, optimizer, n):
    for _ in range(n):
        losses = {}
        nlp.update(examples, sgd=False, losses=losses)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    return losses


@pytest.mark.parametrize(
    ("factory", "settings"),
    [
        ("reprtune_textcat", {}),
        ("reprtune_textcat", {"pooling": "max", "hidden_width": 8}),
        ("reprtune_textcat_multilabel", {"pooling": "attention"}),
    ],
)
def test_a_head_on_a_stock_transformer_learns_and_is_saved(factory, settings, stock, tmp_path):
    stock.add_pipe(
        factory, name="textcat", config={"model": classifier(STOCK_LISTENER, **settings)}
    )
    examples = make_examples(stock)
    stock.initialize(lambda: examples)
    before = stock_weights(stock)
    losses = steps(stock, examples, Adam(0.005, use_averages=False), 60)
    assert losses["textcat"] < 0.2
    assert not torch.equal(before, stock_weights(stock))
    assert stock.evaluate(examples)["cats_macro_f"] == 1.0
    texts = [eg.reference.text for eg in examples] + [""]
    # Saving calibrates.
    stock.to_disk(tmp_path / "model")
    expected = [doc.cats for doc in stock.pipe(texts)]
    fresh = spacy.util.load_model_from_config(stock.config, auto_fill=True)
    for other in (spacy.load(tmp_path / "model"), fresh.from_bytes(stock.to_bytes())):
        for cats, doc in zip(expected, other.pipe(texts), strict=True):
            assert doc.cats == pytest.approx(cats, abs=1e-5)


def test_a_head_with_nothing_to_learn_does_not_cost_the_others_a_stock_transformer_s_batch(stock):
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": STOCK_LISTENER}
    stock.add_pipe("tagger", config={"model": tagger})
    stock.add_pipe("reprtune_textcat", config={"model": classifier(STOCK_LISTENER)}, name="textcat")
    tags = {"tags": ["A", "B", "A"]}
    both = Example.from_dict(stock.make_doc("a great film"), {**tags, "cats": {"X": 1, "Y": 0}})
    stock.initialize(lambda: [both])
    optimizer = Adam(0.01, use_averages=False)
    steps(stock, [both], optimizer, 2)
    before, head = stock_weights(stock), stock.get_pipe("textcat").model.to_bytes()
    only_tags = Example.from_dict(stock.make_doc("a great film"), tags)
    losses = steps(stock, [only_tags], optimizer, 1)
    assert losses["textcat"] == 0.0 and losses["tagger"] > 0.0
    assert not torch.equal(before, stock_weights(stock))
    assert stock.get_pipe("textcat").model.to_bytes() == head


def test_texts_without_annotation_are_left_out_of_loss_and_scores(shared):
    shared.add_pipe("reprtune_textcat", name="textcat", config={"model": classifier()})
    examples = make_examples(shared)
    shared.initialize(lambda: examples)
    steps(shared, examples, Adam(0.01, use_averages=False), 60)
    blank = [Example.from_dict(shared.make_doc("dull film"), {}) for _ in range(3)]
    annotated, mixed = {}, {}
    shared.update(examples, sgd=False, losses=annotated)
    shared.update(examples + blank, sgd=False, losses=mixed)
    assert mixed["textcat"] == pytest.approx(annotated["textcat"], rel=1e-4)
    assert shared.evaluate(examples + blank)["cats_macro_p"] == 1.0


def test_the_probe_is_fitted_on_what_the_head_will_get(shared):
    config = {"model": classifier(), "head_init": "probe"}
    shared.add_pipe("reprtune_textcat", name="textcat", config=config)
    examples = make_examples(shared) * 3
    shared.initialize(lambda: examples)
    right = [max(doc.cats, key=doc.cats.get) for doc in shared.pipe(eg.text for eg in examples)]
    gold = [max(eg.reference.cats, key=eg.reference.cats.get) for eg in examples]
    assert numpy.mean([a == b for a, b in zip(right, gold, strict=True)]) > 0.9


def test_a_head_without_a_transformer_before_it(nlp):
    pytest.importorskip("spacy_transformers", reason="the extra [spacy-transformers]")
    model = classifier(STOCK_LISTENER)
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model})
    with pytest.raises(ValueError, match="`transformer` component in front"):
        nlp.initialize(lambda: make_examples(nlp))


def test_a_head_without_an_encoder_before_it(nlp):
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": classifier()})
    nlp.initialize(lambda: make_examples(nlp))
    with pytest.raises(ValueError, match="`reprtune_encoder`, .* before it"):
        nlp.update(make_examples(nlp))


def test_pooling_that_needs_special_pieces(nlp):
    with pytest.raises(ValueError, match="'cls' reads a special piece"):
        nlp.add_pipe("reprtune_textcat", config={"model": classifier(pooling="cls")})


class TokenHead(torch.nn.Module):
    """The least that a head on token vectors consists of."""

    def __init__(self, encoder, n_labels):
        super().__init__()
        self.encoder = encoder
        self.output = torch.nn.Linear(encoder.width, n_labels)
        self.dropout_rate = 0.0

    def forward(self, rows):
        return self.output(rows.vectors)


def test_a_head_of_another_kind_takes_part_with_two_hooks(nlp, encoder_config):
    assert is_encoder(registry.resolve({"encoder": encoder_config()})["encoder"])
    # Any source of token vectors takes part, here one without a component.
    tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1}
    tok2vec.update(embed_size=50, window_size=1, maxout_pieces=2, subword_features=True)
    config = {"encoder": {**tok2vec, "pretrained_vectors": None}}
    encoder = registry.resolve(config)["encoder"]

    def forward(model, docs, is_train):
        output, backprop = run_head(model, docs, is_train)
        return {"logits": output}, lambda gradient: backprop(gradient["logits"])

    assert not is_encoder(encoder)
    model = head_model("tokens", encoder, TokenHead, forward)
    docs = [nlp.make_doc(text) for text in ("a great film", "", "dull")]
    model.initialize(X=docs, Y=numpy.zeros((1, 3), dtype="f"))
    before = encoder.to_bytes()
    output, backprop = model.begin_update(docs)
    assert output["logits"].shape == (4, 3)
    assert backprop({"logits": numpy.ones((4, 3), dtype="f")}) == docs
    model.finish_update(Adam(0.01, use_averages=False))
    assert encoder.to_bytes() != before
    assert not numpy.allclose(model.predict(docs)["logits"], output["logits"])
    assert model.predict(docs[1:2])["logits"].shape == (0, 3)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.sampled_from(["mean", "max"]))
def test_docs_are_pooled_over_their_own_tokens(lengths, kind):
    generator = torch.Generator().manual_seed(sum(lengths))
    vectors = torch.randn(sum(lengths), 3, generator=generator)
    rows = TokenRows(vectors, lengths)
    pooled = find_pooling(kind)(3)(rows.encoded(), len(rows))
    for part, found in zip(vectors.split(lengths), pooled, strict=True):
        expected = torch.zeros(3)
        if len(part):
            expected = part.mean(0) if kind == "mean" else part.amax(0)
        torch.testing.assert_close(found, expected)
