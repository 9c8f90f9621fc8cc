"""The corpus is the same for the same input, honest in its splits, and loads in spaCy."""

import hashlib
import json
import random
import re
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin

from scripts.harvest.__main__ import main as harvest_cli
from scripts.harvest.corpora import harvest
from scripts.harvest.modules import drop_near_duplicates, split_modules
from scripts.harvest.topics import load_topics
from spacy_reprtune.data.corpus import SPLITS

OPTIONS = {"topic_size": 12, "entity_size": 40}
VOCAB = spacy.blank("en").vocab
SHARED = "Every traveller has to show a valid ticket to the guard before the journey can begin."
WORDS = {
    "rt_fake_sea": "harbour sailor anchor current island lagoon vessel captain reef tide",
    "rt_fake_land": "meadow farmer wagon valley orchard pasture miller shepherd barn hedge",
}
VERBS = [
    "finds",
    "keeps",
    "leaves",
    "follows",
    "reaches",
    "crosses",
    "watches",
    "mends",
    "carries",
    "forgets",
]
PLACES = [
    "under",
    "behind",
    "before",
    "beside",
    "beyond",
    "around",
    "inside",
    "above",
    "near",
    "without",
]
TIMES = [
    "today",
    "slowly",
    "again",
    "twice",
    "often",
    "gladly",
    "early",
    "quietly",
    "alone",
    "soon",
]
MARKS = [":class:`~rt.Boat`", ":func:`row_boat`", ":attr:`oar`", "``speed=3``", "``None``"]


def sentence(rng, nouns, mark=None):
    words = [f"the {rng.choice(nouns)}", rng.choice(VERBS), rng.choice(PLACES)]
    words += [
        f"the {rng.choice(nouns)} and",
        rng.choice(VERBS),
        rng.choice(TIMES),
        rng.choice(TIMES),
    ]
    if mark:
        words += ["with", mark]
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two packages of twenty modules, one per topic, and the table of topics."""
    tmp_path = tmp_path_factory.mktemp("world")
    for package, vocabulary in WORDS.items():
        root = tmp_path / package
        root.mkdir()
        (root / "__init__.py").write_text("")
        for number in range(20):
            rng = random.Random(f"{package} {number}")
            nouns = vocabulary.split()
            code = ""
            for name in range(6):
                lines = [sentence(rng, nouns) for _ in range(3)]
                lines.append(sentence(rng, nouns, mark=MARKS[(number + name) % len(MARKS)]))
                doc = "\n\n    ".join([*lines, SHARED])
                code += f'def function_{name}():\n    """{doc}\n    """\n\n'
            (root / f"module_{number:02}.py").write_text(code)
    table = {
        "packages": list(WORDS),
        "topics": [
            {"label": "sea", "about": "Ships.", "modules": ["rt_fake_sea"]},
            {"label": "land", "about": "Farms.", "modules": ["rt_fake_land"]},
        ],
        "none": ["rt_fake_land.module_00"],
    }
    path = tmp_path / "topics.json"
    path.write_text(json.dumps(table))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        yield path


@pytest.fixture(scope="module")
def built(world, tmp_path_factory):
    """The corpus, and what `harvest` returned."""
    folder = tmp_path_factory.mktemp("built") / "out"
    return folder, harvest(folder, topics=world, **OPTIONS)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def docs_of(path):
    return list(DocBin().from_disk(path).get_docs(VOCAB))


def test_same_seed_gives_same_bytes(world, built, tmp_path):
    for name, seed in (("b", 0), ("c", 2)):
        harvest(tmp_path / name, topics=world, seed=seed, **OPTIONS)
    assert digests(built[0]) == digests(tmp_path / "b")
    assert digests(built[0]) != digests(tmp_path / "c")


def test_manifest_describes_what_was_written(built, world):
    folder, manifest = built
    written = digests(folder)
    text = (folder / "manifest.json").read_text()
    assert json.loads(text) == manifest
    assert {**manifest["files"], "manifest.json": written["manifest.json"]} == written
    assert manifest["packages"] == {"rt_fake_land": "unknown", "rt_fake_sea": "unknown"}
    assert str(world.parent) not in text
    for split in SPLITS:
        docs = docs_of(folder / "topics" / f"{split}.spacy")
        assert len(docs) == sum(manifest["topics"][split].values())
        docs = docs_of(folder / "entities" / f"{split}.spacy")
        assert len(docs) == manifest["entities"][split]["docs"]


def test_no_module_is_in_two_splits(built):
    folder, _ = built
    modules = json.loads((folder / "modules.json").read_text())
    together = [module for split in SPLITS for module in modules[split]]
    assert all(modules[split] for split in SPLITS)
    assert len(together) == len(set(together))


def test_no_text_of_dev_or_test_is_in_the_training_sets(built):
    folder, _ = built
    train = set((folder / "text" / "train.txt").read_text().splitlines())
    for split in ("dev", "test"):
        held_out = docs_of(folder / "entities" / f"{split}.spacy")
        assert held_out
        assert train.isdisjoint(doc.text for doc in held_out)
        for doc in docs_of(folder / "topics" / f"{split}.spacy"):
            assert not any(line in doc.text for line in train)


def test_a_paragraph_that_stands_everywhere_is_kept_once(built):
    folder, _ = built
    text = "".join((folder / "text" / f"{s}.txt").read_text() for s in ("train", "dev"))
    assert text.count(SHARED) <= 1


def test_every_topic_example_has_exactly_one_topic(built):
    folder, _ = built
    for split in SPLITS:
        for doc in docs_of(folder / "topics" / f"{split}.spacy"):
            assert sorted(doc.cats) == ["land", "sea"]
            assert sorted(doc.cats.values()) == [0.0, 1.0]
            topic = max(doc.cats, key=doc.cats.get)
            assert any(word in doc.text.lower() for word in WORDS[f"rt_fake_{topic}"].split())


def test_entities_are_the_marked_parts_and_every_doc_is_annotated(built):
    folder, _ = built
    docs = docs_of(folder / "entities" / "train.spacy")
    found = {(ent.text, ent.label_) for doc in docs for ent in doc.ents}
    assert found == {
        ("Boat", "CLASS"),
        ("row_boat", "FUNCTION"),
        ("oar", "ATTRIBUTE"),
        ("speed=3", "CODE"),
        ("None", "CODE"),
    }
    assert any(not doc.ents for doc in docs)
    assert all(doc.has_annotation("ENT_IOB") for doc in docs)
    assert not any(re.search("`|:class:", doc.text) for doc in docs)


def test_other_files_in_the_output_folder_stay(world, tmp_path):
    other = tmp_path / "out" / "text" / "mine.txt"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    harvest(tmp_path / "out", topics=world, **OPTIONS)
    assert other.read_text() == "mine"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".tmp")]


def test_too_few_examples_name_the_topic_and_what_to_install(world, tmp_path):
    table = json.loads(world.read_text())
    table["packages"].append("rt_fake_sky")
    table["topics"][0]["modules"] = ["rt_fake_sky"]
    changed = tmp_path / "topics.json"
    changed.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=r"(?s)sea: 0 in train.*Install rt_fake_sky"):
        harvest(tmp_path / "out", topics=changed, **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_too_few_marked_paragraphs_are_an_error(world, tmp_path):
    with pytest.raises(ValueError, match="lower --entity-size"):
        harvest(tmp_path / "out", topics=world, **{**OPTIONS, "entity_size": 10**6})


@pytest.mark.parametrize("option", ["topic_size", "entity_size"])
def test_a_size_below_six_is_an_error(world, tmp_path, option):
    with pytest.raises(ValueError, match="is 5; it has to be 6 or more"):
        harvest(tmp_path / "out", topics=world, **{**OPTIONS, option: 5})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no topic table at"),
        ("[", "is not a topic table"),
        ('{"topics": [{"label": "a"}]}', "is not a topic table"),
        ('{"topics": [{"label": "a", "modules": ["m"]}]}', "needs two or more"),
        (
            '{"topics": [{"label": "a", "modules": ["m"]}, {"label": "b", "modules": ["m"]}]}',
            "gives m two topics",
        ),
    ],
)
def test_a_wrong_topic_table_is_explained(tmp_path, content, message):
    path = tmp_path / "topics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_topics(path)


def test_the_longest_prefix_gives_the_topic(world):
    table = load_topics(world)
    assert table.topic_of("rt_fake_land.module_01.deep") == "land"
    assert table.topic_of("rt_fake_land.module_00.deep") is None
    assert table.topic_of("rt_fake_landing") is None


def test_the_table_of_this_project_is_well_formed():
    table = load_topics(Path(__file__).parents[2] / "assets" / "topics.json")
    assert 10 <= len(table.labels) <= 16
    assert table.topic_of("scipy.sparse.csgraph._tools") == "graphs"
    assert table.topic_of("scipy.sparse._base") == "linear_algebra"
    assert table.topic_of("pandas.io.formats.style") is None


def test_the_command_reports_an_error_without_a_traceback(tmp_path, capsys):
    with pytest.raises(SystemExit):
        harvest_cli(
            tmp_path / "out",
            topics=tmp_path / "none.json",
            topic_size=12,
            entity_size=40,
            seed=0,
            quiet=True,
        )
    assert "no topic table at" in capsys.readouterr().out


def test_copies_with_another_name_in_them_are_dropped():
    long = "The circle of a given radius is turned into a square of the same area, and kept."
    other = "A map of all the islands hangs in the captain's cabin behind a green curtain."
    texts = [
        long.replace("circle", "disk"),
        long,
        other,
        "Is turned into a square of the same area.",
        "Added 3 rows to the table at the top.",
        "Added 15 rows to the table at the top.",
    ]
    kept = [texts[i] for i in drop_near_duplicates(texts)]
    assert other in kept
    assert len(kept) == 3
    assert sum("square" in text for text in kept) == 1
    assert sum("rows" in text for text in kept) == 1


@given(st.lists(st.text("abcd ", min_size=1, max_size=40), max_size=12), st.randoms())
def test_what_is_kept_does_not_depend_on_the_order(texts, rng):
    shuffled = rng.sample(texts, len(texts))
    kept = sorted(texts[i] for i in drop_near_duplicates(texts))
    assert kept == sorted(shuffled[i] for i in drop_near_duplicates(shuffled))


@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(1, 40), min_size=25, max_size=60),
    st.integers(0, 5),
)
def test_each_split_gets_about_its_share_of_a_group(sizes, seed):
    split_of = split_modules({"group": sizes}, seed=seed)
    total = sum(sizes.values())
    assert set(split_of) == set(sizes)
    for split in ("dev", "test"):
        share = sum(sizes[module] for module in sizes if split_of[module] == split)
        assert 0 < share <= 1.5 * 0.12 * total
