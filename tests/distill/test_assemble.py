"""A cascade made of two trained pipelines."""

import pytest
import spacy
from conftest import make_examples
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.distill.assemble import assemble_cascade


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory, tiny_encoder):
    """Directories of a static, a large and a useless text classifier, and of dev."""
    root = tmp_path_factory.mktemp("pipelines")
    for name, encoder, steps in (
        ("static", "StaticEncoder", 40),
        ("large", "Encoder", 25),
        ("useless", "StaticEncoder", 0),
    ):
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("xx")
        block = {"@architectures": f"spacy_reprtune.{encoder}.v1", "name": str(tiny_encoder)}
        model = {"@architectures": "spacy_reprtune.TextClassifier.v1", "encoder": block}
        nlp.add_pipe("sentencizer")
        nlp.add_pipe("reprtune_textcat", name="topic", config={"model": model})
        examples = make_examples(nlp)
        optimizer = nlp.initialize(lambda examples=examples: examples)
        optimizer.learn_rate = 0.003
        for _ in range(steps):
            nlp.update(examples, sgd=optimizer)
        if name == "useless":
            # As sure as the others, of the opposite.
            head = nlp.get_pipe("topic").head.output
            head.weight.data.zero_()
            head.bias.data = head.bias.data.new_tensor([9.0, -9.0])
        nlp.to_disk(root / name)
    DocBin(docs=[eg.reference for eg in examples]).to_disk(root / "dev.spacy")
    return root


def run(pipelines, small, output, *options, dev=None):
    command = ["cascade", str(pipelines / small), str(pipelines / "large"), *options]
    command += ["--dev", str(dev or pipelines / "dev.spacy"), "--output", str(output)]
    return CliRunner().invoke(reprtune_cli, command)


def test_two_trained_pipelines_become_one_with_a_fitted_threshold(pipelines, tmp_path):
    done = run(pipelines, "static", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "of dev, at 100.0% of the score" in " ".join(done.output.split())
    nlp = spacy.load(tmp_path / "out")
    assert nlp.pipe_names == ["sentencizer", "topic"]
    small, large = (spacy.load(pipelines / name) for name in ("static", "large"))
    for example in make_examples(nlp):
        doc = nlp(example.text)
        own = small if doc._.reprtune_answered_by == "small" else large
        # The temperatures were fitted to dev once more.
        assert doc.cats == pytest.approx(own(example.text).cats, abs=0.05)
        assert doc.has_annotation("SENT_START")


def test_dev_without_categories_is_refused(pipelines, tmp_path):
    docs = [spacy.blank("xx").make_doc("a film")]
    DocBin(docs=docs).to_disk(tmp_path / "plain.spacy")
    done = run(pipelines, "static", tmp_path / "out", dev=tmp_path / "plain.spacy")
    assert done.exit_code == 1 and "has categories of" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_small_one_that_is_never_right_answers_nothing(pipelines, tmp_path):
    done = run(pipelines, "useless", tmp_path / "out", "--keep", "1.0")
    assert done.exit_code == 0, done.output
    assert "The large classifier answers everything" in done.output
    doc = spacy.load(tmp_path / "out")("a great film")
    assert doc._.reprtune_answered_by == "large"


def test_pipelines_that_do_not_fit_are_named(pipelines, tmp_path, ner):
    ner.to_disk(tmp_path / "ner")
    with pytest.raises(ValueError, match="small pipeline needs exactly one.* but has ner"):
        assemble_cascade(tmp_path / "ner", pipelines / "large")
    other = spacy.load(pipelines / "static")
    other.get_pipe("topic").add_label("NEW")
    other.to_disk(tmp_path / "other")
    with pytest.raises(
        ValueError, match="same labels.* has BAD, GOOD, the small one BAD, GOOD, NEW"
    ):
        assemble_cascade(tmp_path / "other", pipelines / "large")
