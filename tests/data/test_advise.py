"""The recipe fits the data and the time, its config is complete, and no figure is invented."""

import re
import shutil
from pathlib import Path

import pytest
import spacy
import srsly
import torch
from spacy.cli._util import app
from spacy.cli.init_config import fill_config
from spacy.tokens import DocBin
from spacy.util import registry
from thinc.api import Config
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.data import timing
from spacy_reprtune.data.advise import advise
from spacy_reprtune.data.recipes import (
    read_value,
    recipe_folder,
    replace_header,
    sections,
    set_value,
)
from spacy_reprtune.data.timing import Speed

NLP = spacy.blank("en")


def speed(rate, width=16):
    return Speed(rate=rate, depth=6, width=width, weights=5000, device="cpu")


def corpus(folder, n=200, multi=False, ents=False, both=False):
    folder.mkdir()
    for split, size in {"train": n, "dev": 60}.items():
        docs = []
        for k in range(size):
            doc = NLP.make_doc(f"film number {split} {k} was {('good', 'bad')[k % 2]}")
            if ents or both:
                doc.set_ents([doc.char_span(0, 4, "FILM")])
            if not ents:
                good = float(k % 2 == 0)
                bad = float(k % 3 == 0) if multi else 1.0 - good
                doc.cats = {"good": good, "bad": bad}
            docs.append(doc)
        DocBin(docs=docs, attrs=["ENT_IOB", "ENT_TYPE"]).to_disk(folder / f"{split}.spacy")
    return folder


def advised(folder, tiny_encoder, **settings):
    settings = {"minutes": 60, "encoder": str(tiny_encoder), "speed": speed(10_000.0), **settings}
    return advise(folder, **settings)


def is_complete(config, tmp_path):
    path = tmp_path / "advised.cfg"
    path.write_text(config)
    _, filled = fill_config(Path("-"), path, silent=True)
    short = Config().from_disk(path, interpolate=False)
    return merged(short, filled) == filled


def merged(short, filled):
    """The filled config with what the short one says: the same, if nothing got lost."""
    return {
        **filled,
        **{k: merged(v, filled[k]) if isinstance(v, dict) else v for k, v in short.items()},
    }


@pytest.mark.parametrize(
    ("rate", "recipe"), [(10_000.0, "joint"), (500.0, "last-blocks"), (50.0, "frozen")]
)
def test_the_most_that_fits_into_the_time_is_chosen(rate, recipe, tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    advice = advised(folder, tiny_encoder, minutes=2, speed=speed(rate))
    assert advice.recipe == recipe
    assert f"reads {rate:,.0f} pieces per second on cpu" in advice.why
    assert is_complete(advice.config, tmp_path)


def test_what_fits_not_at_all_is_said(tmp_path, tiny_encoder):
    advice = advised(corpus(tmp_path / "c"), tiny_encoder, minutes=0.1, speed=speed(10.0))
    assert advice.recipe == "frozen"
    assert "although it takes about" in advice.why


def test_few_texts_a_label_get_setfit_where_that_recipe_exists(tmp_path, tiny_encoder):
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for path in recipe_folder().glob("textcat_[fjl]*.cfg"):
        shutil.copy(path, recipes)
    folder = corpus(tmp_path / "c", n=40)
    assert advised(folder, tiny_encoder, recipes=recipes).recipe == "joint"
    shutil.copy(recipes / "textcat_joint.cfg", recipes / "textcat_setfit.cfg")
    advice = advised(folder, tiny_encoder, recipes=recipes)
    assert advice.recipe == "setfit"
    assert "40 texts for 2 labels, fewer than 32 per label" in advice.why
    many = corpus(tmp_path / "d", n=40, multi=True)
    assert advised(many, tiny_encoder, recipes=recipes).recipe == "joint"


def test_the_config_names_the_data_and_keeps_its_comments(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    config = advised(folder, tiny_encoder, device="cpu").config
    original = (recipe_folder() / "textcat_joint.cfg").read_text()
    comments = re.findall(r"^# .*$", original.split("[paths]")[1], re.MULTILINE)
    assert len(comments) >= 5
    assert all(comment in config for comment in comments)
    loaded = Config().from_str(config)
    assert loaded["paths"]["train"] == f"{folder.as_posix()}/train.spacy"
    encoder = loaded["components"]["textcat"]["model"]["encoder"]
    assert (encoder["name"], encoder["device"]) == (
        str(tiny_encoder),
        "cpu",
    )
    assert loaded["training"]["max_steps"] == 120


def test_several_labels_a_text_get_the_multilabel_component(tmp_path, tiny_encoder):
    advice = advised(corpus(tmp_path / "c", multi=True), tiny_encoder)
    block = Config().from_str(advice.config)["components"]["textcat"]
    assert block["factory"] == "reprtune_textcat_multilabel"
    assert block["threshold"] == 0.5
    assert is_complete(advice.config, tmp_path)


def test_entities_get_an_entity_recipe_if_there_is_one(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c", ents=True)
    empty = tmp_path / "recipes"
    empty.mkdir()
    with pytest.raises(ValueError, match="has no recipe for entities"):
        advised(folder, tiny_encoder, recipes=empty)
    if not (recipe_folder() / "ner_joint.cfg").exists():
        pytest.skip("no entity recipe is shipped")
    advice = advised(folder, tiny_encoder)
    assert "reprtune_ner" in advice.config
    assert is_complete(advice.config, tmp_path)


def test_without_a_limit_the_data_decides_on_every_machine(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    chosen = {
        advised(folder, tiny_encoder, minutes=None, speed=speed(rate)).recipe for rate in (1.0, 1e6)
    }
    assert chosen == {"joint"}


def test_setfit_uses_all_texts_and_its_time_counts(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c", n=60)
    advice = advised(folder, tiny_encoder, minutes=None)
    assert advice.recipe == "setfit" and advice.seconds["setfit"] > 0
    assert int(read_value(advice.config, "corpora.train", "per_class")) >= 60
    loaded = Config().from_str(advice.config)
    reader = registry.resolve({"corpus": loaded["corpora"]["train"]})["corpus"]
    assert len(list(reader(NLP))) == 60
    assert advised(folder, tiny_encoder, minutes=0.2, speed=speed(60.0)).recipe == "frozen"


def test_texts_with_both_get_both_components_or_the_one_that_is_asked_for(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c", both=True)
    advice = advised(folder, tiny_encoder)
    assert advice.recipe == "multitask" and is_complete(advice.config, tmp_path)
    loaded = Config().from_str(advice.config)
    assert {"textcat", "ner"} <= set(loaded["nlp"]["pipeline"])
    reader = registry.resolve({"corpus": loaded["corpora"]["train"]})["corpus"]
    examples = list(reader(NLP))
    assert len(examples) == 200
    assert all(eg.reference.cats and eg.reference.ents for eg in examples)
    assert "reprtune_ner" in advised(folder, tiny_encoder, task="entities").config
    assert "reprtune_ner" not in advised(folder, tiny_encoder, task="labels").config


def test_larger_encoders_get_lower_rates(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    rates = []
    for width in (384, 768, 1024):
        config = advised(folder, tiny_encoder, speed=speed(1e5, width)).config
        rates.append(float(read_value(config, "training.optimizer.learn_rate", "initial_rate")))
    assert rates[0] > rates[1] > rates[2] >= 1e-5


def test_larger_encoders_get_more_steps_of_setfit_at_their_lower_rate(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c", n=60)
    steps = [
        read_value(
            advised(folder, tiny_encoder, speed=speed(1e5, width)).config, "training", "max_steps"
        )
        for width in (384, 768)
    ]
    assert steps == ["20", "50"]


def test_long_texts_that_take_too_long_are_told_what_would_fit(tmp_path, tiny_encoder):
    folder = tmp_path / "c"
    folder.mkdir()
    for split, n in (("train", 80), ("dev", 10)):
        docs = []
        for k in range(n):
            docs.append(NLP.make_doc("the film " * 200 + str(k)))
            docs[-1].cats = {"good": float(k % 2), "bad": float(1 - k % 2)}
        DocBin(docs=docs).to_disk(folder / f"{split}.spacy")
    why = advised(folder, tiny_encoder, minutes=0.1, speed=speed(100.0)).why
    assert "100% of the texts have several windows" in why
    assert "max_pieces = 64" in why and "reads only the beginning of a text" in why


def test_only_what_was_measured_is_cited(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    assert "is not measured yet" in advised(folder, tiny_encoder, curve=tmp_path / "none").why
    curve = tmp_path / "sweep.json"
    points = [{"unfreeze": "none", "mean": 0.71, "seconds": 20.4, "std": 0.0, "n_runs": 1}]
    srsly.write_json(curve, {"points": points})
    why = advised(folder, tiny_encoder, curve=curve).why
    assert "unfreeze = none: 0.710 in 20 s" in why
    assert why.count(". ") == 2


def test_pretraining_first_is_explained_where_text_and_recipe_exist(tmp_path, tiny_encoder):
    recipes = tmp_path / "recipes"
    shutil.copytree(recipe_folder(), recipes)
    (recipes / "mlm.cfg").write_text("[paths]\n")
    text = tmp_path / "text.txt"
    text.write_text("nothing of it\n")
    folder = corpus(tmp_path / "c")
    config = advised(folder, tiny_encoder, recipes=recipes, text=text).config
    assert f"reprtune mlm {recipes.as_posix()}/mlm.cfg --output training/my-mlm" in config
    assert is_complete(config, tmp_path)
    (recipes / "mlm.cfg").unlink()
    assert "reprtune mlm" not in advised(folder, tiny_encoder, recipes=recipes, text=text).config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minutes": 0}, "--minutes is 0; it has to be above 0"),
        ({"minutes": float("nan")}, "--minutes is nan"),
        ({"task": "tags"}, "--task is 'tags'; it can be labels, entities, both"),
        ({"task": "entities"}, "only have labels"),
        ({"device": "gpu"}, "--device is gpu: .*'cuda'"),
        ({"lang": "klingon"}, "no language 'klingon'"),
        ({"recipe": "best"}, "no recipe 'best' for labels; there are frozen, .*joint"),
    ],
)
def test_a_wrong_option_is_explained(settings, message, tmp_path, tiny_encoder):
    with pytest.raises(ValueError, match=message):
        advised(corpus(tmp_path / "c"), tiny_encoder, **settings)


def test_a_device_that_is_not_there_is_explained(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device is cuda: .*torch sees no CUDA device"):
        advised(corpus(tmp_path / "c"), tiny_encoder, speed=None, device="cuda")


def test_a_corpus_without_dev_is_explained(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    (folder / "dev.spacy").unlink()
    with pytest.raises(ValueError, match=r"can't be trained on: There is no dev\.spacy"):
        advised(folder, tiny_encoder)


def test_the_command_measures_the_encoder_and_its_config_trains(tmp_path, tiny_encoder):
    folder = corpus(tmp_path / "c")
    output = tmp_path / "mine.cfg"
    arguments = [output, "--data", folder, "--minutes", "5", "--device", "cpu", "-e", tiny_encoder]
    arguments = ["reprtune", "init-config", *map(str, arguments)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "pieces per second on cpu, which --device names" in done.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1 and "--force" in again.output
    steps = ["--training.max_steps", "2", "--training.eval_frequency", "1"]
    arguments = ["train", str(output), "--output", str(tmp_path / "model"), *steps]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "model" / "model-best").is_dir()


def test_an_encoder_that_is_slower_than_the_time_for_timing_has_a_speed(tiny_encoder, monkeypatch):
    monkeypatch.setattr(timing, "_TIMED", 0.0)
    measured = timing.measure_speed(["a great film"] * 4, str(tiny_encoder), torch.device("cpu"))
    assert measured.rate > 0


def test_a_question_without_a_terminal_needs_the_flag(tmp_path):
    done = CliRunner().invoke(app, ["reprtune", "init-config", str(tmp_path / "a.cfg")])
    assert done.exit_code == 1
    assert "--data" in done.output


def test_one_value_changes_and_nothing_else():
    text = "# Head.\n#\n# more\n\n[a]\n# why\nx = 1\n\n[a.b]\nx = 1\n"
    changed = set_value(text, "a.b", "x", ["y"])
    assert changed == text[: -len("x = 1\n")] + 'x = ["y"]\n'
    assert read_value(changed, "a", "x") == "1"
    assert replace_header(changed, "New.").startswith("# Head.\n#\n# New.\n\n[a]\n")
    assert set_value(text, "a", "z", 1).startswith(
        "# Head.\n#\n# more\n\n[a]\n# why\nx = 1\nz = 1\n"
    )
    assert set_value(text, "b", "z", 1).endswith("\n[b]\nz = 1\n")
    assert sections(text) == ["a", "a.b"]
