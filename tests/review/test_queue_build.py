"""Queues as they are made: what each kind of plan holds, what is stored of the draw, who may see them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from apps.reasoning.models import PathLabel, ReasoningPath, RunQuestion
from apps.review.models import QueueItem, ReviewQueue
from apps.review.queues.build import Gold, build_queue, settled_gold
from apps.review.queues.drawing import draw_plan
from apps.review.queues.errors import QueueError
from apps.review.queues.frames import fetch
from apps.review.queues.plans import PlanError, mix, parse_plan
from apps.review.queues.preview import preview_plan
from apps.review.queues.selectors import queues_of
from tests.factories import make_project, make_user, make_verdict
from tests.reasoning.test_ledger import make_true_run
from tests.review.queue_world import make_queue

pytestmark = pytest.mark.django_db


def items(queue: ReviewQueue) -> list[QueueItem]:
    return list(queue.items.order_by("position").select_related("path"))


def test_a_random_plan_draws_current_base_paths_with_their_chance():
    run = make_true_run(5)
    queue = make_queue(run, plan={"size": 9, "seed": 7})
    found = items(queue)
    assert (len(found), queue.size) == (9, 9)
    assert [i.position for i in found] == list(range(1, 10))
    assert {i.inclusion_probability for i in found} == {9 / 45}
    assert {i.path.origin for i in found} == {"generated"}
    again = make_queue(run, plan={"size": 9, "seed": 7})
    other = make_queue(run, plan={"size": 9, "seed": 8})
    assert [i.path_id for i in items(again)] == [i.path_id for i in found] != [i.path_id for i in items(other)]


def test_the_database_draws_what_the_hash_says():
    run = make_true_run(4)
    paths = PathLabel.objects.filter(run=run, path__origin="generated").values_list("path_id", flat=True)
    lowest = sorted(paths, key=lambda path: mix(11, "draw", path))[:7]
    found = items(make_queue(run, plan={"size": 7, "seed": 11}))
    assert [i.path_id for i in found] == sorted(lowest, key=lambda path: mix(11, "order", path))


@pytest.mark.slow
def test_each_path_is_drawn_as_often_as_its_chance_says():
    run = make_true_run(2)
    wanted = {"kind": "stratified", "by": ["generator"], "filter": {"labels": ["correct"]}, "size": 6}
    times: Counter[int] = Counter()
    chance: dict[int, float] = {}
    for seed in range(300):
        drawn = draw_plan(run, parse_plan(wanted | {"seed": seed}))
        for path, probability in fetch(f"SELECT path_id, probability FROM ({drawn.sql}) d", drawn.parameters):
            times[path] += 1
            chance[path] = probability
    assert set(times) == set(PathLabel.objects.filter(run=run, judge_label="correct").values_list("path_id", flat=True))
    for path, probability in chance.items():
        expected = 300 * probability
        assert abs(times[path] - expected) <= 5 * (expected * (1 - probability)) ** 0.5, path


def test_gold_stands_among_the_others_and_takes_no_ones_place():
    run = make_true_run(3)
    paths = list(ReasoningPath.objects.filter(run=run, origin="generated").order_by("pk").values_list("pk", flat=True))
    for seed in range(8):
        plan = {"kind": "paths", "paths": paths[:12], "gold_share": 0.3, "seed": seed}
        queue = make_queue(run, plan=plan, gold=[Gold(path, "error") for path in paths[10:20]])
        found = items(queue)
        assert [i.position for i in found] == list(range(1, queue.size + 1)) == list(range(1, 18))
        assert [i.path_id for i in found if not i.gold_label] == paths[:12]
        assert {i.path_id for i in found if i.gold_label} <= set(paths[12:20])


def test_strata_are_honoured_and_weigh_up_to_the_run():
    run = make_true_run(7)
    queue = make_queue(run, plan={"kind": "stratified", "by": ["tier", "label"], "size": 12})
    found = items(queue)
    strata = Counter(i.stratum for i in found)
    assert set(strata) == {"easy / correct", "easy / error", "medium / correct", "medium / error", "difficult / correct", "difficult / error"}  # fmt: skip
    assert sum(1 / i.inclusion_probability for i in found) == pytest.approx(63)
    for item in found:
        row = RunQuestion.objects.get(run=run, question=item.question_id)
        label = PathLabel.objects.get(run=run, path=item.path_id)
        assert item.stratum == f"{row.tier} / {label.judge_label}"


def test_whole_questions_come_with_all_their_paths_side_by_side():
    queue = make_queue(questions=6, plan={"size": 2, "whole_questions": True})
    found = items(queue)
    assert len(found) == 18
    assert {i.inclusion_probability for i in found} == {2 / 6}
    assert len({i.question_id for i in found[:9]}) == len({i.question_id for i in found[9:]}) == 1


def test_contradictions_are_paths_and_questions_against_the_key():
    run = make_true_run(4)  # 0, 2, 4, 5 errors: one contradiction in the last
    contradiction = PathLabel.objects.get(run=run, contradiction=True)
    suspect = RunQuestion.objects.get(run=run, error_count=0)
    RunQuestion.objects.filter(pk=suspect.pk).update(answers="AAAAAAAAA")
    found = items(make_queue(run, plan={"kind": "contradictions"}))
    assert {(i.question_id, i.stratum) for i in found} == {
        (contradiction.question_id, "judge against answer"),
        (suspect.question_id, "all paths against key"),
    }
    assert {i.inclusion_probability for i in found} == {None}


def test_tier_flip_takes_the_questions_next_to_a_cut_off_first():
    run = make_true_run(8)  # 0, 2, 4, 5, 7, 8, 9, 3
    found = items(make_queue(run, plan={"kind": "tier_flip", "size": 6}))
    counts = dict(RunQuestion.objects.filter(run=run).values_list("question_id", "error_count"))
    order = list(dict.fromkeys(counts[i.question_id] for i in found))
    assert set(order[:4]) == {4, 5, 7, 8}
    assert order[4] in (3, 9)
    near = list(dict.fromkeys(i.priority for i in found if counts[i.question_id] in (4, 5, 7, 8)))
    assert near == sorted(near, reverse=True)
    assert all(0 < i.priority < 1 for i in found)


def test_disagreement_holds_what_reviewers_differ_on():
    run = make_true_run(2)
    first, second, settled = ReasoningPath.objects.filter(run=run, origin="generated").order_by("pk")[:3]
    for path, labels in ((first, ("correct", "error")), (second, ("error", "error")), (settled, ("correct", "error"))):
        for label in labels:
            make_verdict(path, label=label, reviewer=make_user())
    make_verdict(settled, label="error", reviewer=make_user(), source="adjudication")
    PathLabel.objects.filter(run=run, path=settled).update(source="adjudication")
    assert [i.path_id for i in items(make_queue(run, plan={"kind": "disagreement"}))] == [first.pk]


def test_gold_is_mixed_in_from_what_people_settled():
    run = make_true_run(3)
    paths = list(ReasoningPath.objects.filter(run=run, origin="generated").order_by("pk"))
    for path in paths[:9]:
        make_verdict(path, label="error", reviewer=make_user("adjudicator"), source="adjudication", reason="Unsafe.")
        PathLabel.objects.filter(run=run, path=path).update(overridden=True)
    assert {g.label for g in settled_gold(run)} == {"error"}
    others = [p.pk for p in paths[9:17]]
    queue = make_queue(run, plan={"kind": "paths", "paths": others, "gold_share": 0.2})
    gold = [i for i in items(queue) if i.gold_label]
    assert (queue.size, len(gold)) == (10, 2)
    assert {(i.gold_label, i.gold_reason, i.stratum) for i in gold} == {("error", "Unsafe.", "gold")}


def test_gold_without_anything_settled_is_refused():
    with pytest.raises(PlanError, match="nothing is settled yet"):
        make_queue(plan={"gold_share": 0.1})


def test_a_filter_narrows_the_draw_and_an_empty_one_is_refused():
    run = make_true_run(5)
    queue = make_queue(
        run, plan={"filter": {"tiers": ["medium"], "labels": ["error"], "generators": ["qwen2.5-72b"]}, "size": 500}
    )
    for item in items(queue):
        label = PathLabel.objects.get(run=run, path=item.path_id)
        assert (label.judge_label, item.path.generator) == ("error", "qwen2.5-72b")
    with pytest.raises(PlanError, match="No path fits"):
        make_queue(run, plan={"filter": {"benchmarks": ["nothing"]}})
    assert ReviewQueue.objects.count() == 1


def test_a_preview_says_what_the_queue_will_hold_and_writes_nothing():
    run = make_true_run(7)
    plan = {"kind": "stratified", "by": ["tier"], "size": 3, "whole_questions": True}
    said = preview_plan(run=run, plan=parse_plan(plan))
    assert (said.size, said.questions) == (27, 3)
    assert [(s.name, s.paths, s.units) for s in said.strata] == [("difficult", 9, 1), ("easy", 9, 1), ("medium", 9, 1)]
    assert all(s.of and s.probability == 1 / s.of for s in said.strata)
    assert sum(said.labels.values()) == 27
    assert not ReviewQueue.objects.exists()
    made = make_queue(run, plan=plan)
    assert Counter(i.stratum for i in items(made)) == {s.name: s.paths for s in said.strata}


def test_practice_is_everyones_and_never_counts():
    run = make_true_run(1)
    path = ReasoningPath.objects.filter(run=run).first()
    queue = make_queue(run, practice=True, gold=[Gold(path.pk, "correct", "Weighs every option.")])
    assert (queue.size, queue.counts, queue.feedback) == (1, False, True)
    with pytest.raises(IntegrityError), transaction.atomic():
        ReviewQueue.objects.filter(pk=queue.pk).update(counts=True)


@pytest.mark.parametrize(
    "bad",
    [{"name": " "}, {"name": "x" * 101}, {"role": ""}, {"role": "king"}, {"overlap": 0}],
)
def test_a_queue_that_cannot_be_is_refused(bad):
    run = make_true_run(1)
    with pytest.raises(QueueError):
        build_queue(**({"run": run, "name": "q", "plan": parse_plan({})} | bad))


def test_a_name_is_taken_once_in_a_project():
    queue = make_queue()
    with pytest.raises(QueueError, match="already"):
        build_queue(run=queue.run, name=queue.name, plan=parse_plan({}))


def test_a_path_stands_once_in_a_queue_and_its_chance_is_a_chance():
    item = items(make_queue(questions=1))[0]
    with pytest.raises(IntegrityError), transaction.atomic():
        QueueItem.objects.create(queue=item.queue, path=item.path, question=item.question, position=9_999)
    for wrong in (
        {"inclusion_probability": 0},
        {"inclusion_probability": 1.5},
        {"done": 1},
        {"gold_label": "unjudged"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            QueueItem.objects.filter(pk=item.pk).update(**wrong)


def test_who_sees_a_queue():
    run = make_true_run(1)
    named = make_user()
    everyones = make_queue(run)
    personal = make_queue(run, role="", reviewers=[named])
    adjudicators = make_queue(run, role="adjudicator")

    def seen(user) -> set[int]:
        return set(queues_of(run.project, user).values_list("pk", flat=True))

    assert seen(make_user()) == {everyones.pk}
    assert seen(named) == {everyones.pk, personal.pk}
    assert seen(make_user("adjudicator")) == {everyones.pk, adjudicators.pk}
    assert seen(make_user("curator")) == {everyones.pk, personal.pk, adjudicators.pk}
    assert seen(make_user("consumer")) == set()
    assert list(queues_of(make_project("other"), named)) == []


def test_the_commands_make_a_queue_and_tell_of_it(capsys):
    run = make_true_run(3)
    call_command("make_queue", run.name, "--name", "calibration", "--plan", "stratified", "--by", "tier", "--size", "2",
                 "--whole-questions", "--measure", "--overlap", "2")  # fmt: skip
    assert "18 items" in capsys.readouterr().out
    queue = ReviewQueue.objects.get(name="calibration")
    assert (queue.overlap, queue.counts, queue.plan["by"], queue.role) == (2, False, ["tier"], "clinician")
    call_command("queue_status", "calibration", "--json")
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["size"], row["wanted"], row["judgments"], row["state"]) == (18, 36, 0, "open")
    with pytest.raises(SystemExit):
        call_command("make_queue", run.name, "--name", "calibration")
    with pytest.raises(SystemExit):
        call_command("make_queue", run.name, "--name", "other", "--plan", "{nonsense")
    with pytest.raises(SystemExit):
        call_command("queue_status", "nothing")
