"""Texts are restored from their vectors, and the encoder learns by nothing else."""

import json

import numpy
import pytest
import spacy
import torch
from conftest import BAD, GOOD
from runs import weights
from spacy.tokens import DocBin

from spacy_reprtune.pretraining.denoising import DELETED, delete, load_denoiser
from spacy_reprtune.pretraining.packing import Batch
from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import EncoderPart, MaskingPart
from spacy_reprtune.pretraining.speed import flops_per_piece
from spacy_reprtune.pretraining.steps import Trainer

TEXTS = [[7], [9, 8, 7], [5, 6, 7, 8], [20, 30, 40, 50], list(range(10, 30))]


def load(path, precision="fp32", **settings):
    return load_denoiser(EncoderPart(str(path), precision=precision, device="cpu", **settings))[0]


def batch_of(texts, first=0):
    """Texts between the special pieces 2 and 3, numbered from a place in the corpus on."""
    ids, index = [], []
    for text in texts:
        ids += [2, *text, 3]
        index += [-1, *range(first, first + len(text)), -1]
        first += len(text)
    ids, index = torch.tensor(ids), torch.tensor(index)
    return Batch(ids, index, index, [len(text) + 2 for text in texts], len(ids))


def loss_of(lm, texts, *, first=0, key=0):
    batch = batch_of(texts, first)
    return lm.loss(batch, lm.noise(MaskingPart())(batch, key))


def restored_from(deleted):
    """RETURNS (List[List[int]]): For each text, the pieces that are left of it."""
    windows = deleted.ids.split(deleted.lengths)
    return [windows[row].tolist() for row in deleted.rows]


def test_most_pieces_are_deleted_but_never_all_of_a_text():
    texts = sorted(([n % 90 + 5] * (n % 12 + 1) for n in range(500)), key=len)
    found = delete(batch_of(texts), 1, 2)
    assert found.labels.tolist() == [piece for text in texts for piece in text]
    assert found.sizes == [len(text) for text in texts]
    assert found.lengths == sorted(found.lengths)
    left = restored_from(found)
    for text, row in zip(texts, left, strict=True):
        assert row[0] == 2 and row[-1] == 3
        assert 1 <= len(row[1:-1]) <= len(text) and set(row[1:-1]) <= set(text)
    long = [(len(text), len(row) - 2) for text, row in zip(texts, left, strict=True)][-200:]
    sizes, kept = numpy.array(long).sum(0)
    assert kept / sizes == pytest.approx(1 - DELETED, abs=0.04)


def test_what_is_deleted_depends_on_the_place_and_the_epoch_and_not_on_the_batch():
    whole = restored_from(delete(batch_of(TEXTS), 0, 3))
    single = restored_from(delete(batch_of(TEXTS[-1:], first=sum(map(len, TEXTS[:-1]))), 0, 3))
    assert whole[-1:] == single
    assert whole != restored_from(delete(batch_of(TEXTS), 0, 4))


def test_texts_of_one_batch_do_not_influence_each_other(tiny_encoder):
    lm = load(tiny_encoder)
    total, first = 0.0, 0
    for text in TEXTS:
        total += float(loss_of(lm, [text], first=first).detach())
        first += len(text)
    assert float(loss_of(lm, TEXTS).detach()) == pytest.approx(total, rel=1e-5)


def test_the_encoder_learns_through_the_vector_only(tiny_encoder):
    lm = load(tiny_encoder)
    lm.train()
    loss_of(lm, TEXTS).backward()
    touched = {name for name, p in lm.weights().items() if p.grad is not None and p.grad.any()}
    assert {"embeddings.word_embeddings.weight", "decoder.bias", "decoder.places"} <= touched
    assert {i for i in (0, 1) if any(f"encoder.layer.{i}." in name for name in touched)} == {0, 1}
    lm.zero_grad()
    vectors = lm.vectors
    lm.vectors = lambda *batch: vectors(*batch).detach()
    loss_of(lm, TEXTS).backward()
    touched = {name for name, p in lm.weights().items() if p.grad is not None and p.grad.any()}
    assert touched and all(name.startswith("decoder.") for name in touched)


def test_the_decoder_sees_only_the_pieces_before(tiny_encoder):
    """The chances of all continuations sum to 1 only if no piece sees itself or later ones."""
    lm = load(tiny_encoder)
    table = lm.model.get_input_embeddings().weight
    vector = torch.randn(1, 16)

    def chance(text):
        loss = lm.head.loss(vector, torch.tensor(text), [len(text)], table)
        return float(torch.exp(-loss.detach().double()))

    text = [9, 8, 7]
    after = sum(chance([*text, piece]) for piece in range(len(table)))
    assert after == pytest.approx(chance(text), rel=1e-3)


def test_losses_in_bf16_are_those_in_fp32(tiny_encoder):
    losses = [float(loss_of(load(tiny_encoder, p), TEXTS).detach()) for p in ("bf16", "fp32")]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_deleted_pieces_cost_the_encoder_nothing(tiny_encoder):
    lm = load(tiny_encoder)
    encoder = 2 * (4 * 16 * 16 + 2 * 16 * 32)
    # Two attentions of four products, two wide ones of four times the width, in and out.
    decoder = 8 * 16 * 16 + 2 * 16 * 64 + 2 * 16 * 16
    table = 16 * len(lm.model.get_input_embeddings().weight)
    expected = 6 * ((1 - DELETED) * encoder + decoder) + 4 * table
    assert flops_per_piece(lm, 0.2) == pytest.approx(expected)


DENOISE = {"objective": "tsdae", "keep": "last"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_run_config):
    """The report of a run and its directory."""
    from spacy_reprtune.pretraining.settings import settings_from

    config = make_run_config(training={**DENOISE, "max_steps": 12, "eval_every": 6})
    output = tmp_path_factory.mktemp("denoised") / "run"
    return pretrain(settings_from(config), output), output


def test_the_held_out_loss_falls_and_all_of_the_encoder_moves(finished, tiny_encoder):
    from spacy_reprtune.encoder.load import load_pretrained

    report, output = finished
    assert report["after"]["heldout"] < report["before"]["heldout"] - 0.1
    assert report["head"] == "new" and report["head_steps"] == 4 and report["packed"]
    before, after = load_pretrained(tiny_encoder).state_dict(), weights(output)
    # The result is the bare encoder, without the decoder and without a head.
    assert after.keys() == before.keys()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    # A bias of keys moves all scores alike, so nothing moves it but rounding.
    assert {name for name in after if "token_type" not in name and ".key.bias" not in name} <= moved


def test_the_report_says_what_was_restored(finished):
    page = (finished[1] / "report.md").read_text(encoding="utf8")
    assert "restores each text from its\nvector" in page and "by itself for 4 steps" in page
    assert "masked" not in page
    assert json.loads((finished[1] / "report.json").read_text())["objective"] == "tsdae"


def test_the_result_goes_into_a_pipeline_and_into_the_next_pretraining(
    finished, tmp_path, settings
):
    encoder = str(finished[1] / "encoder")
    config = {"@architectures": "spacy_reprtune.Encoder.v1", "name": encoder}
    model = {"@architectures": "spacy_reprtune.SentenceClassifier.v1", "encoder": config}
    spacy.blank("en").add_pipe("reprtune_setfit", config={"model": model})
    short = {"max_steps": 1, "head_steps": 1}
    report = pretrain(settings(encoder={"name": encoder}, training=short), tmp_path / "run")
    assert report["objective"] == "mlm" and report["head"] == "new"


def test_an_interrupted_run_ends_with_the_same_bytes(finished, tmp_path, settings, monkeypatch):
    run = settings(training={**DENOISE, "max_steps": 12, "eval_every": 6})
    step = Trainer.step

    def interrupted(trainer, packer, number, *place):
        if number == 13:
            raise KeyboardInterrupt
        return step(trainer, packer, number, *place)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(run, tmp_path / "run")
    assert "step-00000010" in {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    monkeypatch.undo()
    pretrain(run, tmp_path / "run")
    for name in ("encoder/model.safetensors", "checkpoints/step-00000016/optimizer.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (finished[1] / name).read_bytes()


def test_vectors_stay_where_they_were_if_the_settings_ask_for_it(
    finished, tmp_path, settings, tiny_encoder
):
    training = {**DENOISE, "max_steps": 12, "eval_every": 6, "keep_vectors": 100.0}
    pretrain(settings(training=training), tmp_path / "run")

    def vector(path):
        lm = load(path)
        ids = lm.tokenizer.tokenizer("a great film and quite a bright plot").input_ids
        with torch.no_grad():
            return lm.vectors(torch.tensor(ids), [len(ids)])

    first = vector(tiny_encoder)
    free, kept = (vector(path / "encoder") for path in (finished[1], tmp_path / "run"))
    moved = [1.0 - torch.cosine_similarity(after, first).item() for after in (kept, free)]
    assert moved[0] < moved[1] / 3, moved


def test_it_is_judged_like_any_other(tmp_path, settings):
    nlp = spacy.blank("xx")
    docs = [nlp.make_doc(f"{text} {n}") for n in "123" for text in (*GOOD, *BAD)]
    for doc in docs:
        good = float(doc.text.rpartition(" ")[0] in GOOD)
        doc.cats = {"GOOD": good, "BAD": 1.0 - good}
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    judge = {"corpus": str(tmp_path / "dev.spacy")}
    run = settings(training={"objective": "tsdae", "max_steps": 4}, judge=judge)
    assert pretrain(run, tmp_path / "run")["judge"]["docs"] == 24


def test_words_become_pieces_of_the_bare_encoder(tmp_path, settings):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"a film on kinase {n}\n" for n in range(60)), encoding="utf8")
    run = settings(
        corpus={"train": str(text)},
        training={"objective": "tsdae", "max_steps": 1, "head_steps": 1},
        vocabulary={"extend": 1},
    )
    assert pretrain(run, tmp_path / "run")["vocabulary"]["added"] == 1
    tokenizer = json.loads((tmp_path / "run" / "encoder" / "tokenizer.json").read_text("utf8"))
    assert "kinase" in tokenizer["model"]["vocab"]
