import pytest

from spacy_reprtune.files import replaced_file


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
