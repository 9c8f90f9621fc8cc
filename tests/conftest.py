"""Tiny encoders that the tests build for themselves: random weights, no download."""

import os
import random

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    # One process per core: more threads in each of them would be slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Callable, Dict, List, Tuple

import catalogue
import hypothesis
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

# For each function that a config names, catalogue goes through all entry points of the environment.
# Grouped, they are found at once: that was a sixth of the time of a test that trains and loads.
_POINTS = catalogue.AVAILABLE_ENTRY_POINTS
if hasattr(_POINTS, "groups"):
    catalogue.AVAILABLE_ENTRY_POINTS = {
        group: tuple(_POINTS.select(group=group)) for group in _POINTS.groups
    }

# How long an example takes says more about what else the machine does than about the test.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")

WORDS = [
    *"the a an of and to in is was it this that film movie plot actor scene music".split(),
    *"good great fine lovely bright warm bad awful dull cold weak boring".split(),
    *"never always very quite not un ##able ##ly ##ing ##ed ##s ##ness . , ! ? ' - 1 2 3".split(),
]
LETTERS = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz" for prefix in ("", "##")]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*WORDS, *LETTERS])]


def wordpiece_tokenizer(**settings):
    """A lower-casing WordPiece tokenizer over VOCABULARY, as BERT has it."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    backend = BertWordPieceTokenizer({piece: i for i, piece in enumerate(VOCABULARY)})
    return BertTokenizerFast(tokenizer_object=backend._tokenizer, **settings)


def byte_level_tokenizer():
    """A byte-level BPE tokenizer whose pieces start with the space before a word, as RoBERTa's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def save_encoder(path: Path, model_type: str = "bert", *, tokenizer=None, **settings) -> Path:
    """Write a random encoder of a family to a directory."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    tokenizer = tokenizer or wordpiece_tokenizer()
    small = {
        "vocab_size": max(len(tokenizer), 400),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(model_type, **{**small, **settings})
    AutoModel.from_config(config).save_pretrained(str(path))
    tokenizer.save_pretrained(str(path))
    return path


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A BERT with two blocks of width 16 and 64 positions."""
    return save_encoder(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="session")
def encoder_config(tiny_encoder) -> Callable[..., Dict]:
    """Makes the config block of an encoder, in fp32 unless asked otherwise."""

    def config(**settings) -> Dict:
        return {
            "@architectures": "spacy_reprtune.Encoder.v1",
            "name": str(tiny_encoder),
            "precision": "fp32",
            **settings,
        }

    return config


@pytest.fixture(scope="session")
def model_config(encoder_config) -> Callable[..., Dict]:
    """Makes the config block of a text classifier on the tiny encoder."""

    def config(encoder: Dict = {}, **settings) -> Dict:  # noqa: B006
        return {
            "@architectures": "spacy_reprtune.TextClassifier.v1",
            "encoder": encoder_config(**encoder),
            **settings,
        }

    return config


@pytest.fixture
def sentence_config(encoder_config) -> Callable[..., Dict]:
    """Makes the config block of a sentence classifier on the tiny encoder."""

    def config(encoder: Dict = {}, **settings) -> Dict:  # noqa: B006
        return {
            "@architectures": "spacy_reprtune.SentenceClassifier.v1",
            "encoder": encoder_config(**encoder),
            **settings,
        }

    return config


@pytest.fixture
def token_config(encoder_config) -> Callable[..., Dict]:
    """Makes the config block of a token classifier on the tiny encoder."""

    def config(encoder: Dict = {}, **settings) -> Dict:  # noqa: B006
        return {
            "@architectures": "spacy_reprtune.TokenClassifier.v1",
            "encoder": encoder_config(**encoder),
            **settings,
        }

    return config


GOOD = ["a great film", "lovely and warm", "this movie is great", "quite a bright plot"]
BAD = ["an awful film", "dull and cold", "this movie is bad", "quite a weak plot"]


def make_examples(nlp: Language) -> List[Example]:
    """Eight short reviews with exclusive labels."""
    return [
        Example.from_dict(nlp.make_doc(text), {"cats": {"GOOD": good, "BAD": 1.0 - good}})
        for texts, good in ((GOOD, 1.0), (BAD, 0.0))
        for text in texts
    ]


@pytest.fixture(autouse=True)
def fresh_caches(monkeypatch) -> None:
    """Let no test see what another one's frozen blocks have computed."""
    from weakref import WeakValueDictionary

    from spacy_reprtune.encoder import cache

    monkeypatch.setattr(cache, "_CACHES", WeakValueDictionary())


# Texts with the characters of their entities.
ENTITIES = [
    ("the actor lovely bright is great", [(10, 23, "ACTOR")]),
    ("music 1 - 2 and a film", [(0, 11, "MUSIC")]),
    ("a scene of bright", [(11, 17, "ACTOR")]),
    ("lovely warm was in music 3", [(0, 11, "ACTOR"), (19, 26, "MUSIC")]),
    ("this movie is quite dull , and cold !", []),
]


def make_entity_examples(nlp: Language) -> List[Example]:
    """Five sentences with two kinds of entities."""
    return [
        Example.from_dict(nlp.make_doc(text), {"entities": entities}) for text, entities in ENTITIES
    ]


@pytest.fixture
def ner(nlp, token_config) -> Language:
    """A pipeline with an initialized recognizer, and the examples under `nlp.examples`."""
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": token_config()})
    nlp.examples = make_entity_examples(nlp)
    nlp.optimizer = nlp.initialize(lambda: nlp.examples)
    nlp.optimizer.learn_rate = 0.01
    return nlp


@pytest.fixture
def nlp() -> Language:
    """An empty English pipeline; seeded, because heads start at random."""
    spacy.util.fix_random_seed(0)
    return spacy.blank("xx")


@pytest.fixture
def textcat(nlp, model_config) -> Language:
    """A pipeline with an initialized classifier, and the examples under `nlp.examples`."""
    nlp.add_pipe("reprtune_textcat", name="textcat", config={"model": model_config()})
    nlp.examples = make_examples(nlp)
    nlp.optimizer = nlp.initialize(lambda: nlp.examples)
    nlp.optimizer.learn_rate = 0.01
    return nlp


@pytest.fixture(scope="session")
def annotate_pipeline(tmp_path_factory, tiny_encoder):
    """A pipeline with a text classifier, an entity recognizer and a component that fails on
    texts with "fail"."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    encoder = {
        "@architectures": "spacy_reprtune.Encoder.v1",
        "name": str(tiny_encoder),
        "precision": "fp32",
    }
    for factory, name, head in (
        ("reprtune_textcat", "textcat", "TextClassifier"),
        ("reprtune_ner", "ner", "TokenClassifier"),
    ):
        model = {"@architectures": f"spacy_reprtune.{head}.v1", "encoder": encoder}
        nlp.add_pipe(factory, name=name, config={"model": model})
    examples = make_examples(nlp) + make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    path = tmp_path_factory.mktemp("annotate") / "pipeline"
    nlp.to_disk(path)
    return path


@Language.component("fails_on_fail")
def fails_on_fail(doc):
    if "fail" in doc.text:
        raise RuntimeError("this text can't be annotated")
    return doc


@pytest.fixture(scope="session")
def failing_pipeline(annotate_pipeline, tmp_path_factory):
    """The pipeline with a component that fails behind the others."""
    nlp = spacy.load(annotate_pipeline)
    nlp.add_pipe("fails_on_fail", last=True)
    path = tmp_path_factory.mktemp("annotate") / "failing"
    nlp.to_disk(path)
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the public data sets, or a reason to skip."""
    folder = Path(os.environ.get("REPRTUNE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder with the public data sets: set REPRTUNE_DATA")
    return folder


def sentences(n: int, seed: int = 0) -> List[str]:
    """Sentences of known words in an order that is worth learning: words follow each other."""
    rng = random.Random(seed)
    plain = [word for word in WORDS if word.isalpha()]
    found = []
    for _ in range(n):
        start, size = rng.randrange(len(plain)), rng.randint(2, 14)
        found.append(" ".join(plain[(start + i) % len(plain)] for i in range(size)))
    return list(dict.fromkeys(found))


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """Some three hundred sentences, one per line."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(sentences(400)) + "\n", encoding="utf8")
    return path


@pytest.fixture
def run_config(make_run_config) -> Callable[..., Dict]:
    """See `make_run_config`."""
    return make_run_config


@pytest.fixture(scope="session")
def make_run_config(tiny_encoder, text_file) -> Callable[..., Dict]:
    """Makes the sections of a run; keyword arguments are sections to change."""

    def config(**sections: Dict) -> Dict:
        base: Dict[str, Dict] = {
            "encoder": {"name": str(tiny_encoder), "precision": "fp32", "device": "cpu"},
            "corpus": {"train": str(text_file), "heldout": 0.1},
            "training": {
                "max_epochs": 0,
                "max_steps": 12,
                "step_pieces": 256,
                "batch_pieces": 128,
                "learn_rate": 5e-3,
                "head_steps": 4,
                "head_learn_rate": 1e-2,
                "eval_every": 4,
            },
            "report": {"log_every": 1},
        }
        for name, values in sections.items():
            base[name] = {**base.get(name, {}), **values}
        return base

    return config


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, make_run_config) -> Tuple:
    """Settings of a short pretraining run in this process, and the directory that it wrote."""
    from spacy_reprtune.pretraining.run import pretrain
    from spacy_reprtune.pretraining.settings import settings_from

    settings = settings_from(make_run_config(training={"keep": "last"}))
    output = tmp_path_factory.mktemp("finished") / "run"
    pretrain(settings, output)
    return settings, output


@pytest.fixture
def settings(run_config, monkeypatch) -> Callable:
    """Makes the settings of a run; keyword arguments are sections to change.

    These runs draw no figure, which would take a third of their time.
    """
    from spacy_reprtune.pretraining.settings import settings_from

    monkeypatch.setattr("spacy_reprtune.pretraining.run.plot_log", lambda rows, path: None)
    return lambda **sections: settings_from(run_config(**sections))
