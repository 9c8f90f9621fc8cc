"""Pipelines in ONNX Runtime: the same predictions without torch, and no training."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import spacy
from conftest import make_entity_examples, make_examples
from spacy.cli._util import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_reprtune.cli  # noqa: F401 (adds its commands to spaCy's)
from spacy_reprtune.packaging import int8, onnx_package
from spacy_reprtune.packaging.agreement import Agreement, agreement
from spacy_reprtune.packaging.int8 import Int8, equal_decisions, fit_again
from spacy_reprtune.packaging.onnx_package import EXPORTED, _check_components, with_onnx

for library in ("onnxruntime", "onnx", "onnxscript"):
    pytest.importorskip(library, reason='needs pip install "spacy-reprtune[onnx]"')

TEXTS = [
    "a great film",
    "dull and cold",
    "",
    " \n",
    "the actor lovely bright is great",
    "music 1 - 2 and a film " * 30,
    "a great film",
]


def run(*arguments):
    return CliRunner().invoke(app, ["reprtune", "package", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, model_config, encoder_config):
    """A pipeline with a calibrated classifier and a recognizer with learned transitions."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.add_pipe(
        "reprtune_textcat",
        name="textcat",
        config={"model": model_config(hidden_width=8, pooling="attention")},
    )
    model = {
        "@architectures": "spacy_reprtune.TokenClassifier.v1",
        "encoder": encoder_config(window=16, overlap=4),
        "learned_transitions": True,
        "piece_pooling": "first",
    }
    nlp.add_pipe("reprtune_ner", name="ner", config={"model": model})
    examples = make_examples(nlp) + make_entity_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    nlp.get_pipe("textcat").cfg["temperature"] = 2.5
    path = tmp_path_factory.mktemp("trained") / "pipeline"
    nlp.to_disk(path)
    return path


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The pipeline in ONNX Runtime. Not to be changed."""
    target = tmp_path_factory.mktemp("exported") / "pipeline"
    with with_onnx(trained) as (path, _):
        shutil.copytree(path, target)
    return target


@pytest.fixture(scope="module")
def torch_docs(trained):
    return list(spacy.load(trained).pipe(TEXTS))


def assert_same(docs, expected):
    assert any(doc.ents for doc in expected)
    for doc, other in zip(docs, expected, strict=True):
        assert doc.cats == pytest.approx(other.cats, abs=1e-4)
        assert [(e.text, e.label_) for e in doc.ents] == [(e.text, e.label_) for e in other.ents]
        scores = [span._.reprtune_score for span in doc.ents]
        assert scores == pytest.approx([s._.reprtune_score for s in other.ents], abs=1e-4)


def test_an_exported_pipeline_predicts_what_torch_predicts(exported, torch_docs):
    nlp = spacy.load(exported)
    assert nlp.get_pipe("textcat").temperature == 2.5
    assert_same(nlp.pipe(TEXTS), torch_docs)
    assert_same([nlp(text) for text in TEXTS], torch_docs)


def test_saved_again_as_bytes_or_to_disk_it_predicts_the_same(exported, torch_docs, tmp_path):
    nlp = spacy.load(exported)
    nlp.to_disk(tmp_path / "again")
    assert_same(spacy.load(tmp_path / "again").pipe(TEXTS), torch_docs)
    other = spacy.blank("xx").from_config(nlp.config)
    assert_same(other.from_bytes(nlp.to_bytes()).pipe(TEXTS), torch_docs)


def test_worker_processes_predict_the_same(exported, torch_docs):
    nlp = spacy.load(exported)
    # The parent's threads are there before it forks.
    nlp(TEXTS[0])
    assert_same(nlp.pipe(TEXTS, n_process=2, batch_size=4), torch_docs)


def test_loading_and_predicting_needs_neither_torch_nor_transformers(exported, torch_docs):
    code = f"""
import sys
for name in ("torch", "transformers", "safetensors", "sklearn", "huggingface_hub"):
    sys.modules[name] = None
# spacy-transformers' own factory can't be imported without torch, so it is hidden.
import importlib.metadata as m
_distributions = m.distributions
m.distributions = lambda **kw: (
    d for d in _distributions(**kw) if d.metadata["Name"] != "spacy-transformers"
)
import json, spacy
nlp = spacy.load({str(exported)!r})
docs = list(nlp.pipe({TEXTS!r}))
assert not [n for n in ("torch", "transformers") if sys.modules.get(n) is not None]
print(json.dumps([[doc.cats, [[e.text, e.label_] for e in doc.ents]] for doc in docs]))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for (cats, ents), doc in zip(found, torch_docs, strict=True):
        assert cats == pytest.approx(doc.cats, abs=1e-4)
        assert ents == [[e.text, e.label_] for e in doc.ents]


def test_training_it_is_an_error_that_says_what_to_do(exported):
    nlp = spacy.load(exported)
    examples = make_examples(nlp)
    for call in (
        lambda: nlp.update(examples),
        lambda: nlp.initialize(lambda: examples),
        lambda: nlp.get_pipe("textcat").add_label("NEW"),
    ):
        with pytest.raises(ValueError, match="'textcat' can't be trained.*package that"):
            call()
    assert nlp.get_pipe("textcat").labels == ("BAD", "GOOD")
    with pytest.raises(ValueError, match="it can predict, and nothing else"):
        _ = nlp.get_pipe("textcat").head


def test_its_temperature_can_still_be_fitted(exported):
    nlp = spacy.load(exported)
    pipe = nlp.get_pipe("textcat")
    assert pipe.calibrate(make_examples(nlp)) == pipe.temperature != 2.5


def test_a_difference_in_annotation_is_refused_whatever_the_scores(monkeypatch):
    found = Agreement(texts=4, equal=3, largest_difference=0.0, first=1)
    monkeypatch.setattr(onnx_package, "agreement", lambda *_: found)
    with pytest.raises(ValueError, match="differently from torch, so it is not packaged"):
        onnx_package._compare(None, None)


@pytest.mark.parametrize(
    ("factory", "head"),
    [
        ("reprtune_textcat", "TextClassifier"),
        ("reprtune_textcat_multilabel", "TextClassifier"),
        ("reprtune_setfit", "SentenceClassifier"),
        ("reprtune_ner", "TokenClassifier"),
    ],
)
def test_each_factory_takes_an_exported_model(factory, head, nlp):
    model = {"@architectures": "spacy_reprtune.OnnxModel.v1", "head": head}
    pipe = nlp.add_pipe(factory, name="pipe", config={"model": model})
    assert factory in EXPORTED
    with pytest.raises(ValueError, match="can't be trained"):
        pipe.predict([nlp.make_doc("a great film")])
    for wrong in ({"head": "Cascade"}, {"threads": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} = .*Use"):
            nlp.add_pipe(factory, name="other", config={"model": {**model, **wrong}})


def test_a_damaged_graph_is_named(exported, tmp_path, monkeypatch):
    path = Path(shutil.copytree(exported, tmp_path / "pipeline"))
    graph = path / "textcat" / "model" / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(ValueError, match="encoder.onnx"):
        spacy.load(path)
    # Without the manifest's check, the runtime finds it.
    monkeypatch.setenv("SPACY_REPRTUNE_VERIFY", "false")
    with pytest.raises(ValueError, match="encoder.onnx is damaged"):
        spacy.load(path)
    graph.unlink()
    with pytest.raises(ValueError, match="encoder.onnx is missing"):
        spacy.load(path)


def test_without_the_runtime_the_error_names_the_extra(exported, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'pip install "spacy-reprtune\[onnx\]"'):
        spacy.load(exported)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run(trained, tmp_path / "wheels", "--name", "topics", "--runtime", "onnx")
    assert done.exit_code == 1
    assert 'pip install "spacy-reprtune[onnx]"' in " ".join(done.output.split())
    assert not (tmp_path / "wheels").exists()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"factory": "reprtune_cascade"}, "'x' can't be exported.*one of its two classifiers"),
        ({"factory": "reprtune_encoder"}, "'x' can't be exported.*an encoder of its own"),
        ({"factory": "reprtune_span_classifier"}, "'x' can't be exported.*without --runtime onnx"),
        (
            {
                "factory": "reprtune_ner",
                "model": {
                    "@architectures": "spacy_reprtune.TokenClassifier.v1",
                    "encoder": {"@architectures": "spacy.Tok2VecListener.v1"},
                },
            },
            "'x' can't be exported: it has no encoder of its own.*Train it with",
        ),
        ({"factory": "sentencizer"}, "no component to export"),
    ],
)
def test_what_cannot_be_exported_is_named_with_a_remedy(block, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        _check_components({"components": {"x": block}}, tmp_path)


@pytest.fixture(scope="module")
def corpus(trained, tmp_path_factory):
    nlp = spacy.blank("xx")
    docs = []
    for example in make_examples(nlp) * 3 + make_entity_examples(nlp) * 3:
        docs.append(example.reference)
    path = tmp_path_factory.mktemp("corpus") / "dev.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture(scope="module")
def quantized(trained, exported, corpus, tmp_path_factory):
    """The pipeline with int8 encoders, and what was measured."""
    path = Path(shutil.copytree(exported, tmp_path_factory.mktemp("int8") / "pipeline"))
    nlp, fp32 = spacy.load(trained), spacy.load(exported)
    how = Int8(corpus, corpus, insist=True, seconds=0.1)
    return path, how.quantize(nlp, fp32, dict(nlp.pipeline), path)


def test_int8_decides_as_fp32_does_and_is_smaller(quantized, trained, exported):
    path, report = quantized
    nlp = spacy.load(path)
    measured = agreement(spacy.load(trained), nlp, TEXTS)
    assert measured.share == 1.0
    assert measured.largest_difference > 0
    # Fitted to the corpus.
    assert nlp.get_pipe("textcat").temperature != 2.5
    sizes = [
        (folder / "textcat" / "model" / "encoder.onnx").stat().st_size
        for folder in (path, exported)
    ]
    assert sizes[0] < sizes[1]
    assert "of texts as in fp32" in report[0]
    assert "of entities as in fp32" in report[0]
    assert "texts per second with int8" in report[1]


def test_int8_that_is_not_faster_is_refused(quantized, trained, exported, corpus, monkeypatch):
    monkeypatch.setattr(int8, "compare_speed", lambda *arguments: [100.0, 80.0])
    nlp, fp32 = spacy.load(trained), spacy.load(exported)
    # Nothing is left to quantize, so only the checks run.
    with pytest.raises(ValueError, match="0.80 times as fast.*nothing is packaged.*--insist"):
        Int8(corpus, corpus).quantize(nlp, fp32, {}, quantized[0])


def test_fitting_again_recovers_the_logits():
    random = numpy.random.default_rng(0)
    exact = random.normal(size=(400, 16)).astype("f")
    weight, bias = random.normal(size=(3, 16)).astype("f"), numpy.ones(3, dtype="f")
    logits = exact @ weight.T + bias
    other = exact * 1.1 + 0.2 + random.normal(size=exact.shape).astype("f") * 0.01
    fitted, shift = fit_again(weight, bias, other, logits)
    before = numpy.abs(other @ weight.T + bias - logits).mean()
    assert numpy.abs(other @ fitted.T + shift - logits).mean() < before / 5
    # Vectors that are the exact ones need no other layer.
    same, shift = fit_again(weight, bias, exact, logits)
    assert numpy.allclose(same, weight, atol=1e-3)


def test_decisions_are_those_on_texts_and_on_entities():
    one = [{"cats": {"A": 1.0}, "labels": ["A"], "ents": [[0, 1, "X", 0.9], [3, 4, "X", 0.9]]}]
    other = [{"cats": {"A": 0.4}, "labels": ["B"], "ents": [[0, 1, "X", 0.8]]}]
    assert equal_decisions(one, other) == {"texts": 0.0, "entities": 0.5}
    assert equal_decisions(one, one) == {"texts": 1.0, "entities": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime", "tf"], "use torch or onnx"),
        (["--runtime", "onnx", "--half", "fp16"], "--half is for --runtime torch"),
        (["--int8"], "--int8 needs --runtime onnx"),
    ],
)
def test_options_that_do_not_fit_are_refused(trained, tmp_path, options, message):
    done = run(trained, tmp_path / "wheels", "--name", "topics", *options)
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "wheels").exists()


def test_an_output_directory_that_is_a_file_is_refused(trained, tmp_path):
    (tmp_path / "wheels").write_text("")
    done = run(trained, tmp_path / "wheels", "--name", "topics", "--runtime", "onnx")
    assert done.exit_code == 2
    assert "is a file" in " ".join(done.output.split())
