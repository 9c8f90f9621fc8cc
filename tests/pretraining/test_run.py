"""A run ends with an encoder that everything loads."""

import json

import pytest
import spacy
import torch
from conftest import save_encoder, wordpiece_tokenizer
from runs import Run, pretrain_without_spacy, weights

from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import settings_from

# For tests of what a run writes, not of what it learns.
SHORT = {"max_steps": 1, "head_steps": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, text_file):
    """A run, its report and its directory."""
    output = tmp_path_factory.mktemp("runs") / "run"
    config = {
        "encoder": {"name": str(tiny_encoder), "precision": "fp32", "device": "cpu"},
        "corpus": {"train": str(text_file), "heldout": 0.1, "general": str(text_file)},
        "training": {
            "max_epochs": 0,
            "max_steps": 60,
            "step_pieces": 512,
            "batch_pieces": 256,
            "learn_rate": 5e-3,
            "head_steps": 10,
            "head_learn_rate": 1e-2,
            "eval_every": 20,
        },
        "report": {"fill_mask": ["a great [MASK]"], "log_every": 1},
    }
    return pretrain(settings_from(config), output), output


def test_the_held_out_loss_falls(finished):
    report, _ = finished
    assert report["after"]["heldout"] < report["before"]["heldout"] - 0.1
    assert report["after"]["general"] < report["before"]["general"]
    assert report["steps"] == 60 and report["head_steps"] == 10
    assert report["packed"] and report["packing_efficiency"] > 0.9


def test_the_log_has_every_step_and_every_evaluation(finished):
    _, output = finished
    rows = [json.loads(row) for row in (output / "log.jsonl").open(encoding="utf8")]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 71))
    assert [row["step"] for row in rows if "heldout" in row] == [10, 30, 50, 70]
    assert {"learn_rate", "gradient_norm", "pieces_per_second"} <= set(rows[0])
    assert rows[0]["learn_rate"] == 1e-2 and rows[-2]["learn_rate"] < 5e-3


def test_the_report_shows_masks_filled_before_and_after(finished):
    report, output = finished
    row = report["fill_mask"][0]
    assert len(row["before"]) == len(row["after"]) == 5
    page = (output / "report.md").read_text(encoding="utf8")
    assert "| a great [MASK] |" in page and "| domain |" in page and "| general |" in page
    assert (output / "loss.png").stat().st_size > 1000


def test_a_mask_at_the_end_of_a_long_sentence_is_filled(tmp_path, settings):
    sentence = "a great film " * 40 + "[MASK] is fine " + "a dull film " * 40
    run = settings(report={"fill_mask": [sentence, "[MASK]"]}, training=SHORT)
    report = pretrain(run, tmp_path / "run")
    assert [len(row["after"]) for row in report["fill_mask"]] == [5, 5]


def test_transformers_loads_the_encoder_with_its_head(finished):
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    _, output = finished
    path = output / "encoder"
    model, info = AutoModelForMaskedLM.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.mask_token == "[MASK]"
    bare = AutoModel.from_pretrained(path)
    inputs = tokenizer("a great film", return_tensors="pt")
    found = bare.eval()(**inputs)[0]
    torch.testing.assert_close(found, model.eval().bert(**inputs)[0])


def test_the_encoder_goes_into_a_spacy_pipeline_by_its_name(finished):
    _, output = finished
    encoder = {"@architectures": "spacy_reprtune.Encoder.v1", "name": str(output / "encoder")}
    model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": encoder}
    nlp = spacy.blank("en")
    nlp.add_pipe("reprtune_textcat", config={"model": model}).add_label("GOOD")
    nlp.get_pipe("reprtune_textcat").add_label("BAD")
    nlp.initialize()
    assert set(nlp("a great film").cats) == {"GOOD", "BAD"}


def test_sentence_transformers_loads_it_with_the_source_s_pooling(tmp_path, tiny_encoder, settings):
    from sentence_transformers import SentenceTransformer, models

    source = tmp_path / "sentence"
    parts = [models.Transformer(str(tiny_encoder)), models.Pooling(16), models.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(source))
    pretrain(settings(encoder={"name": str(source)}), tmp_path / "run")
    before, after = (
        SentenceTransformer(str(path), device="cpu", local_files_only=True)
        for path in (source, tmp_path / "run" / "encoder")
    )
    assert [type(m).__name__ for m in after] == ["Transformer", "Pooling", "Normalize"]
    vector = after.encode("a great film")
    assert abs((vector**2).sum() - 1.0) < 1e-5
    assert abs(vector - before.encode("a great film")).max() > 1e-4


def test_weights_of_the_layers_after_the_encoder_are_kept(tmp_path, tiny_encoder, settings, caplog):
    from sentence_transformers import SentenceTransformer, models

    source = tmp_path / "sentence"
    parts = [models.Transformer(str(tiny_encoder)), models.Pooling(16), models.Dense(16, 8)]
    SentenceTransformer(modules=parts, device="cpu").save(str(source))
    run = settings(encoder={"name": str(source)}, training=SHORT)
    pretrain(run, tmp_path / "run")
    adapted = SentenceTransformer(
        str(tmp_path / "run" / "encoder"), device="cpu", local_files_only=True
    )
    torch.testing.assert_close(adapted[2].linear.weight, parts[2].linear.weight)
    dense = source / "2_Dense"
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    pretrain(run, tmp_path / "other")
    assert "2_Dense are a pickle (pytorch_model.bin) and are not copied" in caplog.text


def losses(encoder, corpus):
    """Held-out loss of an encoder directory that has a head, as a run measures it."""
    from spacy_reprtune.pretraining.corpus import build_corpus
    from spacy_reprtune.pretraining.model import load
    from spacy_reprtune.pretraining.packing import Packer
    from spacy_reprtune.pretraining.processes import World
    from spacy_reprtune.pretraining.settings import EncoderPart
    from spacy_reprtune.pretraining.steps import evaluate

    lm, _, new = load(EncoderPart(str(encoder), precision="fp32", device="cpu"))
    assert not new
    parts = build_corpus(corpus, lm.tokenizer, encoder.parent / "measured")
    found = {}
    for name in ("heldout", "general"):
        prefix, suffix = lm.tokenizer.prefix, lm.tokenizer.suffix
        packer = Packer(
            getattr(parts, name), limit=lm.limit, prefix=prefix, suffix=suffix, batch_pieces=256
        )
        found[name] = evaluate(lm, packer, World())
    return found


def test_an_encoder_that_has_a_head_keeps_it_and_its_losses_before_are_as_it_came(
    finished, settings, tmp_path, text_file
):
    first, output = finished
    general = tmp_path / "general.txt"
    general.write_text("\n".join(text_file.read_text().splitlines()[:20]), encoding="utf8")
    run = settings(
        encoder={"name": str(output / "encoder")},
        corpus={"general": str(general)},
        training={"head_steps": 50, "learn_rate": 1e-2},
    )
    report = pretrain(run, tmp_path / "next")
    assert report["head_steps"] == 0 and report["head"] == "own"
    assert report["before"]["heldout"] == pytest.approx(first["after"]["heldout"], abs=0.05)
    assert report["before"] == pytest.approx(losses(output / "encoder", run.corpus), abs=1e-4)
    page = (tmp_path / "next" / "report.md").read_text(encoding="utf8")
    assert "under the head that it came with" in page and "new head" not in page


def test_the_report_says_that_a_head_was_made_before_the_first_losses(finished):
    report, output = finished
    assert report["head"] == "new"
    page = (output / "report.md").read_text(encoding="utf8")
    assert "with all its weights unchanged" in page and "by itself for 10 steps" in page


def test_a_new_head_begins_with_the_frequencies_of_pieces(tiny_encoder, text_file, tmp_path):
    from spacy_reprtune.pretraining.corpus import build_corpus
    from spacy_reprtune.pretraining.model import load
    from spacy_reprtune.pretraining.packing import Packer
    from spacy_reprtune.pretraining.processes import World
    from spacy_reprtune.pretraining.settings import CorpusPart, EncoderPart
    from spacy_reprtune.pretraining.steps import evaluate, start_head

    lm, _, new = load(EncoderPart(str(tiny_encoder), precision="fp32", device="cpu"))
    corpus = build_corpus(CorpusPart(str(text_file), heldout=0.1), lm.tokenizer, tmp_path)
    packer = Packer(corpus.heldout, limit=64, prefix=[2], suffix=[3], batch_pieces=512)
    before = evaluate(lm, packer, World())
    start_head(lm, corpus.train)
    assert new and evaluate(lm, packer, World()) < before - 1.0


def test_the_head_s_steps_leave_the_encoder_as_it_is(tmp_path, tiny_encoder, settings):
    from spacy_reprtune.pretraining.model import load_with_head

    wanted = load_with_head(tiny_encoder)[0].state_dict()
    run = settings(training={"head_steps": 4, "max_steps": 1, "learn_rate": 1e-30})
    pretrain(run, tmp_path / "run")
    found = weights(tmp_path / "run")
    moved = {name for name in found if not torch.allclose(found[name], wanted[name], atol=1e-7)}
    assert moved and all(name.startswith("cls.") for name in moved)


@pytest.mark.parametrize("unfreeze", ["none", 1])
def test_frozen_blocks_are_bit_identical(tmp_path, tiny_encoder, settings, unfreeze):
    from spacy_reprtune.pretraining.model import load_with_head

    before = load_with_head(tiny_encoder)[0].state_dict()
    run = settings(encoder={"unfreeze": unfreeze}, training={"keep": "last", "max_steps": 4})
    pretrain(run, tmp_path / "run")
    after = weights(tmp_path / "run")
    frozen = [n for n in after if n.startswith(("bert.embeddings", "bert.encoder.layer.0"))]
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    moved = not torch.equal(
        *(w["bert.encoder.layer.1.output.dense.weight"] for w in (before, after))
    )
    assert moved == (unfreeze == 1)


def test_a_directory_with_something_else_is_not_touched(tmp_path, settings):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf8")
    for fresh in (False, True):
        with pytest.raises(ValueError, match="holds something else"):
            pretrain(settings(), tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file. Name a directory"):
        pretrain(settings(), tmp_path / "thesis.tex")


def test_an_output_directory_among_the_texts_is_refused(tmp_path, settings, text_file):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(text_file.read_bytes())
    folder = str(tmp_path / "texts")
    for corpus in ({"train": folder}, {"exclude": [folder]}, {"general": folder}):
        with pytest.raises(ValueError, match="run is in .*texts, which text is read from"):
            pretrain(settings(corpus=corpus), tmp_path / "texts" / "run")
    assert [path.name for path in (tmp_path / "texts").iterdir()] == ["a.txt"]
    pretrain(settings(corpus={"train": folder}, training=SHORT), tmp_path / "run")


def test_a_tokenizer_without_a_mask_is_refused(tmp_path, settings):
    path = save_encoder(tmp_path / "encoder", tokenizer=wordpiece_tokenizer(mask_token=None))
    with pytest.raises(ValueError, match="has no mask token"):
        pretrain(settings(encoder={"name": str(path)}), tmp_path / "run")


def test_training_stops_when_the_held_out_loss_no_longer_falls(tmp_path, settings):
    run = settings(training={"learn_rate": 1e-30, "max_steps": 100, "patience": 2})
    report = pretrain(run, tmp_path / "run")
    assert report["steps"] < 100


def test_a_gradient_that_is_not_finite_touches_no_weight(tmp_path, settings):
    run = settings(training={"head_learn_rate": 1e38, "head_steps": 50})
    with pytest.raises(ValueError, match=r"norm of the gradient is .* Lower \[training\]"):
        pretrain(run, tmp_path / "run")


def test_pretraining_needs_no_spacy(tmp_path, run_config):
    config = run_config(training={"max_steps": 1, "head_steps": 1})
    code, errors = Run(pretrain_without_spacy, config, tmp_path / "run").finish()
    assert code == 0, errors
    assert (tmp_path / "run" / "encoder" / "config.json").is_file()


def test_vectors_stay_where_they_were_if_the_settings_ask_for_it(tmp_path, settings, tiny_encoder):
    import torch

    from spacy_reprtune.pretraining.model import load
    from spacy_reprtune.pretraining.settings import EncoderPart

    def vectors(path):
        lm = load(EncoderPart(str(path), precision="fp32", device="cpu"))[0]
        ids = lm.tokenizer.tokenizer("a great film and quite a bright plot").input_ids
        with torch.no_grad():
            return lm.vectors(torch.tensor(ids), [len(ids)])

    first, moved = vectors(tiny_encoder), []
    for weight in (0.0, 100.0):
        run = settings(training={"keep_vectors": weight, "keep": "last"})
        report = pretrain(run, tmp_path / f"run{weight:g}")
        after = vectors(tmp_path / f"run{weight:g}" / "encoder")
        moved.append(1.0 - torch.nn.functional.cosine_similarity(after, first).item())
        assert report["after"]["heldout"] < report["before"]["heldout"]
    assert moved[1] < moved[0] / 3, moved
