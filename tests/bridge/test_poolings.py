import pickle

import pytest
import spacy
import torch
from conftest import make_examples

from spacy_reprtune.encoder.load import load_pretrained
from spacy_reprtune.encoder.module import Encoder, EncoderSettings
from spacy_reprtune.encoder.pieces import PieceTokenizer
from spacy_reprtune.heads.pooling import POOLINGS, MeanPooling, Pooling, pooling_name


class SumPooling(Pooling):
    """The sum of all positions, scaled by a learned number: a pooling from outside."""

    def __init__(self, width):
        super().__init__(width)
        self.scale = torch.nn.Parameter(torch.tensor(0.1))

    def reduce(self, vectors, keep):
        return ((vectors.float() * keep[..., None]).sum(1) * self.scale,)

    def combine(self, states, texts, n_texts):
        return states[0].new_zeros(n_texts, self.width).index_add(0, texts, states[0])


class DoublePooling(MeanPooling):
    """Twice the mean: a subclass of a pooling that is known."""

    def window_vectors(self, vectors, keep):
        return 2.0 * super().window_vectors(vectors, keep)


class RootPooling(SumPooling):
    """Has no gradient at the positions that do not count, where it takes the root of zero."""

    def reduce(self, vectors, keep):
        return ((vectors.float() * keep[..., None]).square().sqrt().sum(1),)


@spacy.registry.misc("test.RootPooling.v1")
def make_root_pooling():
    return RootPooling


@spacy.registry.misc("test.SumPooling.v1")
def make_sum_pooling():
    return SumPooling


def train(nlp, model, steps=1):
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    return nlp


def test_a_pooling_from_outside_trains_saves_loads_and_pickles(nlp, model_config, tmp_path):
    train(nlp, model_config(pooling={"@misc": "test.SumPooling.v1"}), steps=2)
    module = nlp.get_pipe("textcat").model.shims[0].module
    assert isinstance(module.pooling, SumPooling) and module.pooling.scale.item() != 0.1
    expected = nlp("a great film").cats
    nlp.to_disk(tmp_path)
    saved = spacy.util.load_config(tmp_path / "config.cfg")["components"]["textcat"]["model"]
    assert saved["pooling"] == {"@misc": "test.SumPooling.v1"}
    assert spacy.load(tmp_path)("a great film").cats == expected
    shim = pickle.loads(pickle.dumps(nlp.get_pipe("textcat").model.shims[0]))
    assert torch.equal(shim.module.pooling.scale, module.pooling.scale)


def test_a_pooling_without_a_finite_gradient_is_told_what_to_change(nlp, model_config):
    with pytest.raises(ValueError, match="pooling of your own: a square root .* Add a small"):
        train(nlp, model_config(pooling={"@misc": "test.RootPooling.v1"}))


def test_a_subclass_of_a_pooling_has_a_cache_and_a_name_of_its_own(tiny_encoder):
    settings = EncoderSettings(name=str(tiny_encoder), unfreeze="none", precision="fp32")
    tokenizer = PieceTokenizer.from_directory(tiny_encoder)
    encoder = Encoder(load_pretrained(tiny_encoder), tokenizer, settings)
    encoder.caching = True
    pieces = encoder.tokenize(["a great film"], cached=True)
    mean, double = (
        pooling(encoder.encode(pieces, pooling=pooling), 1)
        for pooling in (MeanPooling(encoder.width), DoublePooling(encoder.width))
    )
    assert encoder.cache.stats.entries == 2
    torch.testing.assert_close(double, 2.0 * mean)
    assert pooling_name(DoublePooling(16)) == "DoublePooling"


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_registered_pooling_is_that_of_the_short_name(kind, model_config):
    scores = []
    for pooling in (kind, {"@misc": f"spacy_reprtune.{kind.capitalize()}Pooling.v1"}):
        spacy.util.fix_random_seed(0)
        nlp = train(spacy.blank("xx"), model_config(pooling=pooling))
        scores.append(nlp("a great film").cats)
    assert scores[0] == scores[1]


def test_an_unknown_pooling_names_the_ways_out(nlp, model_config):
    with pytest.raises(ValueError, match=r"mean, cls, max, attention, or register your own"):
        nlp.add_pipe("reprtune_textcat", config={"model": model_config(pooling="median")})
