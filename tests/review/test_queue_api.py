"""The API of queues: a sitting from the first claim to the last undo, and how refusals read."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client

from apps.reasoning.models import RunQuestion, Verdict
from apps.review.models import Claim, Judgment
from apps.review.queues.claims import release_item
from tests.factories import make_user
from tests.reasoning.test_ledger import make_true_run
from tests.review.queue_world import claim_one, item_of, make_queue
from tests.review.test_queue_settling import two_who_differ

pytestmark = pytest.mark.django_db


class Person:
    def __init__(self, role: str = "clinician") -> None:
        self.user = make_user(role)
        self.client = Client()
        self.client.force_login(self.user)

    def get(self, path: str):
        return self.client.get(f"/api/v1{path}")

    def post(self, path: str, status: int, body: dict | None = None):
        answer = self.client.post(f"/api/v1{path}", body or {}, content_type="application/json")
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None

    def claim(self, queue, **body):
        return self.post(f"/queues/{queue.pk}/claim", 200, body)

    def judge(self, item: dict, status: int = 201, **changes):
        body = {
            "token": item["token"],
            "idempotency_key": str(uuid4()),
            "expected_version": item["version"],
            "label": "correct",
        }
        return self.post(f"/queue-items/{item['id']}/judge", status, body | changes)


def test_a_sitting():
    queue, me = make_queue(questions=1), Person()
    assert [q["id"] for q in me.get("/queues").json()["items"]] == [queue.pk]

    first, second = me.claim(queue, prefetch=1)["items"]
    assert [first["position"], second["position"]] == [1, 2]
    assert (first["reveal"], first["mine"], first["question"]["key"]) == (None, None, "D")
    assert "generator" not in str({k: v for k, v in first.items() if k != "question"})
    assert [s["number"] for s in first["sentences"]][:2] == [1, 2]
    assert me.post(f"/queues/{queue.pk}/heartbeat", 200)["held"] == [first["id"], second["id"]]

    said = me.judge(first, label="error", reasons=["unsafe_advice"], harm="severe", sentences=[2], active_ms=10)
    assert (said["version"], said["judgment"]["blind"], said["judgment"]["sentences"]) == (1, True, [2])
    assert said["reveal"]["label"] in ("correct", "error")
    assert said["summary"].startswith("0 → 1 error: stays easy")
    me.post(f"/queue-items/{first['id']}/keep", 204)
    revised = me.judge(first, expected_version=1)
    assert (revised["judgment"]["phase"], revised["judgment"]["blind"]) == ("revised", False)

    assert [i["id"] for i in me.claim(queue, prefetch=0)["items"]] == [second["id"]]
    me.post(f"/queue-items/{second['id']}/skip", 204, {"reason": "not_my_specialty"})
    undone = me.post(f"/queues/{queue.pk}/undo-last", 200, {"idempotency_key": str(uuid4())})
    assert (undone["item"], undone["judgment"]["phase"], undone["judgment"]["label"]) == (
        first["id"],
        "undone",
        "unjudged",
    )
    back = me.claim(queue, prefetch=0)["items"][0]
    assert (back["id"], back["version"], back["mine"]) == (first["id"], 3, None)
    me.judge(back)
    mine = me.get(f"/queues/{queue.pk}/my-progress").json()
    assert (mine["judged_today"], mine["skipped"]) == (1, 1)


def test_the_same_request_is_saved_once_and_answered_the_same():
    queue, me, key = make_queue(questions=1), Person(), str(uuid4())
    item = me.claim(queue)["items"][0]
    first = me.judge(item, 201, idempotency_key=key)
    again = me.judge(item, 200, idempotency_key=key)
    assert again == first | {"replayed": True}
    assert Judgment.objects.count() == 1


def test_a_late_save_gets_both_sides():
    queue, me = make_queue(questions=1), Person()
    item = me.claim(queue)["items"][0]
    me.judge(item, label="error", reasons=["wrong_fact"])
    refused = me.judge(item, 409, comment="I think it is fine.")
    assert (refused["version"], refused["mine"]["label"], refused["mine"]["reasons"]) == (1, "error", ["wrong_fact"])
    assert (refused["sent"]["label"], refused["sent"]["comment"]) == ("correct", "I think it is fine.")
    assert Verdict.objects.filter(source="person").count() == 1


def test_an_item_taken_by_another_is_409_and_nobody_is_named():
    queue, me = make_queue(questions=1), Person()
    item = me.claim(queue, prefetch=0)["items"][0]
    release_item(item=item_of(Claim.objects.get()))
    other = make_user(username="dr-other")
    claim_one(queue, other)
    refused = me.judge(item, 409)
    assert "Someone else took this item" in refused["detail"]
    assert "dr-other" not in str(refused)


def test_refusals_name_the_field():
    queue, me = make_queue(questions=1), Person()
    item = me.claim(queue)["items"][0]
    assert me.judge(item, 422, label="error")["field"] == "reasons"
    assert me.judge(item, 422, label="maybe")["field"].endswith("label")
    assert me.judge(item, 422, sentences=[500])["field"] == "sentences"
    assert me.judge(item, 422, reasons=["wrong_fact"])["field"] == "label"
    assert not Judgment.objects.exists()


def test_what_postgresql_cannot_keep_is_left_out_of_a_comment():
    queue, me = make_queue(questions=1), Person()
    item = me.claim(queue)["items"][0]
    said = me.judge(item, label="error", comment="Insulin\x00 at 3.1.")
    assert said["judgment"]["comment"] == "Insulin at 3.1."


def test_a_queue_for_others_is_not_there_and_curators_see_but_do_not_judge():
    queue = make_queue(questions=1, role="adjudicator")
    Person().post(f"/queues/{queue.pk}/claim", 404)
    curator = Person("curator")
    assert curator.get(f"/queues/{queue.pk}").status_code == 200
    assert "other people" in curator.post(f"/queues/{queue.pk}/claim", 403)["detail"]
    assert len(Person("adjudicator").claim(queue)["items"]) == 2


def test_an_empty_queue_says_why_and_when():
    queue, me, other = make_queue(questions=1), Person(), Person()
    assert len(other.claim(queue, prefetch=3)["items"]) == 4
    for item in me.claim(queue, prefetch=3)["items"]:
        me.judge(item)
    me.judge(me.claim(queue)["items"][0])
    found = me.claim(queue)
    assert found["items"] == []
    assert "4 items are with other reviewers until" in found["empty"]
    assert found["until"]


def test_curators_pause_release_and_see_progress():
    queue, me, curator = make_queue(questions=1), Person(), Person("curator")
    item = me.claim(queue, prefetch=0)["items"][0]
    assert curator.post(f"/queue-items/{item['id']}/release", 200) == {"released": 1}
    assert me.judge(item)["version"] == 1
    found = curator.get(f"/queues/{queue.pk}/progress").json()
    assert (found["size"], found["finished"], found["judgments"], found["active_ms"]) == (9, 1, 1, None)
    curator.client.put(f"/api/v1/queues/{queue.pk}/state", {"state": "paused"}, content_type="application/json")
    assert me.claim(queue)["empty"] == "This queue is paused by its curator."


def test_an_exit_sets_the_question_aside_and_an_adjudicator_brings_it_back():
    run = make_true_run(1)
    queue, me, adjudicator = make_queue(run), Person(), Person("adjudicator")
    item = me.claim(queue, prefetch=0)["items"][0]
    flag = me.post(f"/queue-items/{item['id']}/flag", 201, {"kind": "key_wrong", "note": "It is B."})
    assert RunQuestion.objects.get(run=run).reason == "question_invalid"
    assert me.claim(queue)["empty"] == "Every question of this queue was set aside."
    assert [f["id"] for f in adjudicator.get("/question-flags").json()["items"]] == [flag["id"]]
    adjudicator.post(f"/question-flags/{flag['id']}/resolve", 422, {"uphold": False})
    adjudicator.post(f"/question-flags/{flag['id']}/resolve", 200, {"uphold": False, "why": "The key is right."})
    assert RunQuestion.objects.get(run=run).state == "ready"
    assert len(me.claim(queue)["items"]) == 2


def test_a_dispute_is_listed_and_settled():
    scene, me = two_who_differ(), Person("adjudicator")
    listed = me.get(f"/runs/{scene.run.name}/disputed").json()["items"]
    assert [d["path"] for d in listed] == [scene.paths[2].pk]
    path = f"/runs/{scene.run.name}/paths/{scene.paths[2].pk}/adjudicate"
    body = {"idempotency_key": str(uuid4()), "label": "error", "reasons": ["unsafe_advice"], "expected_version": 0}
    refused = me.post(path, 409, body)
    assert refused["version"] == scene.row().version
    settled = me.post(path, 201, body | {"expected_version": refused["version"]})
    assert settled["verdict"]["source"] == "adjudication"
    assert me.post(path, 200, body)["replayed"]
    assert me.get(f"/runs/{scene.run.name}/disputed").json()["items"] == []
