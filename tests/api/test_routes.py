"""What the API answers."""

from __future__ import annotations

from uuid import uuid4

import pytest

from apps.exports.models import Snapshot
from apps.exports.services import build_queued_exports
from apps.pipeline.models import Failure
from apps.questions.models import Question
from apps.reasoning.models import PathLabel, ReasoningPath, RunQuestion, Verdict
from apps.reasoning.selectors import run_status
from tests.factories import make_call, make_finished_run, make_question, make_user, make_verdict

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer():
    return make_user("clinician", username="dr.a")


@pytest.fixture
def ask(client, reviewer):
    client.force_login(reviewer)

    def ask(path: str, **params):
        return client.get(f"/api/v1{path}", params)

    return ask


@pytest.fixture
def say(client, reviewer):
    client.force_login(reviewer)

    def say(path: str, body):
        return client.post(f"/api/v1{path}", body, content_type="application/json")

    return say


def walk(ask, path: str, **params) -> list[dict]:
    """All items of a list, page by page."""
    found, after = [], None
    while True:
        page = ask(path, **params, **({"after": after} if after else {})).json()
        found += page["items"]
        if not (after := page["next"]):
            return found


def test_a_list_read_page_by_page_has_everything_once(ask):
    made = [make_question().uid for _ in range(7)]

    assert [q["uid"] for q in walk(ask, "/questions", limit=3)] == made


def test_questions_are_found_by_word_benchmark_split_and_held_out(ask):
    make_question(stem="What treats gout?")
    wanted = make_question(stem="Which vaccine prevents measles?", benchmark="mmlu", split="test", held_out=True)

    for params in ({"q": "measles vaccine"}, {"benchmark": "mmlu"}, {"split": "test"}, {"held_out": True}):
        assert [q["uid"] for q in walk(ask, "/questions", **params)] == [wanted.uid]


def test_a_question_in_full(ask):
    first = make_question()
    again = make_question(canonical=first)

    answer = ask(f"/questions/{again.uid}").json()

    assert (answer["key"], answer["options"], answer["duplicate_of"]) == ("D", again.options, first.uid)
    assert (answer["benchmark"], answer["explanation"]) == ("medqa", again.explanation)


@pytest.mark.parametrize(
    "params", [{"after": "x"}, {"after": -1}, {"after": 2**64}, {"limit": 0}, {"limit": 9999}, {"split": "gold"}]
)
def test_a_parameter_that_makes_no_sense_is_named(ask, params):
    response = ask("/questions", **params)

    assert response.status_code == 422
    assert response.json()["field"] == next(iter(params))
    assert response.json()["detail"].startswith(next(iter(params)))


def test_a_run_and_where_it_stands(ask):
    run = make_finished_run(5)

    assert [r["run"] for r in walk(ask, "/runs")] == [run.name]
    detail = ask(f"/runs/{run.name}").json()
    assert (detail["config"], detail["config_hash"], detail["state"]) == (run.config, run.config_hash, "finished")
    status = ask(f"/runs/{run.name}/status").json()
    assert status == {k: v for k, v in run_status(run).items() if k in status}
    assert status["questions"] == 5


def test_questions_of_a_run(ask):
    run = make_finished_run(8)
    make_finished_run(2)

    rows = walk(ask, f"/runs/{run.name}/questions", limit=3)

    assert len(rows) == 8
    assert {r["question"] for r in rows} == set(Question.objects.filter(in_runs__run=run).values_list("uid", flat=True))
    hard = walk(ask, f"/runs/{run.name}/questions", tier="difficult")
    assert {(r["tier"], r["error_count"] > 7) for r in hard} == {("difficult", True)}
    assert ask(f"/runs/{run.name}/questions/{rows[0]['question']}").json() == rows[0]


def test_paths_of_a_question_with_their_labels(ask, django_assert_max_num_queries):
    run = make_finished_run(4)
    row = RunQuestion.objects.filter(run=run).last()

    with django_assert_max_num_queries(9):
        paths = ask(f"/runs/{run.name}/questions/{row.question.uid}/paths").json()

    assert [p["origin"] for p in paths] == ["generated"] * 9 + ["refined"] * 2
    for path in paths:
        assert path["label"] == PathLabel.objects.get(run=run, path=path["id"]).label
    assert paths[-1]["parent"] in {p["id"] for p in paths[:9]}
    assert ask(f"/runs/{run.name}/paths/{paths[3]['id']}").json() == paths[3]


def test_a_path_of_another_run_is_not_there(ask):
    run, other = make_finished_run(1), make_finished_run(1)
    theirs = ReasoningPath.objects.filter(run=other).first()

    assert ask(f"/runs/{run.name}/paths/{theirs.pk}").status_code == 404
    assert ask(f"/runs/{run.name}/paths/{2**70}").status_code == 404


def test_every_judgment_of_a_path(ask):
    run = make_finished_run(1)
    path = ReasoningPath.objects.filter(run=run).first()
    make_verdict(path, reviewer=make_user("clinician", username="dr.b"), label="error", reason="<b>No.</b>")

    judge, person = ask(f"/runs/{run.name}/paths/{path.pk}/verdicts").json()

    assert (judge["source"], judge["label"], judge["reviewer"]) == ("judge", "correct", None)
    assert (person["source"], person["label"], person["reviewer"]) == ("person", "error", "dr.b")
    assert (person["correctness"], person["reason"]) == (False, "<b>No.</b>")


WRONG = {"label": "error", "correctness": False, "coherence": True, "factuality": True, "reason": "Wrong drug."}


def judged(run) -> tuple[ReasoningPath, str]:
    path = ReasoningPath.objects.filter(run=run, origin="generated").order_by("id").first()
    return path, f"/runs/{run.name}/paths/{path.pk}/override"


def test_an_override_is_a_new_verdict_and_the_question_follows(ask, say, reviewer):
    run = make_finished_run(1)
    path, url = judged(run)
    preview = ask(f"{url}-preview", label="error").json()

    response = say(url, WRONG)

    answer = response.json()
    assert response.status_code == 201
    assert (answer["verdict"]["label"], answer["verdict"]["reviewer"]) == ("error", "dr.a")
    assert answer["question"]["error_count"] == preview["errors_after"] == 1
    assert answer["summary"] == preview["summary"]
    assert PathLabel.objects.get(run=run, path=path).label == "error"
    assert [v["label"] for v in ask(url.replace("override", "verdicts")).json()] == ["correct", "error"]


def test_the_same_override_sent_twice_is_saved_once(say):
    _, url = judged(make_finished_run(1))
    body = WRONG | {"idempotency_key": str(uuid4())}

    first, again = say(url, body), say(url, body)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["replayed"] is True
    assert first.json()["verdict"]["id"] == again.json()["verdict"]["id"]


def test_a_question_that_changed_meanwhile_is_a_conflict(say):
    run = make_finished_run(1)
    _, url = judged(run)
    count = Verdict.objects.count()

    response = say(url, WRONG | {"expected_version": 99})

    assert response.status_code == 409
    assert response.json()["version"] == RunQuestion.objects.get(run=run).version
    assert Verdict.objects.count() == count


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"correctness": True}, "correctness"),
        ({"label": "maybe"}, "label"),
        ({"reason": " "}, "reason"),
        ({"idempotency_key": "x"}, "idempotency_key"),
    ],
)
def test_an_override_that_makes_no_sense_says_where(say, change, field):
    _, url = judged(make_finished_run(1))
    count = Verdict.objects.count()

    response = say(url, WRONG | change)

    assert response.status_code == 422
    assert response.json()["field"].endswith(field)
    assert Verdict.objects.count() == count


def test_an_export_from_order_to_download(client, settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"
    run = make_finished_run(3)
    client.force_login(make_user("curator"))

    made = client.post(
        "/api/v1/exports",
        {"run": run.name, "variants": ["cotmed"], "format": "parquet"},
        content_type="application/json",
    ).json()
    assert (made["state"], made["files"], made["manifest"]) == ("queued", [], None)
    build_queued_exports()
    done = client.get(f"/api/v1/exports/{made['id']}").json()

    assert (done["state"], done["records"]) == ("done", Snapshot.objects.get().records)
    for file in done["files"]:
        response = client.get(file["url"], headers={"Range": "bytes=0-3"})
        assert (response.status_code, response["ETag"]) == (206, f'"{file["sha256"]}"')
    assert b"".join(client.get(done["files"][0]["url"]).streaming_content)[:4] == b"PAR1"
    assert [e["id"] for e in client.get("/api/v1/exports").json()["items"]] == [made["id"]]


@pytest.mark.parametrize("change", [{"variants": []}, {"variants": ["gold"]}, {"format": "xlsx"}])
def test_an_export_that_makes_no_sense_is_refused(client, change):
    client.force_login(make_user("curator"))
    body = {"run": make_finished_run(1).name, "variants": ["cotmed"]} | change

    response = client.post("/api/v1/exports", body, content_type="application/json")

    assert response.status_code == 422
    assert not Snapshot.objects.exists()


def test_the_documentation_needs_nothing_from_elsewhere(client, reviewer):
    client.force_login(reviewer)

    page = client.get("/api/v1/docs")

    assert page.status_code == 200
    assert "//" not in page.content.decode().replace("<!DOCTYPE html>", "")
    assert client.get("/api/v1/openapi.json").json()["info"]["title"] == "ReasonMed Workbench"


def test_the_documentation_is_for_people_with_a_role(client):
    assert client.get("/api/v1/docs").status_code == 302
    client.force_login(make_user(None))
    assert client.get("/api/v1/openapi.json").status_code == 403


@pytest.fixture
def failed():
    """A finished run with two verdicts and a summary set aside."""
    run = make_finished_run(2, name="failed")
    question = run.questions.order_by("question").first().question
    for stage, item, error_class in (
        ("verify", "path:1", "schema"),
        ("verify", "path:2", "schema"),
        ("summarise", "path:3", "refused"),
    ):
        call = make_call(
            run, question, stage, item, status="failed", error_class=error_class, excerpt="{", endpoint="judge"
        )
        Failure.objects.create(
            run=run, question=question, stage=stage, item=item, error_class=error_class, message="no", call=call
        )
    return run


def test_failures_in_groups(ask, failed):
    answer = ask("/runs/failed/failures/groups").json()

    assert [(g["stage"], g["endpoint"], g["error_class"], g["count"]) for g in answer["set_aside"]] == [
        ("verify", "judge", "schema", 2),
        ("summarise", "writer", "refused", 1),
    ]
    assert [(g["endpoint"], g["count"]) for g in answer["attempts"]] == [("judge", 2), ("judge", 1)]
    assert answer["set_aside"][0]["advice"]


def test_failures_page_by_page_and_filtered(ask, failed):
    items = walk(ask, "/runs/failed/failures", limit=2)

    assert [(f["item"], f["endpoint"], f["excerpt"]) for f in items] == [
        ("path:1", "judge", "{"),
        ("path:2", "judge", "{"),
        ("path:3", "writer", "{"),
    ]
    assert [f["item"] for f in walk(ask, "/runs/failed/failures", endpoint="writer", error_class="refused")] == [
        "path:3"
    ]
    assert ask("/runs/failed/failures", stage="\x00").json()["items"] == items


def test_failures_are_tried_again(client, say, failed):
    client.force_login(make_user("curator"))
    one = Failure.objects.get(item="path:1").pk

    assert say("/runs/failed/failures/retry", {"failures": [one, 0, 2**70]}).json()["failures"] == 1
    assert say("/runs/failed/failures/retry", {"failures": [one]}).json() == {
        "failures": 0,
        "questions": 0,
        "at_work": 0,
    }
    assert say("/runs/failed/failures/retry", {"stage": "verify"}).json()["failures"] == 1
    assert say("/runs/failed/failures/retry", {"all": True}).json()["failures"] == 1
    assert not Failure.objects.filter(resolved_at=None).exists()


@pytest.mark.parametrize("body", [{}, {"all": True, "stage": "verify"}, {"failures": ["x"]}, {"stage": "x" * 21}])
def test_a_retry_that_does_not_say_what_is_refused(client, say, failed, body):
    client.force_login(make_user("curator"))

    assert say("/runs/failed/failures/retry", body).status_code == 422
    assert Failure.objects.filter(resolved_at=None).count() == 3


def test_nothing_of_a_cancelled_run_is_tried_again(client, say, failed):
    client.force_login(make_user("curator"))
    failed.state = "cancelled"
    failed.save()

    response = say("/runs/failed/failures/retry", {"all": True})

    assert (response.status_code, response.json()["field"]) == (409, "run")
    assert Failure.objects.filter(resolved_at=None).count() == 3
