"""Judging: saved once or refused in words, blind first, revised and undone as new verdicts, never lost."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import PathLabel, ReasoningPath, RunQuestion, Verdict
from apps.reasoning.sentences import SPLITTER_VERSION
from apps.review.models import Claim, ClaimState, Judgment, QueueItem
from apps.review.queues.build import Gold, set_queue_state
from apps.review.queues.claims import claim_next, release_item
from apps.review.queues.errors import ItemChanged, ItemLost, NotAdmitted, QueueError
from apps.review.queues.judging import keep_item, undo_item, undo_last
from apps.review.queues.said import Said
from apps.review.queues.selectors import (
    first_blind_judgments,
    my_progress,
    queue_progress,
    resumable,
    view_item,
)
from apps.review.services import override_verdict
from tests.factories import make_user
from tests.reasoning.test_ledger import make_true_run
from tests.review.queue_world import (
    CORRECT,
    ERROR,
    at_once,
    claim_one,
    clinicians,
    finish_all,
    item_of,
    judge,
    make_queue,
)

pytestmark = pytest.mark.django_db


def path_queue(place: int = 0, *, run=None, **fields):
    """A queue of one path of a question with two errors: paths 0–6 are Correct to the judge, 7 and 8 Errors."""
    run = run or make_true_run(2)
    row = RunQuestion.objects.get(run=run, error_count=2)
    path = ReasoningPath.objects.filter(run=run, question=row.question_id, origin="generated").order_by("pk")[place]
    return make_queue(run, plan={"kind": "paths", "paths": [path.pk]}, **fields)


def row_of(claim: Claim) -> RunQuestion:
    item = item_of(claim)
    return RunQuestion.objects.get(run=item.queue.run, question=item.question_id)


def verdicts(claim: Claim) -> list[tuple[str, bool, bool]]:
    found = Verdict.objects.filter(path=item_of(claim).path_id, source="person").order_by("pk")
    return [(v.label, v.counts, v.current) for v in found]


def test_a_counting_judgment_is_a_verdict_with_its_consequences():
    claim = claim_one(path_queue(), make_user())
    done = judge(claim)
    assert done.summary.startswith("2 → 3 errors: stays easy")
    assert (row_of(claim).error_count, row_of(claim).overridden) == (3, True)
    judgment = Judgment.objects.get()
    assert (judgment.phase, judgment.blind, judgment.round, judgment.reasons) == ("first", True, 1, ["wrong_fact"])
    assert judgment.sentences == [[SPLITTER_VERSION, 2, "The patient's findings have to be explained together."]]
    verdict = judgment.verdict
    assert (verdict.correctness, verdict.coherence, verdict.factuality) == (True, True, False)
    assert verdict.reason == "Wrong fact"
    assert verdict.details["sentences"] == [2]
    item = QueueItem.objects.get(pk=claim.item_id)
    assert (item.done, item.open) == (1, False)
    assert check_run(item_of(claim).queue.run) == []


def test_a_measuring_judgment_moves_nothing_and_replaces_nothing_that_counts():
    queue, person = path_queue(counts=False), make_user()
    claim = claim_one(queue, person)
    version = row_of(claim).version
    override_verdict(run=queue.run, path=item_of(claim).path, reviewer=person, label="error", correctness=False,
                     coherence=True, factuality=True, reason="Unsafe.")  # fmt: skip
    counted = row_of(claim)
    assert judge(claim, CORRECT).summary == ""
    assert verdicts(claim) == [("error", True, True), ("correct", False, True)]
    now = row_of(claim)
    assert (now.error_count, now.version) == (counted.error_count, counted.version)
    assert now.version > version
    assert check_run(queue.run) == []


def test_blind_first_then_the_judges_verdict_then_keep_or_revise():
    claim = claim_one(path_queue(7), make_user())
    before = view_item(claim)
    assert (before.reveal, before.mine) == (None, None)
    done = judge(claim, CORRECT)
    assert (done.reveal.label, done.reveal.generator, done.reveal.reason) == (
        "error", "huatuogpt-o1-70b", "Starts insulin at a potassium of 3.1.",
    )  # fmt: skip
    keep_item(item=item_of(claim), reviewer=claim.reviewer)
    claim.refresh_from_db()
    assert claim.kept_at is not None
    revised = judge(claim, expected_version=done.version)
    assert (revised.judgment.phase, revised.judgment.blind, revised.version) == ("revised", False, 2)
    assert verdicts(claim) == [("correct", True, False), ("error", True, True)]
    assert [j.verdict.label for j in first_blind_judgments(project=item_of(claim).queue.project)] == ["correct"]
    view = view_item(Claim.objects.get(pk=claim.pk))
    assert (view.reveal.label, view.mine.verdict.label) == ("error", "error")
    assert QueueItem.objects.get().done == 1


def test_an_open_queue_shows_everything_from_the_start_and_is_not_blind():
    claim = claim_one(path_queue(blind=False), make_user())
    assert view_item(claim).reveal.label == "correct"
    assert not judge(claim).judgment.blind
    assert not first_blind_judgments(project=item_of(claim).queue.project).exists()


def test_nothing_to_keep_before_judging():
    claim = claim_one(path_queue(), make_user())
    with pytest.raises(QueueError, match="judge the item first"):
        keep_item(item=item_of(claim), reviewer=claim.reviewer)


def test_the_same_request_again_gets_the_same_answer():
    claim, key = claim_one(path_queue(), make_user()), uuid4()
    first = judge(claim, idempotency_key=key, expected_version=0)
    revised = judge(claim, CORRECT)
    again = judge(claim, idempotency_key=str(key), expected_version=0)
    assert again.replayed
    assert not first.replayed
    assert (again.judgment, again.version, again.summary, again.reveal) == (
        first.judgment, first.version, first.summary, first.reveal,
    )  # fmt: skip
    assert Judgment.objects.count() == 2
    assert revised.version == 2


def test_a_key_belongs_to_one_judgment():
    run, key = make_true_run(2), uuid4()
    one, other = claim_one(path_queue(0, run=run), make_user()), claim_one(path_queue(1, run=run), make_user())
    judge(one, idempotency_key=key)
    with pytest.raises(QueueError, match="another judgment"):
        judge(other, idempotency_key=key)
    with pytest.raises(QueueError, match="UUID"):
        judge(other, idempotency_key="nonsense")
    assert Judgment.objects.count() == 1


def test_a_late_save_from_another_window_is_answered_with_both_sides():
    claim = claim_one(path_queue(), make_user())
    judge(claim, expected_version=0)
    with pytest.raises(ItemChanged) as refused:
        judge(claim, CORRECT, expected_version=0)
    assert (refused.value.current.verdict.label, refused.value.claim.version) == ("error", 1)
    undo_item(item=item_of(claim), reviewer=claim.reviewer, idempotency_key=uuid4())
    with pytest.raises(ItemChanged) as refused:
        judge(claim, CORRECT, expected_version=1)
    assert (refused.value.current, refused.value.claim.version) == (None, 2)
    assert judge(claim, CORRECT, expected_version=2).version == 3


def test_another_persons_judgment_is_no_conflict():
    queue, (one, other) = path_queue(overlap=2), clinicians(2)
    mine, theirs = claim_one(queue, one), claim_one(queue, other)
    judge(theirs, expected_version=0)
    assert judge(mine, expected_version=0).version == 1


def test_an_expired_claim_is_good_while_the_item_is_free():
    queue, (slow, quick) = path_queue(), clinicians(2)
    claim = claim_one(queue, slow)
    Claim.objects.filter(pk=claim.pk).update(expires_at=timezone.now() - timedelta(hours=3))
    assert judge(claim).version == 1

    queue = path_queue()
    claim = claim_one(queue, slow)
    release_item(item=item_of(claim))
    assert judge(claim).version == 1
    assert claim_next(queue=queue, reviewer=quick) == []


def test_an_item_that_someone_took_is_refused_without_naming_them():
    queue, slow, quick = path_queue(), make_user(), make_user(username="quick-one")
    claim = claim_one(queue, slow)
    release_item(item=item_of(claim))
    taken = claim_one(queue, quick)
    with pytest.raises(ItemLost) as refused:
        judge(claim)
    assert "Someone else took" in str(refused.value)
    assert "quick" not in str(refused.value)
    assert judge(taken).version == 1
    assert Judgment.objects.count() == 1


def test_a_token_that_is_not_the_claims_is_refused():
    queue, (one, other) = path_queue(), clinicians(2)
    claim = claim_one(queue, one)
    with pytest.raises(ItemLost):
        judge(claim, token=uuid4())
    with pytest.raises(ItemLost):
        judge(claim, reviewer=other)
    with pytest.raises(NotAdmitted):
        judge(claim, reviewer=make_user("consumer"))
    assert not Judgment.objects.exists()


def test_a_paused_queue_takes_what_is_on_the_screen_and_a_closed_one_nothing():
    run = make_true_run(2)
    for state in ("paused", "closed"):
        queue = path_queue(run=run, counts=False)
        claim = claim_one(queue, make_user())
        set_queue_state(queue=queue, state=state)
        if state == "paused":
            assert judge(claim).version == 1
        else:
            with pytest.raises(QueueError, match="closed"):
                judge(claim)


def test_undo_is_a_new_verdict_and_the_item_comes_back():
    queue, person = path_queue(), make_user()
    claim = claim_one(queue, person)
    before = row_of(claim)
    judge(claim)
    key = uuid4()
    undone = undo_last(queue_id=queue.pk, reviewer=person, idempotency_key=key)
    assert (undone.judgment.phase, undone.reveal) == ("undone", None)
    assert verdicts(claim) == [("error", True, False), ("unjudged", True, True)]
    now = row_of(claim)
    assert (now.error_count, now.overridden, now.state) == (before.error_count, False, before.state)
    assert not PathLabel.objects.get(run=queue.run, path=item_of(claim).path_id).overridden
    assert undo_last(queue_id=queue.pk, reviewer=person, idempotency_key=key).replayed
    back = claim_one(queue, person)
    assert (back.pk, back.version) == (claim.pk, 2)
    assert view_item(back).mine is None
    assert judge(back, CORRECT, expected_version=2).judgment.phase == "first"
    assert check_run(queue.run) == []


def test_any_own_judgment_can_be_undone_and_nobody_elses():
    queue, (one, other) = make_queue(questions=1, counts=False), clinicians(2)
    first = claim_one(queue, one)
    judge(first)
    judge(claim_one(queue, one))
    with pytest.raises(ItemLost):
        undo_item(item=item_of(first), reviewer=other, idempotency_key=uuid4())
    undo_item(item=item_of(first), reviewer=one, idempotency_key=uuid4())
    with pytest.raises(QueueError, match="no judgment of yours"):
        undo_item(item=item_of(first), reviewer=one, idempotency_key=uuid4())
    with pytest.raises(QueueError, match="nothing in this queue"):
        undo_last(queue_id=queue.pk, reviewer=other, idempotency_key=uuid4())
    assert claim_one(queue, one).item_id == first.item_id


def test_what_was_blind_stays_the_first_word_after_an_undo():
    """After the judge's verdict was shown, nothing said later is blind, whatever was taken back."""
    claim = claim_one(path_queue(), make_user())
    judge(claim)
    undo_item(item=item_of(claim), reviewer=claim.reviewer, idempotency_key=uuid4())
    again = judge(claim, CORRECT)
    assert (again.judgment.phase, again.judgment.blind) == ("first", False)
    assert [j.verdict.label for j in first_blind_judgments(project=item_of(claim).queue.project)] == ["error"]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Said(label="maybe"), "label"),
        (Said(label="error"), "reasons"),
        (Said(label="error", reasons=("nonsense",)), "reasons"),
        (Said(label="correct", reasons=("wrong_fact",)), "label"),
        (Said(label="correct", harm="severe"), "label"),
        (Said(label="error", reasons=("other",), harm="huge"), "harm"),
        (Said(label="error", reasons=("other",), axes={"correctness": True, "coherence": True, "factuality": True}), "correctness"),
        (Said(label="error", reasons=("other",), axes={"correctness": False}), "coherence"),
        (Said(label="correct", sentences=(0,)), "sentences"),
        (Said(label="correct", sentences=(99,)), "sentences"),
        (Said(label="correct", sentences=(1,), splitter=SPLITTER_VERSION + 1), "sentences"),
        (Said(label="error", comment="x" * 20_001), "comment"),
    ],
)  # fmt: skip
def test_a_judgment_that_cannot_stand_is_refused_in_words(said, field):
    claim = claim_one(path_queue(), make_user())
    with pytest.raises(QueueError) as refused:
        judge(claim, said)
    assert refused.value.field == field
    assert not Judgment.objects.exists()


def test_axes_follow_from_reasons_and_can_be_said():
    both = judge(claim_one(path_queue(), make_user()), Said(label="error", reasons=("faulty_logic", "unsafe_advice")))
    assert [getattr(both.judgment.verdict, a) for a in ("correctness", "coherence", "factuality")] == [
        False,
        False,
        True,
    ]
    axes = {"correctness": True, "coherence": True, "factuality": False}
    own = judge(claim_one(path_queue(1), make_user()), Said(label="error", comment="Dose.", axes=axes, harm="severe"))
    assert own.judgment.verdict.factuality is False
    assert (own.judgment.harm, own.judgment.verdict.reason) == ("severe", "Dose.")


def test_gold_gives_feedback_where_the_queue_does_and_never_counts():
    run = make_true_run(2)
    path = ReasoningPath.objects.filter(run=run).order_by("pk")[0]
    gold = [Gold(path.pk, "error", "Insulin before potassium.")]
    practice = make_queue(run, practice=True, gold=gold)
    for person, said in zip(clinicians(3), (CORRECT, ERROR, CORRECT), strict=True):
        done = judge(claim_one(practice, person), said)
        assert (done.gold.label, done.gold.reason, done.gold.agreed) == ("error", gold[0].reason, said is ERROR)
        mine = my_progress(person, queue=practice)
        assert (mine.gold_judged, mine.gold_agreed) == (1, int(said is ERROR))
    others = ReasoningPath.objects.filter(run=run, origin="generated").order_by("pk")[1:2].get()
    hidden = make_queue(run, plan={"kind": "paths", "paths": [others.pk], "gold_share": 0.5}, gold=gold)
    person = make_user()
    results = [judge(c) for c in claim_next(queue=hidden, reviewer=person, prefetch=1)]
    assert [r.gold for r in results] == [None, None]
    assert {r.judgment.item.gold_label: r.judgment.verdict.counts for r in results} == {"error": False, "": True}
    assert my_progress(person, queue=hidden).gold_judged == 0
    assert check_run(run) == []


def test_progress_is_ones_own_and_time_of_others_an_aggregate_of_five():
    queue, people = make_queue(questions=1, overlap=6, counts=False), clinicians(5)
    Claim.objects.all().delete()
    for person in people:
        claim = claim_one(queue, person)
        Claim.objects.filter(pk=claim.pk).update(claimed_at=timezone.now() - timedelta(minutes=5))
        assert queue_progress(queue).active_ms is None
        judge(claim, Said(label="error", comment="No.", active_ms=30_000))
    mine = my_progress(people[0], queue=queue)
    assert (mine.judged_today, mine.judged, mine.active_ms, mine.pace, mine.disagreed_today) == (
        1, 1, 30_000, None, int(Verdict.objects.get(source="judge", path=queue.items.get(position=1).path).label != "error"),
    )  # fmt: skip
    found = queue_progress(queue)
    assert (found.people, found.active_ms, found.judgments, found.wanted, found.finished) == (5, 30_000, 5, 54, 0)
    assert my_progress(make_user(), queue=queue).judged == 0


def test_time_at_work_is_never_longer_than_the_item_was_open():
    done = judge(claim_one(path_queue(), make_user()), Said(label="correct", active_ms=2**31))
    assert done.judgment.active_ms < 60_000


def test_go_on_opens_what_was_left():
    queue, person = make_queue(), make_user()
    assert resumable(queue.project, person) is None
    claim = claim_one(queue, person)
    assert resumable(queue.project, person) == claim
    judge(claim)
    assert resumable(queue.project, person) is None


@pytest.mark.slow
def test_a_whole_queue_judged_twice_leaves_the_ledger_without_drift():
    queue, (one, other) = make_queue(questions=3, overlap=2), clinicians(2)
    assert finish_all(queue, one) == finish_all(queue, other, ERROR) == 27
    assert not QueueItem.objects.filter(open=True).exists()
    assert check_run(queue.run) == []


def test_one_decision_a_person_and_round_in_the_database():
    claim = claim_one(path_queue(), make_user())
    done = judge(claim)
    spare = Verdict.objects.create(
        path=item_of(claim).path, project=item_of(claim).queue.project, source="person", reviewer=claim.reviewer,
        label="correct", correctness=True, coherence=True, factuality=True, current=False,
    )  # fmt: skip
    with pytest.raises(IntegrityError), transaction.atomic():
        Judgment.objects.create(
            verdict=spare,
            item=done.judgment.item,
            claim=claim,
            reviewer=claim.reviewer,
            round=1,
            phase="first",
            blind=True,
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_fifty_saves_at_once_on_one_item_are_one_decision_each_and_none_is_lost():
    """Twenty-five people, each from two windows: one of the two is saved, the other is told of it; the rest is there."""
    queue, people = path_queue(overlap=25), clinicians(25)
    claims = [claim_one(queue, person) for person in people]
    works = [
        lambda c=c, s=said: judge(c, s, expected_version=0) for c in claims for said in (ERROR, CORRECT)
    ]  # fmt: skip
    found = at_once(works)
    saved = [f for f in found if not isinstance(f, Exception)]
    told = [f for f in found if isinstance(f, ItemChanged)]
    assert (len(saved), len(told)) == (25, 25), [f for f in found if isinstance(f, Exception)][:3]
    assert {f.judgment.reviewer_id for f in saved} == {p.pk for p in people}
    assert set(Judgment.objects.values_list("round", flat=True)) == {1}
    assert Judgment.objects.count() == Verdict.objects.filter(source="person", current=True).count() == 25
    item = QueueItem.objects.get(queue=queue)
    assert (item.done, item.taken, item.open) == (25, 25, False)
    assert Claim.objects.filter(state=ClaimState.JUDGED).count() == 25
    assert check_run(queue.run) == []


@pytest.mark.django_db(transaction=True)
def test_one_request_sent_ten_times_at_once_is_saved_once():
    claim, key = claim_one(path_queue(), make_user()), uuid4()
    found = at_once([lambda: judge(claim, idempotency_key=key, expected_version=0) for _ in range(10)])
    assert sorted(f.replayed for f in found) == [False, *[True] * 9]
    assert len({f.judgment.pk for f in found}) == 1
