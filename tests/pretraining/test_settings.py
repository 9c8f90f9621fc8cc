"""Configs are checked where they are read, and every message says what to do."""

from pathlib import Path

import pytest

from spacy_reprtune.pretraining.settings import read_settings, settings_from

CONFIGS = Path(__file__).parents[2] / "configs"


def test_sections_that_a_config_leaves_out_can_be_overridden(tmp_path):
    path = tmp_path / "short.cfg"
    path.write_text('[encoder]\nname = "x"\n', encoding="utf8")
    overrides = {"corpus.train": "a.txt", "report.log_every": 3, "encoder.unfreeze": 1}
    settings = read_settings(path, overrides)
    assert settings.corpus.train == "a.txt"
    assert settings.report.log_every == 3 and settings.encoder.unfreeze == 1
    shipped = read_settings(CONFIGS / "mlm.cfg", {"corpus.train": ["a.spacy"]})
    assert shipped.corpus.train == ["a.spacy"]


@pytest.mark.parametrize(
    "section, values, message",
    [
        ("training", {"steps": 3}, r"\[training\] has no setting 'steps'"),
        ("training", {"max_step": 3}, "Did you mean 'max_steps'"),
        ("train", {}, "no section 'train'. Did you mean 'training'"),
        ("training", {"max_steps": "many"}, r"max_steps = 'many'. It has to be a valid integer"),
        ("training", {"seed": True}, r"seed = True. It has to be a valid integer"),
        (
            "training",
            {"seed": 2**64},
            r"seed = 18446744073709551616. It has to be less than 9223372036854775808",
        ),
        ("training", {"seed": None}, r"\[training\] seed is not set"),
        ("training", {"step_pieces": 100, "batch_pieces": 64}, r"multiple of batch_pieces \(64\)"),
        ("training", {"max_epochs": 0}, "max_steps = 0. It has to be above 0 if max_epochs is 0"),
        ("training", {"learn_rate": 0}, "learn_rate = 0. It has to be greater than 0"),
        ("training", {"keep": "all"}, "keep = 'all'. It has to be 'best' or 'last'"),
        (
            "training",
            {"objective": "simcse"},
            "objective = 'simcse'. It has to be 'mlm' or 'tsdae'",
        ),
        ("masking", {"rate": 1.5}, "rate = 1.5. It has to be less than 1"),
        ("masking", {"rate": 15}, "rate = 15. It has to be less than 1"),
        ("report", {"fill_mask": ["a film"]}, r"needs one \[MASK\], but this has 0: 'a film'"),
        ("report", {"fill_mask": ["[MASK] [MASK]"]}, r"needs one \[MASK\], but this has 2"),
        ("corpus", {"heldout": 0}, "heldout = 0. It has to be greater than 0"),
        ("corpus", {"unit": "word"}, "unit = 'word'. It has to be 'line', 'paragraph' or 'file'"),
        ("corpus", {"train": None}, r"\[corpus\] train is not set: .* --corpus.train"),
        ("corpus", {"train": []}, "train = .*Use a path or a list of paths"),
        (
            "encoder",
            {"unfreeze": True},
            "unfreeze = True. It has to be a valid string or be a valid integer",
        ),
        ("encoder", {"unfreeze": "some"}, "unfreeze = 'some'. Use 'all'"),
        (
            "encoder",
            {"precision": "fp8"},
            "precision = 'fp8'. It has to be 'auto', 'bf16' or 'fp32'",
        ),
        ("encoder", {"dropout": 1.0}, "dropout = 1.0. It has to be less than 1"),
    ],
)
def test_bad_settings_are_refused(section, values, message):
    config = {"encoder": {"name": "x"}, "corpus": {"train": "x.txt"}}
    config[section] = {**config.get(section, {}), **values}
    with pytest.raises(ValueError, match=message):
        settings_from(config)


@pytest.mark.parametrize(
    "section, values, message",
    [
        ("encoder", {"compile": True}, r"compile = True needs batches of one shape.*Set compile"),
        (
            "report",
            {"fill_mask": ["a [MASK]"]},
            r"fill_mask is for .*\"mlm\".*Set fill_mask to \[\]",
        ),
    ],
)
def test_settings_that_need_masks_are_refused_without_them(section, values, message):
    config = {"encoder": {"name": "x"}, "corpus": {"train": "x.txt"}}
    config[section] = {**config.get(section, {}), **values}
    settings_from(config)
    with pytest.raises(ValueError, match=message):
        settings_from({**config, "training": {"objective": "tsdae"}})


def test_what_has_no_default_has_to_be_there():
    with pytest.raises(ValueError, match=r"\[corpus\] train is not set"):
        settings_from({"encoder": {"name": "x"}})


def test_a_config_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match="There is no config"):
        read_settings(tmp_path / "no.cfg")
    path = tmp_path / "bad.cfg"
    path.write_text("no section = 1\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"Can't read the config .*bad.cfg"):
        read_settings(path)
    path.write_text("[training]\nseed = 0\nseed = 1\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"bad.cfg: .* option 'seed' .* already exists"):
        read_settings(path)
    path.write_text("[training]\nseed = 0\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"\[paths\] has no variable 'text'. There are: none"):
        read_settings(path, {"paths.text": "x.txt"})
    with pytest.raises(ValueError, match="has no section 'trainin'. Did you mean 'training'"):
        read_settings(path, {"trainin.seed": 1})
    with pytest.raises(ValueError, match="has no variable 'txt'. Did you mean 'text'"):
        read_settings(CONFIGS / "mlm.cfg", {"paths.txt": "x.txt"})
