import numpy
import pytest
import torch
from conftest import save_encoder

from spacy_reprtune.encoder import attention
from spacy_reprtune.encoder import module as module_under_test
from spacy_reprtune.encoder.load import load_pretrained
from spacy_reprtune.encoder.module import Encoder, EncoderSettings
from spacy_reprtune.encoder.pieces import PieceTokenizer
from spacy_reprtune.encoder.precision import resolve_device, resolve_precision
from spacy_reprtune.heads.pooling import POOLINGS

TEXTS = ["a great film", "dull " * 100, "the plot is bad and the actor is never good " * 9, ""]


@pytest.fixture
def make_encoder(tiny_encoder):
    def make(**settings) -> Encoder:
        settings = {"precision": "fp32", **settings}
        return Encoder(
            load_pretrained(tiny_encoder),
            PieceTokenizer.from_directory(tiny_encoder),
            EncoderSettings(name=str(tiny_encoder), **settings),
        )

    return make


def pool(encoder, kind="mean", texts=TEXTS):
    torch.manual_seed(0)
    pieces = encoder.tokenize(texts)
    return POOLINGS[kind](encoder.width)(encoder.encode(pieces), len(texts))


@pytest.mark.parametrize("kind", ["mean", "cls", "max", "attention"])
def test_pooled_vectors_do_not_depend_on_how_windows_are_batched(make_encoder, kind):
    wide = pool(make_encoder(batch_pieces=100_000), kind)
    narrow = pool(make_encoder(batch_pieces=1), kind)
    torch.testing.assert_close(narrow, wide, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_pooling_counts_each_piece_once_in_its_most_central_window(make_encoder, kind):
    encoder = make_encoder(overlap=20)
    pieces = encoder.tokenize(["dull film " * 60])
    windows = encoder.windows(pieces)
    assert len(windows) > 2
    # The definition: the row of all kept vectors, the special ones of the two ends included.
    rows = []
    for w in range(len(windows)):
        ids = pieces[0].ids[windows.starts[w] : windows.ends[w]].tolist()
        ids = encoder.tokenizer.prefix + ids + encoder.tokenizer.suffix
        with torch.no_grad():
            vectors = encoder.model(torch.tensor([ids]))[0][0]
        low = windows.keep_starts[w] - windows.starts[w] + 1
        high = windows.keep_ends[w] - windows.starts[w] + 1
        first, last = w == 0, w == len(windows) - 1
        rows.append(vectors[(0 if first else low) : (len(ids) if last else high)])
    row = torch.cat(rows)
    assert len(row) == len(pieces[0]) + 2
    torch.manual_seed(0)
    pooling = POOLINGS[kind](encoder.width)
    with torch.no_grad():
        pooled = pooling(encoder.encode(pieces), 1)[0]
        expected = {
            "mean": lambda: row.mean(0),
            "max": lambda: row.amax(0),
            "attention": lambda: torch.softmax(pooling.query(row)[:, 0], 0) @ row,
        }[kind]()
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)


def test_max_pieces_reads_the_beginning_of_each_text(make_encoder):
    encoder, whole = make_encoder(max_pieces=20), make_encoder()
    for offsets in (False, True):
        for text, pieces in zip(TEXTS, encoder.tokenize(TEXTS, offsets=offsets), strict=True):
            (expected,) = whole.tokenize([text], offsets=offsets)
            n = 20 - len(encoder.tokenizer.prefix) - len(encoder.tokenizer.suffix)
            assert pieces.ids.tolist() == expected.ids[:n].tolist()
            assert not offsets or pieces.offsets.tolist() == expected.offsets[:n].tolist()
    assert len(encoder.windows(encoder.tokenize(TEXTS))) == len(TEXTS)
    with pytest.raises(ValueError, match="max_pieces = 7. Use at least 8"):
        make_encoder(max_pieces=7)


def test_mean_pooling_of_a_short_text_is_that_of_sentence_transformers(make_encoder, tiny_encoder):
    encoder = make_encoder()
    batch = encoder.tokenizer.tokenizer(TEXTS[:1], return_tensors="pt")
    with torch.no_grad():
        expected = encoder.model(**batch)[0].mean(1)
    torch.testing.assert_close(pool(encoder)[:1], expected, atol=1e-6, rtol=1e-6)


def test_recomputing_long_texts_gives_the_same_gradients(make_encoder, monkeypatch):
    monkeypatch.setattr(module_under_test, "KEPT_BATCHES", 1)

    def gradients(batch_pieces):
        torch.manual_seed(0)
        encoder = make_encoder(batch_pieces=batch_pieces)
        # Dropout off: its draws are made batch by batch.
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for block in encoder.model.encoder.layer:
            block.attention.self.dropout_prob = 0.0
        encoder.train()
        pool(encoder).square().sum().backward()
        grads = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
        return {n: g.to_dense() if g.is_sparse else g for n, g in grads.items()}

    one, many = gradients(100_000), gradients(64)
    assert one.keys() == many.keys()
    for name in one:
        torch.testing.assert_close(many[name], one[name], atol=1e-4, rtol=1e-3)


def test_recomputing_repeats_the_random_numbers_of_the_device(make_encoder, monkeypatch):
    """`checkpoint` keeps the generators' states of those devices that its arguments are on."""
    seen = []

    def spy(function, *args, **kwargs):
        seen.append({arg.device for arg in args if isinstance(arg, torch.Tensor)})
        return function(*args)

    monkeypatch.setattr(module_under_test, "checkpoint", spy)
    encoder = make_encoder(batch_pieces=64).train()
    pool(encoder, texts=["dull film " * 500])
    assert seen and all(devices == {encoder.device} for devices in seen)


def test_no_window_is_kept_for_the_way_back_of_a_long_text(make_encoder):
    encoder = make_encoder(batch_pieces=64)
    pieces = encoder.tokenize(["dull film " * 500])
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    encoder.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        pool(encoder, texts=["dull film " * 500])
    # Without recomputing, each piece would leave hundreds of numbers behind in two blocks.
    assert sum(saved) < 30 * len(pieces[0]) * 2


def test_an_encoder_with_other_vectors_when_packed_stays_padded(make_encoder, monkeypatch):
    assert make_encoder(packed=True).packing is not None
    attend = attention.packed_attention
    monkeypatch.setattr(attention, "packed_attention", lambda *a, **kw: attend(*a, **kw) * 1.01)
    assert make_encoder(packed=True).packing is None


def test_auto_packs_where_the_kernel_of_the_device_pays_for_it(make_encoder, monkeypatch):
    assert make_encoder().packing is None
    monkeypatch.setattr(module_under_test, "fits_flash", lambda *_: True)
    assert make_encoder().packing is not None
    assert make_encoder(packed=False).packing is None


def test_dropout_of_attention_is_applied_in_packed_windows(make_encoder):
    encoder = make_encoder(packed=True).train()
    for name, module in encoder.named_modules():
        # Attention reads its rate from there in transformers 5, and from its config before that.
        if isinstance(module, torch.nn.Dropout) and not name.endswith("self.dropout"):
            module.p = 0.0
    first, second = pool(encoder), pool(encoder)
    encoder.eval()
    assert torch.equal(first, second) and not torch.allclose(first, pool(encoder), atol=1e-3)


def test_small_batches_of_uneven_texts_are_not_computed_twice(make_encoder, monkeypatch):
    monkeypatch.setattr(module_under_test, "CPU_PADDING", 0)
    encoder = make_encoder().train()
    texts = ["dull", "a dull film", "a dull film and " * 3, "a great film and a dull one " * 4]
    assert len(list(encoder.batches(encoder.tokenize(texts)))) > module_under_test.KEPT_BATCHES

    def recompute(*args, **kwargs):
        raise AssertionError("The activations of this step are few enough to keep.")

    monkeypatch.setattr(module_under_test, "checkpoint", recompute)
    assert pool(encoder, texts=texts).shape[0] == len(texts)


def test_frozen_blocks_leave_no_graph_and_stay_in_evaluation(make_encoder):
    encoder = make_encoder(unfreeze=1).train()
    blocks = encoder.model.encoder.layer
    assert not blocks[0].training and not encoder.model.embeddings.training
    assert blocks[1].training
    seen = {}
    blocks[1].register_forward_pre_hook(lambda _, args: seen.update(hidden=args[0]))
    batch = next(iter(encoder.batches(encoder.tokenize(TEXTS))))
    out = encoder(batch.ids, batch.mask)
    assert not seen["hidden"].requires_grad and out.requires_grad
    assert not make_encoder(unfreeze="none").train()(batch.ids, batch.mask).requires_grad


@pytest.mark.parametrize("unfreeze", [3, -1, "some", 1.5, True])
def test_unfreeze_beyond_the_encoder_is_refused(make_encoder, unfreeze):
    with pytest.raises(ValueError, match="unfreeze"):
        make_encoder(unfreeze=unfreeze)


def test_too_many_blocks_names_the_depth(make_encoder):
    with pytest.raises(ValueError, match="has only 2 blocks"):
        make_encoder(unfreeze=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 65}, "takes 64 at most"),
        ({"window": 3}, "at least 8"),
        ({"overlap": 40}, "more than half"),
        ({"overlap": -1}, "0 or more"),
        ({"batch_pieces": 0}, "1 or more"),
        ({"precision": "fp16"}, "bf16"),
        ({"packed": "cuda"}, "'auto', true or false"),
    ],
)
def test_settings_out_of_range_are_refused(make_encoder, settings, message):
    with pytest.raises(ValueError, match=message):
        make_encoder(**settings)


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="'tpu9' is not a device"):
        resolve_device("tpu9")


def test_cuda_without_a_device_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="sees no CUDA devices here"):
        resolve_device("cuda")


def test_precision_is_fp32_where_bf16_is_emulated(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr("spacy_reprtune.encoder.precision._cpu_has_bf16", lambda: False)
    assert resolve_precision("auto", cpu, "bert") is None
    assert resolve_precision("bf16", cpu, "bert") is torch.bfloat16
    monkeypatch.setattr("spacy_reprtune.encoder.precision._cpu_has_bf16", lambda: True)
    assert resolve_precision("auto", cpu, "bert") is torch.bfloat16
    assert resolve_precision("fp32", cpu, "bert") is None


def test_a_family_whose_attention_overflows_in_bf16_computes_in_fp32(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr("spacy_reprtune.encoder.precision._cpu_has_bf16", lambda: True)
    assert resolve_precision("auto", cpu, "deberta") is None
    assert resolve_precision("auto", cpu, "deberta-v2") is torch.bfloat16
    with pytest.raises(ValueError, match="'deberta' can't train in it. Use 'fp32'"):
        resolve_precision("bf16", cpu, "deberta")


def test_bf16_is_close_and_leaves_the_weights_in_fp32(make_encoder):
    exact, half = make_encoder(), make_encoder(precision="bf16")
    torch.testing.assert_close(pool(half).float(), pool(exact), atol=0.05, rtol=0.05)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert not [name for name in half.state_dict() if "half" in name]


def test_the_bf16_copy_follows_the_weights(make_encoder):
    encoder = make_encoder(precision="bf16")
    with torch.no_grad():
        before = pool(encoder)
        for parameter in encoder.model.parameters():
            parameter.mul_(1.5)
        after = pool(encoder)
    assert not torch.allclose(before, after, atol=0.05)


def test_shared_blocks_train_together_or_not_at_all(tmp_path):
    path = save_encoder(tmp_path, "albert", embedding_size=16)
    tokenizer = PieceTokenizer.from_directory(path)

    def make(unfreeze):
        return Encoder(
            load_pretrained(path), tokenizer, EncoderSettings(name="albert", unfreeze=unfreeze)
        )

    assert all(p.requires_grad for p in make("all").parameters())
    assert not any(p.requires_grad for p in make("none").parameters())
    with pytest.raises(ValueError, match="share their weights"):
        make(1)


def test_identical_windows_have_identical_rows(make_encoder):
    vectors = pool(make_encoder(), texts=["a film", "dull", "a film"]).detach().numpy()
    numpy.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
