"""An item with all that its page shows, in one statement whose text is made once.

It is read with every request of the review screen; `select_related` over these six models takes 3 ms to put the same
statement together again each time, ten times what PostgreSQL needs to answer it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import Field, Model

from apps.questions.models import Benchmark, Question
from apps.reasoning.models import ReasoningPath, Run
from apps.review.models import QueueItem, ReviewQueue

UNREAD = {ReasoningPath: {"raw"}, Question: {"search", "meta"}}  # what no page of an item shows

# model, its alias, and the relation that leads to it: (alias it hangs on, attribute)
_MODELS: tuple[tuple[type[Model], str, tuple[str, str] | None], ...] = (
    (QueueItem, "i", None),
    (ReviewQueue, "q", ("i", "queue")),
    (Run, "r", ("q", "run")),
    (ReasoningPath, "p", ("i", "path")),
    (Question, "u", ("i", "question")),
    (Benchmark, "b", ("u", "benchmark")),
)


def read_item(item_id: int) -> QueueItem | None:
    """With its queue, the queue's run, the path, the question and its benchmark."""
    with connection.cursor() as cursor:
        cursor.execute(_statement(), [item_id])
        row = cursor.fetchone()
    return _build(row) if row else None


@cache
def _statement() -> str:
    columns = ", ".join(f'{alias}."{f.column}"' for model, alias, _ in _MODELS for f in _fields(model))
    joins = (
        f'JOIN {model._meta.db_table} {alias} ON {alias}.id = {held[0]}."{held[1]}_id"'
        for model, alias, held in _MODELS
        if held
    )
    return f"SELECT {columns} FROM {QueueItem._meta.db_table} i {' '.join(joins)} WHERE i.id = %s"  # noqa: S608


@cache
def _fields(model: type[Model]) -> Sequence[Field[Any, Any]]:
    return [f for f in model._meta.concrete_fields if f.name not in UNREAD.get(model, ())]


def _build(row: Sequence[Any]) -> QueueItem:
    values = iter(row)
    made: dict[str, Any] = {}
    for model, alias, held in _MODELS:
        made[alias] = _instance(model, values)
        if held:
            setattr(made[held[0]], held[1], made[alias])
    item: QueueItem = made["i"]
    return item


def _instance(model: type[Model], values: Iterator[Any]) -> Model:
    found = {}
    for field in _fields(model):
        value, read = next(values), getattr(field, "from_db_value", None)
        found[field.attname] = read(value, None, connection) if read else value
    return model.from_db("default", list(found), list(found.values()))
