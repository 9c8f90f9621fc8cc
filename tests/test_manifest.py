"""Damaged and mixed-up files of a saved component are refused, with the file and the component."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_reprtune import manifest
from spacy_reprtune.files import replaced_directory
from spacy_reprtune.manifest import MANIFEST, check_manifest, write_manifest

FILES = {"cfg": b'{"labels": ["A", "B"]}', "model/weights": bytes(range(256)) * 8}


@pytest.fixture(params=[1 << 22, 100])
def folder(request, tmp_path, monkeypatch):
    """A directory with a manifest, of whose files none or one is large."""
    monkeypatch.setattr(manifest, "SMALL", request.param)
    return write(tmp_path / "textcat")


def write(folder):
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_manifest(folder)
    return folder


def load(folder, **settings):
    with check_manifest(folder, "textcat", **settings):
        return {name: (folder / name).read_bytes() for name in FILES}


def test_what_was_saved_is_loaded(folder):
    assert load(folder) == FILES
    # Other files are nobody's business.
    (folder / ".DS_Store").write_bytes(b"x")
    assert load(folder) == FILES


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(FILES)), place=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory, name, place, bit):
    folder = write(tmp_path_factory.mktemp("x") / "textcat")
    content = bytearray(FILES[name])
    content[place % len(content)] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} of the component 'textcat' is not the file"):
        load(folder)


def test_a_file_of_another_size_or_none_is_found(folder):
    path = folder / "model" / "weights"
    path.write_bytes(FILES["model/weights"][:-1])
    with pytest.raises(ValueError, match="has 2,047 bytes instead of 2,048"):
        load(folder)
    path.unlink()
    with pytest.raises(ValueError, match="weights of the component 'textcat' is missing"):
        load(folder)
    assert set(FILES) - {"model/weights"} == {"cfg"}
    with check_manifest(folder, "textcat", exclude=["model"]):
        pass


def test_damage_is_the_error_whatever_loading_raises(folder):
    path = folder / "model" / "weights"
    path.write_bytes(FILES["model/weights"][::-1])
    reached = False
    expected = pytest.raises(ValueError, match="of the component 'textcat' is not the file")
    with expected, check_manifest(folder, "textcat"):
        reached = True
        raise KeyError("tensor")
    # A small file is checked before anything is loaded.
    assert reached is (manifest.SMALL == 100)


def test_other_errors_name_the_component_and_the_directory(folder):
    expected = pytest.raises(ValueError, match="'textcat' can't be loaded from .*: 'tensor'")
    with expected, check_manifest(folder, "textcat"):
        raise KeyError("tensor")
    with pytest.raises(ImportError), check_manifest(folder, "textcat"):
        raise ImportError("no torch")


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}', '{"files": {"cfg": {"size": "3"}}}'])
def test_a_damaged_manifest_is_found(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match="manifest.json of the component 'textcat' is damaged"):
        load(folder)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_manifest_never_accuses_another_file(tmp_path_factory, place, bit):
    path = write(tmp_path_factory.mktemp("x") / "textcat") / MANIFEST
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        assert load(path.parent) == FILES
    except ValueError as error:
        assert f"{MANIFEST} of the component 'textcat' is damaged" in str(error)


def test_the_check_can_be_skipped(folder, monkeypatch):
    (folder / "cfg").write_bytes(b"{}")
    with pytest.raises(ValueError, match="SPACY_REPRTUNE_VERIFY=false"):
        load(folder)
    monkeypatch.setenv("SPACY_REPRTUNE_VERIFY", "false")
    assert load(folder)["cfg"] == b"{}"
    monkeypatch.delenv("SPACY_REPRTUNE_VERIFY")
    # As in a pipeline that an earlier version saved.
    (folder / MANIFEST).unlink()
    assert load(folder)["cfg"] == b"{}"


def test_a_manifest_written_again_is_that_of_the_files_now(folder):
    (folder / "cfg").write_bytes(b"{}")
    write_manifest(folder)
    assert load(folder)["cfg"] == b"{}"
    assert set(json.loads((folder / MANIFEST).read_text())["files"]) == set(FILES)


def test_what_a_killed_save_leaves_is_removed_by_the_next_one(tmp_path):
    path = tmp_path / "textcat"
    for _ in range(2):
        if os.fork() == 0:
            with replaced_directory(path) as fresh:
                (fresh / "half").touch()
                os._exit(1)
        os.wait()
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".textcat.notes").mkdir()
    with replaced_directory(path) as fresh:
        (fresh / "cfg").touch()
    assert {p.name for p in tmp_path.iterdir()} == {"textcat", ".textcat.notes"}
    assert [p.name for p in path.iterdir()] == ["cfg"]
