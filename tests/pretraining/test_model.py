"""Packed windows, only masked pieces, written-out gradients: all equal the plain computation."""

import pytest
import torch
import transformers
from conftest import byte_level_tokenizer, save_encoder, wordpiece_tokenizer

from spacy_reprtune.pretraining.body import PackedBody, PaddedBody, choose_body
from spacy_reprtune.pretraining.head import ROWS, MaskedHead
from spacy_reprtune.pretraining.masking import Masked
from spacy_reprtune.pretraining.model import load, load_with_head
from spacy_reprtune.pretraining.packing import Batch
from spacy_reprtune.pretraining.settings import EncoderPart
from spacy_reprtune.pretraining.speed import flops_per_piece

# Those whose attention is torch's own and that take positions.
PACKED_SINCE_5 = int(transformers.__version__.split(".")[0]) >= 5
FAMILIES = {
    "bert": ({}, True),
    "roberta": ({"tokenizer": byte_level_tokenizer}, True),
    "distilbert": ({"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}, PACKED_SINCE_5),
    "electra": ({"embedding_size": 16}, PACKED_SINCE_5),
    "mpnet": ({"tokenizer": byte_level_tokenizer}, False),
    "albert": ({"embedding_size": 16}, True),
    "deberta-v2": (
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
        False,
    ),
    "modernbert": ({"global_attn_every_n_layers": 2, "local_attention": 8}, PACKED_SINCE_5),
}
LENGTHS = [3, 5, 5, 9, 20]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    settings, packed = FAMILIES[request.param]
    settings = dict(settings)
    tokenizer = settings.pop("tokenizer", wordpiece_tokenizer)()
    if request.param == "modernbert":
        settings.update({f"{name}_token_id": 2 for name in ("cls", "sep", "bos", "eos")})
    path = save_encoder(
        tmp_path_factory.mktemp(request.param), request.param, tokenizer=tokenizer, **settings
    )
    return path, packed


def make(path, **settings):
    return load(EncoderPart(str(path), precision="fp32", device="cpu", **settings))[0]


def make_batch(lm):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 90, (sum(LENGTHS),), generator=generator)
    places = torch.arange(len(ids))
    positions = places[2::4]
    masked = Masked(ids.index_fill(0, positions, 4), positions, ids[positions])
    return Batch(ids, places, places, LENGTHS, len(ids)), masked


def plain_loss(lm, batch, masked):
    """The family's own class on padded rows, every piece projected to the vocabulary."""
    rows = list(masked.ids.split(batch.lengths))
    labels = torch.full_like(masked.ids, -100)
    labels[masked.positions] = masked.labels
    pad = torch.nn.utils.rnn.pad_sequence
    output = lm.model(
        input_ids=pad(rows, True, lm.tokenizer.pad_id),
        attention_mask=pad([torch.ones_like(row) for row in rows], True),
    )
    labels = pad(list(labels.split(batch.lengths)), True, -100)
    return torch.nn.functional.cross_entropy(
        output.logits.flatten(0, 1), labels.flatten(), reduction="sum"
    )


def test_loss_and_gradients_are_those_of_the_full_projection_in_fp64(family):
    path, packed = family
    lm = make(path)
    lm.model.double()
    lm.train()
    assert lm.packed == packed
    batch, masked = make_batch(lm)
    loss = lm.loss(batch, masked)
    loss.backward()
    found = {name: p.grad.clone() for name, p in lm.model.named_parameters() if p.grad is not None}
    lm.model.zero_grad()
    wanted = plain_loss(lm, batch, masked)
    wanted.backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-9)
    for name, parameter in lm.model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-6, atol=1e-9)


UNFIT = {
    "mobilebert": {f"{name}_size": 16 for name in ("embedding", "intra_bottleneck", "true_hidden")},
    "bart": {
        "d_model": 16,
        **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")},
    },
    "fnet": {},
}


@pytest.mark.parametrize("name", UNFIT)
def test_families_whose_head_can_not_be_run_so_are_refused_at_load(tmp_path, name):
    tokenizer = byte_level_tokenizer() if name == "bart" else wordpiece_tokenizer()
    path = save_encoder(tmp_path, name, tokenizer=tokenizer, **UNFIT[name])
    with pytest.raises(
        ValueError, match=f"type '{name}' can't be pretrained here .* Use one such as"
    ):
        make(path)


def test_a_head_that_gives_other_scores_is_refused(tiny_encoder, monkeypatch):
    logits = MaskedHead.logits
    monkeypatch.setattr(MaskedHead, "logits", lambda head, hidden: logits(head, hidden) * 1.1)
    with pytest.raises(ValueError, match="its head computes other scores outside of the model"):
        make(tiny_encoder)


def test_packing_is_tried_in_full_precision_and_the_setting_is_left(tiny_encoder):
    lm, seen = make(tiny_encoder), []
    base = lm.model.base_model
    base.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("high")
    try:
        body = choose_body(base, 0)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert isinstance(body, PackedBody)
    assert set(seen) == {"highest"}


@pytest.mark.parametrize("pad_id", [0, 200, 399])
def test_the_padding_piece_may_stand_anywhere_in_the_vocabulary(tiny_encoder, pad_id):
    base = make(tiny_encoder).model.base_model
    seen = []
    base.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    assert isinstance(choose_body(base, pad_id), PackedBody)
    assert not (seen[-1]["input_ids"] == pad_id).any()


def test_dropout_keeps_no_encoder_from_being_packed(tiny_encoder):
    assert make(tiny_encoder, dropout=0.1).packed


def test_no_window_sees_another(tiny_encoder):
    lm = make(tiny_encoder)
    batch, _ = make_batch(lm)
    together = lm.hidden(batch.ids, batch.lengths).split(batch.lengths)
    for window, hidden in zip(batch.ids.split(batch.lengths), together, strict=True):
        alone = lm.hidden(window, [len(window)])
        torch.testing.assert_close(hidden, alone, atol=1e-6, rtol=1e-5)


def test_packed_and_padded_agree_in_bf16(tiny_encoder):
    lm = load(EncoderPart(str(tiny_encoder), precision="bf16", device="cpu"))[0]
    batch, _ = make_batch(lm)
    packed = lm.hidden(batch.ids, batch.lengths)
    with torch.autocast("cpu", torch.bfloat16):
        padded = PaddedBody(lm.model.base_model, 0)(batch.ids, batch.lengths)
    torch.testing.assert_close(packed.float(), padded.float(), atol=0.05, rtol=0.05)


def test_frozen_weights_count_without_the_way_back(tiny_encoder):
    lm = make(tiny_encoder)
    block = 4 * 16 * 16 + 2 * 16 * 32
    table = lm.head.projection.weight.numel()
    assert flops_per_piece(lm, 0.2) == pytest.approx(6 * (2 * block + 0.2 * table))
    lm.freeze_encoder(True)
    assert flops_per_piece(lm, 0.2) == pytest.approx(2 * 2 * block + 4 * 0.2 * table)
    lm = make(tiny_encoder, unfreeze=1)
    assert flops_per_piece(lm, 0.2) == pytest.approx((6 + 2) * block + 4 * 0.2 * table)


def test_the_projection_in_slices_is_the_cross_entropy(tiny_encoder):
    model, _ = load_with_head(tiny_encoder)
    head = MaskedHead(model.double())
    n = 2 * ROWS + 7
    torch.manual_seed(0)
    hidden = torch.randn(n, 16, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 90, (n,))
    weights = [hidden, *(p for k, p in model.named_parameters() if k.startswith("cls"))]
    weights.append(model.get_input_embeddings().weight)
    found = torch.autograd.grad(head.loss(hidden, labels) * 3.0, weights)
    plain = torch.nn.functional.cross_entropy(model.cls(hidden), labels, reduction="sum")
    wanted = torch.autograd.grad(plain * 3.0, weights)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_without_masks_costs_nothing(tiny_encoder):
    lm = make(tiny_encoder)
    batch, masked = make_batch(lm)
    none = Masked(batch.ids, masked.positions[:0], masked.labels[:0])
    loss = lm.loss(batch, none)
    loss.backward()
    assert float(loss.detach()) == 0.0


@pytest.mark.parametrize("unfreeze", ["none", 1, "all"])
def test_only_what_is_unfrozen_gets_gradients(tiny_encoder, unfreeze):
    lm = make(tiny_encoder, unfreeze=unfreeze)
    lm.train()
    lm.loss(*make_batch(lm)).backward()
    touched = {name for name, p in lm.model.named_parameters() if p.grad is not None}
    blocks = {i for i in (0, 1) if any(f"layer.{i}." in name for name in touched)}
    assert blocks == {"none": set(), 1: {1}, "all": {0, 1}}[unfreeze]
    assert ("bert.embeddings.word_embeddings.weight" in touched) == (unfreeze == "all")
    assert "cls.predictions.transform.dense.weight" in touched


def test_frozen_blocks_have_no_dropout(tiny_encoder):
    lm = make(tiny_encoder, unfreeze=1, dropout=0.5)
    lm.train()
    dropouts = [(name, m) for name, m in lm.model.named_modules() if hasattr(m, "p")]
    on = {name for name, m in dropouts if m.training and m.p}
    assert on and all("layer.1." in name or not name.startswith("bert.") for name in on)


def test_a_missing_head_is_tied_to_the_embeddings(tiny_encoder):
    model, new = load_with_head(tiny_encoder)
    assert new
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_auto_is_the_device_that_spacy_uses(tiny_encoder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load(EncoderPart(str(tiny_encoder), precision="fp32"))[0].device.type == "cpu"
