"""A probe on labeled docs decides which encoder is kept."""

import json

import numpy
import pytest
import spacy
import torch
from conftest import BAD, GOOD, make_entity_examples
from spacy.tokens import DocBin, Span
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.pretraining import judge as judging
from spacy_reprtune.pretraining import judge_training
from spacy_reprtune.pretraining.checkpoint import Checkpoints
from spacy_reprtune.pretraining.judge import Judge, gain_interval, score_of, verdict
from spacy_reprtune.pretraining.model import load
from spacy_reprtune.pretraining.run import pretrain
from spacy_reprtune.pretraining.settings import EncoderPart


def saved(docs, path):
    DocBin(docs=docs).to_disk(path)
    return path


def reviews(cats_of):
    nlp = spacy.blank("xx")
    docs = [nlp.make_doc(f"{text} {n}") for n in "123" for text in (*GOOD, *BAD)]
    for doc in docs:
        doc.cats = cats_of(doc.text.rpartition(" ")[0] in GOOD)
    return docs


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Docs with two exclusive categories."""
    docs = reviews(lambda good: {"GOOD": float(good), "BAD": float(not good)})
    return saved(docs, tmp_path_factory.mktemp("judge") / "dev.spacy")


@pytest.fixture(scope="module")
def lm(tiny_encoder):
    return load(EncoderPart(name=str(tiny_encoder), precision="fp32", device="cpu"))[0]


def test_exclusive_categories_are_counted_once_per_doc(labeled, lm):
    judge = Judge(labeled, batch_pieces=64)
    counts = judge.counts(lm)
    assert judge.exclusive and counts.shape == (24, 3)
    assert (counts[:, 0] + counts[:, 2] == 1).all() and (counts[:, 1] == counts[:, 2]).all()
    assert score_of(counts) == counts[:, 0].mean() > 0.8
    # Batches of another size give the same counts.
    numpy.testing.assert_array_equal(Judge(labeled, batch_pieces=16).counts(lm), counts)


def test_independent_categories_and_missing_ones(tmp_path, lm):
    docs = reviews(lambda good: {"GOOD": float(good), "FILM": 1.0})
    docs[0].cats = {"GOOD": 1.0}
    judge = Judge(saved(docs, tmp_path / "dev.spacy"), batch_pieces=64)
    counts = judge.counts(lm)
    assert not judge.exclusive
    assert counts.sum(0)[[0, 2]].sum() == sum(sum(doc.cats.values()) for doc in docs)


def test_entities_are_judged_by_the_types_of_their_tokens(tmp_path, lm):
    nlp = spacy.blank("xx")
    docs = [eg.reference for _ in range(4) for eg in make_entity_examples(nlp)]
    judge = Judge(saved(docs, tmp_path / "dev.spacy"), batch_pieces=64)
    counts = judge.counts(lm)
    assert judge.kind == "entities" and judge.labels == ["ACTOR", "MUSIC"]
    tokens = sum(len(ent) for doc in docs for ent in doc.ents)
    assert counts.sum(0)[[0, 2]].sum() == tokens
    assert score_of(counts) > 0.5


def test_vectors_are_those_of_the_encoder_without_padding(labeled, lm):
    import torch
    from transformers import AutoModel

    judge = Judge(labeled, batch_pieces=64)
    vectors = judge._rows(lm)[0]
    model = lm.model.base_model
    assert isinstance(model, type(AutoModel.from_config(model.config)))
    inputs = lm.tokenizer.tokenizer(judge.docs[3].text, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs)[0][0].mean(0).numpy()
    numpy.testing.assert_allclose(vectors[3], wanted, atol=1e-5)


def test_the_interval_is_paired_and_wider_for_more_comparisons():
    rng = numpy.random.default_rng(0)
    right = rng.random(400) < 0.8
    # The second one corrects 20 of 80 errors, and breaks nothing.
    better = right.copy()
    better[numpy.flatnonzero(~right)[:20]] = True
    before, after = (numpy.stack([r, ~r, ~r], axis=1).astype(int) for r in (right, better))
    low, high = gain_interval(before, after, 1)
    assert 0.02 < low < 0.05 < high < 0.08
    wide = gain_interval(before, after, 10)
    assert wide[0] < low and wide[1] > high
    assert gain_interval(before, before, 1) == (0.0, 0.0)


TRAINING = {"max_steps": 6, "head_steps": 2, "eval_every": 2}


def scripted(monkeypatch, shares):
    """Let the judge find these shares of right docs, one per evaluation."""
    left = iter(shares)

    def counts(self, lm):
        right = numpy.arange(len(self.docs)) < next(left) * len(self.docs)
        return numpy.stack([right, ~right, ~right], axis=1).astype(numpy.int64)

    monkeypatch.setattr(judging.Judge, "counts", counts)


@pytest.mark.parametrize(
    "shares, kept, says",
    [
        ([0.5, 0.75, 1.0, 0.75], 4, "1.000 at step 4, which is kept: +0.500"),
        ([0.75, 0.5, 0.75, 0.25], 0, "did not help with these labels"),
    ],
)
def test_the_better_encoder_is_kept_and_the_report_says_so(
    shares, kept, says, labeled, settings, tmp_path, monkeypatch, tiny_encoder
):
    from safetensors.torch import load_file

    scripted(monkeypatch, shares)
    run = settings(training=TRAINING, judge={"corpus": str(labeled)})
    report = pretrain(run, tmp_path / "run")
    judged = report["judge"]
    assert report["result_step"] == judged["kept_step"] == kept
    assert (judged["before"], judged["after"]) == (shares[0], shares[-1])
    assert judged["kept"] == max(shares) and judged["docs"] == 24
    assert says in verdict(judged)
    page = (tmp_path / "run" / "report.md").read_text("utf8")
    assert says in page and "paired bootstrap" in page
    log = [json.loads(row) for row in (tmp_path / "run" / "log.jsonl").open(encoding="utf8")]
    assert [row["judge"] for row in log if "judge" in row] == shares
    original = load_file(tiny_encoder / "model.safetensors")
    written = load_file(tmp_path / "run" / "encoder" / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    assert (written[f"bert.{name}"] == original[name]).all() == (kept == 0)


def test_a_killed_run_goes_on_to_the_same_verdict(labeled, settings, tmp_path, monkeypatch):
    run = settings(training=TRAINING, judge={"corpus": str(labeled)})
    whole = pretrain(run, tmp_path / "whole")
    save = Checkpoints.save

    def killed(self, state, *tensors):
        save(self, state, *tensors)
        if state.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(run, tmp_path / "killed")
    monkeypatch.undo()
    assert pretrain(run, tmp_path / "killed")["judge"] == whole["judge"]


def test_other_docs_are_refused_when_a_run_goes_on(labeled, settings, tmp_path):
    own = tmp_path / "dev.spacy"
    own.write_bytes(labeled.read_bytes())
    run = settings(training=TRAINING, judge={"corpus": str(own)})
    pretrain(run, tmp_path / "run")
    saved(reviews(lambda good: {"GOOD": float(good), "BAD": float(not good)})[2:], own)
    with pytest.raises(ValueError, match="judging docs was"):
        pretrain(run, tmp_path / "run")


def test_docs_that_can_judge_nothing_are_named(tmp_path, settings, labeled):
    plain = saved(reviews(lambda good: {}), tmp_path / "plain.spacy")
    with pytest.raises(ValueError, match=r"plain.spacy can't be the judge: it has 0 docs"):
        Judge(plain, batch_pieces=64)
    one = saved(reviews(lambda good: {"GOOD": 1.0}), tmp_path / "one.spacy")
    with pytest.raises(ValueError, match=r"the labels GOOD. It takes at least 10 annotated docs"):
        Judge(one, batch_pieces=64)
    (tmp_path / "text.spacy").write_text("no docs")
    with pytest.raises(ValueError, match="text.spacy is not a .spacy file"):
        Judge(tmp_path / "text.spacy", batch_pieces=64)
    run = settings(training={"keep": "last"}, judge={"corpus": str(labeled)})
    with pytest.raises(ValueError, match="keep has to be 'best', and is 'last'"):
        pretrain(run, tmp_path / "run")


def test_the_command_prints_the_verdict(tmp_path, run_config, labeled):
    from confection import Config

    path = tmp_path / "mlm.cfg"
    Config(run_config(training={"max_steps": 2, "head_steps": 2})).to_disk(path)
    arguments = ["mlm", path, "--output", tmp_path / "run", "--judge", labeled, "--quiet"]
    result = CliRunner().invoke(reprtune_cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "A probe on 24 docs with labels has accuracy" in " ".join(result.output.split())


RECIPE = """
[paths]
train = null
dev = null

[nlp]
lang = "xx"
pipeline = ["COMPONENT"]

[components]

[components.COMPONENT]
factory = "reprtune_COMPONENT"

[components.COMPONENT.model]

[components.COMPONENT.model.encoder]
@architectures = "spacy_reprtune.Encoder.v1"
name = "replaced"
precision = "fp32"

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}

[training]
max_steps = 40
eval_frequency = 40

[training.optimizer]
@optimizers = "Adam.v1"
learn_rate = 0.005
"""


def written_recipe(path, component, **changes):
    text = RECIPE.replace("COMPONENT", component)
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text, encoding="utf8")
    return path


def trained_recipe(monkeypatch, shares):
    """Let the trainings with both encoders find these shares of right docs."""
    left = iter(shares)

    def counts(self, encoder, device):
        assert (encoder / "model.safetensors").is_file()
        right = numpy.arange(len(self.docs)) < next(left) * len(self.docs)
        return numpy.stack([right, ~right, ~right], axis=1).astype(numpy.int64)

    monkeypatch.setattr(judge_training.TrainingJudge, "counts", counts)


@pytest.mark.parametrize(
    "probe, trained, kept, says",
    [
        # The probe's best encoder is compared, or the last one.
        ([0.5, 0.75, 1.0, 0.75], [0.5, 0.75], 4, "that of step 4: +0.250 (+0.083 to +0.417)"),
        ([0.5, 0.75, 1.0, 0.75], [0.75, 0.5], 0, "So the original encoder is kept."),
        ([0.75, 0.5, 0.75, 0.25], [0.5, 0.75], 6, "that of step 6: +0.250"),
        ([0.75, 0.5, 0.75, 0.25], [0.5, 0.5], 0, "+0.000 (+0.000 to +0.000), which may be due to"),
    ],
)
def test_a_training_decides_instead_of_the_probe(
    probe, trained, kept, says, labeled, settings, tmp_path, monkeypatch, tiny_encoder
):
    from safetensors.torch import load_file

    scripted(monkeypatch, probe)
    trained_recipe(monkeypatch, trained)
    recipe = written_recipe(tmp_path / "recipe.cfg", "textcat")
    run = settings(training=TRAINING, judge={"corpus": str(labeled), "recipe": str(recipe)})
    report = pretrain(run, tmp_path / "run")
    judged = report["judge"]
    assert report["result_step"] == judged["kept_step"] == kept
    assert (judged["training"]["before"], judged["training"]["after"]) == tuple(trained)
    assert judged["kept"] == probe[kept // 2]
    assert says in verdict(judged) and "recipe.cfg, trained on each half" in verdict(judged)
    assert says in (tmp_path / "run" / "report.md").read_text("utf8")
    name = "encoder.layer.0.output.dense.weight"
    original = load_file(tiny_encoder / "model.safetensors")[name]
    written = load_file(tmp_path / "run" / "encoder" / "model.safetensors")[f"bert.{name}"]
    assert (written == original).all() == (kept == 0)


@pytest.mark.parametrize("component", ["textcat", "ner"])
def test_the_recipe_is_trained_on_halves_and_scored_on_the_others(
    component, labeled, tmp_path, tiny_encoder
):
    if component == "ner":
        docs = [eg.reference for _ in range(4) for eg in make_entity_examples(spacy.blank("xx"))]
        labeled = saved(docs, tmp_path / "dev.spacy")
    judge = Judge(labeled, batch_pieces=64)
    trained = judge_training.TrainingJudge(
        written_recipe(tmp_path / "recipe.cfg", component),
        [item.doc for item in judge.docs],
        texts=judge.kind == "texts",
        exclusive=judge.exclusive,
    )
    counts = trained.counts(tiny_encoder, torch.device("cpu"))
    assert counts.shape == (len(judge.docs), 3)
    gold = [1 if component == "textcat" else len(item.doc.ents) for item in judge.docs]
    assert (counts[:, 0] + counts[:, 2] == gold).all()
    # All texts are in both halves up to a number, so there is much to learn.
    assert score_of(counts) > 0.8
    numpy.testing.assert_array_equal(trained.counts(tiny_encoder, torch.device("cpu")), counts)


def test_recipes_that_can_judge_nothing_are_named(labeled, settings, tmp_path):
    def starting(recipe):
        return pretrain(
            settings(training=TRAINING, judge={"corpus": str(labeled), "recipe": str(recipe)}),
            tmp_path / "run",
        )

    with pytest.raises(ValueError, match=r"no component that sets doc.cats, and that is what"):
        starting(written_recipe(tmp_path / "ner.cfg", "ner"))
    elsewhere = written_recipe(tmp_path / "other.cfg", "textcat", **{"${paths.dev}": "dev.spacy"})
    with pytest.raises(ValueError, match=r"its corpora have to be \$\{paths.train\} and"):
        starting(elsewhere)
    with pytest.raises(ValueError, match="broken.cfg can't be the recipe of the judge"):
        starting(written_recipe(tmp_path / "broken.cfg", "textcat", **{"[nlp]": "[nlq]"}))
    with pytest.raises(ValueError, match="recipe needs corpus, the docs that it is trained on"):
        settings(judge={"recipe": "recipe.cfg"})
    assert not (tmp_path / "run").exists()


def test_probabilities_are_judged_by_the_most_probable_label(tmp_path, lm):
    soft = reviews(lambda good: {"GOOD": 0.9 if good else 0.2, "BAD": 0.1 if good else 0.8})
    hard = reviews(lambda good: {"GOOD": float(good), "BAD": float(not good)})
    judges = [
        Judge(saved(d, tmp_path / f"{i}.spacy"), batch_pieces=64)
        for i, d in enumerate((soft, hard))
    ]
    assert all(judge.exclusive for judge in judges)
    numpy.testing.assert_array_equal(judges[0].counts(lm), judges[1].counts(lm))


def test_long_docs_and_rare_labels(tmp_path):
    nlp = spacy.blank("xx")
    docs = []
    for n in range(12):
        doc = nlp.make_doc(" ".join(["Ann", "ran", "home"] * 1000))
        doc.set_ents([Span(doc, 0, 1, label="NAME")] if n else [])
        docs.append(doc)
    # More tokens than are judged: still as many docs as folds need.
    assert len(Judge(saved(docs, tmp_path / "long.spacy"), batch_pieces=64).docs) == 10
    rare = reviews(lambda good: {"GOOD": 1.0, "BAD": 0.0})
    rare[0].cats = {"GOOD": 0.0, "BAD": 1.0}
    with pytest.raises(ValueError, match="rare.spacy can't be the judge.* each in several docs"):
        Judge(saved(rare, tmp_path / "rare.spacy"), batch_pieces=64)
