"""What a preview says of a plan, against what the same plan draws; and that it says anew what changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.reasoning.models import PathLabel, ReasoningPath, Run, RunQuestion, Verdict
from apps.reasoning.services import assess_questions
from apps.review.queues import cells, frames
from apps.review.queues.cells import cells_of
from apps.review.queues.drawing import draw_plan
from apps.review.queues.flags import flag_question
from apps.review.queues.frames import fetch
from apps.review.queues.plans import parse_plan
from apps.review.queues.preview import preview_plan
from tests.factories import make_user, make_verdict
from tests.reasoning.test_ledger import make_true_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    """People overruled the judge, on some paths it said nothing, one was replaced, a question is set aside."""
    run = make_true_run(17)
    questions = list(RunQuestion.objects.filter(run=run).order_by("question_id").values_list("question_id", flat=True))
    paths = list(ReasoningPath.objects.filter(run=run, origin="generated", current=True).order_by("question_id", "pk"))
    judged = Verdict.objects.filter(run=run, source="judge")
    person = make_user()
    for path in (paths[0], paths[10], paths[40], paths[41]):
        label = PathLabel.objects.get(run=run, path=path).judge_label
        make_verdict(path, reviewer=person, label="error" if label == "correct" else "correct")
    nothing = {"label": "unjudged", "correctness": None, "coherence": None, "factuality": None}
    judged.filter(path__in=(paths[20], paths[41], paths[60])).update(**nothing)
    judged.filter(path=paths[70]).delete()
    ReasoningPath.objects.filter(pk=paths[80].pk).update(current=False)
    with transaction.atomic():
        assess_questions(run=run, question_ids=questions)
    flag_question(question=paths[100].question, project=run.project, reviewer=person, kind="key_wrong")
    with connection.cursor() as cursor:  # or hundreds of draws are planned by what earlier tests left
        cursor.execute("ANALYZE reasoning_pathlabel, reasoning_reasoningpath, reasoning_runquestion")
    return run


FILTERS: list[dict[str, Any]] = [
    {},
    {"tiers": ["medium", ""]},
    {"labels": ["error", "unjudged"], "generators": ["qwen2.5-72b"]},
    {"labels": [""]},
    {"benchmarks": ["medqa", "mmlu"], "error_counts": [0, 3, 4, 5]},
]


@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("by", [["benchmark"], ["tier"], ["generator", "label"], ["tier", "label"]])
def test_strata_are_as_large_as_those_drawn_from(run: Run, chosen: dict[str, Any], by: list[str]) -> None:
    for whole in (False, True) if set(by) <= {"benchmark", "tier"} else (False,):
        plan = parse_plan({"kind": "stratified", "by": by, "whole_questions": whole, "size": 40, "filter": chosen})
        sizes = frames.stratum_sizes(run, plan)
        assert sizes
        assert {s.name: s.of for s in preview_plan(run=run, plan=plan).strata} == sizes


@pytest.mark.parametrize("chosen", [FILTERS[0], FILTERS[1], FILTERS[4]])
def test_questions_by_what_the_judge_said_are_those_of_the_ledger(run: Run, chosen: dict[str, Any]) -> None:
    plan = parse_plan({"kind": "tier_flip", "filter": chosen})
    counted: Counter[tuple[int, int]] = Counter()
    for cell in cells_of(run):
        if cell.tier and cell.is_among(plan.filter):
            said: Counter[str] = Counter()
            for (_, label), n in cell.paths:
                said[label] += n
            counted[said["error"], said["correct"]] += cell.questions
    assert counted == {(e, c): n for e, c, n in frames.label_counts(run, plan.filter)}


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "random", "size": 30},
        {"kind": "random", "size": 10_000},
        {"kind": "random", "size": 5, "whole_questions": True},
        {"kind": "random", "size": 500, "whole_questions": True},
        {"kind": "stratified", "by": ["tier", "label"], "size": 30},
        {"kind": "stratified", "by": ["tier"], "size": 5, "whole_questions": True},
        {"kind": "tier_flip", "size": 3},
        {"kind": "tier_flip", "size": 12, "filter": {"tiers": ["easy", "medium"]}},
    ],
)
def test_a_preview_says_what_is_drawn(run: Run, given: dict[str, Any]) -> None:
    """What it leaves open, it says on the whole: the mean of many draws."""
    said = preview_plan(run=run, plan=parse_plan(given))
    # a few whole questions differ far more from draw to draw than paths do: their mean needs more draws to be this near
    seeds = 240 if given.get("whole_questions") or given["kind"] == "tier_flip" else 24
    draws = [drawn(run, given | {"seed": seed}) for seed in range(seeds)]
    for one in draws:
        assert about(len(one), said.size, said.about_paths)
        assert about(len({question for question, *_ in one}), said.questions, said.about_questions)
        if not said.about_paths:
            assert Counter(stratum for _, stratum, _, _ in one) == {s.name: s.paths for s in said.strata}
        for _, stratum, chance, _ in one:
            assert chance == next(s.probability for s in said.strata if s.name == stratum)
    labels = Counter(label for one in draws for *_, label in one)
    assert sum(said.labels.values()) == said.size
    for label in labels | Counter(said.labels):
        assert labels[label] / seeds == pytest.approx(said.labels.get(label, 0), abs=max(2, 0.06 * said.size))
    questions = sum(len({question for question, *_ in one}) for one in draws) / seeds
    assert questions == pytest.approx(said.questions, abs=1)


def test_a_preview_of_picked_paths_is_the_draw_of_its_seed(run: Run) -> None:
    for seed in range(5):
        given = {"kind": "contradictions", "size": 3, "seed": seed}
        said, one = preview_plan(run=run, plan=parse_plan(given)), drawn(run, given)
        assert said.size == len(one) == 3
        assert {s.name: s.paths for s in said.strata} == Counter(stratum for _, stratum, _, _ in one)
        assert said.labels == Counter(label for *_, label in one)


def drawn(run: Run, given: dict[str, Any]) -> list[tuple[int, str, float | None, str]]:
    """(question, stratum, chance, the judge's label) of each path."""
    found = draw_plan(run, parse_plan(given))
    rows = fetch(
        f"SELECT d.question_id, d.stratum, d.probability, l.judge_label FROM ({found.sql}) d"
        " JOIN reasoning_pathlabel l ON l.path_id = d.path_id AND l.run_id = %(run)s",
        found.parameters,
    )
    return [(question, stratum, chance, label) for question, stratum, chance, label in rows]


def about(found: int, said: int, roughly: bool) -> bool:
    return abs(found - said) <= (0.2 * said + 1 if roughly else 0)


def test_it_is_counted_once_until_someone_says_more(run: Run) -> None:
    plan = parse_plan({"kind": "stratified", "by": ["tier"], "size": 20})
    before = preview_plan(run=run, plan=plan)
    with CaptureQueriesContext(connection) as again:
        assert preview_plan(run=run, plan=plan) == before
    assert len(again) == 1  # whether anything changed
    easy = RunQuestion.objects.filter(run=run, error_count=4, overridden=False)[0]
    correct = PathLabel.objects.filter(run=run, question=easy.question_id, label="correct", path__origin="generated")
    make_verdict(correct[0].path, reviewer=make_user(), label="error")
    with transaction.atomic():
        assess_questions(run=run, question_ids=[easy.question_id])
    sizes = {s.name: s.of or 0 for s in before.strata}
    after = {s.name: s.of for s in preview_plan(run=run, plan=plan).strata}
    assert after == sizes | {"easy": sizes["easy"] - 9, "medium": sizes["medium"] + 9}


def test_most_questions_are_counted_by_their_pattern_alone(run: Run) -> None:
    by_pattern = fetch(cells._BY_PATTERN, {"run": run.pk})
    path_by_path = fetch(cells._PATH_BY_PATH, {"run": run.pk})
    assert sum(row[-1] for row in by_pattern) + sum(row[-1] for row in path_by_path) == 16  # one is set aside
    assert 4 <= sum(row[-1] for row in path_by_path) <= 8
