"""Simulated models find the keys of imported questions, also of those imported after they started."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError

from apps.questions.models import Question
from apps.questions.text import join_question
from tests.factories import make_question
from workers.simulated import KeysUnavailableError
from workers.simulated.keys import DatabaseKeys

pytestmark = pytest.mark.django_db(transaction=True)


def text_of(question: Question) -> str:
    return join_question(question.contexts, question.stem, question.options)


def key_of(keys: DatabaseKeys, question: str) -> str:
    return async_to_sync(keys.key_of)(question)


def test_keys_of_questions_there_before_and_after():
    keys = DatabaseKeys()
    before = make_question(key=2)
    assert key_of(keys, text_of(before)) == "C"

    after = make_question(key=1, contexts=[{"label": "METHODS", "text": "Counted."}])

    assert key_of(keys, text_of(after)) == "B"
    assert key_of(keys, "Another question\nA. yes\nB. no") == ""


def test_a_known_question_costs_no_query(monkeypatch):
    keys = DatabaseKeys()
    question = make_question(key=0)
    assert key_of(keys, text_of(question)) == "A"
    monkeypatch.setattr(keys, "_refresh", lambda number: pytest.fail("asked the database again"))

    assert key_of(keys, text_of(question)) == "A"


def test_rows_that_appear_below_the_last_id_are_found():
    """As an import does that took its ids early and committed late."""
    keys = DatabaseKeys()
    assert key_of(keys, text_of(make_question(id=1000, key=0))) == "A"

    assert key_of(keys, text_of(make_question(id=500, key=3))) == "D"


def test_an_unreadable_database_is_said(monkeypatch):
    keys = DatabaseKeys()

    def fail() -> None:
        raise OperationalError("no server")

    monkeypatch.setattr(keys, "_load", fail)

    with pytest.raises(KeysUnavailableError, match="cannot be read: no server"):
        key_of(keys, "What?")
