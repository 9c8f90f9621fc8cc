"""Text is read from whatever holds it, tokenized once, split for good, and bad files are named."""

import gzip
import json

import numpy
import pytest
import spacy
from spacy.tokens import DocBin

from spacy_reprtune.encoder.pieces import PieceTokenizer
from spacy_reprtune.pretraining.corpus import build_corpus
from spacy_reprtune.pretraining.settings import CorpusPart
from spacy_reprtune.pretraining.text import find_files, read_documents

LINES = ["a great film", "an awful film", "this movie is good, very good"]


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return PieceTokenizer.from_directory(tiny_encoder)


def build(tokenizer, folder, train, **settings):
    part = CorpusPart(str(train) if not isinstance(train, list) else train, **settings)
    return build_corpus(part, tokenizer, folder / "cache")


def texts_of(tokenizer, part):
    ids = numpy.split(part.pieces, part.offsets[1:-1])
    return [tokenizer.tokenizer.decode(document) for document in ids]


def many(n):
    letters = "abcdefghij"
    return [f"a great film {letters[i // 10]}{letters[i % 10]}" for i in range(n)]


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz", "x.jsonl", "x.jsonl.gz", "x.spacy", "x"])
def test_documents_are_read_from_every_kind_of_file(tmp_path, name):
    path = tmp_path / name
    if ".jsonl" in name:
        content = "".join(json.dumps({"text": line}) + "\n" for line in LINES).encode()
    elif ".spacy" in name:
        nlp = spacy.blank("en")
        content = DocBin(docs=[nlp.make_doc(line) for line in LINES]).to_bytes()
    else:
        content = ("\ufeff" + "\r\n\n".join(LINES)).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(read_documents(path)) == LINES


def test_a_document_is_a_line_a_paragraph_or_a_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n\n  \nthree\n", encoding="utf8")
    assert list(read_documents(path, unit="line")) == ["one", "two", "three"]
    assert list(read_documents(path, unit="paragraph")) == ["one\ntwo", "three"]
    assert list(read_documents(path, unit="file")) == ["one\ntwo\n\n  \nthree"]


def test_a_directory_gives_its_text_files_in_order(tmp_path):
    for name in ("b.txt", "a/c.jsonl", "a/z.txt.gz", "notes.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path])]
    assert found == ["a/c.jsonl", "a/z.txt.gz", "b.txt"]


def test_pieces_are_those_of_the_tokenizer_and_duplicates_come_once(tmp_path, tokenizer):
    (tmp_path / "x.txt").write_text("\n".join(many(60) + many(10)), encoding="utf8")
    corpus = build(tokenizer, tmp_path, tmp_path / "x.txt", heldout=0.2)
    assert corpus.meta["read"] == 70 and corpus.meta["duplicates"] == 10
    found = texts_of(tokenizer, corpus.train) + texts_of(tokenizer, corpus.heldout)
    wanted = [tokenizer.tokenizer.decode(pieces.ids) for pieces in tokenizer(many(60))]
    assert sorted(found) == sorted(wanted)
    assert corpus.train.pieces.dtype == numpy.uint16


def test_what_is_held_out_stays_so_when_other_texts_come(tmp_path, tokenizer):
    (tmp_path / "x.txt").write_text("\n".join(many(60)), encoding="utf8")
    (tmp_path / "y.txt").write_text("\n".join(reversed(many(90))), encoding="utf8")
    few = build(tokenizer, tmp_path, tmp_path / "x.txt", heldout=0.2)
    more = build(tokenizer, tmp_path, tmp_path / "y.txt", heldout=0.2)
    assert set(texts_of(tokenizer, few.heldout)) <= set(texts_of(tokenizer, more.heldout))
    assert not set(texts_of(tokenizer, few.heldout)) & set(texts_of(tokenizer, more.train))


def test_a_corpus_is_made_once_for_a_text_and_a_tokenizer(tmp_path, tokenizer):
    path = tmp_path / "x.txt"
    path.write_text("\n".join(many(60)), encoding="utf8")
    first = build(tokenizer, tmp_path, path, heldout=0.2)
    stamp = (first.path / "meta.json").stat().st_mtime_ns
    again = build(tokenizer, tmp_path, path.rename(tmp_path / "z.txt"), heldout=0.2)
    assert again.path == first.path
    assert (again.path / "meta.json").stat().st_mtime_ns == stamp
    (tmp_path / "z.txt").write_text("\n".join(many(61)), encoding="utf8")
    assert build(tokenizer, tmp_path, tmp_path / "z.txt", heldout=0.2).path != first.path


def test_what_overlaps_with_excluded_texts_is_left_out_and_shown(tmp_path, tokenizer):
    long = "the film was never quite as good as it always was in this plot not"
    test_set = ["A great film!", long]
    kept = many(60)
    inside = f"fine actor, {long} scene"
    (tmp_path / "x.txt").write_text("\n".join([*kept, "a great film", inside]), encoding="utf8")
    (tmp_path / "test.txt").write_text("\n".join(test_set), encoding="utf8")
    corpus = build(
        tokenizer, tmp_path, tmp_path / "x.txt", heldout=0.2, exclude=str(tmp_path / "test.txt")
    )
    assert corpus.meta["excluded"] == 2
    assert len(corpus.train) + len(corpus.heldout) == 60
    rows = [json.loads(row) for row in (corpus.path / "overlap.jsonl").open(encoding="utf8")]
    assert [(row["why"], row["text"]) for row in rows] == [
        ("the same text", "a great film"),
        ("13 words in a row", inside),
    ]


def test_texts_longer_than_the_tokenizer_likes_keep_all_their_pieces(tmp_path, tokenizer):
    text = " ".join(["great film"] * 20_000)
    (tmp_path / "x.txt").write_text("\n".join([text, *many(60)]), encoding="utf8")
    corpus = build(tokenizer, tmp_path, tmp_path / "x.txt", heldout=0.2)
    longest = max(numpy.diff(corpus.train.offsets).max(), numpy.diff(corpus.heldout.offsets).max())
    assert longest == 40_000


BAD = {
    "empty.txt": (b"\n \n", "There is no text in"),
    "binary.txt": (b"fine\nab\0c\n", r"binary.txt is not a text file: .* in line 2"),
    "latin.txt": ("fine\ncaf\xe9\n".encode("latin-1"), r"latin.txt, line 2, byte 4: not UTF-8"),
    "rows.jsonl": (b'{"text": "a"}\n{"text": \n', r"rows.jsonl, line 2: not JSON"),
    "key.jsonl": (b'{"body": "a"}\n', r"key.jsonl, line 1: .*'text'; it has 'body'"),
    "cut.txt.gz": (gzip.compress(b"a great film\n" * 99)[:-9], r"cut.txt.gz is not a whole gzip"),
    "no.txt.gz": (b"plain", r"no.txt.gz is not a whole gzip"),
    # A header, and then no block that there is.
    "odd.txt.gz": (gzip.compress(b"a")[:10] + b"\xff" * 50, r"odd.txt.gz is not a whole gzip"),
    "half.jsonl": (
        b'{"text": "a"}\n{"text": "b \\ud83d"}\n',
        r"half.jsonl, line 2: '\\ud83d' is half of a character",
    ),
    "no.spacy.gz": (b"plain", r"no.spacy.gz is not a .spacy file"),
    "no.spacy": (b"plain", r"no.spacy is not a .spacy file"),
    "one.txt": (b"a great film\n", "Nothing is held out|Nothing is left to train on"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_text_is_named(tmp_path, tokenizer, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build(tokenizer, tmp_path, tmp_path / name)
    assert not list((tmp_path / "cache").glob("*"))


def test_a_missing_path_and_an_empty_directory_are_named(tmp_path, tokenizer):
    with pytest.raises(ValueError, match=r"no text at .*nothing.txt: no such file"):
        build(tokenizer, tmp_path, tmp_path / "nothing.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="has no file with text"):
        build(tokenizer, tmp_path, tmp_path / "folder")
