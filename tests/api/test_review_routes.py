"""The API of what people decide, say and compare."""

from __future__ import annotations

from uuid import uuid4

import pytest

from apps.reasoning.models import ReasoningPath, Response, RunQuestion, Selection, Verdict
from apps.review.models import QuestionFlag, ReviewQueue
from apps.review.models_records import Comment, Mention, RecordDecision, RecordOverride
from tests.factories import make_finished_run, make_question, make_user, make_verdict

pytestmark = pytest.mark.django_db
AXES = {"correctness": True, "coherence": True, "factuality": False}


@pytest.fixture
def reviewer():
    return make_user("clinician", username="dr.a")


@pytest.fixture
def get(client, reviewer):
    client.force_login(reviewer)
    return lambda path, **params: client.get(f"/api/v1{path}", params)


@pytest.fixture
def say(client, reviewer):
    client.force_login(reviewer)
    return lambda path, body: client.post(f"/api/v1{path}", body, content_type="application/json")


@pytest.fixture
def run():
    return make_finished_run(4, name="four")


@pytest.fixture
def kept(run):
    """The first place of an easy question: its path and response, and the address of the record."""
    rows = Selection.objects.filter(run=run, current=True, path__origin="generated").select_related("question", "path")
    found = rows.order_by("pk")[0]
    found.url = f"/runs/four/questions/{found.question.uid}/records/{found.slot}"
    return found


def row_of(kept) -> RunQuestion:
    return RunQuestion.objects.get(run=kept.run_id, question=kept.question_id)


def test_a_record_is_accepted_as_it_was_read(get, say, kept):
    read = get(kept.url).json()
    assert (read["slot"], read["path"], read["standing"], read["decision"]) == (1, kept.path_id, "", None)
    body = {"content_hash": read["content_hash"], "idempotency_key": str(uuid4())}

    first, again = say(f"{kept.url}/accept", body), say(f"{kept.url}/accept", body)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["decision"] == again.json()["decision"]
    assert (first.json()["decision"]["decision"], first.json()["decision"]["by"]) == ("accepted", "dr.a")
    assert get(kept.url.rsplit("/", 1)[0]).json()[0]["standing"] == "accepted"
    assert RecordDecision.objects.count() == 1


def test_a_record_that_changed_meanwhile_is_a_conflict(get, say, kept):
    body = {"content_hash": get(kept.url).json()["content_hash"]}
    Response.objects.filter(run=kept.run_id, path=kept.path_id).update(text="Other words.")

    answer = say(f"{kept.url}/accept", body)

    assert answer.status_code == 409
    assert answer.json()["version"] == row_of(kept).version
    assert not RecordDecision.objects.exists()


def test_a_return_is_done_as_shown_and_made_again_when_a_curator_confirms(client, get, say, kept):
    shown = get(f"{kept.url}/return", again="response").json()
    assert (shown["remade"], shown["hold"]) == ({"summarise": 1}, True)

    answer = say(f"{kept.url}/return", {"again": "response", "reason": "Too short."})

    assert (answer.status_code, answer.json()["summary"]) == (201, shown["summary"])
    (stale,) = get("/runs/four/stale").json()["items"]
    assert (stale["question"], stale["now"]) == (kept.question.uid, {"summarise": 1})
    whole = get("/runs/four/stale/estimate").json()
    assert (whole["questions"], whole["now"], whole["more"]) == (1, {"summarise": 1}, False)
    client.force_login(make_user("curator"))
    assert say("/runs/four/stale/confirm", {}).status_code == 422
    body = {"questions": [kept.question.uid, "none-such"]}
    confirmed = [say("/runs/four/stale/confirm", body).json()["confirmed"] for _ in range(2)]
    assert confirmed == [1, 0]
    assert row_of(kept).hold is False


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("return", {"again": "response", "reason": " "}, "reason"),
        ("return", {"again": "all", "reason": "So."}, "again"),
        ("return", {"again": "path", "reason": "So."}, "correctness"),
        ("exclude", {}, "reason"),
        ("accept", {}, "content_hash"),
    ],
)
def test_a_decision_that_makes_no_sense_says_where(say, kept, route, body, field):
    answer = say(f"{kept.url}/{route}", body)

    assert (answer.status_code, answer.json()["field"].split(".")[-1]) == (422, field)
    assert not RecordDecision.objects.exists()
    assert not Verdict.objects.filter(source="person").exists()


def test_a_returned_path_gets_an_error_verdict(say, kept):
    answer = say(f"{kept.url}/return", {"again": "path", "reason": "Wrong artery.", "axes": AXES})

    assert answer.status_code == 201
    verdict = Verdict.objects.get(path=kept.path_id, source="person")
    assert (verdict.label, verdict.reason, verdict.factuality) == ("error", "Wrong artery.", False)


def test_an_exclusion_and_taking_it_back(get, say, kept):
    shown = get(f"{kept.url}/exclude").json()
    done = say(f"{kept.url}/exclude", {"reason": "Unsafe.", "expected_version": row_of(kept).version})
    assert (done.status_code, done.json()["summary"]) == (201, shown["summary"])
    assert say(f"{kept.url}/exclude", {"reason": "Unsafe.", "expected_version": 0}).status_code == 409
    assert say(f"{kept.url}/withdraw", {}).json()["decision"]["decision"] == "withdrawn"
    assert get(kept.url).json()["standing"] == ""


def test_a_tier_a_choice_and_a_response_by_a_person(get, say, kept):
    question, base = kept.question, f"/runs/four/questions/{kept.question.uid}"
    other = Selection.objects.get(run=kept.run_id, question=question, slot=2, current=True).path_id
    text = f"Potassium first.\n\nAnswer: {question.key_letter}. {question.key_text}"
    for url, target in (
        (f"/runs/four/paths/{kept.path_id}/response", {"text": text}),
        (f"{base}/choice", {"paths": [other, kept.path_id]}),
        (f"{base}/tier", {"tier": "difficult"}),
    ):
        shown = say(f"{url}/preview", target)
        body = {**target, "reason": "Better.", "idempotency_key": str(uuid4())}
        done, again = say(url, body), say(url, body)
        assert (shown.status_code, done.status_code, again.status_code) == (200, 201, 200)
        assert done.json()["summary"] == shown.json()["summary"]
        assert done.json()["id"] == again.json()["id"]
    assert sorted(RecordOverride.objects.values_list("kind", flat=True)) == ["choice", "response", "tier"]
    assert row_of(kept).tier == "difficult"


def test_a_record_that_is_not_kept_is_not_there(get, say, kept):
    for slot in (9, 2**40):
        url = kept.url.rsplit("/", 1)[0] + f"/{slot}"
        assert get(url).status_code == 404
        assert say(f"{url}/exclude", {"reason": "Unsafe."}).status_code == 404


def test_a_thread_its_answer_and_who_was_told(client, get, say, run):
    question = run.questions.order_by("pk")[0].question
    ada, url = make_user(username="ada"), f"/questions/{question.uid}/comments"
    path = ReasoningPath.objects.filter(run=run, question=question).first()
    body = {"text": "Key? @ada", "run": "four", "path": path.pk, "idempotency_key": str(uuid4())}

    first, again = say(url, body), say(url, body)

    assert (first.status_code, again.status_code, first.json()) == (201, 200, again.json())
    thread = first.json()["id"]
    assert say(f"/comments/{thread}/resolve", {"resolved": True}).json()["resolved_by"] == "dr.a"
    client.force_login(ada)
    (mention,) = get("/mentions", unseen=True).json()["items"]
    assert (mention["comment"], mention["question"], mention["run"]) == (thread, question.uid, "four")
    assert say(url, {"text": "Yes.", "thread": thread}).json()["thread"] == thread
    assert say(f"/comments/{thread}/resolve", {"resolved": False}).status_code == 200
    (shown,) = get(url).json()["items"]
    assert (shown["text"], shown["path"], shown["resolved_at"]) == ("Key? @ada", path.pk, None)
    assert [(a["author"], a["text"]) for a in shown["answers"]] == [("ada", "Yes.")]
    assert [say("/mentions/seen", {"question": question.uid}).json()["seen"] for _ in range(2)] == [1, 0]
    assert not Mention.objects.filter(seen_at=None).exists()


def test_a_comment_that_makes_no_sense_is_refused(say, run):
    question, other = (row.question for row in run.questions.order_by("pk")[:2])
    url, strange = f"/questions/{question.uid}/comments", ReasoningPath.objects.filter(question=other).first()
    thread = say(f"/questions/{other.uid}/comments", {"text": "Elsewhere."}).json()["id"]

    assert say(url, {"text": "  "}).json()["field"] == "text"
    assert say(url, {"text": "A", "path": strange.pk}).json()["field"] == "run"
    assert say(url, {"text": "A", "run": "four", "path": strange.pk}).json()["field"] == "path"
    assert say(url, {"text": "A", "thread": thread}).status_code == 404
    assert Comment.objects.count() == 1


def test_one_claim_is_judged_once_in_every_path_that_makes_it(get, say, run):
    row = run.questions.get(error_count=0)
    paths = list(ReasoningPath.objects.filter(run=run, question=row.question_id, origin="generated").order_by("pk"))
    found = get(f"/runs/four/paths/{paths[0].pk}/same-claim", sentence=1).json()
    assert found[0]["path"] == paths[0].pk
    assert len(found) > 1
    chosen = [{"path": f["path"], "sentences": [s["number"] for s in f["sentences"]]} for f in found[:2]]
    shown = say("/runs/four/joint-verdicts/preview", {"paths": chosen}).json()
    body = {"paths": chosen, "axes": AXES, "reason": "No such effect.", "idempotency_key": str(uuid4())}

    done, again = say("/runs/four/joint-verdicts", body), say("/runs/four/joint-verdicts", body)

    assert (done.status_code, again.status_code) == (201, 200)
    assert (shown["errors_after"], done.json()["question"]["error_count"]) == (2, 2)
    assert done.json()["summary"] == shown["summary"]
    assert [v["path"] for v in done.json()["verdicts"]] == [v["path"] for v in again.json()["verdicts"]]
    assert Verdict.objects.filter(source="person", label="error").count() == 2


def test_paths_of_two_questions_are_not_judged_together(say, run):
    firsts = [ReasoningPath.objects.filter(run=run, question=r.question_id).first().pk for r in run.questions.all()[:2]]
    body = {"axes": AXES, "reason": "No.", "idempotency_key": str(uuid4())}

    for paths in (firsts, firsts[:1] * 2):
        answer = say("/runs/four/joint-verdicts", body | {"paths": [{"path": pk} for pk in paths]})
        assert (answer.status_code, answer.json()["field"]) == (422, "paths")
    assert not Verdict.objects.filter(source="person").exists()


def test_a_queue_is_made_as_its_plan_was_shown(client, say, run):
    client.force_login(make_user("curator"))
    make_user(username="ada")
    plan = {"kind": "stratified", "by": ["tier"], "size": 6}
    shown = say("/queue-preview", {"run": "four", "plan": plan}).json()
    assert (shown["size"], sum(s["paths"] for s in shown["strata"])) == (6, 6)

    body = {"run": "four", "name": "calibration", "plan": plan, "role": "", "reviewers": ["ada"], "counts": False}
    made = say("/queues", body)

    assert (made.status_code, made.json()["size"], made.json()["counts"]) == (201, 6, False)
    queue = ReviewQueue.objects.get()
    assert ([u.username for u in queue.reviewers.all()], queue.plan["by"]) == (["ada"], ["tier"])
    assert (say("/queues", body).status_code, say("/queues", body).json()["field"]) == (422, "name")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"plan": {"kind": "stratified"}}, "plan"),
        ({"plan": {"size": 0}}, "plan.size"),
        ({"plan": {"kind": "paths", "paths": [1]}}, "plan"),
        ({"reviewers": ["nobody.here"]}, "reviewers"),
        ({"role": ""}, "role"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(client, say, run, change, field):
    client.force_login(make_user("curator"))

    answer = say("/queues", {"run": "four", "name": "new", **change})

    assert answer.status_code == 422
    assert answer.json()["field"].endswith(field)
    assert not ReviewQueue.objects.exists()


def test_a_question_is_flagged_outside_a_queue(say, kept):
    body = {"kind": "outdated", "note": "Since 2024.", "idempotency_key": str(uuid4())}
    ids = [say(f"/questions/{kept.question.uid}/flags", body).json()["id"] for _ in range(2)]

    assert ids == [QuestionFlag.objects.get().pk] * 2
    assert (row_of(kept).state, row_of(kept).reason) == ("excluded", "question_invalid")
    assert say("/questions/none-such/flags", body).status_code == 404
    assert say(f"/questions/{make_question().uid}/flags", {"kind": "bad"}).status_code == 422


def test_figures_come_with_their_n_and_interval(client, get, run):
    for person in (make_user(), make_user()):
        for path in ReasoningPath.objects.filter(run=run, origin="generated").order_by("pk")[:20]:
            make_verdict(path, reviewer=person, label="error" if path.pk % 3 else "correct")
    hidden = get("/agreement").json()["people"]
    assert (hidden["figures"], hidden["slices"]) == ([], [])
    assert hidden["hidden"]
    client.force_login(make_user("curator"))

    found = get("/agreement", run="four", measure="raw").json()

    assert found["verdicts"] == "all"
    raw = found["people"]["figures"][0]
    assert (raw["value"], raw["n"]) == (1.0, 20)
    assert raw["low"] < 1 <= raw["high"] + 1e-9
    assert raw["method"]
    assert found["judge"]["figures"][0]["name"] == "Sensitivity"
    assert sum(found["judge"]["cells"].values()) == 20
    assert sum(row["questions"] for row in found["tiers"]) == 4 or found["tiers_why_not"]
    assert get("/agreement", run="no").status_code == 404
    assert get("/agreement", measure="best").json()["field"] == "measure"
