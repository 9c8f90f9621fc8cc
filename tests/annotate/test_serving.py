"""One pipeline serves many threads, and the server in the docs answers."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import spacy
from conftest import BAD, ENTITIES, GOOD

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
TEXTS = [*GOOD, *BAD, *(text for text, _ in ENTITIES)]


def answer(doc):
    return doc.cats, [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def test_eight_threads_get_what_sequential_calls_get(annotate_pipeline):
    nlp = spacy.load(annotate_pipeline)
    texts = [f"{text} {k}" for k in range(8) for text in TEXTS]
    expected = [answer(nlp(text)) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: answer(nlp(text)), texts))
        piped = list(threads.map(lambda k: list(map(answer, nlp.pipe(texts[k::8]))), range(8)))
    assert found == expected
    for k in range(8):
        for (cats, ents), (own_cats, own_ents) in zip(expected[k::8], piped[k], strict=True):
            assert own_ents == ents
            assert own_cats == pytest.approx(cats, abs=1e-5)


def test_the_server_in_the_docs_answers(annotate_pipeline, monkeypatch):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    code = re.search(r"```python\n(.+?)```", PAGE.read_text("utf8"), re.DOTALL)[1]
    monkeypatch.setenv("PIPELINE", str(annotate_pipeline))
    module = {"__name__": "server"}
    exec(compile(code, str(PAGE), "exec"), module)
    client = TestClient(module["app"])
    nlp = spacy.load(annotate_pipeline)
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda text: client.post("/annotate", json={"texts": [text]}), TEXTS)
        )
    for text, response in zip(TEXTS, answers, strict=True):
        assert response.status_code == 200
        cats, ents = answer(nlp(text))
        found = response.json()[0]
        assert [(e["start"], e["end"], e["label"]) for e in found["ents"]] == ents
        scores = {cat["label"]: cat["score"] for cat in found["cats"]}
        assert scores == pytest.approx(cats, abs=1e-5)
        assert found["error"] is None
    mixed = client.post("/annotate", json={"texts": [TEXTS[0], "x" * 1_000_001, TEXTS[1]]}).json()
    assert [row["error"] is None for row in mixed] == [True, False, True]
