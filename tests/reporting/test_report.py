import re
from html.parser import HTMLParser
from pathlib import Path

import catalogue
import pytest
import srsly
from made_up_metrics import (
    HOSTILE,
    cats_predictions,
    drawn_once,
    ents_predictions,
    write_project,
    write_recipe,
)
from markupsafe import Markup
from typer.testing import CliRunner

from spacy_reprtune.cli import reprtune_cli
from spacy_reprtune.reporting import page as page_module
from spacy_reprtune.reporting.plots import SPAN, draw_intervals, draw_lines
from spacy_reprtune.reporting.predictions import predictions_path, write_predictions

SECTIONS = [
    *("scores", "classes", "confusion", "curves", "training", "freezing", "few-shot"),
    *("pretraining", "errors", "changes", "data", "files"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The project, its page and its Markdown. Not to be changed."""
    project = write_project(tmp_path_factory.mktemp("whole") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "_svg", drawn_once)
        return project, *report(project)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project, in whose pages figures are those of `whole` if they have the same values."""
    monkeypatch.setattr(page_module, "_svg", drawn_once)
    return write_project(tmp_path / "project")


@pytest.fixture
def plain(project, monkeypatch):
    """The same for pages whose figures are not drawn, which takes most of the time."""
    monkeypatch.setattr(page_module, "_svg", lambda plot: Markup("<svg></svg>"))
    return project


def report(project, *options):
    """The page and the Markdown that the command writes."""
    html, markdown = project / "out" / "report.html", project / "out" / "report.md"
    args = ["report", project / "metrics", "--output", html, "--markdown", markdown, *options]
    done = CliRunner().invoke(reprtune_cli, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output
    return html.read_text(encoding="utf8"), markdown.read_text(encoding="utf8")


class Page(HTMLParser):
    """Notes what a browser would load or run, and whether tags match."""

    VOID = {"meta", "link", "img", "br", "hr", "input", "image"}

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.bad, self.open = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src", "srcset", "data", "action", "poster"):
                self.links.append(value)
            if name.startswith("on") or (name in ("style",) and "url(" in value.lower()):
                self.bad.append((tag, name, value))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_self_contained(html):
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "embed", "img", "image"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    outside = [b for b in page.bad if not re.fullmatch(r"[^(]*url\(#[\w-]+\)[^(]*", b[2])]
    assert outside == []
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_the_page_is_one_file_that_needs_no_network_and_runs_nothing(whole):
    _, html, _ = whole
    check_self_contained(html)
    assert "http:" not in html and "https:" not in html
    assert "default-src 'none'" in html and "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_every_part_is_there_and_nothing_is_missing(whole):
    _, html, markdown = whole
    page = Page(html)
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS
    assert "Missing" not in html and "Missing" not in markdown
    # Scores twice, three curves each for labels and entities, three of training, three experiments.
    assert page.tags.count("svg") == 1 + 6 + 3 + 3


def test_the_numbers_are_those_of_the_files(whole):
    project, html, markdown = whole
    scores = srsly.read_json(project / "metrics" / "joint.json")
    for page in (html, markdown):
        assert f"{scores['cats_macro_f']:.3f}" in page
        assert f"{scores['cats_f_per_type']['FAIR']['f']:.3f}" in page
        # Training time and memory, documents per second, memory and size of the pipeline.
        for number in ("95 s", "2,346", "123", "1,234", "91.2", "0.043"):
            assert number in page
        # What the judge of pretraining says.
        assert "+0.020 (+0.012 to +0.030), beyond chance" in page
        for number in ("0.823", "30 s", "3.142", "2.718", "23.14", "0.800 ± 0.020"):
            assert number in page
    assert "3 texts twice." in html and "textcat_x" in html and "numpy" in html


def test_the_best_recipe_is_named_and_marked(whole):
    _, html, markdown = whole
    assert "joint has the highest macro F" in html
    assert "It is better than frozen beyond chance." in html
    (row,) = [r for r in markdown.splitlines() if r.startswith("| joint |") and "95 s" in r]
    assert re.match(r"\| joint \| \*\*0\.\d{3}\*\* \| 0\.\d{3}–0\.\d{3} \|", row)


def test_the_table_counts_initialization_and_tells_a_failed_training(plain):
    for name, start, end in (
        ("frozen", {"initialize_seconds": 41.0}, {"error": None}),
        ("joint", {}, {"error": "ValueError: no"}),
    ):
        path = plain / "metrics" / f"{name}.training.jsonl"
        first, *rows, last = srsly.read_jsonl(path)
        srsly.write_jsonl(path, [{**first, **start}, *rows, {**last, **end}])
    _, markdown = report(plain)
    rows = {line.split(" | ")[0]: line for line in reversed(markdown.splitlines())}
    assert "| 53 s |" in rows["| frozen"] and "| over 95 s |" in rows["| joint"]
    assert "includes initialization" in markdown


def test_two_test_sets_of_a_kind_are_named_and_no_id_is_there_twice(project):
    write_recipe(project / "metrics", "other", ents_predictions(n_docs=9), 5.0, "corpus/o.spacy")
    html, markdown = report(project)
    check_self_contained(html)
    assert "other has entity F" in markdown and "ner has entity F" in markdown
    titles = re.findall(r"^\*\*(Entities.*?)\*\*$", markdown, re.MULTILINE)
    assert len(titles) == len(set(titles)) and len(titles) >= 6
    assert all("corpus/o.spacy" in title or "test set of ner" in title for title in titles)


@pytest.mark.parametrize(
    "gone, said",
    [
        ("metrics/joint.predictions.jsonl.gz", "metrics/joint.predictions.jsonl.gz"),
        ("metrics/ner.training.jsonl", "metrics/ner.training.jsonl"),
        ("metrics/sweep.json", "metrics/sweep.json"),
        ("metrics/learning-curve.json", "metrics/learning-curve.json"),
        ("metrics/check.json", "metrics/check.json"),
        ("corpus/manifest.json", "corpus/manifest.json"),
        ("training/mlm/report.json", "training/NAME/report.json"),
        ("training/mlm/log.jsonl", "training/mlm/log.jsonl"),
    ],
)
def test_the_last_line_names_what_is_missing(plain, gone, said):
    (plain / gone).unlink()
    html, markdown = report(plain)
    (missing,) = re.findall(r'<p class="missing">.*?</p>', html, re.DOTALL)
    assert said in missing and missing.count(", from <code>") == 1
    assert markdown.count("Missing: ") == 1
    last = markdown.rstrip().splitlines()[-1]
    assert last.startswith("Missing: ") and said.split("/")[-1].split(".")[0] in last
    shown = [i for i in Page(html).ids if i in SECTIONS]
    lost = set(SECTIONS) - set(shown)
    # Without its predictions, a recipe is not compared text by text.
    assert lost <= {"freezing", "few-shot", "pretraining"} | (
        {"changes"} if "predictions" in gone else set()
    )


def test_half_of_the_metrics_is_enough(plain):
    """What `spacy evaluate` leaves: scores of two recipes."""
    for path in plain.rglob("*"):
        if path.is_file() and path.name not in ("joint.json", "frozen.json"):
            path.unlink()
    html, markdown = report(plain)
    check_self_contained(html)
    assert [i for i in Page(html).ids if i in SECTIONS] == ["scores", "classes", "files"]
    assert html.count("Missing:") == 1 and html.count(", from <code>") >= 6
    assert "Behind" not in markdown and "Over" not in markdown
    assert "joint has the highest macro F" in html and "beyond chance" not in html


def test_a_report_of_one_model_explains_only_what_it_shows(tmp_path):
    metrics = tmp_path / "results"
    metrics.mkdir()
    write_recipe(metrics, "mine", cats_predictions(1.0), 12.0)
    done = CliRunner().invoke(
        reprtune_cli, ["report", str(metrics), "--markdown", str(tmp_path / "report.md")]
    )
    assert done.exit_code == 0, done.output
    assert "mine" in done.output and "macro F" in done.output and "0.969–1.000" in done.output
    markdown = (tmp_path / "report.md").read_text(encoding="utf8")
    for word in ("behind", "Behind", "Over", "GPU"):
        assert word not in markdown
    assert "0.969–1.000" in markdown
    # Only files that are looked for, under the names of the directories.
    assert markdown.count("Missing:") == 1 and "results/sweep.json" in markdown
    assert "metrics/" not in markdown


def test_axes_of_one_point_are_not_blown_up():
    figures = [
        draw_intervals([("mine", 0.98, (0.97, 0.99))], title="macro F"),
        draw_lines({"mine": ([0.0], [0.98])}, across="step", up="score on dev"),
        draw_lines({"mine": ([0.0], [0.7])}, across="step", up="loss", log=True),
    ]
    (low, high), _, _ = (figure.axes[0].get_xlim() for figure in figures)
    assert high - low >= SPAN - 1e-9 and high <= 1.01
    _, (low, high), loss = (figure.axes[0].get_ylim() for figure in figures)
    assert high - low >= SPAN - 1e-9 and high <= 1.01
    assert loss == pytest.approx((0.35, 1.4))
    assert [figure.axes[0].get_xlim()[0] for figure in figures[1:]] == [0, 0]


WALKS = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf8")
[SECTION] = [code for code in re.findall(r"```python\n(.*?)```", WALKS, re.DOTALL) if "kwh" in code]


def test_a_section_is_added_from_outside(plain, tmp_path):
    code = tmp_path / "sections.py"
    code.write_text(SECTION, encoding="utf8")
    try:
        html, markdown = report(plain, "--code", code)
        assert "energy (metrics/energy.json), from <code>measure-energy" in html
        assert 'id="energy"' not in html
        srsly.write_json(plain / "metrics" / "energy.json", {"kwh": 0.3})
        html, markdown = report(plain, "--code", code)
    finally:
        catalogue.REGISTRY.pop(("spacy_reprtune", "report_sections", "energy"))
    assert [i for i in Page(html).ids if i in ("data", "energy", "files")][1] == "energy"
    assert "## Energy\n\n0.3 kWh" in markdown


def test_a_check_is_enough(plain):
    for path in plain.rglob("*"):
        if path.is_file() and path.name != "check.json":
            path.unlink()
    html, _ = report(plain)
    assert "3 texts twice." in html and "scores of recipes (metrics/RECIPE.json)" in html


def test_a_broken_file_is_named_at_the_top(plain):
    (plain / "metrics" / "sweep.json").write_text('{"points": ', encoding="utf8")
    (plain / "metrics" / "ner.predictions.jsonl.gz").write_bytes(b"nothing of the kind")
    html, _ = report(plain)
    top = html[: html.index('<section id="scores"')]
    assert "sweep.json can&#39;t be read" in top or "sweep.json can't be read" in top
    assert "ner.predictions.jsonl.gz is not what" in top


def test_nothing_to_show_is_an_error_and_writes_nothing(tmp_path):
    (tmp_path / "metrics").mkdir()
    out = tmp_path / "report.html"
    args = ["report", str(tmp_path / "metrics"), "--output", str(out)]
    done = CliRunner().invoke(reprtune_cli, args)
    assert done.exit_code == 1 and "reprtune evaluate" in done.output and not out.exists()


def test_hostile_text_stays_text(project):
    """In texts, labels, names of files, messages, and whatever else comes from outside."""
    metrics = project / "metrics"
    cats = cats_predictions(0.5)
    cats.labels = [f"{label}{HOSTILE}" for label in cats.labels]
    for row in cats.rows:
        row.text = HOSTILE * 3
    write_recipe(metrics, "joint<b>", cats, 95.0)
    ents = ents_predictions()
    for row in ents.rows:
        row.text = row.text[:26] + HOSTILE
        row.ents.gold, row.ents.found = (
            [(*e[:2], e[2] + HOSTILE) for e in x] for x in (row.ents.gold, row.ents.found)
        )
    write_recipe(metrics, "ner", ents, 60.0)
    for path in (metrics / "check.json", project / "training" / "mlm" / "report.json"):
        text = path.read_text(encoding="utf8")
        text = text.replace("3 texts twice.", HOSTILE.replace('"', "'"))
        path.write_text(text.replace("A [MASK].", HOSTILE.replace('"', "'")), encoding="utf8")
    srsly.write_json(project / "corpus" / "manifest.json", {"packages": {HOSTILE: HOSTILE}})
    html, markdown = report(project, "--title", HOSTILE)
    check_self_contained(html)
    assert "&lt;script&gt;" in html and "<b>" not in html
    assert "{braces}" in html and "$x$" in html
    assert not re.search(r"(?<!\\)<(script|img|b)", markdown)


def test_many_labels_make_a_matrix_that_can_be_read(plain):
    cats = cats_predictions(0.5)
    cats.labels = [f"L{i:02}" for i in range(40)]
    for i, row in enumerate(cats.rows):
        row.cats.gold = [float(j == i % 40) for j in range(40)]
        row.cats.scores = [float(j == (i * 7) % 40) for j in range(40)]
    write_recipe(plain / "metrics", "joint", cats, 95.0)
    html, _ = report(plain)
    matrices = re.findall(r'<table class="matrix">.*?</table>', html, re.DOTALL)
    assert sum("(all others)" in matrix for matrix in matrices) == 1
    assert all(matrix.count("<tr>") <= 21 for matrix in matrices)


def test_the_same_files_give_the_same_page(whole):
    project, html, markdown = whole
    assert report(project) == (html, markdown)


def test_independent_labels_have_no_matrix(plain):
    cats = cats_predictions(0.8)
    cats.exclusive, cats.threshold = False, 0.5
    write_recipe(plain / "metrics", "many", cats, 95.0)
    path = plain / "metrics" / "many.json"
    scores = srsly.read_json(path)
    srsly.write_json(path, {**scores, "cats_score": 0.91, "cats_score_desc": "macro AUC"})
    cats.scores["cats_score"] = 0.91
    write_predictions(cats, predictions_path(path))
    html, _ = report(plain)
    assert "Text labels, by macro AUC" in html and "none is confused with another" in html
    assert "gold: no" in html or "gold: yes" in html
