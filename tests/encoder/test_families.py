"""The same claims for every family of encoders that transformers has and people use."""

import numpy
import pytest
import spacy
import torch
import transformers
from conftest import byte_level_tokenizer, save_encoder, wordpiece_tokenizer
from thinc.api import Adam
from transformers import AutoModel, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from spacy_reprtune.bridge.encoder import Encoder_v1
from spacy_reprtune.encoder.freezing import find_blocks
from spacy_reprtune.encoder.parts import Part, can_be_cut, output_tail

FAMILIES = {
    "bert": {},
    "roberta": {"tokenizer": byte_level_tokenizer},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
    },
    "electra": {"embedding_size": 16},
    "mpnet": {"tokenizer": byte_level_tokenizer},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "xlm-roberta": {"tokenizer": byte_level_tokenizer},
    "eurobert": {"tokenizer": byte_level_tokenizer, "num_key_value_heads": 2},
    "ibert": {"tokenizer": byte_level_tokenizer},
}
# Those whose attention is torch's own and that take positions.
SINCE_5 = int(transformers.__version__.split(".")[0]) >= 5
PACKED = {"bert", "roberta", "xlm-roberta", "eurobert"}
PACKED |= {"distilbert", "electra", "modernbert"} if SINCE_5 else set()
TEXTS = ["a great film", "", "  ", "this movie is not unfilmable, " * 20]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    if request.param not in CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {request.param}")
    settings = dict(FAMILIES[request.param])
    tokenizer = settings.pop("tokenizer", wordpiece_tokenizer)()
    if request.param == "modernbert":
        names = ("cls", "sep", "bos", "eos")
        settings.update({f"{name}_token_id": 2 for name in names})
    path = tmp_path_factory.mktemp(request.param)
    return save_encoder(path, request.param, tokenizer=tokenizer, **settings)


def make(path, **settings):
    model = Encoder_v1(str(path), precision="fp32", **settings)
    model.initialize()
    return model


def test_vectors_are_those_of_the_model_called_by_hand(family):
    """For each text of one window, the mean of each token's pieces."""
    tokenizer = AutoTokenizer.from_pretrained(str(family))
    hugging_face = AutoModel.from_pretrained(str(family), torch_dtype=torch.float32).eval()
    nlp = spacy.blank("xx")
    docs = [nlp.make_doc(text) for text in ("a great film", "unfilmable movie plot 1 2 .", "is")]
    for doc, vectors in zip(docs, make(family).predict(docs), strict=True):
        encoding = tokenizer(doc.text, return_offsets_mapping=True)
        ids = torch.tensor([encoding["input_ids"]])
        with torch.no_grad():
            rows = hugging_face(input_ids=ids, attention_mask=torch.ones_like(ids))[0][0]
        for token, vector in zip(doc, vectors, strict=True):
            own = [
                i
                for i, (start, end) in enumerate(encoding["offset_mapping"])
                if max(start, token.idx) < min(end, token.idx + len(token))
            ]
            numpy.testing.assert_allclose(vector, rows[own].mean(0), atol=1e-5)


def test_an_encoder_needs_neither_a_pooler_nor_blocks_that_are_called_one_by_one(tmp_path):
    """SqueezeBERT calls its pooler unasked, and passes transposed tensors between its blocks."""
    groups = {f"{part}_groups": 1 for part in ("q", "k", "v", "intermediate", "output")}
    settings = {**groups, "post_attention_groups": 1, "embedding_size": 16}
    path = save_encoder(tmp_path, "squeezebert", tokenizer=wordpiece_tokenizer(), **settings)
    doc = spacy.blank("xx").make_doc("a great film")
    model = make(path, unfreeze=1)
    before = {k: v.clone() for k, v in model.shims[0].module.encoder.named_parameters()}
    vectors, backprop = model.begin_update([doc])
    backprop([numpy.cumsum(numpy.ones_like(v), axis=1) for v in vectors])
    model.finish_update(Adam(0.01))
    after = model.shims[0].module.encoder.named_parameters()
    moved = {k for k, v in after if not torch.equal(v, before[k])}
    assert moved and all(".layers.1." in name for name in moved)


def test_a_trained_encoder_is_the_same_after_saving_and_loading(family, tmp_path):
    nlp = spacy.blank("xx")
    doc = nlp.make_doc("a great film")
    model = make(family)
    before = model.predict([doc])[0]
    vectors, backprop = model.begin_update([doc])
    backprop([numpy.cumsum(numpy.ones_like(v), axis=1) for v in vectors])
    model.finish_update(Adam(0.01))
    trained = model.predict([doc])[0]
    assert not numpy.allclose(before, trained, atol=1e-4)
    again = Encoder_v1(str(family), precision="fp32").from_bytes(model.to_bytes())
    numpy.testing.assert_allclose(again.predict([doc])[0], trained, atol=1e-6)
    model.shims[0].to_directory(tmp_path)
    numpy.testing.assert_allclose(make(tmp_path / "encoder").predict([doc])[0], trained, atol=1e-6)


def test_blocks_are_found_in_the_module_tree(family):
    encoder = make(family, unfreeze=1).shims[0].module.encoder
    blocks = find_blocks(encoder.model)
    assert len(blocks) == 2
    trainable = {p for p in encoder.parameters() if p.requires_grad}
    assert trainable == set(blocks[-1].parameters())


def test_each_token_gets_a_finite_vector_that_does_not_depend_on_the_batch(family):
    nlp = spacy.blank("xx")
    model = make(family, batch_pieces=128)
    docs = [nlp.make_doc(text) for text in TEXTS]
    together = model.predict(docs)
    assert [len(vectors) for vectors in together] == [len(doc) for doc in docs]
    for doc, vectors in zip(docs, together, strict=True):
        single = model.predict([doc])[0]
        assert numpy.isfinite(vectors).all()
        numpy.testing.assert_allclose(vectors, single, atol=1e-5)
    assert (together[0] != 0).any(axis=1).all()


def test_a_window_is_the_most_that_the_encoder_takes(family):
    encoder = make(family).shims[0].module.encoder
    assert encoder.window in (64, 62)
    ids = torch.full((1, encoder.window), 7)
    assert torch.isfinite(encoder(ids, torch.ones_like(ids))).all()


def test_gradients_reach_only_the_unfrozen_block(family):
    nlp = spacy.blank("xx")
    model = make(family, unfreeze=1)
    encoder = model.shims[0].module.encoder
    before = {name: p.clone() for name, p in encoder.model.named_parameters()}
    vectors, backprop = model.begin_update([nlp.make_doc("a great film")])
    # Not the same for all columns: a closing layer normalization would cancel that out.
    backprop([numpy.cumsum(numpy.ones_like(v), axis=1) for v in vectors])
    model.finish_update(Adam(0.01))
    last = {id(p) for p in find_blocks(encoder.model)[-1].parameters()}
    changed = {n for n, p in encoder.model.named_parameters() if not torch.equal(p, before[n])}
    frozen = {n for n, p in encoder.model.named_parameters() if id(p) not in last}
    assert changed and not changed & frozen


def test_the_two_parts_of_a_cut_encoder_give_what_the_whole_gives(family):
    encoder = make(family).shims[0].module.encoder
    model, tail = encoder.model, output_tail(encoder.model)
    assert can_be_cut(model, 1, tail)
    ids = torch.arange(5, 35).reshape(3, 10)
    mask = torch.ones_like(ids)
    mask[2, 6:] = 0
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask)[0]
        hidden = Part(model, 0, 1)(ids, mask)
        parts = Part(model, 1, 2, tail)(ids, mask, hidden)
        assert not torch.allclose(hidden, whole)
        # Where nothing is there to skip, a part is the encoder.
        assert torch.equal(Part(model, 0, 2)(ids, mask), whole)
    torch.testing.assert_close(parts[mask.bool()], whole[mask.bool()], atol=1e-6, rtol=0)


def test_frozen_blocks_run_once_in_training(family):
    nlp = spacy.blank("xx")
    docs = [nlp.make_doc(text) for text in TEXTS]
    model = make(family, unfreeze=1, overlap=2)
    encoder = model.shims[0].module.encoder
    for module in encoder.model.modules():
        for name in ("p", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    runs = []
    find_blocks(encoder.model)[0].register_forward_hook(lambda *_: runs.append(1))
    first, _ = model.begin_update(docs)
    n_runs = len(runs)
    again, _ = model.begin_update(docs[::-1])
    assert n_runs and len(runs) == n_runs
    encoder.cache = None
    uncached, _ = model.begin_update(docs)
    assert len(runs) > n_runs
    # Hidden states are kept in fp16: eleven bits.
    for a, b, c in zip(first, again[::-1], uncached, strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-6)
        numpy.testing.assert_allclose(a, c, atol=5e-3)


def test_packed_windows_give_the_vectors_and_the_training_of_padded_ones(family, request):
    name = request.node.callspec.params["family"]
    nlp = spacy.blank("xx")
    docs = [nlp.make_doc(text) for text in TEXTS]

    def train(packed, unfreeze):
        model = make(family, packed=packed, unfreeze=unfreeze, batch_pieces=1000)
        encoder = model.shims[0].module.encoder
        packs = encoder.packing is not None
        assert packs == (packed and name in PACKED), f"PACKED has to say so of {name}: {packs}"
        for module in encoder.model.modules():
            for rate in ("p", "dropout_prob", "attention_dropout", "dropout"):
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)
        before = model.predict(docs)
        vectors, backprop = model.begin_update(docs)
        backprop([numpy.cumsum(numpy.ones_like(v), axis=1) for v in vectors])
        # Each number moves by the same amount in Adam's first step, so compare gradients.
        named = encoder.model.named_parameters()
        found = {n: p.grad.to_dense() for n, p in named if p.grad is not None}
        return [*before, *vectors], found

    for unfreeze in ("all", 1):
        padded, wanted = train(False, unfreeze)
        packed, found = train(True, unfreeze)
        assert wanted and wanted.keys() == found.keys()
        for a, b in zip(packed, padded, strict=True):
            numpy.testing.assert_allclose(a, b, atol=2e-5)
        for key in wanted:
            torch.testing.assert_close(found[key], wanted[key], atol=2e-3, rtol=2e-3)


def test_blocks_that_are_spread_over_several_lists_are_not_frozen_in_part(tmp_path):
    path = save_encoder(tmp_path, "xlm", emb_dim=16, n_layers=2, n_heads=2)
    with pytest.raises(ValueError, match="unfreeze = 1"):
        make(path, unfreeze=1)


@pytest.mark.parametrize("unfreeze", [1, "none"])
def test_a_family_that_pads_inside_trains_with_frozen_blocks(unfreeze, tmp_path):
    model = make(save_encoder(tmp_path, "longformer", attention_window=[16, 16]), unfreeze=unfreeze)
    docs = [spacy.blank("xx").make_doc(text) for text in TEXTS[:1]]
    expected = model.predict(docs)
    for _ in range(2):
        vectors, _ = model.begin_update(docs)
        assert vectors[0].shape == expected[0].shape and numpy.isfinite(vectors[0]).all()
    if unfreeze == "none":
        numpy.testing.assert_allclose(vectors[0], expected[0], atol=5e-3)


def test_tied_weights_are_saved_as_bytes(tmp_path):
    model = make(save_encoder(tmp_path, "bart", d_model=16, encoder_layers=1, decoder_layers=1))
    docs = [spacy.blank("xx").make_doc("a great film")]
    again = Encoder_v1(str(tmp_path), precision="fp32").from_bytes(model.to_bytes())
    numpy.testing.assert_allclose(again.predict(docs)[0], model.predict(docs)[0], atol=1e-6)


def test_the_half_precision_copy_has_exact_rotary_frequencies(tmp_path):
    ids = {f"{name}_token_id": 2 for name in ("cls", "sep", "bos", "eos")}
    model = make(save_encoder(tmp_path, "modernbert", **ids), unfreeze=1)
    encoder = model.shims[0].module.encoder
    encoder.passes.dtype = torch.bfloat16
    doc = spacy.blank("xx").make_doc("a great film")
    for _ in range(2):
        half = dict(encoder.passes._inference_model().named_buffers())
        exact = {k: v for k, v in encoder.model.named_buffers() if k.endswith("inv_freq")}
        assert exact and all(torch.equal(half[name], buffer) for name, buffer in exact.items())
        # A copy of the trained block only.
        vectors, backprop = model.begin_update([doc])
        backprop(vectors)
        model.finish_update(Adam(0.01))


@pytest.mark.parametrize("kind", ["fnet", "t5"])
def test_a_family_that_takes_no_mask_is_refused(kind, tmp_path):
    settings = {"d_kv": 8, "d_ff": 32} if kind == "t5" else {}
    with pytest.raises(ValueError, match=f"is a {kind}, which can't be called with .* mask"):
        make(save_encoder(tmp_path, kind, **settings))


def test_a_family_whose_vectors_depend_on_padding_says_so(tmp_path):
    with pytest.warns(UserWarning, match="is a convbert, whose vectors depend on the padding"):
        make(save_encoder(tmp_path, "convbert", embedding_size=16))
