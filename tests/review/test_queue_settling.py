"""Flags set questions aside and come back; a third person settles what two disagree on, never one of the two."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import RunQuestion, Selection, Verdict
from apps.reasoning.selectors import run_counters
from apps.review.models import Claim, QuestionFlag, QueueItem
from apps.review.queues.adjudication import adjudicate, disputed_paths
from apps.review.queues.errors import ItemLost, NotAdmitted, QueueError
from apps.review.queues.flags import flag_question, resolve_flag, withdraw_flag
from apps.review.queues.judging import undo_item
from apps.review.queues.said import Said
from apps.review.services import OverrideError, VersionConflict, confirm_remake, override_verdict
from tests.factories import make_project, make_user, make_verdict
from tests.reasoning.test_ledger import make_true_run
from tests.review.queue_world import CORRECT, ERROR, at_once, claim_one, item_of, judge, make_queue
from tests.review.test_override import make_run, make_scene

pytestmark = pytest.mark.django_db


def two_who_differ(*, errors: int = 4):
    """A question whose third path is disputed."""
    scene = make_scene(errors, run=make_run(config={"label_policy": "two"}))
    scene.override(2)
    scene.override(2, "correct", reviewer=make_user())
    return scene


def settle(scene, by, said=ERROR, **changes):
    given = {"run": scene.run, "path": scene.paths[2], "by": by, "said": said, "idempotency_key": uuid4()}
    return adjudicate(**(given | changes))


def test_a_flag_sets_the_question_and_all_its_paths_aside_at_once():
    run = make_true_run(3)
    queue = make_queue(run)
    row = RunQuestion.objects.get(run=run, error_count=2)
    person = make_user()
    before, counters = (row.tier, row.error_count, row.pattern), run_counters(run)
    make_queue(run)
    item = QueueItem.objects.filter(queue=queue, question=row.question_id).first()
    flag = flag_question(
        question=row.question, project=run.project, reviewer=person, kind="key_wrong", note=" B. ", item=item
    )
    row.refresh_from_db()
    assert (row.state, row.reason, row.records) == ("excluded", "question_invalid", 0)
    assert (row.tier, row.error_count, row.pattern) == before
    assert not Selection.objects.filter(run=run, question=row.question_id, current=True).exists()
    assert set(QueueItem.objects.filter(question=row.question_id).values_list("set_aside", "open")) == {(True, False)}
    assert QueueItem.objects.filter(question=row.question_id).count() == 18
    assert (flag.note, flag.state) == ("B.", "open")
    assert check_run(run) == []
    assert run_counters(run)["records"] == counters["records"] - 2

    adjudicator = make_user("adjudicator")
    with pytest.raises(QueueError, match="why"):
        resolve_flag(flag=flag, by=adjudicator, uphold=False)
    resolve_flag(flag=flag, by=adjudicator, uphold=False, why="The key is right since 2019.")
    row.refresh_from_db()
    assert (row.state, row.reason, row.records) == ("ready", "", 2)
    assert not QueueItem.objects.filter(question=row.question_id, set_aside=True).exists()
    assert QueueItem.objects.filter(question=row.question_id, open=True).exists()
    assert QuestionFlag.objects.get().resolved_by == adjudicator
    assert check_run(run) == []


def test_an_upheld_flag_keeps_the_question_out_and_one_of_two_is_enough():
    run = make_true_run(1)
    question = RunQuestion.objects.get(run=run).question
    flags = [
        flag_question(question=question, project=run.project, reviewer=make_user(), kind=kind)
        for kind in ("ambiguous", "outdated")
    ]
    adjudicator = make_user("adjudicator")
    resolve_flag(flag=flags[0], by=adjudicator, uphold=False, why="Clear enough.")
    assert RunQuestion.objects.get(run=run).reason == "question_invalid"
    resolve_flag(flag=flags[1], by=adjudicator, uphold=True)
    assert RunQuestion.objects.get(run=run).reason == "question_invalid"
    with pytest.raises(QueueError, match="settled already"):
        resolve_flag(flag=flags[1], by=adjudicator, uphold=False, why="No.")
    for role in ("clinician", "curator"):
        with pytest.raises(NotAdmitted):
            resolve_flag(flag=flags[1], by=make_user(role), uphold=True)


def test_who_raised_a_flag_takes_it_back_while_it_is_open():
    run = make_true_run(1)
    row = RunQuestion.objects.get(run=run)
    raised = {"question": row.question, "project": run.project, "kind": "ambiguous"}
    person, other, adjudicator = make_user(), make_user(), make_user("adjudicator")
    mine, theirs = (flag_question(**raised, reviewer=who) for who in (person, other))
    with pytest.raises(NotAdmitted, match="Only who raised"):
        withdraw_flag(flag=theirs, by=person)
    withdraw_flag(flag=mine, by=person)
    row.refresh_from_db()
    assert row.reason == "question_invalid"  # the other one stands
    withdraw_flag(flag=theirs, by=other)
    row.refresh_from_db()
    assert row.state == "ready"
    assert withdraw_flag(flag=mine, by=person).resolution == "Taken back by who raised it."  # the same again
    upheld = flag_question(**raised, reviewer=person)
    resolve_flag(flag=upheld, by=adjudicator, uphold=True)
    with pytest.raises(QueueError, match="settled already"):
        withdraw_flag(flag=upheld, by=person)
    assert check_run(run) == []


def test_the_same_flag_again_is_the_one_that_is_there():
    run = make_true_run(2)
    one, other = [row.question for row in RunQuestion.objects.filter(run=run)]
    person, key = make_user(), uuid4()
    given = {"project": run.project, "reviewer": person, "kind": "ambiguous"}
    flag = flag_question(question=one, idempotency_key=key, **given)
    assert flag_question(question=one, idempotency_key=key, **given) == flag
    assert flag_question(question=one, **given) == flag
    with pytest.raises(QueueError, match="another judgment"):
        flag_question(question=other, idempotency_key=key, **given)
    with pytest.raises(QueueError, match="Say what"):
        flag_question(question=other, project=run.project, reviewer=person, kind="boring")


def test_a_flag_reaches_the_runs_of_its_project_alone():
    mine = make_true_run(1)
    question = RunQuestion.objects.get(run=mine).question
    flag_question(question=question, project=make_project("elsewhere"), reviewer=make_user(), kind="outdated")
    assert RunQuestion.objects.get(run=mine).state == "ready"
    assert check_run(mine) == []


def test_an_item_on_the_screen_when_its_question_is_flagged_is_not_saved_but_told():
    run = make_true_run(1)
    claim = claim_one(make_queue(run), make_user())
    flag_question(question=item_of(claim).question, project=run.project, reviewer=make_user(), kind="key_wrong")
    with pytest.raises(ItemLost, match="set aside"):
        judge(claim)
    assert Claim.objects.get(pk=claim.pk).state == "released"


def test_a_third_person_settles_a_dispute():
    scene = two_who_differ()
    assert (scene.row().state, scene.row().reason) == ("waiting", "disputed")
    by = make_user("adjudicator")
    assert [d.path_id for d in disputed_paths(scene.run, by)] == [scene.paths[2].pk]
    done = settle(scene, by, expected_version=scene.row().version)
    row = scene.row()
    assert (row.disputed, row.error_count, row.tier) == (False, 5, "medium")
    assert done.consequences.errors_after == 5
    assert (row.state, row.reason) == (done.consequences.state_after, done.consequences.reason_after)
    assert scene.verdicts(2)[-1] == ("adjudication", "error", True)
    assert not disputed_paths(scene.run, by).exists()
    assert check_run(scene.run) == []
    confirm_remake(run=scene.run, question_ids=[scene.question], by=by)
    assert scene.row().reason == "refine"


def test_an_adjudication_stands_whatever_is_said_later():
    scene = two_who_differ()
    settle(scene, make_user("adjudicator"))
    scene.override(2, "correct", reviewer=make_user())
    assert scene.row().error_count == 5
    assert check_run(scene.run) == []


def test_authors_and_others_may_not_settle():
    scene = two_who_differ()
    author = make_user("adjudicator")
    scene.override(2, reviewer=author)
    assert not disputed_paths(scene.run, author).exists()
    for person in (author, scene.person, make_user("curator")):
        with pytest.raises(NotAdmitted):
            settle(scene, person)
    assert not Verdict.objects.filter(source="adjudication").exists()


def test_the_database_refuses_an_author_as_adjudicator_and_the_other_way_round():
    scene = two_who_differ()
    with pytest.raises(IntegrityError, match="is an author"), transaction.atomic():
        make_verdict(scene.paths[2], label="error", reviewer=scene.person, source="adjudication")
    by = make_user("adjudicator")
    settle(scene, by)
    with pytest.raises(IntegrityError, match="is an author"), transaction.atomic():
        make_verdict(scene.paths[2], label="error", reviewer=by)
    with pytest.raises(OverrideError, match="Nobody both"):
        scene.override(2, reviewer=by)
    make_verdict(scene.paths[2], label="error", reviewer=by, counts=False)  # what only measures is in no dispute


def test_who_took_their_verdict_back_may_settle():
    scene = two_who_differ()
    by = make_user("adjudicator")
    queue = make_queue(scene.run, plan={"kind": "paths", "paths": [scene.paths[2].pk]})
    claim = claim_one(queue, by)
    judge(claim)
    with pytest.raises(NotAdmitted):
        settle(scene, by)
    undo_item(item=item_of(claim), reviewer=by, idempotency_key=uuid4())
    assert settle(scene, by).row.error_count == 5


def test_an_adjudication_sent_twice_is_one_and_a_late_one_is_told():
    scene, by, key = two_who_differ(), make_user("adjudicator"), uuid4()
    version = scene.row().version
    first = settle(scene, by, idempotency_key=key, expected_version=version)
    again = settle(scene, by, idempotency_key=key, expected_version=version)
    assert (again.replayed, again.verdict, again.summary) == (True, first.verdict, first.summary)
    with pytest.raises(VersionConflict):
        settle(scene, make_user("adjudicator"), CORRECT, expected_version=version)
    with pytest.raises(QueueError, match="another judgment"):
        settle(scene, make_user("adjudicator"), idempotency_key=key)
    with pytest.raises(QueueError):
        settle(scene, by, Said(label="error"))


@pytest.mark.django_db(transaction=True)
def test_judging_and_settling_at_the_same_moment_leaves_one_of_the_two():
    """The trigger makes the two inserts wait for each other: one person is never author and adjudicator of a path."""
    scene = two_who_differ()
    by = make_user("adjudicator")
    found = at_once(
        [
            lambda: settle(scene, by),
            lambda: make_verdict(scene.paths[2], label="error", reviewer=by, project=scene.run.project),
        ]
    )
    assert len([f for f in found if isinstance(f, Exception)]) == 1, found
    assert Verdict.objects.filter(reviewer=by, path=scene.paths[2]).count() == 1


def test_override_by_the_page_and_queue_are_one_verdict_of_a_person():
    run = make_true_run(2)
    queue, person = make_queue(run), make_user()
    claim = claim_one(queue, person)
    judge(claim)
    override_verdict(run=run, path=item_of(claim).path, reviewer=person, label="correct", correctness=True,
                     coherence=True, factuality=True, reason="After all.")  # fmt: skip
    found = Verdict.objects.filter(reviewer=person).order_by("pk")
    assert [(v.label, v.current) for v in found] == [("error", False), ("correct", True)]
    assert check_run(run) == []
