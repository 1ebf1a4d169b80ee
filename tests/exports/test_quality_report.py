"""The gates over the records of a run."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.exports.gates.report import check_run
from apps.reasoning.models import Response, Run, Selection
from tests.factories import make_finished_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    return make_finished_run(4, name="checked")


def test_each_record_once_with_the_place_of_what_was_found(run: Run, django_assert_max_num_queries: Any) -> None:
    records = Selection.objects.filter(run=run, current=True).count()
    before = check_run(run)
    assert before.records == records
    response = Response.objects.filter(run=run).order_by("pk")[0]
    Response.objects.filter(pk=response.pk).update(text="<think>Hm.</think> " + response.text)
    with django_assert_max_num_queries(
        15
    ):  # what was found before, what is found now, and the records of which others are twins
        after = check_run(run)
    assert after.counts["think_tag"] == before.counts["think_tag"] + 1
    sample = after.samples["think_tag"][-1]
    assert sample.finding.part == "response"
    assert sample.uid == response.path.question.uid


def test_the_command(run: Run) -> None:
    out = io.StringIO()
    call_command("quality_report", run.name, "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert said["records"] == check_run(run).records
    assert set(said["gates"]) >= {"loop", "leaked_prompt", "answer"}
    call_command("quality_report", run.name, "--save", stdout=out)
    assert f"{said['records']} records, {said['flagged']} with a finding" in out.getvalue()
    kept = run.inspections.get().result
    assert {name: gate["records"] for name, gate in kept["gates"].items()} == {
        name: gate["records"] for name, gate in said["gates"].items()
    }
    with pytest.raises(CommandError, match="No run is named"):
        call_command("quality_report", "nothing")
