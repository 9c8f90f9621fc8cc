"""Half the bytes on disk, fp32 in memory, and a measurement of what that changes."""

import json
import shutil
from pathlib import Path

import pytest
import spacy
import torch
from conftest import make_examples
from safetensors.torch import load_file, save_file
from spacy.cli._util import app
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.encoder.cache import prefix_digests
from spacy_reprtune.packaging import wheels
from spacy_reprtune.packaging.agreement import Agreement, agreement, compare, predictions
from spacy_reprtune.packaging.half import (
    find_encoders,
    halve_weights,
    note_in_card,
    weights_type,
    with_half_weights,
)
from spacy_reprtune.packaging.smoke import judge

TEXTS = ["a great film", "dull and cold", "", "the music was never quite bad", "an awful plot"]


def run(*arguments):
    return CliRunner().invoke(app, ["reprtune", *map(str, arguments)])


def encoder_of(nlp):
    return nlp.get_pipe("textcat").encoder.model


def weights(nlp):
    return dict(encoder_of(nlp).named_parameters())


@pytest.fixture(scope="module")
def textcat(model_config):
    """A trained classifier. Not to be changed."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    nlp.examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: nlp.examples)
    optimizer.learn_rate = 0.01
    for _ in range(5):
        nlp.update(nlp.examples, sgd=optimizer, losses={})
    return nlp


@pytest.fixture(scope="module")
def saved(textcat, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    textcat.to_disk(path)
    return path


@pytest.fixture
def trained(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "model"))


def encoder_bytes(folder):
    [encoder] = find_encoders(folder)
    return (encoder / "model.safetensors").stat().st_size


@pytest.mark.parametrize(("half", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_files_are_halved_and_load_as_fp32(half, dtype, trained, textcat):
    before = encoder_bytes(trained)
    [encoder] = halve_weights(trained, half)
    assert 0.4 < encoder_bytes(trained) / before < 0.6
    assert weights_type(encoder) == half
    loaded = weights(spacy.load(trained))
    for name, tensor in weights(textcat).items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.to(dtype).float())


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_predictions_hardly_change(half, trained, textcat):
    halve_weights(trained, half)
    alike = agreement(textcat, spacy.load(trained), TEXTS)
    assert alike.texts == len(TEXTS) and alike.share == 1.0
    assert 0 < alike.largest_difference < (0.005 if half == "fp16" else 0.05)


def test_hugging_face_reads_the_type_from_the_directory(trained):
    from transformers import AutoModel

    [encoder] = halve_weights(trained, "bf16")
    assert AutoModel.from_pretrained(encoder, torch_dtype="auto").dtype == torch.bfloat16


def test_a_pipeline_saved_again_is_saved_in_fp32_with_the_same_weights(trained, tmp_path):
    halve_weights(trained, "fp16")
    nlp = spacy.load(trained)
    nlp.to_disk(tmp_path / "again")
    [encoder] = find_encoders(tmp_path / "again")
    assert weights_type(encoder) == "fp32"
    again = weights(spacy.load(tmp_path / "again"))
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights(nlp).items())
    assert agreement(nlp, spacy.load(tmp_path / "again"), TEXTS).largest_difference == 0.0


def test_rounded_weights_never_answer_for_the_trained_ones_in_a_cache(trained, textcat):
    """What frozen blocks gave is kept under a digest of their weights."""

    def digests(nlp):
        return prefix_digests(encoder_of(nlp))

    full = digests(spacy.load(trained))
    halve_weights(trained, "fp16")
    half, again = digests(spacy.load(trained)), digests(spacy.load(trained))
    assert half == again
    assert not set(half) & set(full)


def test_training_goes_on_with_frozen_blocks_bit_identical(model_config, trained, textcat):
    """The rounded weights are the ones that are frozen."""
    halve_weights(trained, "fp16")
    [encoder] = find_encoders(trained)
    settings = {"name": str(encoder), "unfreeze": 1}
    nlp = spacy.blank("xx")
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config(settings)})
    optimizer = nlp.initialize(lambda: textcat.examples)
    before = {name: tensor.clone() for name, tensor in weights(nlp).items()}
    for _ in range(3):
        nlp.update(textcat.examples, sgd=optimizer)
    after = weights(nlp)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("layer.1." in name for name in moved)


def test_an_encoder_in_several_files_is_halved_into_one(trained, textcat):
    [encoder] = find_encoders(trained)
    (encoder / "model.safetensors").unlink()
    encoder_of(textcat).save_pretrained(encoder, max_shard_size="10KB")
    assert len(list(encoder.glob("*.safetensors"))) > 1
    halve_weights(trained, "fp16")
    [file] = encoder.glob("*.safetensors")
    assert file.name == "model.safetensors" and not list(encoder.glob("*.index.json"))
    assert weights_type(encoder) == "fp16"
    assert agreement(textcat, spacy.load(trained), TEXTS).share == 1.0


def test_encoders_of_entity_recognizers_are_halved_too(ner, tmp_path):
    ner.to_disk(tmp_path / "ner")
    [encoder] = halve_weights(tmp_path / "ner", "fp16")
    assert encoder.parts[-3:] == ("ner", "model", "encoder")
    assert agreement(ner, spacy.load(tmp_path / "ner"), TEXTS).share == 1.0


def test_a_weight_beyond_fp16_is_refused_and_bf16_takes_it(trained):
    [encoder] = find_encoders(trained)
    tensors = load_file(encoder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("LayerNorm.bias"))
    tensors[name][0] = 1e5
    save_file(tensors, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"is 100000, but .* fp16 is 65,504.*--half bf16"):
        halve_weights(trained, "fp16")
    halve_weights(trained, "bf16")
    assert weights_type(encoder) == "bf16"


def test_what_can_not_be_halved_is_explained(trained, tmp_path):
    with pytest.raises(ValueError, match="half = 'int8'. Use fp16 or bf16"):
        halve_weights(trained, "int8")
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="has no encoder of spacy-reprtune"):
        halve_weights(tmp_path / "blank", "fp16")


def test_the_trained_pipeline_stays_as_it_is(trained):
    before = encoder_bytes(trained)
    with with_half_weights(trained, "fp16", TEXTS) as (copy, alike):
        assert encoder_bytes(copy) < before and alike.texts == len(TEXTS)
    assert encoder_bytes(trained) == before and not copy.exists()


def test_a_package_without_a_corpus_says_that_nothing_was_measured(trained, tmp_path, monkeypatch):
    built = []

    def package(model_dir, *args, **settings):
        built.append(weights_type(find_encoders(model_dir)[0]))
        return [trained / "config.cfg"]

    monkeypatch.setattr(wheels, "package_pipeline", package)
    done = run("package", trained, tmp_path / "out", "--name", "tiny", "--half", "fp16")
    assert done.exit_code == 0 and "was not measured" in done.output and built == ["fp16"]
    done = run("package", trained, tmp_path / "out", "--name", "tiny", "--half", "int4")
    assert done.exit_code == 1 and "half = 'int4'" in done.output


@pytest.mark.parametrize("eps", [1e-12, 1e-5])
def test_small_numbers_of_the_encoder_s_config_are_kept(eps, trained):
    [encoder] = find_encoders(trained)
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": eps}))
    halve_weights(trained, "fp16")
    assert json.loads((encoder / "config.json").read_text())["layer_norm_eps"] == eps
    norms = [m for m in encoder_of(spacy.load(trained)).modules() if hasattr(m, "eps")]
    assert norms and all(norm.eps == eps for norm in norms)


def test_half_precision_differs_within_its_limit_and_not_within_none(trained, textcat):
    halve_weights(trained, "fp16")
    half = {"pipeline": "tiny", "version": "1.0.0", "docs": predictions(spacy.load(trained), TEXTS)}
    full = predictions(textcat, TEXTS)
    assert judge({**half, "weights": ["fp16"]}, full, TEXTS)["equal_predictions"] == 1.0
    with pytest.raises(RuntimeError, match="differ from the trained one's"):
        judge({**half, "weights": ["fp16"]}, full, TEXTS, tolerance=0.0)


def test_a_note_needs_a_card(tmp_path):
    note_in_card(tmp_path, "fp16", None)
    assert not list(tmp_path.iterdir())
    (tmp_path / "README.md").write_text("# Card\n")
    note_in_card(tmp_path, "fp16", None)
    assert "was not measured" in (tmp_path / "README.md").read_text()


def test_predictions_are_compared_by_what_they_decide():
    def noted(scores, ents=()):
        best = max(scores, key=scores.get)
        return {"cats": scores, "labels": [best], "ents": list(ents), "rest": ""}

    one = [noted({"a": 0.6, "b": 0.4}), noted({"a": 0.51, "b": 0.49}, [[0, 2, "X", 0.9]])]
    two = [noted({"a": 0.9, "b": 0.1}), noted({"a": 0.49, "b": 0.51}, [[0, 2, "X", 0.2]])]
    assert compare(one, two) == Agreement(2, 1, pytest.approx(0.7), 1)
    assert compare([], []).share == 1.0
    with pytest.raises(ValueError, match="different labels: a, b, and c"):
        compare(one[:1], [noted({"c": 1.0})])


def test_what_holds_is_decided_by_each_pipe_s_own_rule(textcat, model_config):
    other = spacy.blank("xx")
    other.add_pipe(
        "reprtune_textcat_multilabel",
        name="textcat",
        config={"model": model_config(), "threshold": 0.0},
    )
    other.initialize(lambda: textcat.examples)
    [exclusive], [several] = predictions(textcat, TEXTS[:1]), predictions(other, TEXTS[:1])
    assert len(exclusive["labels"]) == 1 and several["labels"] == ["BAD", "GOOD"]
    assert json.dumps(several)
