"""Every named page with arguments that exist in a `World`; the tests below go through them all."""

from __future__ import annotations

from uuid import uuid4

from django.urls import reverse

from apps.exports.models import Snapshot, SnapshotRecord
from apps.exports.models_certificate import Certification
from apps.pipeline.models import PromptVersion
from apps.questions.access import ADJUDICATOR, CLINICIAN, CONSUMER, CURATOR
from apps.review.models import QuestionFlag, QueueItem, ReviewQueue
from apps.review.models_records import Comment
from apps.review.queues.build import build_queue
from apps.review.queues.plans import parse_plan
from tests.exports.certificate_world import make_record_row, open_study
from tests.factories import make_run
from tests.pages.conftest import World

JUDGES = {CLINICIAN, CURATOR, ADJUDICATOR}
READERS = JUDGES | {CONSUMER}
PUBLIC = {"login"}


def page_addresses(world: World) -> dict[str, str]:
    """{name: address} of every page that is read by GET."""
    run, uid = world.run.pk, world.row.question.uid
    group = "?stage=verify&endpoint=judge&class=schema"
    compare = reverse("compare", args=(run, uid)) + f"?a={world.record.source_id}&b={world.record.path_id}"
    return {
        "overview": reverse("overview"),
        "run": reverse("run", args=(run,)),
        "runs": reverse("runs"),
        "run_new": reverse("run_new"),
        "run_budget": reverse("run_budget", args=(run,)),
        "run_cancel": reverse("run_cancel", args=(run,)),
        "failures": reverse("failures", args=(run,)),
        "failures_aside": reverse("failures_aside", args=(run,)) + group,
        "failures_attempts": reverse("failures_attempts", args=(run,)) + group,
        "failures_retry": reverse("failures_retry", args=(run,)),
        "prompt": reverse("prompt", args=(PromptVersion.objects.all()[0].pk,)),
        "questions": reverse("questions"),
        "question": reverse("question", args=(uid,)),
        "composition": reverse("composition"),
        "key_conflicts": reverse("key_conflicts"),
        "held_out": reverse("held_out"),
        "run_question": reverse("run_question", args=(run, uid)),
        "compare": compare,
        "alike": reverse("alike", args=(run, uid)) + f"?path={world.path.pk}&s=4",
        "record": reverse("record", args=(run, uid, world.record.slot)),
        "record_change": reverse("record_change", args=(run, uid, "return")) + f"?slot={world.record.slot}",
        "stale": reverse("stale", args=(run,)),
        "question_history": reverse("question_history", args=(run, uid)),
        "mentions": reverse("mentions"),
        "paths": reverse("paths"),
        "path": reverse("path", args=(run, world.path.pk)),
        "override": reverse("override", args=(run, world.path.pk)),
        "agreement": reverse("agreement"),
        "settle": reverse("settle"),
        "settle_flags": reverse("settle_flags"),
        "settle_flag": reverse("settle_flag", args=(make_flag(world).pk,)),
        "settle_path": reverse("settle_path", args=(run, world.path.pk)),
        "question_flag": reverse("question_flag", args=(run, uid)),
        "review_home": reverse("review_home"),
        "practice": reverse("practice"),
        "practice_item": reverse("practice_item", args=(2,)),
        "review_sitting": reverse("review_sitting"),
        "review_work": reverse("review_work", args=(make_queue(world).pk,)),
        "review_queues": reverse("review_queues"),
        "review_queue_new": reverse("review_queue_new"),
        **{name: reverse(name, args=(make_queue(world).pk,)) for name in ("review_queue", "review_queue_close")},
        "login": reverse("login"),
        "quality": reverse("quality", args=(run,)),
        "contamination": reverse("contamination"),
        "run_contamination": reverse("run_contamination", args=(run,)),
        "exports": reverse("exports"),
        **certificate_pages(make_study(world)),
        "export_new": reverse("export_new"),
        "export_compare": reverse("export_compare"),
        "question_snapshots": reverse("question_snapshots", args=(run, uid)),
    }


def make_study(world: World) -> Certification:
    """An open one of an export of three records of `row`."""
    n = Snapshot.objects.count() + 1
    made = Snapshot.objects.create(
        run=world.run, number=n, state="done", variants=["reasonmed"], records=3, format="jsonl"
    )
    made.manifest = {"merkle": {"root": f"{n:064}"}, "signed_by": "0" * 16, "simulated": False}
    made.save()
    SnapshotRecord.objects.bulk_create(make_record_row(made, n) for n in range(3))
    return open_study(made)


def certificate_pages(study: Certification) -> dict[str, str]:
    return {
        "certificate": reverse("certificate", args=(study.snapshot_id,)),
        "certificate_new": reverse("certificate_new", args=(study.snapshot_id,)),
        "certificate_close": reverse("certificate_close", args=(study.pk,)),
        "certificate_work": reverse("certificate_work", args=(study.pk,)),
    }


def make_queue(world: World) -> ReviewQueue:
    return build_queue(run=world.run, name=f"queue-{uuid4()}", plan=parse_plan({"size": 200}))


def make_flag(world: World) -> QuestionFlag:
    """An open flag on another question than that of `row`."""
    other = world.run.questions.exclude(pk=world.row.pk).order_by("pk")[0]
    flagged = {"question": other.question, "project": world.run.project, "reviewer": world.clinician}
    return QuestionFlag.objects.get_or_create(**flagged, kind="outdated", state="open")[0]


def make_thread(world: World) -> int:
    """A thread on the question of `row`."""
    return Comment.objects.create(
        project=world.run.project, question=world.row.question, run=world.run, author=world.clinician, text="Unsure."
    ).pk


def write_addresses(world: World) -> dict[str, tuple[str, dict[str, str]]]:
    """{name: (address, form)} of every page that writes; the forms are ones a page would refuse, so nothing changes."""
    item = QueueItem.objects.filter(queue=make_queue(world))[0]
    study = make_study(world)
    idle = make_run(name=f"idle-{uuid4()}", state="cancelled").pk
    return {
        "run_action": (reverse("run_action", args=(idle, "start")), {}),
        "failures_retry": (reverse("failures_retry", args=(world.run.pk,)), {"failure": "0"}),
        "remake": (reverse("remake", args=(world.run.pk, world.row.question.uid)), {}),
        "override": (reverse("override", args=(world.run.pk, world.path.pk)), {}),
        "record_change": (
            reverse("record_change", args=(world.run.pk, world.row.question.uid, "tier")),
            {"do": "save"},
        ),
        "record_accept": (
            reverse("record_accept", args=(world.run.pk, world.row.question.uid, world.record.slot)),
            {"hash": "another"},
        ),
        "stale": (reverse("stale", args=(world.run.pk,)), {"do": "chosen"}),
        "comment": (reverse("comment", args=(world.run.pk, world.row.question.uid)), {}),
        "comment_resolve": (reverse("comment_resolve", args=(make_thread(world),)), {}),
        "mentions": (reverse("mentions"), {}),
        "settle_reason": (
            reverse("settle_reason", args=(world.run.pk, world.row.question.uid)),
            {"a": str(world.record.source_id), "b": str(world.record.path_id), "part": "99"}
            | {"verdict": str(world.record.path.verdicts.all()[0].pk)},
        ),
        "alike": (
            reverse("alike", args=(world.run.pk, world.row.question.uid)) + f"?path={world.path.pk}&s=4",
            {"do": "save"},
        ),
        "settle_flag": (reverse("settle_flag", args=(make_flag(world).pk,)), {}),
        "settle_path": (reverse("settle_path", args=(world.run.pk, world.path.pk)), {}),
        "question_flag": (reverse("question_flag", args=(world.run.pk, world.row.question.uid)), {}),
        "question_flag_withdraw": (
            reverse("question_flag_withdraw", args=(world.run.pk, make_flag(world).question.uid, make_flag(world).pk)),
            {},
        ),
        "review_start": (reverse("review_start"), {}),
        "practice_judge": (reverse("practice_judge", args=(1,)), {}),
        "practice_next": (reverse("practice_next", args=(1,)), {}),
        "practice_skip": (reverse("practice_skip"), {}),
        "review_settings": (reverse("review_settings"), {"units": "none"}),
        "review_alive": (reverse("review_alive", args=(item.queue_id,)), {}),
        "review_undo_last": (reverse("review_undo_last", args=(item.queue_id,)), {}),
        **{
            name: (reverse(name, args=(item.pk,)), {})
            for name in ("review_judge", "review_keep", "review_undo", "review_skip", "review_flag")
        },
        "review_queue_new": (reverse("review_queue_new"), {}),
        "review_queue_state": (reverse("review_queue_state", args=(item.queue_id,)), {}),
        "review_queue_release": (reverse("review_queue_release", args=(item.queue_id,)), {}),
        "run_new": (reverse("run_new"), {}),
        "run_budget": (reverse("run_budget", args=(world.run.pk,)), {"hard": "-1"}),
        "export_new": (reverse("export_new"), {}),
        "certificate_new": (reverse("certificate_new", args=(study.snapshot_id,)), {"kind": "none"}),
        **{
            name: (reverse(name, args=(study.pk,)), {})
            for name in ("certificate_close", "certificate_release", "certificate_undo", "certificate_alive")
        },
        **{
            name: (reverse(name, args=(study.sample.all()[0].pk,)), {})
            for name in ("certificate_judge", "certificate_skip")
        },
        "inspection_order": (reverse("inspection_order"), {"kind": "contamination", "threshold": "2"}),
    }


ROLES_TO_READ = dict.fromkeys(("overview", "run", "runs", "prompt", "questions", "question", "composition", "key_conflicts", "held_out", "run_question", "compare", "record", "paths", "path", "override", "agreement", "exports", "failures", "failures_aside", "failures_attempts"), READERS) | dict.fromkeys(("override", "agreement", "failures", "failures_aside", "failures_attempts"), JUDGES) | {"run_new": {CURATOR}, "run_cancel": {CURATOR}, "run_budget": {CURATOR}, "failures_retry": {CURATOR}, "export_new": {CURATOR}}  # fmt: skip
ROLES_TO_WRITE = {
    "run_action": {CURATOR}, "failures_retry": {CURATOR}, "remake": {CURATOR}, "override": JUDGES, "run_new": {CURATOR}, "run_budget": {CURATOR}, "export_new": {CURATOR},
}  # fmt: skip
ROLES_TO_READ |= {"question_history": JUDGES, "mentions": JUDGES}
ROLES_TO_WRITE |= {"comment": JUDGES, "comment_resolve": JUDGES, "mentions": JUDGES}
ROLES_TO_READ |= {"record_change": JUDGES, "alike": JUDGES, "stale": JUDGES}
ROLES_TO_WRITE |= {"settle_reason": JUDGES, "alike": JUDGES}
ROLES_TO_WRITE |= {"record_change": JUDGES, "record_accept": JUDGES, "stale": {CURATOR}}
ROLES_TO_READ |= dict.fromkeys(("review_home", "review_sitting", "review_work"), JUDGES)
ROLES_TO_WRITE |= dict.fromkeys(("review_start", "review_settings", "review_alive", "review_undo_last", "review_judge", "review_keep", "review_undo", "review_skip", "review_flag"), JUDGES)  # fmt: skip
ROLES_TO_READ |= {
    name: {CURATOR} for name in ("review_queues", "review_queue_new", "review_queue", "review_queue_close")
}
ROLES_TO_WRITE |= {name: {CURATOR} for name in ("review_queue_new", "review_queue_state", "review_queue_release")}
ROLES_TO_READ |= dict.fromkeys(("practice", "practice_item"), JUDGES)
ROLES_TO_WRITE |= dict.fromkeys(("practice_judge", "practice_next", "practice_skip"), JUDGES)
ROLES_TO_READ |= {name: {ADJUDICATOR} for name in ("settle", "settle_flags", "settle_flag", "settle_path")}
ROLES_TO_WRITE |= {name: {ADJUDICATOR} for name in ("settle_flag", "settle_path")}
ROLES_TO_READ |= {"question_flag": JUDGES, "export_compare": READERS, "question_snapshots": READERS}
ROLES_TO_WRITE |= {"question_flag": JUDGES, "question_flag_withdraw": JUDGES}
ROLES_TO_READ |= dict.fromkeys(("quality", "contamination", "run_contamination"), READERS)
ROLES_TO_WRITE |= {"inspection_order": {CURATOR}}
ROLES_TO_READ |= {"certificate": READERS, "certificate_new": {CURATOR}, "certificate_close": {CURATOR}}
ROLES_TO_READ |= {"certificate_work": JUDGES}
ROLES_TO_WRITE |= {name: {CURATOR} for name in ("certificate_new", "certificate_close", "certificate_release")}
ROLES_TO_WRITE |= dict.fromkeys(
    ("certificate_undo", "certificate_alive", "certificate_judge", "certificate_skip"), JUDGES
)
ELSEWHERE = {
    "certificate_record",
    "health",
    "health_live",
    "metrics",
    "review_item",
    "logout",
    "export",
    "export_file",
    "export_publish",
    "export_discard",
    "snapshot_record",
}  # logout is anyone's; the others have their tests beside the exports
