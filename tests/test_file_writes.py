import hashlib

import pytest

from spacy_reprtune.files import digest_of, replaced_directory, replaced_file


def test_a_file_is_replaced_at_the_end_or_left_as_it_was(tmp_path):
    path = tmp_path / "new" / "scores.json"
    with replaced_file(path) as fresh:
        fresh.write_text("old")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), replaced_file(path) as fresh:
        fresh.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with replaced_file(path) as fresh:
        fresh.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    real, links = tmp_path / "disk", tmp_path / "links"
    links.mkdir()
    (real / "folder").mkdir(parents=True)
    (real / "folder" / "old").touch()
    (real / "file").touch()
    for name in ("folder", "file", "missing"):
        (links / name).symlink_to(real / name)
    for _ in range(2):
        with replaced_directory(links / "folder") as fresh:
            (fresh / "new").touch()
        for name in ("file", "missing"):
            with replaced_file(links / name) as fresh:
                fresh.write_text("new")
    assert all(link.is_symlink() for link in links.iterdir()) and len(list(links.iterdir())) == 3
    assert [path.name for path in (real / "folder").iterdir()] == ["new"]
    assert (real / "file").read_text() == (real / "missing").read_text() == "new"
    assert len(list(real.iterdir())) == 3


def test_the_digest_of_several_files_is_that_of_their_bytes_in_order(tmp_path):
    for name, content in (("a", b"x" * (1 << 21)), ("b", b"y")):
        (tmp_path / name).write_bytes(content)
    joined = hashlib.sha256(b"x" * (1 << 21) + b"y").hexdigest()
    assert digest_of(tmp_path / "a", tmp_path / "b") == joined
    assert digest_of(tmp_path / "b", algorithm="md5") == hashlib.md5(b"y").hexdigest()
