"""Every operation of the API × every kind of person, and every model of the admin."""

from __future__ import annotations

from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from apps.exports.services import build_queued_exports, create_export
from apps.reasoning.models import ReasoningPath, Run, RunQuestion, Verdict
from apps.review.comments.services import add_comment
from apps.review.models import QuestionFlag, ReviewQueue
from apps.review.models_records import Comment
from apps.review.queues.build import build_queue
from apps.review.queues.flags import flag_question
from apps.review.queues.plans import parse_plan
from reasonmed_site.api import api
from tests.exports.certificate_world import open_study
from tests.factories import make_finished_run, make_project, make_user

pytestmark = pytest.mark.django_db

OVERRIDE = {"label": "error", "correctness": False, "coherence": True, "factuality": True, "reason": "Wrong drug."}
READ = {
    "anonymous": 401,
    "nobody": 403,
    "consumer": 200,
    "clinician": 200,
    "adjudicator": 200,
    "curator": 200,
    "admin": 200,
}
REVIEW = READ | {"consumer": 403}
CURATE = REVIEW | {"clinician": 403, "adjudicator": 403}
SETTLE = REVIEW | {"clinician": 403, "curator": 403}
KEY = "8f0cf9f6-3c5e-4c57-9a3c-5a8f4b1f9d10"
RECORD = "/runs/{run}/questions/{uid}/records/{slot}"
JOINT = {
    "axes": {"correctness": False, "coherence": True, "factuality": True},
    "reason": "Wrong drug.",
    "idempotency_key": KEY,
    "paths": [{"path": 2**62}],
}
CERTIFY = {"plan": {"rate": 0.2, "confidence": 0.8}}
JUDGE = {"token": KEY, "idempotency_key": KEY, "label": "error", "reasons": ["wrong_fact"]}


def answers(roles: dict[str, int], status: int) -> dict[str, int]:
    """The same people are let in, and get another status."""
    return {who: status if code == 200 else code for who, code in roles.items()}


QUERY = {
    "/exports/compare": "?a=sample.1&b=sample.1",
    "/runs/{run}/paths/{path_id}/override-preview": "?label=error",
    "/runs/{run}/paths/{path_id}/same-claim": "?sentence=1",
}
# (method, path in the API) → body, what each kind of person gets
MATRIX = {
    ("get", "/questions"): (None, READ),
    ("get", "/questions/{uid}"): (None, READ),
    ("get", "/runs"): (None, READ),
    ("get", "/runs/{run}"): (None, READ),
    ("get", "/runs/{run}/status"): (None, READ),
    ("get", "/runs/{run}/money"): (None, READ),
    ("put", "/runs/{run}/budget"): ({"hard": "10.50", "soft": None}, CURATE),
    ("get", "/runs/{run}/questions"): (None, READ),
    ("get", "/runs/{run}/questions/{uid}"): (None, READ),
    ("get", "/runs/{run}/questions/{uid}/paths"): (None, READ),
    ("get", "/runs/{run}/paths/{path_id}"): (None, READ),
    ("get", "/runs/{run}/paths/{path_id}/verdicts"): (None, READ),
    ("get", "/runs/{run}/paths/{path_id}/override-preview"): (None, REVIEW),
    ("post", "/runs/{run}/paths/{path_id}/override"): (OVERRIDE, answers(REVIEW, 201)),
    ("get", "/runs/{run}/failures/groups"): (None, READ),
    ("get", "/runs/{run}/failures"): (None, READ),
    ("post", "/runs/{run}/failures/retry"): ({"all": True}, CURATE),
    ("get", "/exports"): (None, READ),
    ("post", "/exports"): ({"run": "sample", "variants": ["cotmed"]}, answers(CURATE, 201)),
    ("get", "/exports/compare"): (None, answers(READ, 422)),  # one export only: with itself
    ("post", "/exports/preview"): ({"run": "sample", "variants": ["cotmed"]}, CURATE),
    ("get", "/exports/{export_id}"): (None, READ),
    ("get", "/exports/{export_id}/files/{name}"): (None, READ),
    ("post", "/exports/{export_id}/publish"): ({"name": "reasonmed-2026.1"}, answers(CURATE, 422)),
    ("delete", "/exports/{export_id}"): (None, answers(CURATE, 204)),
    ("post", "/exports/{export_id}/certificate-preview"): (CERTIFY, CURATE),
    ("post", "/exports/{export_id}/certificate"): (CERTIFY, answers(CURATE, 201)),
    ("get", "/exports/{export_id}/certificate"): (None, answers(READ, 404)),
    ("post", "/certificates/{study_id}/close"): ({"do": "give_up"}, CURATE),
    ("post", "/certificates/{study_id}/release"): ({}, CURATE),
    ("post", "/certificates/{study_id}/claim"): ({}, REVIEW),
    ("post", "/certificates/{study_id}/heartbeat"): ({}, REVIEW),
    ("post", "/sample-records/{record_id}/judge"): ({"token": KEY, "wrong": False, "idempotency_key": KEY}, answers(REVIEW, 409)),
    ("post", "/sample-records/{record_id}/undo"): ({"idempotency_key": KEY}, answers(REVIEW, 409)),
    ("post", "/sample-records/{record_id}/skip"): ({"reason": "unsure"}, answers(REVIEW, 409)),
    ("get", "/runs/{run}/quality"): (None, READ),
    ("post", "/runs/{run}/quality"): ({}, answers(CURATE, 201)),
    ("get", "/runs/{run}/contamination"): (None, READ),
    ("post", "/runs/{run}/contamination"): ({"threshold": 0.9}, answers(CURATE, 201)),
    ("get", "/runs/{run}/contamination/pairs"): (None, answers(READ, 404)),
    ("get", "/contamination"): (None, READ),
    ("post", "/contamination"): ({}, answers(CURATE, 201)),
    ("get", "/contamination/pairs"): (None, answers(READ, 404)),
    ("get", "/queues"): (None, REVIEW),
    ("get", "/queues/{queue_id}"): (None, REVIEW),
    ("post", "/queues/{queue_id}/claim"): ({"prefetch": 0}, REVIEW),
    ("post", "/queues/{queue_id}/heartbeat"): ({}, REVIEW),
    ("post", "/queues/{queue_id}/undo-last"): ({"idempotency_key": KEY}, answers(REVIEW, 422)),
    ("get", "/queues/{queue_id}/my-progress"): (None, REVIEW),
    ("get", "/queues/{queue_id}/progress"): (None, CURATE),
    ("put", "/queues/{queue_id}/state"): ({"state": "paused"}, CURATE),
    ("post", "/queue-items/{item_id}/judge"): (JUDGE, answers(REVIEW, 409)),
    ("post", "/queue-items/{item_id}/keep"): ({}, answers(REVIEW, 409)),
    ("post", "/queue-items/{item_id}/undo"): ({"idempotency_key": KEY}, answers(REVIEW, 409)),
    ("post", "/queue-items/{item_id}/skip"): ({"reason": "unsure"}, answers(REVIEW, 409)),
    ("post", "/queue-items/{item_id}/flag"): ({"kind": "outdated"}, answers(REVIEW, 201)),
    ("post", "/queue-items/{item_id}/release"): ({}, CURATE),
    ("get", "/question-flags"): (None, SETTLE),
    ("post", "/question-flags/{flag_id}/resolve"): ({"uphold": True}, SETTLE),
    ("post", "/queue-preview"): ({"run": "sample", "plan": {"size": 3}}, CURATE),
    ("post", "/queues"): ({"run": "sample", "name": "new", "plan": {"size": 3}}, answers(CURATE, 201)),
    ("post", "/questions/{uid}/flags"): ({"kind": "ambiguous"}, answers(REVIEW, 201)),
    ("get", "/questions/{uid}/comments"): (None, REVIEW),
    ("post", "/questions/{uid}/comments"): ({"text": "Sure?"}, answers(REVIEW, 201)),
    ("post", "/comments/{comment_id}/resolve"): ({"resolved": True}, REVIEW),
    ("get", "/mentions"): (None, REVIEW),
    ("post", "/mentions/seen"): ({}, REVIEW),
    ("get", "/runs/{run}/questions/{uid}/records"): (None, READ),
    ("get", RECORD): (None, READ),
    ("post", RECORD + "/accept"): ({"content_hash": "0" * 64}, answers(REVIEW, 409)),
    ("get", RECORD + "/return"): (None, REVIEW),
    ("post", RECORD + "/return"): ({"again": "response", "reason": "Too short."}, answers(REVIEW, 201)),
    ("get", RECORD + "/exclude"): (None, REVIEW),
    ("post", RECORD + "/exclude"): ({"reason": "Unsafe."}, answers(REVIEW, 201)),
    ("post", RECORD + "/withdraw"): ({}, answers(REVIEW, 422)),
    ("post", "/runs/{run}/questions/{uid}/tier/preview"): ({"tier": "difficult"}, REVIEW),
    ("post", "/runs/{run}/questions/{uid}/tier"): ({"tier": "difficult", "reason": "Hard."}, answers(REVIEW, 201)),
    ("post", "/runs/{run}/questions/{uid}/choice/preview"): ({"paths": [0]}, answers(REVIEW, 422)),
    ("post", "/runs/{run}/questions/{uid}/choice"): ({"paths": [0], "reason": "Better."}, answers(REVIEW, 422)),
    ("post", "/runs/{run}/paths/{path_id}/response/preview"): ({"text": "No answer."}, answers(REVIEW, 422)),
    ("post", "/runs/{run}/paths/{path_id}/response"): ({"text": "No answer.", "reason": "So."}, answers(REVIEW, 422)),
    ("post", "/runs/{run}/paths/{path_id}/text/preview"): ({"text": "A sampled path."}, answers(REVIEW, 422)),
    ("post", "/runs/{run}/paths/{path_id}/text"): ({"text": "A sampled path.", "reason": "So."}, answers(REVIEW, 422)),
    ("get", "/runs/{run}/stale"): (None, REVIEW),
    ("get", "/runs/{run}/stale/estimate"): (None, REVIEW),
    ("post", "/runs/{run}/stale/confirm"): ({"all": True}, CURATE),
    ("get", "/runs/{run}/paths/{path_id}/same-claim"): (None, REVIEW),
    ("post", "/runs/{run}/joint-verdicts/preview"): ({"paths": [{"path": 2**62}]}, answers(REVIEW, 404)),
    ("post", "/runs/{run}/joint-verdicts"): (JOINT, answers(REVIEW, 404)),
    ("get", "/agreement"): (None, REVIEW),
    ("get", "/runs/{run}/disputed"): (None, SETTLE),
    ("post", "/runs/{run}/paths/{path_id}/adjudicate"): ({"idempotency_key": KEY, "label": "error", "comment": "No."}, answers(SETTLE, 201)),
}  # fmt: skip


@pytest.fixture
def ids(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"
    run = make_finished_run(2, name="sample")
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    certified = create_export(run=run, variants=["responsemed"], format="jsonl")
    build_queued_exports()
    certified.refresh_from_db()
    make_user("clinician")
    study = open_study(certified)
    path = ReasoningPath.objects.filter(run=run).first()
    queue = build_queue(run=run, name="all", plan=parse_plan({"size": 100}))
    other = RunQuestion.objects.filter(run=run).exclude(question=path.question_id).get()
    flag = flag_question(question=other.question, project=run.project, reviewer=make_user(), kind="key_wrong")
    item = queue.items.filter(path=path).get()
    comment = add_comment(project=run.project, question=path.question, author=make_user(), text="Look.")
    queues = {"queue_id": queue.pk, "item_id": item.pk, "flag_id": flag.pk, "comment_id": comment.pk, "slot": 1}
    certificate = {"study_id": study.pk, "record_id": study.sample.all()[0].pk}
    return (
        queues
        | certificate
        | {
            "run": run.name,
            "uid": path.question.uid,
            "path_id": path.pk,
            "export_id": made.pk,
            "name": "README.md",
        }
    )


def person(role: str) -> Client:
    client = Client()
    if role != "anonymous":
        plain = None if role in ("nobody", "admin") else role
        client.force_login(make_user(plain, is_superuser=role == "admin"))
    return client


def ask(client: Client, method: str, path: str, ids: dict, body):
    url = "/api/v1" + path.format(**ids) + QUERY.get(path, "")
    return client.get(url) if method == "get" else getattr(client, method)(url, body, content_type="application/json")


def operations() -> list[tuple[str, str]]:
    paths = api.get_openapi_schema()["paths"]
    return [(method, path.removeprefix("/api/v1")) for path, methods in paths.items() for method in methods]


def test_the_matrix_has_every_operation():
    assert sorted(operations()) == sorted(MATRIX)


@pytest.mark.parametrize(("method", "path"), MATRIX)
def test_who_may_do_what(ids, method, path):
    body, expected = MATRIX[method, path]
    assert expected.keys() == READ.keys()
    found = {}
    for role in expected:
        with undone():
            response = ask(person(role), method, path, ids, body)
        found[role] = response.status_code
        if response.status_code >= 400:
            assert response.headers["Content-Type"].startswith("application/json")
            assert response.json()["detail"]
    assert found == expected


@contextmanager
def undone():
    """What is written inside is taken back: the next role finds the world as the one before it did."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("area", sorted({path.split("/")[1] for _, path in MATRIX if "{" in path}))
def test_what_another_project_has_is_not_there(ids, area):
    stranger = make_project("other")
    for run in ReasoningPath.objects.get(pk=ids["path_id"]).question.in_runs.all():
        run.run.project = stranger
        run.run.save()
        if area == "questions":
            run.benchmark.project = stranger
            run.benchmark.save()
    ReviewQueue.objects.update(project=stranger)
    QuestionFlag.objects.update(project=stranger)
    Comment.objects.update(project=stranger)

    admin, asked = person("admin"), 0
    for method, path in MATRIX:
        if "{" in path and path.split("/")[1] == area:
            response = ask(admin, method, path, ids, MATRIX[method, path][0])
            assert response.status_code == 404, (method, path)
            assert response.json() == {"detail": "Not found.", "field": ""}
            asked += 1
    assert asked


def test_lists_do_not_tell_of_another_project(ids):
    Run.objects.update(project=make_project("other"))
    client = person("curator")

    assert client.get("/api/v1/runs").json()["items"] == client.get("/api/v1/exports").json()["items"] == []


def test_someone_in_no_project_finds_nothing(ids):
    user = make_user("curator")
    user.projects.clear()
    client = Client()
    client.force_login(user)

    assert client.get("/api/v1/runs").status_code == 404


@pytest.mark.parametrize("path", ["/runs/{run}/paths/{path_id}/override", "/exports"])
def test_writing_with_a_session_wants_the_token(ids, path):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("curator"))
    before = Verdict.objects.count()
    body = MATRIX["post", path][0]

    response = ask(client, "post", path, ids, body)

    assert response.status_code == 403
    assert "X-CSRFToken" in response.json()["detail"]
    assert Verdict.objects.count() == before
    client.get(reverse("exports"))  # a page sets the cookie
    token = client.cookies["csrftoken"].value
    url = "/api/v1" + path.format(**ids)
    assert client.post(url, body, content_type="application/json", headers={"X-CSRFToken": token}).status_code == 201


def test_every_model_of_ours_is_in_the_admin_and_none_can_be_deleted_there(admin_client):
    ours = [m for m in apps.get_models() if m.__module__.startswith("apps.")]
    assert [m for m in ours if m not in admin.site._registry] == []
    make_finished_run(2)
    request = admin_client.get("/admin/").wsgi_request

    for model in [*ours, User]:
        registered = admin.site._registry[model]
        assert not registered.has_delete_permission(request), model
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert admin_client.get(url).status_code == 200, model


def test_a_verdict_cannot_be_changed_in_the_admin(admin_client):
    make_finished_run(1)
    verdict = Verdict.objects.first()
    url = reverse("admin:reasoning_verdict_change", args=(verdict.pk,))

    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"label": "error"}).status_code == 403


def test_an_unknown_address_answers_in_json():
    response = Client().get(f"/api/v1/nothing/{uuid4()}")

    assert response.status_code == 404
    assert "no such address" in response.json()["detail"]
