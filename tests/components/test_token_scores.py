"""Scores of single tokens beside those of entities."""

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_reprtune.components.token_scores import ner_token_score

WORDS = "Mira Holt met Jon in New York".split()


def example(predicted, gold, words=WORDS):
    nlp = spacy.blank("xx")
    docs = []
    for ents in (predicted, gold):
        doc = Doc(nlp.vocab, words=words)
        doc.set_ents([Span(doc, start, end, label) for start, end, label in ents])
        docs.append(doc)
    return Example(*docs)


GOLD = [(0, 2, "PER"), (3, 4, "PER"), (5, 7, "LOC")]


def test_an_entity_that_is_found_in_part_counts_in_part():
    scores = ner_token_score([example([(1, 2, "PER"), (5, 7, "LOC")], GOLD)])
    assert scores["ents_token_p"] == 1.0
    assert scores["ents_token_r"] == pytest.approx(3 / 5)
    assert scores["ents_token_f"] == pytest.approx(0.75)
    assert scores["ents_token_acc"] == pytest.approx(5 / 7)
    assert scores["ents_f"] == pytest.approx(0.4)  # one of two found, one of three wanted


def test_a_wrong_type_is_both_wrong_and_missing_and_borders_do_not_count():
    scores = ner_token_score([example([(0, 1, "PER"), (1, 2, "PER"), (3, 4, "LOC")], GOLD[:2])])
    assert scores["ents_token_p"] == scores["ents_token_r"] == pytest.approx(2 / 3)


def test_it_is_what_seqeval_says_of_tokens_as_sequences_of_their_own():
    """The chapter hands each label to seqeval by itself, so B and I are one."""
    predicted = [(0, 1, "PER"), (2, 4, "PER"), (6, 7, "LOC")]

    def kinds(ents):
        return {(i, label) for start, end, label in ents for i in range(start, end)}

    right = len(kinds(predicted) & kinds(GOLD))
    expected = 2 * right / (len(kinds(predicted)) + len(kinds(GOLD)))
    assert ner_token_score([example(predicted, GOLD)])["ents_token_f"] == pytest.approx(expected)


def test_unknown_gold_is_left_out_and_no_entity_at_all_is_no_division_by_zero():
    one = example([(0, 2, "PER")], [])
    one.reference.set_ents([], missing=[one.reference[0:2]], default="outside")
    scores = ner_token_score([one])
    assert scores["ents_token_f"] == 0.0
    assert scores["ents_token_acc"] == 1.0


def test_a_recognizer_takes_it_as_its_scorer(ner):
    nlp = spacy.blank("xx")
    config = {"scorer": {"@scorers": "spacy_reprtune.ner_token_scorer.v1"}}
    config["model"] = ner.get_pipe_config("ner")["model"]
    nlp.add_pipe("reprtune_ner", name="ner", config=config)
    nlp.initialize(lambda: ner.examples)
    scores = nlp.evaluate(ner.examples)
    assert {"ents_token_f", "ents_token_acc", "ents_f", "ents_ece"} <= set(scores)
