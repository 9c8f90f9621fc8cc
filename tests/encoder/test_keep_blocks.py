"""Encoders of some of the blocks of a larger one."""

import pytest
import torch
from conftest import make_examples, save_encoder
from transformers import AutoModel

from spacy_reprtune.encoder.cache import prefix_digests
from spacy_reprtune.encoder.keep_blocks import keep_blocks
from spacy_reprtune.encoder.load import load_pretrained

IDS = torch.arange(12).reshape(2, 6)


@pytest.fixture(scope="module")
def four_blocks(tmp_path_factory):
    """Directories of encoders with four blocks, by family."""
    root = tmp_path_factory.mktemp("four")
    return {
        family: save_encoder(root / family, family, num_hidden_layers=4, **sizes)
        for family, sizes in (("bert", {}), ("distilbert", {"hidden_dim": 32}))
    }


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_kept_encoder_runs_its_blocks_and_can_be_saved(family, four_blocks, tmp_path):
    whole, model = (load_pretrained(four_blocks[family]) for _ in range(2))
    keep_blocks(model, [0, 3])
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert model.config.num_hidden_layers == again.config.num_hidden_layers == 2
    state, small = whole.state_dict(), again.state_dict()
    pairs = [(n.replace(".3.", ".1."), t) for n, t in state.items() if ".1." not in n]
    assert all(torch.equal(small[n], t) for n, t in pairs if n in small)
    with torch.no_grad():
        assert torch.allclose(model(IDS)[0], again(IDS)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([], "List the numbers"),
        ([2, 0], "in order"),
        ([0, 0], "in order"),
        ([0, 4], "has 4 blocks, which are numbered from 0 to 3"),
    ],
)
def test_blocks_that_are_not_there_are_named(kept, message, four_blocks, nlp):
    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": str(four_blocks["bert"])}
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
    encoder["keep_blocks"] = kept
    with pytest.raises(ValueError, match=message):
        nlp.add_pipe("reprtune_textcat", config={"model": model})
        nlp.initialize(lambda: make_examples(nlp))


def test_blocks_that_share_their_weights_cannot_be_removed(tmp_path):
    path = save_encoder(tmp_path, "albert", embedding_size=8)
    with pytest.raises(ValueError, match="AlbertModel share their weights"):
        keep_blocks(load_pretrained(path), [0])


def test_the_cache_of_a_kept_encoder_is_its_own(four_blocks):
    digests = []
    for kept in ([0, 1], [0, 2]):
        model = load_pretrained(four_blocks["bert"])
        keep_blocks(model, kept)
        digests.append(prefix_digests(model))
    whole = prefix_digests(load_pretrained(four_blocks["bert"]))
    assert len(digests[0]) == 3
    assert not set(digests[0]) & set(whole)
    assert digests[0][2] != digests[1][2]


def test_a_pipeline_with_half_the_blocks_trains_the_last_of_them_and_loads(
    four_blocks, nlp, tmp_path
):
    import spacy

    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": str(four_blocks["bert"])}
    encoder |= {"keep_blocks": [1, 3], "unfreeze": 1, "precision": "fp32"}
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model})
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("textcat")
    blocks = list(pipe.encoder.model.encoder.layer)
    assert [any(p.requires_grad for p in b.parameters()) for b in blocks] == [False, True]
    nlp.update(examples, sgd=optimizer)
    nlp.to_disk(tmp_path / "small")
    again = spacy.load(tmp_path / "small")
    # A pipeline that was trained reads the frozen block from its cache, which has 16 bits.
    expected = pytest.approx(nlp("a great film").cats, abs=1e-3)
    assert again("a great film").cats == expected
    assert again.get_pipe("textcat").encoder.depth == 2
    again = spacy.blank("xx").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert again("a great film").cats == expected
