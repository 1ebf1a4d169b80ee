"""A new run's questions are in the ledger as the assessment would write them, without being assessed one by one."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.pipeline.config import parse_config
from apps.pipeline.models import Task
from apps.pipeline.services import create_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import RunQuestion
from apps.review.models import QuestionFlag
from tests.factories import make_project, make_question, make_user

pytestmark = pytest.mark.django_db


def test_new_questions_held_out_ones_and_flagged_ones_show_no_drift():
    for benchmark in ("medqa", "medqa", "pubmedqa"):
        make_question(benchmark=benchmark)
    held_out, flagged = make_question(held_out=True), make_question()
    project = make_project()
    QuestionFlag.objects.create(question=flagged, project=project, reviewer=make_user(), kind="key_wrong")

    run = create_run(project=project, name="new", config=parse_config({}), allow_held_out=True)

    assert check_run(run) == []
    rows = dict(RunQuestion.objects.filter(run=run).values_list("question", "state"))
    assert len(rows) == 5
    assert rows[held_out.pk] == "waiting"
    assert rows[flagged.pk] == "excluded"
    assert Task.objects.filter(run=run, state="ready").count() == 15


def test_a_run_of_many_questions_takes_no_more_statements():
    make_question()
    statements = []
    for name, more in (("one", 0), ("many", 40)):
        for _ in range(more):
            make_question()
        with CaptureQueriesContext(
            connection,
        ) as captured:
            create_run(project=make_project(), name=name, config=parse_config({}))
        statements.append(len(captured))
    assert statements[0] >= statements[1]
