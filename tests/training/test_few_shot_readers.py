from collections import Counter

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_reprtune.training.setfit.readers import FewShot_v1, LabelTemplates_v1


@pytest.fixture
def corpus(tmp_path, nlp):
    def write(golds):
        docs = []
        for i, cats in enumerate(golds):
            doc = nlp.make_doc(f"text {i}")
            doc.cats = cats
            docs.append(doc)
        DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
        return tmp_path / "train.spacy"

    return write


def read(path, **settings):
    examples = FewShot_v1(path, **settings)(spacy.blank("xx"))
    return {eg.reference.text: eg.reference.cats for eg in examples}


AB = [{"A": float(i % 3 == 0), "B": float(i % 3 != 0)} for i in range(60)]


def counts(sample):
    return Counter(label for cats in sample.values() for label, v in cats.items() if v)


def test_a_sample_has_so_many_texts_of_each_label(corpus):
    path = corpus(AB)
    assert counts(read(path, per_class=5)) == {"A": 5, "B": 5}
    assert counts(read(path, per_class=30)) == {"A": 20, "B": 30}


def test_the_seed_decides_and_smaller_samples_are_part_of_larger_ones(corpus):
    path = corpus(AB)
    assert read(path, per_class=4, seed=1) == read(path, per_class=4, seed=1)
    assert read(path, per_class=4, seed=1) != read(path, per_class=4, seed=2)
    assert read(path, per_class=4, seed=1).items() <= read(path, per_class=8, seed=1).items()


def test_texts_with_no_label_are_sampled_and_unannotated_ones_are_not(corpus):
    path = corpus([{"A": 1.0}, {"A": 0.0}, {"A": 0.0}, {}, {}])
    assert len(read(path, per_class=1)) == 2 and len(read(path, per_class=9)) == 3


def test_a_corpus_without_annotation_or_without_a_path_is_refused(corpus):
    with pytest.raises(ValueError, match=r"None of the docs .* doc.cats"):
        read(corpus([{}, {}]))
    with pytest.raises(ValueError, match=r"--paths.train"):
        read(None)
    with pytest.raises(ValueError, match="per_class = 0"):
        FewShot_v1("train.spacy", per_class=0)


def texts_of(reader):
    return {eg.reference.text: eg.reference.cats for eg in reader(spacy.blank("xx"))}


def test_templates_make_the_texts_that_the_library_makes():
    library = pytest.importorskip("setfit", reason="compares with the setfit library")

    labels = ["sports", "the arts"]
    theirs = library.get_templated_dataset(candidate_labels=labels, sample_size=3)
    ours = texts_of(LabelTemplates_v1(labels))
    assert list(ours) == list(dict.fromkeys(theirs["text"]))
    for text, label in zip(theirs["text"], theirs["label"], strict=True):
        assert ours[text] == {name: float(i == label) for i, name in enumerate(labels)}


def test_descriptions_and_templates_multiply_and_a_corpus_comes_after_them(corpus):
    more = FewShot_v1(corpus(AB), per_class=2)
    reader = LabelTemplates_v1(
        {"A": ["apples", "apricots"], "B": "berries"},
        templates=["About {}", "{} it is"],
        corpus=more,
    )
    found = texts_of(reader)
    assert len(found) == 3 * 2 + 4
    assert found["apricots it is"] == {"A": 1.0, "B": 0.0}
    assert list(found)[4] == "About berries"


@pytest.mark.parametrize(
    ("labels", "templates", "message"),
    [
        (["A"], None, "two labels"),
        (["A", "B"], ["This is it"], "where the label goes"),
        (["A", "B"], [], "where the label goes"),
        ({"A": "fruit", "B": "fruit"}, None, "both result in the text"),
        ({"A": "fruit", "B": []}, None, r"label 'B' is \[\]"),
        ({"A": "fruit", "B": ["berries", " "]}, None, r"label 'B' is \['berries', ' '\]"),
    ],
)
def test_templates_that_can_t_tell_labels_apart_are_refused(labels, templates, message):
    with pytest.raises(ValueError, match=message):
        LabelTemplates_v1(labels, templates=templates)
