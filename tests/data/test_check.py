"""Every planted fault is found, and a clean corpus has none."""

import gzip
import json
import random
import re
import textwrap

import numpy
import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.copies import Signer, near_pairs
from spacy_reprtune.data.check import check
from spacy_reprtune.data.checks.facts import find_in_text, gather

NLP = spacy.blank("en")
SIZES = {"train": 160, "dev": 60, "test": 60}
SYLLABLES = "ba de fi go lu mar nen por ris sto tal ven wic zan".split()
PEOPLE = ["Mira", "Jonas", "Edda", "Tomas"]
FILLER = ["walks to", "writes about", "looks for", "talks of", "waits near"]


def word(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(3))


def review(rng, label):
    words = [word(rng) for _ in range(9)]
    words[4] = {"good": "great", "bad": "awful"}[label]
    return " ".join(words).capitalize() + "."


def labeled(text, label):
    doc = NLP.make_doc(text)
    doc.cats = {"good": float(label == "good"), "bad": float(label == "bad")}
    return doc


def reviews():
    """A clean corpus of two labels."""
    rng = random.Random(0)
    return {
        split: [
            labeled(review(rng, label), label)
            for label in (("good", "bad")[k % 2] for k in range(size))
        ]
        for split, size in SIZES.items()
    }


def with_ents(text, *spans):
    doc = NLP.make_doc(text)
    doc.set_ents([doc.char_span(*span) for span in spans])
    return doc


def letter(rng, k):
    name = f"{PEOPLE[k % 4]} {word(rng).capitalize()}"
    place = word(rng).capitalize()
    words = " ".join(word(rng) for _ in range(6))
    text = f"{name} {rng.choice(FILLER)} {place} and {words}."
    start = text.index(place, len(name))
    return with_ents(text, (0, len(name), "PERSON"), (start, start + len(place), "PLACE"))


def letters():
    """A clean corpus of two entity types."""
    rng = random.Random(1)
    return {split: [letter(rng, k) for k in range(size)] for split, size in SIZES.items()}


def save(corpus, folder):
    folder.mkdir(exist_ok=True)
    for split, docs in corpus.items():
        attrs = ["ENT_IOB", "ENT_TYPE", "SENT_START"]
        DocBin(docs=docs, attrs=attrs).to_disk(folder / f"{split}.spacy")
    return folder


def found(folder, tiny_encoder, **settings):
    result = check(folder, encoder=str(tiny_encoder), **settings)
    return {f["code"]: f for f in result["findings"] if f["level"] != "note"}


@pytest.mark.parametrize("make", [reviews, letters])
def test_a_clean_corpus_has_no_fault(make, tmp_path, tiny_encoder):
    text = tmp_path / "text.txt"
    text.write_text("Something quite different that stands in no other place of this corpus.\n")
    assert found(save(make(), tmp_path / "c"), tiny_encoder, text=text) == {}


# Each plants one fault into the clean corpus, in place.


def leak(c):
    c["test"][0] = labeled(c["train"][0].text.upper() + "!", "good")


def near_leak(c):
    long = " ".join(review(random.Random(9), "good") for _ in range(4))
    c["train"][0] = labeled(long, "good")
    c["dev"][0] = labeled(long + " Indeed", "good")


def duplicates(c):
    c["train"][2] = labeled(c["train"][0].text, "good")


def near_duplicates(c):
    long = " ".join(review(random.Random(9), "good") for _ in range(4))
    c["train"][0], c["train"][2] = labeled(long, "good"), labeled(long + " Indeed", "good")


def conflicting_labels(c):
    c["train"][1] = labeled(c["train"][0].text, "bad")


def no_dev(c):
    del c["dev"]


def empty_split(c):
    c["test"] = []


def small_split(c):
    c["dev"] = c["dev"][:20]


def blank_text(c):
    c["train"][0] = labeled(" \n", "good")


def odd_characters(c):
    c["train"][0] = labeled(c["train"][0].text + " donâ€™t go\u200b", "good")


def markup(c):
    c["train"][0] = labeled(c["train"][0].text + " <br /> Tom &amp; Mira", "good")


def unseen_label(c):
    for docs in c.values():
        for doc in docs:
            doc.cats = {**doc.cats, "mixed": 0.0}
    c["test"][0].cats = {"good": 0.0, "bad": 0.0, "mixed": 1.0}


def absent_label(c):
    rng = random.Random(8)
    c["test"] = [labeled(review(rng, "good"), "good") for _ in range(60)]


def rare_label(c):
    rng = random.Random(5)
    c["train"] = [labeled(review(rng, "good"), "good") for _ in range(80)]
    c["train"] += [labeled(review(rng, "bad"), "bad") for _ in range(9)]


def imbalance(c):
    rng = random.Random(5)
    c["train"] = [labeled(review(rng, "good"), "good") for _ in range(240)]
    c["train"] += [labeled(review(rng, "bad"), "bad") for _ in range(12)]


def label_variants(c):
    for docs in c.values():
        for k, doc in enumerate(docs):
            name = "Good" if k % 4 == 0 else "good"
            doc.cats = {"Good": 0.0, "good": 0.0, name: doc.cats["good"], "bad": doc.cats["bad"]}


def label_spaces(c):
    for docs in c.values():
        for doc in docs:
            doc.cats = {"good ": doc.cats["good"], "bad": doc.cats["bad"]}


def one_label(c):
    for docs in c.values():
        for doc in docs:
            doc.cats = {"good": 1.0}


def bad_score(c):
    c["train"][0].cats = {"good": 1.5, "bad": 0.0}


def several_labels(c):
    c["train"][0].cats = {"good": 1.0, "bad": 1.0}


def no_label_holds(c):
    c["train"][0].cats = {"good": 0.0, "bad": 0.0}


def missing_scores(c):
    c["train"][0].cats = {"good": 1.0}


def no_labels(c):
    c["train"][0].cats = {}


def nothing_annotated(c):
    for docs in c.values():
        for doc in docs:
            doc.cats = {}


def unknown_pieces(c):
    for k, doc in enumerate(c["train"]):
        c["train"][k] = labeled(doc.text + " ю" * 3, ("good", "bad")[k % 2])


TEXTS = [
    leak,
    near_leak,
    duplicates,
    near_duplicates,
    conflicting_labels,
    no_dev,
    empty_split,
    small_split,
    blank_text,
    odd_characters,
    markup,
    unseen_label,
    absent_label,
    rare_label,
    imbalance,
    label_variants,
    label_spaces,
    one_label,
    bad_score,
    several_labels,
    no_label_holds,
    missing_scores,
    no_labels,
    nothing_annotated,
    unknown_pieces,
]
# What a fault cannot be without.
BESIDES = {
    "conflicting_labels": {"duplicates"},
    "empty_split": {"absent_label"},
}


@pytest.mark.parametrize("plant", TEXTS, ids=lambda plant: plant.__name__)
def test_a_fault_among_labels_and_texts_is_found(plant, tmp_path, tiny_encoder):
    corpus = reviews()
    plant(corpus)
    codes = set(found(save(corpus, tmp_path / "c"), tiny_encoder))
    assert plant.__name__ in codes
    assert codes <= {plant.__name__, *BESIDES.get(plant.__name__, ())}


def misaligned_entity(c):
    text = "Mira-Edda's boat leaves."
    words = ["Mira", "-", "Ed", "da's", "boat", "leaves", "."]
    spaces = [False, False, False, True, True, False, False]
    doc = Doc(NLP.vocab, words=words, spaces=spaces)
    assert doc.text == text
    doc.set_ents([Span(doc, 0, 3, "PERSON")])
    c["train"][0] = doc


def white_space_entity(c):
    doc = Doc(NLP.vocab, words=["Edda", " ", "sleeps", "."], spaces=[True, False, False, False])
    # spaCy refuses to set such an entity, but older files have them.
    array = doc.to_array(["ENT_IOB", "ENT_TYPE"])
    label = NLP.vocab.strings.add("PERSON")
    array[:, 0], array[:, 1] = [3, 1, 2, 2], [label, label, 0, 0]
    c["train"][0] = doc.from_array(["ENT_IOB", "ENT_TYPE"], array)


def nested_entity(c):
    doc = c["train"][0]
    doc.spans["sc"] = [doc[0:2], doc[1:2]]


def no_entity_annotation(c):
    c["train"][0] = NLP.make_doc(c["train"][0].text)


def rare_entity_label(c):
    for split, docs in c.items():
        k = SIZES[split] // 2 + 5
        docs[k] = with_ents(f"Fenwick {split} Shipping pays.", (0, 17 + len(split), "COMPANY"))


def entity_label_unseen(c):
    c["test"][0] = with_ents("Fenwick Shipping pays.", (0, 16, "COMPANY"))


def forgotten_mention(c):
    for k in range(12):
        text = f"Mira Holt {FILLER[k % 5]} {word(random.Random(k))} {word(random.Random(k + 50))}."
        c["train"][k] = with_ents(text, (0, 9, "PERSON"))
    c["train"][12] = with_ents("Nobody saw Mira Holt on that long evening.")


def entity_across_sentences(c):
    doc = c["train"][0]
    starts = [k == 0 or doc[k].i == doc.ents[0].start + 1 for k in range(len(doc))]
    for token, start in zip(doc, starts, strict=True):
        token.is_sent_start = start


def all_seen(c):
    c["test"] = []
    rng = random.Random(3)
    for k in range(60):
        ents = [ent.text for ent in c["train"][k].ents]
        text = f"{word(rng).capitalize()} {word(rng)} {word(rng)} {ents[1]} {word(rng)} {ents[0]}."
        start, end = text.index(ents[1], 20), text.rindex(ents[0])
        spans = (start, start + len(ents[1]), "PLACE"), (end, end + len(ents[0]), "PERSON")
        c["test"].append(with_ents(text, *spans))


ENTITIES = {
    "misaligned_entity": misaligned_entity,
    "white_space_entity": white_space_entity,
    "nested_entity": nested_entity,
    "no_entity_annotation": no_entity_annotation,
    "rare_entity_label": rare_entity_label,
    "unseen_label": entity_label_unseen,
    "forgotten_mention": forgotten_mention,
    "entity_across_sentences": entity_across_sentences,
    "all_seen": all_seen,
}


@pytest.mark.parametrize("code", ENTITIES)
def test_a_fault_among_entities_is_found(code, tmp_path, tiny_encoder):
    corpus = letters()
    ENTITIES[code](corpus)
    assert set(found(save(corpus, tmp_path / "c"), tiny_encoder)) == {code}


# One corpus with this many faults at once. Those of entities first, because they need entities.
TWENTY = {
    *"misaligned_entity white_space_entity nested_entity no_entity_annotation".split(),
    *"rare_entity_label forgotten_mention entity_across_sentences".split(),
    *"leak near_leak duplicates near_duplicates conflicting_labels blank_text".split(),
    *"odd_characters unseen_label bad_score several_labels no_label_holds".split(),
    *"missing_scores no_labels".split(),
}


def labels_and_entities(faults=()):
    """A corpus whose texts have both: reviews without entities, letters with a label."""
    parts = []
    of_texts = {plant.__name__: plant for plant in TEXTS}
    for corpus, plants in ((reviews(), of_texts), (letters(), ENTITIES)):
        # A label that is unseen is a fault of texts here, not of entities.
        named = [name for name in plants if name in faults and (name not in of_texts or not parts)]
        for name in named:
            plants[name](corpus)
            # The next one finds other texts at the top.
            for docs in corpus.values():
                step = len(docs) // len(named)
                docs[:] = docs[step:] + docs[:step]
        parts.append(corpus)
    for docs in parts[0].values():
        for doc in docs:
            doc.set_ents([])
    for docs in parts[1].values():
        for k, doc in enumerate(docs):
            doc.cats = {"good": float(k % 2), "bad": float(1 - k % 2)}
    return {split: parts[0][split] + parts[1][split] for split in SIZES}


def test_twenty_faults_in_one_corpus_are_all_found_and_nothing_else(tmp_path, tiny_encoder):
    """None hides another."""
    assert len(TWENTY) == 20
    corpus = labels_and_entities(TWENTY)
    assert set(found(save(corpus, tmp_path / "faulty"), tiny_encoder)) == TWENTY


def test_the_same_corpus_without_the_twenty_faults_has_none(tmp_path, tiny_encoder):
    assert found(save(labels_and_entities(), tmp_path / "clean"), tiny_encoder) == {}


def test_texts_of_test_are_found_in_the_text_for_pretraining(tmp_path, tiny_encoder):
    corpus = reviews()
    text = tmp_path / "text.txt"
    text.write_text(f"Before it, {corpus['test'][3].text.lower()} And after it.\n")
    findings = found(save(corpus, tmp_path / "c"), tiny_encoder, text=text)
    assert set(findings) == {"pretraining_leak"}
    assert findings["pretraining_leak"]["count"] == 1
    assert findings["pretraining_leak"]["cases"][0].startswith("test 4: ")


def as_lines(texts):
    return "\n".join(texts).encode()


LONG = [" ".join(word(random.Random(100 * k + n)) for n in range(40)) for k in range(3)]
LONG[1] = LONG[1].replace("a", "ä")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pool.txt", as_lines(LONG)),
        ("pool.txt", as_lines(textwrap.fill(text, 30) + "\n" for text in LONG)),
        ("pool.txt.gz", gzip.compress(as_lines(LONG))),
        ("pool.jsonl", as_lines(json.dumps({"text": text}) for text in LONG)),
        ("pool.jsonl.gz", gzip.compress(as_lines(json.dumps({"text": x}) for x in LONG))),
        ("pool.spacy", DocBin(docs=map(NLP.make_doc, LONG)).to_bytes()),
        ("folder/pool.md", as_lines(LONG)),
    ],
)
def test_texts_are_found_in_every_file_that_pretraining_reads(name, content, tmp_path):
    corpus = reviews()
    corpus["test"] += [labeled(text, "good") for text in LONG]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    facts = gather("test", corpus["test"], NLP, with_grams=True)
    source = path.parent if "/" in name else path
    assert find_in_text([facts], source)["test"].count == 3


def test_trivial_texts_in_two_splits_are_not_a_leak(tmp_path, tiny_encoder):
    corpus = reviews()
    for split in ("train", "test"):
        corpus[split][0] = labeled("1.", "good")
        corpus[split][1] = labeled("Thank you!", "bad")
    folder = save(corpus, tmp_path / "c")
    assert found(folder, tiny_encoder) == {}
    notes = {f["code"]: f for f in check(folder, encoder=str(tiny_encoder))["findings"]}
    assert notes["trivial_copies"]["count"] == 2
    for split in ("train", "test"):
        corpus[split][0] = labeled("我喜欢这部电影", "good")
    assert set(found(save(corpus, tmp_path / "c"), tiny_encoder)) == {"leak"}


def test_each_split_is_read_once(tmp_path, tiny_encoder, monkeypatch):
    folder = save(letters(), tmp_path / "c")
    read, from_disk = [], DocBin.from_disk
    monkeypatch.setattr(
        DocBin, "from_disk", lambda self, path: read.append(path.name) or from_disk(self, path)
    )
    check(folder, encoder=str(tiny_encoder))
    assert sorted(read) == ["dev.spacy", "test.spacy", "train.spacy"]


def test_texts_that_spacy_refuses_are_an_error(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.setattr("spacy_reprtune.data.checks.facts.MAX_LENGTH", 200)
    corpus = reviews()
    corpus["train"][0] = labeled(review(random.Random(9), "good") * 10, "good")
    assert "too_long" in found(save(corpus, tmp_path / "c"), tiny_encoder)


def test_weights_are_those_of_scikit_learn(tmp_path, tiny_encoder):
    from sklearn.utils.class_weight import compute_class_weight

    corpus = reviews()
    imbalance(corpus)
    result = check(save(corpus, tmp_path / "c"), encoder=str(tiny_encoder))
    y = [max(doc.cats, key=doc.cats.get) for doc in corpus["train"]]
    expected = compute_class_weight("balanced", classes=numpy.array(["bad", "good"]), y=y)
    assert [result["labels"][x]["weight"] for x in ("bad", "good")] == pytest.approx(
        expected.tolist(), abs=1e-3
    )


def test_pieces_are_counted_against_the_window(tmp_path, tiny_encoder):
    corpus = reviews()
    corpus["train"][0] = labeled("the film " * 50, "good")
    result = check(save(corpus, tmp_path / "c"), encoder=str(tiny_encoder))
    assert result["pieces"]["window"] == 64
    assert result["pieces"]["longest"] == 100
    codes = [f["code"] for f in result["findings"]]
    assert "long_texts" in codes and "pieces_per_word" in codes


def test_the_command_fails_on_errors_and_with_strict_on_warnings(tmp_path, tiny_encoder):
    def run(name, plant, *arguments):
        corpus = reviews()
        plant(corpus)
        folder = save(corpus, tmp_path / name)
        output = tmp_path / f"{name}.json"
        arguments = [folder, "--encoder", tiny_encoder, "-o", output, *arguments]
        done = CliRunner().invoke(app, ["reprtune", "check", *map(str, arguments)])
        return done, json.loads(output.read_text())

    done, result = run("clean", lambda corpus: None, "--strict")
    assert done.exit_code == 0 and result["errors"] == result["warnings"] == 0
    done, result = run("warned", duplicates)
    assert done.exit_code == 0 and result["warnings"] == 1
    assert run("warned", duplicates, "--strict")[0].exit_code == 1
    done, result = run("wrong", leak)
    assert done.exit_code == 1 and result["errors"] == 1
    assert "both in train and in test" in done.output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "none/../x"}, "Can't find the encoder"),
        ({"text": "none"}, "no text file at"),
        ({"window": 4}, "--window is 4; the encoder .* takes 8 to 64 pieces"),
    ],
)
def test_a_wrong_option_is_explained(settings, message, tmp_path, tiny_encoder):
    folder = save(reviews(), tmp_path / "c")
    settings = {key: tmp_path / v if key == "text" else v for key, v in settings.items()}
    with pytest.raises(ValueError, match=message):
        check(folder, **{"encoder": str(tiny_encoder), **settings})


def test_what_is_no_corpus_is_explained(tmp_path, tiny_encoder):
    with pytest.raises(ValueError, match=r"is not a corpus: it has none of train\.spacy"):
        check(tmp_path)
    (tmp_path / "train.spacy").write_bytes(b"none")
    with pytest.raises(ValueError, match="is damaged"):
        check(tmp_path)


def test_short_texts_that_differ_in_one_word_are_no_copies():
    signer = Signer()
    for last in ("February", "April", "June", "it all", "you"):
        for first in ("I love", "We like", "Nobody knows about"):
            signer.add(f"{first} {last}")
    assert list(near_pairs(signer.finish())) == []


def test_near_pairs_are_those_that_share_most_runs_of_words():
    rng = random.Random(4)
    texts = [" ".join(word(rng) for _ in range(40)) for _ in range(300)]
    texts += [f"{text} {word(rng)}" for text in texts[:50]]
    texts += [" ".join(text.split()[:20] + [word(rng) for _ in range(20)]) for text in texts[50:99]]
    signer = Signer(chunk=64)
    for text in texts:
        signer.add(text)
    assert list(near_pairs(signer.finish())) == [(k, 300 + k) for k in range(50)]


def test_a_wrong_window_names_the_default_encoder(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.setattr("spacy_reprtune.data.check.DEFAULT_ENCODER", str(tiny_encoder))
    name = re.escape(str(tiny_encoder))
    with pytest.raises(ValueError, match=f"the encoder {name} takes 8 to 64 pieces"):
        check(save(reviews(), tmp_path / "c"), window=4)
