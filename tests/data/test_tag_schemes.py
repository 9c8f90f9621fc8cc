"""Whatever the scheme of the tags and the file with them, the entities are the same."""

import json
from collections import Counter

import pytest
from converting import adds_up, converted, write
from hypothesis import given
from hypothesis import strategies as st

from spacy_reprtune.data.formats.tags import (
    decode_tags,
    name_scheme,
    prefixes_of,
    split_tag,
)


def encode(entities, length, scheme):
    """Entities to tags, written independently of the reader."""
    tags = ["O"] * length
    previous_end, previous_label = -1, None
    for start, end, label in entities:
        inside = ["I"] * (end - start)
        if scheme == "IOB1":
            inside[0] = "B" if start == previous_end and label == previous_label else "I"
        else:
            inside[0] = "B"
        if scheme in ("BIOES", "BILUO"):
            inside[-1] = "E" if scheme == "BIOES" else "L"
            if end - start == 1:
                inside = ["S" if scheme == "BIOES" else "U"]
        tags[start:end] = [f"{prefix}-{label}" for prefix in inside]
        previous_end, previous_label = end, label
    return tags


def entities_of(docs):
    return [(ent.text, ent.label_) for doc in docs for ent in doc.ents]


@st.composite
def annotated(draw):
    entities, position = [], 0
    for _ in range(draw(st.integers(0, 6))):
        start = position + draw(st.integers(0, 2))
        end = start + draw(st.integers(1, 3))
        entities.append((start, end, draw(st.sampled_from(["PER", "LOC", "creative-work"]))))
        position = end
    return entities, position + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "BILUO"])
@given(annotated())
def test_entities_survive_tags_in_every_scheme(scheme, case):
    entities, length = case
    found, begun_inside = decode_tags(encode(entities, length, scheme))
    assert found == entities
    assert begun_inside == 0 or scheme == "IOB1"


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "BILUO"])
def test_the_scheme_is_named(scheme):
    tags = encode([(0, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC"), (6, 9, "LOC")], 9, scheme)
    assert name_scheme(Counter(prefixes_of(tags)), decode_tags(tags)[1]) == scheme


def test_an_inside_tag_that_continues_nothing_begins_an_entity_and_is_counted():
    assert decode_tags(["O", "I-PER", "I-LOC"]) == ([(1, 2, "PER"), (2, 3, "LOC")], 2)


@pytest.mark.parametrize("tag", ["PER", "B-", "X-PER", "O-PER", ""])
def test_what_is_no_tag_is_an_error_that_says_where(tag):
    with pytest.raises(ValueError, match=r"line 3: .* is not a tag\. Allowed are O, and B-, I-"):
        decode_tags(["O", tag], "line 3")


def test_labels_may_have_hyphens():
    assert split_tag("B-creative-work") == ("B", "creative-work")


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        (["B_PER", "I_PER", "o"], [(0, 2, "PER")]),
        (["B", "I", "O", "B"], [(0, 2, "ENTITY"), (3, 4, "ENTITY")]),
        (["b-PER", "i-PER", "b-PER"], [(0, 2, "PER"), (2, 3, "PER")]),
        (["B-LOC", "M-LOC", "E-LOC", "S-LOC"], [(0, 3, "LOC"), (3, 4, "LOC")]),
    ],
)
def test_other_ways_to_write_tags_are_understood(tags, entities):
    assert decode_tags(tags)[0] == entities


@pytest.mark.parametrize(
    "comments",
    [
        "# text = Answer my e-mail\n",
        "# sent_id = s_12\n",
        "#text = Write an e-mail\n",
        "# from his e-mail\n",
        "# Part I\n# sent_id = 3\n",
        "# a note O\n",
        "# e-mail\n",
    ],
)
def test_comments_of_conll_u_are_not_tokens(comments, tmp_path):
    block = f"{comments}Bo B-P\ncame O\n\n"
    manifest, docs = converted(write(tmp_path / "a.conll", block * 2), tmp_path)
    assert [doc.text for doc in docs] == ["Bo came"] * 2 and entities_of(docs) == [("Bo", "P")] * 2
    assert adds_up(manifest) == (2, 2)


@pytest.mark.parametrize("between", [" ", "\t"])
def test_tokens_of_conll_may_begin_with_a_number_sign(between, tmp_path):
    block = "# text = # # 5 came\n# O\n# B-N\n5 I-N\n# I-N\ncame O\n\n#tag=x O\n\n# O\n\n"
    head = "".join(x.replace(" ", between) if " = " not in x else x for x in block.splitlines(True))
    _, docs = converted(write(tmp_path / "a.conll", head), tmp_path)
    assert [[token.text for token in doc] for doc in docs] == [
        ["#", "#", "5", "#", "came"],
        ["#tag=x"],
        ["#"],
    ]
    assert [label for _, label in entities_of(docs)] == ["N"]


def test_a_document_whose_first_sentence_can_not_be_read_begins_with_its_next_one(tmp_path):
    mark, good, bad = "-DOCSTART- O\n\n", "Bo B-P\ncame O\n\n", "Ida XX\n\n"
    path = tmp_path / "a.conll"
    for content, lengths in (
        (mark + good + mark + bad + good, [2, 2]),
        (mark + bad + good + good + mark + good, [4, 2]),
        (mark + good + mark + bad + mark + good + good, [2, 4]),
        (mark + good + good + mark + bad, [4]),
    ):
        manifest, docs = converted(write(path, content), tmp_path)
        assert [len(doc) for doc in docs] == lengths
        assert manifest["texts"]["dropped"] == {"tag not understood": 1} and not manifest["notes"]


@pytest.mark.parametrize("word", ["Oslo ", " Oslo", "\u00a0Oslo\u00a0", "Oslo\n"])
def test_white_space_at_the_edge_of_a_token_costs_no_entity(word, tmp_path):
    row = {"tokens": ["to ", word, "now"], "ner_tags": ["O", "B-LOC", "O"]}
    manifest, docs = converted(write(tmp_path / "a.jsonl", json.dumps(row)), tmp_path)
    assert docs[0].text.strip() == "to Oslo now" and entities_of(docs) == [("Oslo", "LOC")]
    assert not manifest["entities"]["moved"]
    if "\n" not in word:
        path = write(tmp_path / "a.conll", f"to\tO\n{word}\tB-LOC\nnow\tO\n")
        assert entities_of(converted(path, tmp_path)[1]) == [("Oslo", "LOC")]


def test_numbers_of_sentences_may_begin_again_in_each_document(tmp_path):
    rows = "a,1,Bo,B-P\na,1,came,O\nb,1,Ida,B-P\n,,sat,O\nc,1,Tom,B-P\nc,2,ran,O\n"
    path = write(tmp_path / "a.csv", f"doc_id,sent_id,word,tag\n{rows}")
    manifest, docs = converted(path, tmp_path)
    assert [doc.text for doc in docs] == ["Bo came", "Ida sat", "Tom", "ran"]
    assert adds_up(manifest) == (4, 4)
