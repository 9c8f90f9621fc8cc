import json

import pytest
import srsly
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_metrics import (
    cats_predictions,
    drawn_once,
    ents_predictions,
    plain_scores,
    write_project,
    write_recipe,
)

from spacy_reprtune.reporting import page as page_module
from spacy_reprtune.reporting.groups import behind, make_groups
from spacy_reprtune.reporting.metrics import find_metrics, read_training_log
from spacy_reprtune.reporting.predictions import predictions_path, write_predictions
from spacy_reprtune.reporting.sections.classes import _support


def find(folder):
    return find_metrics(folder / "metrics", corpus=folder / "corpus", training=folder / "training")


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "project")


def test_files_are_known_by_what_is_in_them(project):
    metrics = find(project)
    assert [recipe.name for recipe in metrics.recipes] == ["frozen", "joint", "ner"]
    assert list(metrics.sweeps) == ["sweep"] and list(metrics.checks) == ["check"]
    assert list(metrics.learning_curves) == ["learning-curve"] and list(metrics.packages)
    assert [run.name for run in metrics.pretrainings] == ["mlm"]
    assert list(metrics.manifests) == ["corpus"]
    assert metrics.problems == [] and not any(recipe.missing for recipe in metrics.recipes)


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "x.training.jsonl"
    lines = [
        {"kind": "start"},
        {"kind": "evaluation", "step": 0, "seconds": 1.0},
        {"kind": "evaluation"},
        {"kind": "evaluation", "step": 5, "seconds": "soon", "score": 0.5},
        [1, 2],
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"kind": "evaluation", "st'
    path.write_text(text, encoding="utf8")
    log = read_training_log(path)
    assert [row["step"] for row in log.evaluations] == [0, 5]
    assert log.seconds == 1.0 and not log.finished and log.peak_memory_mb is None


def test_of_several_trainings_in_one_log_the_last_one_counts(tmp_path):
    path = tmp_path / "x.training.jsonl"
    first = [{"kind": "start"}, {"kind": "end", "seconds": 99.0, "peak_memory_mb": 9999}]
    last = [{"kind": "start"}, {"step": 0, "score": 0.1}, {"kind": "end", "seconds": 5.0}]
    srsly.write_jsonl(path, first + last)
    log = read_training_log(path)
    assert (log.seconds, log.finished, log.peak_memory_mb) == (5.0, True, None)
    assert len(log.evaluations) == 1


def test_a_training_that_failed_is_not_finished(tmp_path):
    path = tmp_path / "x.training.jsonl"
    end = {"kind": "end", "seconds": 5.0}
    for error, finished in ((None, True), ("ValueError: no", False)):
        srsly.write_jsonl(path, [{"kind": "start"}, {**end, "error": error}])
        assert read_training_log(path).finished is finished


@pytest.mark.parametrize("before, total", [(20.5, 25.5), (None, 5.0), ("long", 5.0), (-1, 5.0)])
def test_the_time_of_a_training_includes_initialization(tmp_path, before, total):
    path = tmp_path / "x.training.jsonl"
    start = {"kind": "start", "initialize_seconds": before}
    srsly.write_jsonl(path, [start, {"kind": "end", "seconds": 5.0}])
    log = read_training_log(path)
    assert (log.seconds, log.total_seconds) == (5.0, total)


@pytest.mark.parametrize(
    "content", ["{not json", "[]", "7", '{"speed": 1', '{"points": [], "runs": []}']
)
def test_a_broken_file_is_a_problem_and_not_an_error(project, content):
    (project / "metrics" / "sweep.json").write_text(content, encoding="utf8")
    metrics = find(project)
    assert len(metrics.problems) == 1 and "sweep.json" in metrics.problems[0]
    assert not metrics.sweeps and len(metrics.recipes) == 3


def test_predictions_of_another_evaluation_are_left_out(project):
    path = project / "metrics" / "joint.json"
    write_predictions(cats_predictions(0.5, seed=7), predictions_path(path))
    metrics = find(project)
    assert "belongs to another evaluation" in metrics.problems[0]
    (joint,) = [recipe for recipe in metrics.recipes if recipe.name == "joint"]
    assert joint.predictions is None and joint.score("cats_macro_f") is not None


def test_a_pipeline_on_another_set_has_the_log_of_its_training(project):
    metrics = project / "metrics"
    scores = plain_scores(cats_predictions(0.9))
    run = {"model": "training/joint/model-best"}
    srsly.write_json(metrics / "joint-other.json", {**scores, "speed": 1.0, "run": run})
    (other,) = [recipe for recipe in find(project).recipes if recipe.name == "joint-other"]
    assert other.log is not None and other.log.seconds == 95.0
    assert other.missing == ["joint-other.predictions.jsonl.gz"]


def test_only_recipes_with_the_same_documents_are_compared(project):
    groups = make_groups(find(project))
    assert [(group.kind, group.score) for group in groups] == [
        ("cats", "macro F"),
        ("ents", "entity F"),
    ]
    joint, frozen = groups[0].entries
    assert (joint.name, frozen.name) == ("joint", "frozen")
    gap, low, high = behind(frozen, joint)
    assert gap == pytest.approx(joint.value - frozen.value) and low < gap < high
    frozen.recipe.predictions.rows[0].text = "another text"
    assert behind(frozen, joint) is None


def test_recipes_of_different_test_sets_are_not_ranked_against_each_other(project):
    metrics = project / "metrics"
    write_recipe(metrics, "ner-short", ents_predictions(n_docs=7), 1.0, "corpus/short.spacy")
    write_recipe(metrics, "ner-again", ents_predictions(n_docs=7, seed=1), 1.0, "short.spacy")
    names = {tuple(sorted(e.name for e in g.entries)): g for g in make_groups(find(project))}
    assert set(names) == {("frozen", "joint"), ("ner",), ("ner-again", "ner-short")}
    titles = [names[key].title for key in sorted(names)]
    assert titles[:2] == ["Text labels", "Entities (test set of ner)"]
    assert titles[2] == "Entities (corpus/short.spacy)"
    assert len({group.id for group in names.values()}) == 3
    assert sum(_support(names["ner",]).values()) == 3 * 40
    assert sum(_support(names["ner-again", "ner-short"]).values()) == 3 * 7


def test_without_predictions_the_path_of_the_corpus_says_which_test_set_it_is(project):
    metrics = project / "metrics"
    for name, corpus in (("joint", "a.spacy"), ("frozen", "a.spacy"), ("far", "b.spacy")):
        write_recipe(metrics, name, cats_predictions(0.8), 1.0, corpus)
    predictions_path(metrics / "joint.json").unlink()
    predictions_path(metrics / "far.json").unlink()
    first, second = [group for group in make_groups(find(project)) if group.kind == "cats"]
    assert {entry.name for entry in first.entries} == {"joint", "frozen"}
    assert [entry.name for entry in second.entries] == ["far"]
    assert second.title == "Text labels (b.spacy)" and not _support(second)


def test_a_test_set_that_nobody_names_is_taken_for_the_only_one(project):
    predictions_path(project / "metrics" / "joint.json").unlink()
    cats = make_groups(find(project))[0]
    assert {entry.name for entry in cats.entries} == {"joint", "frozen"}
    write_recipe(project / "metrics", "short", cats_predictions(0.5, n_docs=9), 1.0)
    groups = [group for group in make_groups(find(project)) if group.kind == "cats"]
    assert sorted(len(group.entries) for group in groups) == [1, 1, 1]
    assert len({group.title for group in groups}) == len({group.id for group in groups}) == 3


def test_scores_of_nothing_are_no_recipe(project):
    """A classifier on texts without labels: spaCy writes 0, the component no calibration error."""
    path = project / "metrics" / "ner.json"
    scores = srsly.read_json(path)
    scores.update(cats_score=0.0, cats_score_desc="macro F", cats_micro_f=0.0, cats_ece=None)
    srsly.write_json(path, scores)
    (project / "metrics" / "ner.predictions.jsonl.gz").unlink()
    cats, _ = make_groups(find(project))
    assert [entry.name for entry in cats.entries] == ["joint", "frozen"]


def test_nothing_at_all_is_a_clear_error(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "other.json").write_text("{}", encoding="utf8")
    with pytest.raises(ValueError, match="Begin with: python -m spacy reprtune evaluate"):
        find(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.tuples(st.integers(0), json_values), min_size=9, max_size=9))
def test_no_wrong_value_anywhere_stops_a_report(tmp_path_factory, changes):
    """In every file, any one value is replaced by any other one."""
    from spacy_reprtune.reporting.markdown import to_markdown
    from spacy_reprtune.reporting.page import to_html
    from spacy_reprtune.reporting.report import make_report

    folder = write_project(tmp_path_factory.mktemp("p") / "project")
    files = sorted(folder.rglob("*.json"))
    for (key, value), path in zip(changes, files, strict=True):
        content = srsly.read_json(path)
        places = list(_places(content))
        parent, name = places[key % len(places)]
        parent[name] = value
        path.write_text(json.dumps(content), encoding="utf8")
    _, _, sections = make_report(
        folder / "metrics", corpus=folder / "corpus", training=folder / "training"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "_svg", drawn_once)
        assert "</html>" in to_html(sections, title="x") and to_markdown(sections)


def _places(content):
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for name, value in list(items):
        yield content, name
        if isinstance(value, (dict, list)):
            yield from _places(value)


def test_losses_are_by_step(tmp_path):
    """spaCy's logger adds losses up from evaluation to evaluation, the first is of step 0 only;
    JsonlLogger has divided them already."""
    from spacy_reprtune.reporting.sections.curves import _losses

    path = tmp_path / "x.training.jsonl"
    rows = [{"step": 0, "losses": {"a": 2.0}}, {"step": 10, "losses": {"a": 5.0, "b": 10.0}}]
    srsly.write_jsonl(path, rows)
    assert _losses(read_training_log(path)) == ([0.0, 10.0], [2.0, 1.5])
    srsly.write_jsonl(path, [{"kind": "start"}, *({"kind": "evaluation", **row} for row in rows)])
    assert _losses(read_training_log(path)) == ([0.0, 10.0], [2.0, 15.0])
