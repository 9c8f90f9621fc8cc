"""Files of a saved pipeline that are damaged or mixed up are refused at load."""

import json
import shutil

import pytest
import spacy
from conftest import make_entity_examples, make_examples

from spacy_reprtune.manifest import MANIFEST


@pytest.fixture(scope="module")
def saved(tmp_path_factory, encoder_config):
    """A pipeline at two steps of its training."""
    folder = tmp_path_factory.mktemp("saved")
    nlp = spacy.blank("xx")
    for component, model in (("textcat", "TextClassifier"), ("ner", "TokenClassifier")):
        settings = {"@architectures": f"spacy_reprtune.{model}.v1", "encoder": encoder_config()}
        nlp.add_pipe(f"reprtune_{component}", name=component, config={"model": settings})
    examples = [*make_examples(nlp), *make_entity_examples(nlp)]
    optimizer = nlp.initialize(lambda: examples)
    for name in ("one", "other"):
        nlp.update(examples, sgd=optimizer)
        nlp.to_disk(folder / name)
    return folder


@pytest.fixture
def one(saved, tmp_path):
    return shutil.copytree(saved / "one", tmp_path / "one")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("component", ["textcat", "ner"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
@pytest.mark.parametrize(
    "file",
    [
        *("cfg", "model/head.json", "model/head.safetensors"),
        *("model/encoder/config.json", "model/encoder/model.safetensors"),
        "model/encoder/tokenizer.json",
    ],
)
def test_a_flipped_bit_in_any_file_is_refused(one, component, file, place):
    path = one / component / file
    flip(path, place)
    with pytest.raises(ValueError) as error:
        spacy.load(one)
    assert str(path) in str(error.value) and f"component '{component}'" in str(error.value)


@pytest.mark.parametrize("file", ["encoder/model.safetensors", "head.safetensors"])
def test_files_of_another_model_are_refused(one, saved, file):
    shutil.copy(saved / "other" / "ner" / "model" / file, one / "ner" / "model" / file)
    with pytest.raises(ValueError, match=rf"{file} of the component 'ner'"):
        spacy.load(one)


def test_swapped_labels_are_refused(one):
    path = one / "textcat" / "cfg"
    cfg = json.loads(path.read_text())
    path.write_text(json.dumps({**cfg, "labels": cfg["labels"][::-1]}, indent=2))
    with pytest.raises(ValueError, match="cfg of the component 'textcat'"):
        spacy.load(one)


@pytest.mark.parametrize("component", ["textcat", "ner"])
@pytest.mark.parametrize("temperature", ["0", "-1", "NaN", '"hot"', "1e-320", "1e300", "true"])
def test_an_impossible_temperature_is_refused_without_a_manifest_too(one, component, temperature):
    path = one / component / "cfg"
    cfg = json.loads(path.read_text())
    path.write_text(json.dumps({**cfg, "temperature": None}).replace("null", temperature))
    (one / component / MANIFEST).unlink()
    with pytest.raises(ValueError, match=f"component '{component}' can't be loaded from .*cfg"):
        spacy.load(one)


def test_a_pipeline_with_a_manifest_is_loaded_moved_and_saved_again(one, tmp_path):
    nlp = spacy.load(shutil.move(one, tmp_path / "moved"))
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    assert again("a great film").cats == nlp("a great film").cats
    for component in ("textcat", "ner"):
        files = json.loads((tmp_path / "again" / component / MANIFEST).read_text())["files"]
        assert {"cfg", "model/head.json", "model/encoder/model.safetensors"} <= set(files)


def test_bytes_that_were_cut_or_changed_or_are_another_components_are_refused(saved):
    nlp = spacy.load(saved / "one")
    good = {name: nlp.get_pipe(name).to_bytes() for name in ("textcat", "ner")}
    cats = nlp("a great film").cats
    for name, other in (("textcat", "ner"), ("ner", "textcat")):
        pipe, data = nlp.get_pipe(name), good[name]
        flipped = [data[:k] + bytes([data[k] ^ 4]) + data[k + 1 :] for k in (0, 60, len(data) // 2)]
        for bad in (*flipped, data[: len(data) // 2], b"", b"\xc0", data[:-1], good[other]):
            with pytest.raises(ValueError, match=f"component '{name}' can't be loaded from bytes"):
                pipe.from_bytes(bad)
        pipe.from_bytes(data)
    assert nlp("a great film").cats == cats


@pytest.mark.parametrize("component", ["textcat", "ner"])
@pytest.mark.parametrize(
    "change", ["first again", "one more", "one less", "none", "null", "a text", "numbers"]
)
def test_labels_that_do_not_fit_the_head_are_refused_without_a_manifest_too(one, component, change):
    path = one / component / "cfg"
    cfg = json.loads(path.read_text())
    own = cfg["labels"]
    changed = {
        "first again": own[:1] * 2 + own[2:],
        "one more": [*own, "X"],
        "one less": own[:-1] or ["X", "Y"],
        "none": [],
        "null": None,
        "a text": "".join(own)[: len(own)],
        "numbers": list(range(len(own))),
    }
    path.write_text(json.dumps({**cfg, "labels": changed[change]}))
    (one / component / MANIFEST).unlink()
    with pytest.raises(ValueError, match=f"'{component}' can't be loaded from .*{component}"):
        spacy.load(one)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_settings_that_are_not_an_object_are_refused(one, content):
    (one / "ner" / "cfg").write_text(content)
    (one / "ner" / MANIFEST).unlink()
    with pytest.raises(ValueError, match=r"ner/cfg holds a \w+ instead of an object"):
        spacy.load(one)
