"""Plans by tier flip weigh a run by what its judge was measured to be worth."""

from __future__ import annotations

import pytest

from apps.reasoning.models import PathLabel, Run
from apps.review.queues import measured
from apps.review.queues.build import build_queue
from apps.review.queues.measured import Measured, kept_measure, measured_judge
from apps.review.queues.plans import SamplingPlan
from tests.factories import make_finished_run, make_user, make_verdict

pytestmark = pytest.mark.django_db


def people_say(run: Run, *, missed: int, blamed: int, most: int = 1000) -> None:
    """One person judges `most` of each label, and differs from the judge on some of them."""
    person = make_user()
    rows = PathLabel.objects.filter(run=run, path__origin="generated").select_related("path__run").order_by("path")
    for judge, other, differ in (("correct", "error", missed), ("error", "correct", blamed)):
        for place, row in enumerate(rows.filter(judge_label=judge)[:most]):
            make_verdict(row.path, reviewer=person, label=other if place < differ else judge)


def plan_kept(run: Run, plan: SamplingPlan) -> tuple[float, float]:
    made = build_queue(run=run, name="Near a cut-off", plan=plan).plan
    return made["sensitivity"], made["specificity"]


def test_the_measured_values_are_taken_and_kept_with_the_queue() -> None:
    run = make_finished_run(8)
    people_say(run, missed=4, blamed=2)
    errors = PathLabel.objects.filter(run=run, path__origin="generated", judge_label="error").count()
    corrects = 72 - errors
    wanted = Measured(
        round((errors - 2) / (errors + 2), 3), round((corrects - 4) / (corrects - 2), 3), errors + 2, corrects - 2
    )
    assert measured_judge(run) == wanted
    assert plan_kept(run, SamplingPlan(kind="tier_flip", size=2)) == (wanted.sensitivity, wanted.specificity)


def test_what_the_plan_says_of_the_judge_stands() -> None:
    run = make_finished_run(8)
    people_say(run, missed=4, blamed=2)
    assert plan_kept(run, SamplingPlan(kind="tier_flip", size=2, sensitivity=0.8, specificity=0.9)) == (0.8, 0.9)


def test_a_few_verdicts_measure_nothing() -> None:
    run = make_finished_run(8)
    people_say(run, missed=1, blamed=1, most=20)
    assert measured_judge(run) is None
    assert plan_kept(run, SamplingPlan(kind="tier_flip", size=2)) == (0.9, 0.95)


def test_a_page_reads_it_once_until_someone_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_finished_run(8)
    people_say(run, missed=4, blamed=2)
    before = kept_measure(run)
    assert before == measured_judge(run) is not None
    with monkeypatch.context() as unread:
        unread.setattr(measured, "measured_judge", lambda _: pytest.fail("it was kept"))
        assert kept_measure(run) == before
    people_say(run, missed=9, blamed=0)
    assert kept_measure(run) == measured_judge(run) != before
