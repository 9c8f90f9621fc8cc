from pathlib import Path

import pytest
import spacy
import srsly
from conftest import BAD, GOOD
from spacy.tokens import DocBin
from thinc.api import Config
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.training import learning_curve
from spacy_reprtune.training.learning_curve import Result, parse_sizes, summarize

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def corpus(tmp_path) -> Path:
    nlp = spacy.blank("xx")
    docs = []
    for texts, good in ((GOOD, 1.0), (BAD, 0.0)):
        for text in texts:
            doc = nlp.make_doc(text)
            doc.cats = {"GOOD": good, "BAD": 1.0 - good}
            docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "corpus.spacy")
    return tmp_path / "corpus.spacy"


def run(corpus, encoder, *more, drawn=False):
    """Run the command; drawing takes a third of the time of such a curve."""
    args = ["learning-curve"]
    args += [str(CONFIGS / "textcat_setfit.cfg"), str(CONFIGS / "textcat_joint.cfg")]
    args += ["--output", str(corpus.parent / "curve.json"), "--seeds", "1"]
    args += ["--setfit-steps", "2", "--joint-steps", "2"]
    args += ["--paths.train", str(corpus), "--paths.dev", str(corpus)]
    args += ["--paths.encoder", str(encoder), "--nlp.lang", "xx"]
    args += ["--components.textcat.model.encoder.precision", "fp32"]
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr("spacy_reprtune.cli.experiments._save_picture", lambda *_: None)
        return CliRunner().invoke(reprtune_cli, [*args, *more])


def test_all_recipes_are_scored_on_the_same_samples_and_drawn(corpus, tiny_encoder):
    done = run(corpus, tiny_encoder, "--per-class", "2,4", drawn=True)
    assert done.exit_code == 0, done.output
    saved = srsly.read_json(corpus.parent / "curve.json")
    found = {(r["recipe"], r["per_class"]) for r in saved["results"]}
    assert found == {(r, n) for r in ("probe", "setfit", "joint") for n in (2, 4)}
    assert all(0.0 <= r["score"] <= 1.0 for r in saved["results"])
    assert (corpus.parent / "curve.png").stat().st_size > 1000
    # The same command again has nothing left to do; a size more adds to it.
    first = (corpus.parent / "curve.json").read_text()
    assert run(corpus, tiny_encoder, "--per-class", "2,4").exit_code == 0
    assert (corpus.parent / "curve.json").read_text() == first


def test_sizes_beyond_all_texts_are_one(corpus, tiny_encoder, caplog):
    most = max(len(GOOD), len(BAD))
    sizes = f"2,{most + 1},{most + 5}"
    done = run(corpus, tiny_encoder, "--per-class", sizes)
    assert done.exit_code == 0, done.output
    saved = srsly.read_json(corpus.parent / "curve.json")
    assert {r["per_class"] for r in saved["results"]} == {2, most}
    assert f"No label has more than {most} texts" in caplog.text


def test_results_of_setfit_are_saved_before_joint_training(corpus, tiny_encoder, monkeypatch):
    train, trained = learning_curve._train, []

    def killed(config, *args, after, **kwargs):
        trained.append(after)
        if trained == ["setfit", "joint"]:
            raise KeyboardInterrupt
        return train(config, *args, after=after, **kwargs)

    monkeypatch.setattr(learning_curve, "_train", killed)
    assert run(corpus, tiny_encoder, "--per-class", "2").exit_code != 0
    saved = srsly.read_json(corpus.parent / "curve.json")["results"]
    assert [r["recipe"] for r in saved] == ["probe", "setfit"]
    assert run(corpus, tiny_encoder, "--per-class", "2").exit_code == 0
    assert trained == ["setfit", "joint", "joint"]


def test_patience_ends_no_training_of_a_curve(corpus, tiny_encoder):
    def scores(*more):
        assert run(corpus, tiny_encoder, "--per-class", "4", *fast, *more).exit_code == 0
        (corpus.parent / "curve.json").rename(corpus.parent / "before.json")
        return srsly.read_json(corpus.parent / "before.json")["results"]

    fast = ["--setfit-steps", "12", "--training.optimizer.learn_rate.initial_rate", "0.01"]
    assert scores("--training.patience", "1") == scores()


def test_results_of_other_data_are_not_mixed_in(corpus, tiny_encoder):
    assert run(corpus, tiny_encoder, "--per-class", "2").exit_code == 0
    (corpus.parent / "curve.json").write_text(
        (corpus.parent / "curve.json").read_text().replace('fingerprint": "', 'fingerprint": "0')
    )
    done = run(corpus, tiny_encoder, "--per-class", "2")
    assert done.exit_code == 1 and "other" in done.output
    (corpus.parent / "curve.json").write_text("{}")
    done = run(corpus, tiny_encoder, "--per-class", "2")
    assert done.exit_code == 1 and "was not written by a learning curve" in " ".join(
        done.output.split()
    )


@pytest.mark.parametrize("text", ["", "1,x", "0,2", "-1"])
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError, match="is not a number of texts"):
        parse_sizes(text)


def test_configs_in_the_wrong_order_are_refused(tmp_path):
    setfit, joint = (
        {"components": {"x": {"factory": f"reprtune_{n}"}}} for n in ("setfit", "textcat")
    )
    for pair in ((joint, setfit), (setfit, setfit), (joint, joint)):
        with pytest.raises(ValueError, match="a reprtune_setfit first"):
            learning_curve.learning_curve(*map(Config, pair), [1], 1, tmp_path / "curve.json")


def test_sizes_come_sorted_and_once():
    assert parse_sizes("8, 2,2") == [2, 8]


def test_a_summary_has_the_mean_and_spread_of_each_recipe_and_size():
    results = [Result("setfit", 4, i, score) for i, score in enumerate((0.5, 0.7))]
    (point,) = summarize(results)
    assert point["mean"] == pytest.approx(0.6) and point["n"] == 2
    assert point["std"] == pytest.approx(0.1414, abs=1e-4)
