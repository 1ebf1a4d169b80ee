"""The API of certificates, and what happens when many ask at once."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest
from django.urls import reverse

from apps.exports.certificate.claims import claim_next
from apps.exports.certificate.closing import request_certificate
from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.judging import RecordJudged
from apps.exports.certificate.signing import write_certificates
from apps.exports.models import Snapshot
from apps.exports.models_certificate import Certification, SampleClaim, SampleJudgment
from apps.exports.models_downloads import Download
from apps.exports.services import folder_of
from tests.exports.certificate_world import SMALL, build_candidate, judge_all, make_candidate, open_study, say
from tests.factories import make_user
from tests.review.queue_world import at_once

LARGE = {"rate": 0.05, "confidence": 0.8}  # most of forty records


@pytest.fixture
def candidate(db, settings, monkeypatch, tmp_path) -> Snapshot:
    return make_candidate(settings, monkeypatch, tmp_path)


@pytest.fixture
def reviewer(db):
    return make_user("clinician")


@pytest.fixture
def ask(client):
    def send(who, path: str, body=None, status: int = 200):
        client.force_login(who)
        url = f"/api/v1{path}"
        answer = client.get(url) if body is None else client.post(url, body, content_type="application/json")
        assert answer.status_code == status, answer.content
        return answer.json()

    return send


@pytest.mark.django_db
def test_from_plan_to_certificate(ask, candidate, reviewer):
    curator, address = make_user("curator"), f"/exports/{candidate.pk}/certificate"
    ask(curator, address, status=404)
    forecast = ask(curator, f"{address}-preview", {"plan": SMALL})
    made = ask(curator, address, {"plan": SMALL, "reviewers": [reviewer.username]}, status=201)
    assert made["size"] == forecast["size"] == forecast["judgments"]
    assert made["strata"] == [{"name": "all", "records": 10, "drawn": made["size"]}]
    assert (made["standing"]["judged"], made["certificate"]) == (0, None)
    assert ask(reviewer, address)["standing"] is None  # nobody who judges knows how it stands

    here = f"/certificates/{made['id']}"
    while record := ask(reviewer, f"{here}/claim", {})["record"]:
        assert record["reasoning"]
        assert record["response"].startswith("Response ")
        body = {"token": record["token"], "wrong": record["position"] == 2, "idempotency_key": str(uuid4())}
        body |= {"faults": ["response_differs"]} if body["wrong"] else {}
        saved = ask(reviewer, f"/sample-records/{record['record']}/judge", body)
        again = ask(reviewer, f"/sample-records/{record['record']}/judge", body)
        assert (saved["version"], saved["replayed"], again["replayed"]) == (1, False, True)
    assert ask(reviewer, f"{here}/claim", {})["why"].startswith("Judging is over")
    assert ask(curator, address)["standing"]["faults"] == 1

    closed = ask(curator, f"{here}/close", {"do": "publish"})
    write_certificates()
    read = ask(make_user("consumer"), address)
    assert (closed["state"], read["state"]) == ("signing", "published")
    assert read["certificate"]["holds"] is False
    assert read["certificate"]["sentence"].startswith("It is not shown that at most 20 % of records are wrong.")


SIDECARS = ["manifest.json", "manifest.sig", "certificate.json", "certificate.sig"]


@pytest.mark.django_db
def test_the_files_of_a_certificate_are_listed_with_checksums_and_fetched_like_others(
    ask, client, settings, monkeypatch, tmp_path, reviewer
):
    built = build_candidate(settings, monkeypatch, tmp_path)
    here, consumer = f"/exports/{built.pk}", make_user("consumer")
    before = {file["path"]: file for file in ask(consumer, here)["files"]}
    study = open_study(built, SMALL | {"confidence": 0.5})
    judge_all(study, [reviewer])
    request_certificate(study=study, by=None)
    write_certificates()

    files = {file["path"]: file for file in ask(consumer, here)["files"]}

    assert files.keys() - before.keys() == {"certificate.json", "certificate.sig"}
    assert list(files)[-4:] == SIDECARS
    for name in SIDECARS:
        data, file = (folder_of(built) / name).read_bytes(), files[name]
        assert (file["sha256"], file["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        whole = client.get(file["url"])
        assert (b"".join(whole.streaming_content), whole["ETag"]) == (data, f'"{file["sha256"]}"')
        part = client.get(file["url"], headers={"Range": "bytes=5-", "If-Range": whole["ETag"]})
        assert (part.status_code, b"".join(part.streaming_content)) == (206, data[5:])
        assert client.get(file["url"], headers={"If-None-Match": whole["ETag"]}).status_code == 304
        assert list(Download.objects.filter(file=name).order_by("pk").values_list("start", flat=True)) == [0, 5]


@pytest.mark.django_db
def test_the_page_lists_them_and_its_lines_to_copy_fetch_and_check_them(
    client, settings, monkeypatch, tmp_path, reviewer
):
    built = build_candidate(settings, monkeypatch, tmp_path)
    study = open_study(built, SMALL | {"confidence": 0.5})
    judge_all(study, [reviewer])
    request_certificate(study=study, by=None)
    write_certificates()
    client.force_login(make_user("consumer"))

    page = client.get(reverse("export", args=(built.pk,))).content.decode()

    table, fetch, check = (
        page.split(start)[1].split(end)[0]
        for start, end in (('<b id="fl-h">', "</table>"), ('id="fetch-code"', "</pre>"), ('id="check-code"', "</pre>"))
    )
    for name in SIDECARS:
        digest = hashlib.sha256((folder_of(built) / name).read_bytes()).hexdigest()
        assert reverse("export_file", args=(built.pk, name)) in table
        assert digest in table
        assert f"{digest}  {name}" in check
        assert name in fetch


@pytest.mark.django_db
def test_what_is_refused_is_said_in_words(ask, candidate, reviewer):
    curator, address = make_user("curator"), f"/exports/{candidate.pk}/certificate"
    for plan, field in [
        ({"rate": 3}, "plan.rate"),
        ({"kind": "stratified"}, "plan.by"),
        ({"hidden": 1}, "plan.hidden"),
    ]:
        assert ask(curator, address, {"plan": plan}, status=422)["field"] == field
    unknown = ask(curator, address, {"plan": SMALL, "reviewers": ["nobody"]}, status=422)
    assert unknown["detail"] == "Nobody of this project is called nobody."
    study = open_study(candidate)
    assert "open already" in ask(curator, address, {"plan": SMALL}, status=422)["detail"]
    assert "still to be judged" in ask(curator, f"/certificates/{study.pk}/close", {"do": "publish"}, 422)["detail"]

    claim = claim_next(study=study, reviewer=reviewer)
    judge = f"/sample-records/{claim.record_id}/judge"
    body = {"token": str(claim.token), "wrong": True, "idempotency_key": str(uuid4())}
    assert ask(reviewer, judge, body, status=422)["field"] == "faults"
    say(claim)
    changed = ask(reviewer, judge, body | {"comment": "No.", "expected_version": 0}, status=409)
    assert changed["version"] == 1
    assert ask(make_user("clinician"), judge, body | {"comment": "No."}, status=409)["field"] == "token"
    study.role = "adjudicator"
    study.save()
    assert "other people" in ask(reviewer, f"/certificates/{study.pk}/claim", {}, status=403)["detail"]


@pytest.mark.django_db
def test_taken_back_passed_on_and_given_back(ask, candidate, reviewer):
    study = open_study(candidate)
    first = claim_next(study=study, reviewer=reviewer)
    say(first, wrong=True)

    undone = ask(reviewer, f"/sample-records/{first.record_id}/undo", {"idempotency_key": str(uuid4())})
    assert (undone["version"], undone["wrong"]) == (2, None)
    ask(reviewer, f"/sample-records/{first.record_id}/skip", {"reason": "unsure"})
    assert ask(reviewer, f"/certificates/{study.pk}/claim", {})["record"]["position"] == 2
    assert ask(reviewer, f"/certificates/{study.pk}/heartbeat", {}) == {"held": 1}
    assert ask(make_user("curator"), f"/certificates/{study.pk}/release", {}) == {"released": 2}
    assert ask(reviewer, f"/certificates/{study.pk}/claim", {})["record"]["position"] == 1


# --- many at once


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_get_twenty_different_records(settings, monkeypatch, tmp_path):
    people = [make_user() for _ in range(20)]
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=40), LARGE)
    assert study.size > 20

    found = at_once([lambda p=p: claim_next(study=study, reviewer=p) for p in people])

    assert [f for f in found if isinstance(f, Exception)] == []
    assert {claim.record.position for claim in found} == set(range(1, 21))


@pytest.mark.django_db(transaction=True)
def test_places_of_one_record_are_filled_exactly(candidate):
    """As many people as places: nobody goes away empty, though others hold the locks at that moment."""
    for _ in range(3):
        make_user()
    study = open_study(candidate, SMALL | {"overlap": 3})
    people = [make_user() for _ in range(3 * study.size)]

    found = at_once([lambda p=p: claim_next(study=study, reviewer=p) for p in people])

    assert [f for f in found if isinstance(f, Exception)] == []
    assert sorted(claim.record.position for claim in found) == sorted([*range(1, study.size + 1)] * 3)


@pytest.mark.django_db(transaction=True)
def test_one_judgment_sent_ten_times_at_once_is_saved_once(candidate, reviewer):
    claim, key = claim_next(study=open_study(candidate), reviewer=reviewer), uuid4()

    found = at_once([lambda: say(claim, wrong=True, idempotency_key=key) for _ in range(10)])

    assert all(isinstance(f, RecordJudged) for f in found), found
    assert sorted(f.replayed for f in found) == [False] + [True] * 9
    assert SampleJudgment.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_is_judged_while_it_is_closed_is_in_the_certificate_or_refused(candidate, reviewer):
    """A revision that races with the end of judging: never one that was saved and does not count."""
    study = open_study(candidate)
    judge_all(study, [reviewer])
    claims = list(SampleClaim.objects.select_related("record__certification", "reviewer"))

    found = at_once(
        [lambda: request_certificate(study=study, by=None), *(lambda c=c: say(c, wrong=True) for c in claims)]
    )

    assert isinstance(found[0], Certification)
    saved = {claim.record.number for claim, f in zip(claims, found[1:], strict=True) if isinstance(f, RecordJudged)}
    assert all(isinstance(f, RecordJudged | CertificateRefusedError) for f in found[1:])
    study.refresh_from_db()
    assert set(study.document["judged"]["wrong"]) == saved


@pytest.mark.django_db(transaction=True)
def test_two_who_open_at_once_open_one(candidate, reviewer):
    found = at_once([lambda: open_study(candidate) for _ in range(4)])

    assert sum(isinstance(f, Certification) for f in found) == 1
    assert sum(isinstance(f, CertificateRefusedError) for f in found) == 3


@pytest.mark.django_db(transaction=True)
def test_two_workers_write_one_certificate(candidate, reviewer):
    study = open_study(candidate)
    judge_all(study, [reviewer])
    request_certificate(study=study, by=None)

    assert sorted(at_once([write_certificates] * 2)) in ([0, 1], [1, 0])
