import hashlib

import pytest

from spacy_reprtune.files import digest_of, replaced_file


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


def test_the_digest_of_several_files_is_that_of_their_bytes_in_order(tmp_path):
    for name, content in (("a", b"x" * (1 << 21)), ("b", b"y")):
        (tmp_path / name).write_bytes(content)
    joined = hashlib.sha256(b"x" * (1 << 21) + b"y").hexdigest()
    assert digest_of(tmp_path / "a", tmp_path / "b") == joined
    assert digest_of(tmp_path / "b", algorithm="md5") == hashlib.md5(b"y").hexdigest()
