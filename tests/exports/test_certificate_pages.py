"""A certificate's pages: planning it, judging for it, its state while it is judged, its end."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import reverse

from apps.exports.certificate.claims import claim_next
from apps.exports.certificate.closing import request_certificate
from apps.exports.certificate.signing import write_certificates
from apps.exports.models import Snapshot
from apps.exports.models_certificate import Certification, Fault, SampleClaim, SampleJudgment
from apps.reasoning.models import ReasoningPath
from tests.exports.certificate_world import SMALL, build_candidate, judge_all, make_candidate, open_study, say
from tests.factories import make_user

pytestmark = pytest.mark.django_db
HTMX, FRAGMENT = {"HX-Request": "true"}, {"X-Fragment": "1"}
PLAN = {"kind": "acceptance", "rate": "20", "confidence": "80", "accept": "0", "overlap": "1", "rule": "any", "misses": "none", "role": "clinician"}  # fmt: skip


@pytest.fixture
def candidate(settings, monkeypatch, tmp_path) -> Snapshot:
    return make_candidate(settings, monkeypatch, tmp_path)


@pytest.fixture
def reviewer(db):
    return make_user("clinician")


@pytest.fixture
def study(candidate, reviewer) -> Certification:
    return open_study(candidate)


@pytest.fixture
def curator(client):
    client.force_login(make_user("curator"))
    return client


def page(client, study, **headers) -> str:
    return client.get(reverse("certificate", args=(study.snapshot_id,)), headers=headers).content.decode()


def body(claim: SampleClaim, **said) -> dict:
    return {"token": claim.token, "version": claim.version, "idempotency_key": uuid4(), "active_ms": "900"} | said


# --- planning


def test_a_certificate_is_planned_with_a_preview_and_drawn(curator, candidate, reviewer):
    address = reverse("certificate_new", args=(candidate.pk,))
    assert "Plan a certificate" in curator.get(reverse("certificate", args=(candidate.pk,))).content.decode()
    assert curator.get(address).status_code == 200

    preview = curator.get(address, PLAN, headers=HTMX).content.decode()
    made = curator.post(address, PLAN)

    study = Certification.objects.get()
    assert "<html" not in preview
    assert f"if none of the {study.size} records drawn is" in preview
    assert made.url == reverse("certificate", args=(candidate.pk,))
    assert (study.plan["rate"], study.plan["confidence"]) == (0.2, 0.8)
    assert f"{study.size} records are drawn" in curator.get(made.url).content.decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": "90"}, "less than or equal to 20"),
        ({"accept": "9"}, "cannot show"),
        ({"role": ""}, "Say who judges"),
        ({"overlap": "9"}, "9 people are to judge each record"),
        ({"kind": "sequential", "good": "30"}, "less than or equal to 19"),
        ({"kind": "sequential", "good": "0.2", "rate": "0.5"}, "The test takes at least"),
        ({"misses": "entered", "missed": "3", "known": "2", "source": ""}, "how many known faults"),
        ({"misses": "gold"}, "more known faults"),
        ({"kind": "guess"}, "not one of the available choices"),
    ],
)
def test_a_plan_that_will_not_do_is_refused_in_words(curator, candidate, reviewer, change, said):
    refused = curator.post(reverse("certificate_new", args=(candidate.pk,)), PLAN | change)

    assert refused.status_code == 422
    assert said in refused.content.decode()
    assert not Certification.objects.exists()


@pytest.mark.parametrize("kind", ["sequential", "stratified"])
def test_other_kinds_are_planned_too(curator, settings, monkeypatch, tmp_path, reviewer, kind):
    candidate = make_candidate(settings, monkeypatch, tmp_path, records=30)
    plan = PLAN | {"kind": kind, "good": "2", "alpha": "20", "by": "tier"}

    preview = curator.get(reverse("certificate_new", args=(candidate.pk,)), plan, headers=HTMX).content.decode()
    curator.post(reverse("certificate_new", args=(candidate.pk,)), plan)

    assert ("p0 = 2 %, p1 = 20 %" in preview) == (kind == "sequential")
    assert ("Difficult" in preview) == (kind == "stratified")
    assert Certification.objects.get().plan["kind"] == kind


def test_the_same_records_are_not_planned_again(curator, study):
    refused = curator.post(reverse("certificate_new", args=(study.snapshot_id,)), PLAN)

    assert refused.status_code == 422
    assert "open already" in refused.content.decode()


# --- judging


def test_a_record_is_judged_and_the_next_one_comes(client, study, reviewer):
    client.force_login(reviewer)
    work = reverse("certificate_work", args=(study.pk,))
    first = client.get(work)
    claim = SampleClaim.objects.get()
    shown = first.content.decode()
    assert claim.record.held.response.text in shown
    assert 'name="token" value="' + str(claim.token) in shown

    saved = client.post(
        reverse("certificate_judge", args=(claim.record_id,)), body(claim, label="error", reasons=["wrong_fact"])
    )

    assert saved.url == work
    judgment = SampleJudgment.objects.get()
    assert (judgment.wrong, judgment.faults) == (True, ["wrong_fact"])
    assert "Record 2 of the sample" in client.get(work, headers=FRAGMENT).content.decode()


def test_the_screen_tells_nothing_of_who_wrote_or_judged_it(client, study, reviewer):
    client.force_login(reviewer)

    shown = client.get(reverse("certificate_work", args=(study.pk,))).content.decode()

    path = SampleClaim.objects.get().record.held.path
    for secret in (path.generator, path.model, "sim-judge", path.run.name + "/", "Found wrong"):
        assert secret not in shown, secret


def test_with_a_script_the_next_record_is_the_answer(client, study, reviewer):
    client.force_login(reviewer)
    claim = claim_next(study=study, reviewer=reviewer)

    answer = client.post(
        reverse("certificate_judge", args=(claim.record_id,)), body(claim, label="correct"), headers=FRAGMENT
    )

    text = answer.content.decode()
    assert "<html" not in text
    assert "Record 2 of the sample" in text
    assert "checked" not in text.split("Pass on")[0].split('id="judge"')[1]
    ahead = client.get(reverse("certificate_work", args=(study.pk,)) + "?after=record-1", headers=FRAGMENT)
    assert "data-item=" not in ahead.content.decode()
    assert SampleClaim.objects.count() == 2


@pytest.mark.parametrize(
    ("said", "why"), [({}, "right or wrong"), ({"label": "error", "comment": " "}, "Say what is wrong")]
)
def test_what_cannot_be_saved_stands_in_the_form_again(client, study, reviewer, said, why):
    client.force_login(reviewer)
    claim = claim_next(study=study, reviewer=reviewer)

    refused = client.post(reverse("certificate_judge", args=(claim.record_id,)), body(claim, **said), headers=FRAGMENT)

    assert refused.status_code == 422
    assert why in refused.content.decode()
    assert not SampleJudgment.objects.exists()


def test_two_windows_see_both_sides(client, study, reviewer):
    client.force_login(reviewer)
    claim = claim_next(study=study, reviewer=reviewer)
    say(claim, wrong=True)

    sent = {"label": "correct", "comment": "All <b>fine</b>.", "version": "0"}
    refused = client.post(reverse("certificate_judge", args=(claim.record_id,)), body(claim, **sent), headers=FRAGMENT)

    text = refused.content.decode()
    assert refused.status_code == 409
    assert "What stands" in text
    assert "All &lt;b&gt;fine&lt;/b&gt;." in text
    assert 'name="version" value="1"' in text


def test_undone_the_record_is_on_the_screen_again(client, study, reviewer):
    client.force_login(reviewer)
    claim, key = claim_next(study=study, reviewer=reviewer), {"idempotency_key": uuid4()}
    say(claim, wrong=True)

    for _ in range(2):  # the same request again
        undone = client.post(reverse("certificate_undo", args=(study.pk,)), key)
        assert undone.url == reverse("certificate_record", args=(claim.record_id,))

    assert SampleJudgment.objects.count() == 2
    assert client.get(undone.url).status_code == 200
    assert client.post(reverse("certificate_undo", args=(study.pk,)), {"idempotency_key": "x"}).status_code == 422


def test_passed_on_the_next_one_comes(client, study, reviewer):
    client.force_login(reviewer)
    claim = claim_next(study=study, reviewer=reviewer)

    answer = client.post(
        reverse("certificate_skip", args=(claim.record_id,)), {"reason": "not_my_specialty"}, headers=FRAGMENT
    )

    assert "Record 2 of the sample" in answer.content.decode()


def test_a_heartbeat_is_answered(client, study, reviewer):
    client.force_login(reviewer)
    claim_next(study=study, reviewer=reviewer)

    assert client.post(reverse("certificate_alive", args=(study.pk,))).json() == {"held": 1}


def test_a_changed_text_is_not_judged(client, study, reviewer):
    client.force_login(reviewer)
    ReasoningPath.objects.filter(pk__in=study.sample.values("held__path")).update(text="Another.")

    shown = client.get(reverse("certificate_work", args=(study.pk,)))

    assert shown.status_code == 409
    assert "not in the ledger as it was exported" in shown.content.decode()


def test_another_persons_record_is_not_shown(client, study, reviewer):
    claim = claim_next(study=study, reviewer=reviewer)
    client.force_login(make_user("clinician"))

    assert client.get(reverse("certificate_record", args=(claim.record_id,))).status_code == 404
    lost = client.post(reverse("certificate_judge", args=(claim.record_id,)), body(claim, label="correct"))
    assert lost.status_code == 409
    assert not SampleJudgment.objects.exists()


def test_the_review_home_tells_those_who_may_judge(client, study, reviewer):
    client.force_login(reviewer)
    assert reverse("certificate_work", args=(study.pk,)) in client.get(reverse("review_home")).content.decode()

    judge_all(study, [reviewer])

    assert reverse("certificate_work", args=(study.pk,)) not in client.get(reverse("review_home")).content.decode()


# --- its state


def test_figures_so_far_are_for_curators_alone(client, study, reviewer):
    say(claim_next(study=study, reviewer=reviewer), wrong=True)
    seen = {}
    for role in ("curator", "clinician", "consumer"):
        client.force_login(make_user(role))
        seen[role] = page(client, study)

    assert "Found wrong" in seen["curator"]
    assert "It will not hold as planned" in seen["curator"]
    for role in ("clinician", "consumer"):
        assert "Found wrong" not in seen[role]
        assert "nobody who judges should know how it stands" in seen[role]


def test_it_follows_while_it_is_open(curator, study, reviewer):
    live = curator.get(reverse("certificate", args=(study.snapshot_id,)), headers=HTMX)
    judge_all(study, [reviewer])
    decided = page(curator, study)
    request_certificate(study=study, by=None)
    write_certificates()
    ended = curator.get(reverse("certificate", args=(study.snapshot_id,)), headers=HTMX)

    assert (live.status_code, b'hx-trigger="every 5s"' in live.content) == (200, True)
    assert "not valid before all are judged" in live.content.decode()
    assert "It holds." in decided
    assert (ended.status_code, b"hx-trigger" in ended.content) == (286, False)


def test_a_sequential_test_shows_its_lines(curator, settings, monkeypatch, tmp_path, reviewer):
    candidate = make_candidate(settings, monkeypatch, tmp_path, records=30)
    study = open_study(candidate, {"kind": "sequential", "good": 0.02, "rate": 0.2, "confidence": 0.8})
    say(claim_next(study=study, reviewer=reviewer), wrong=True)

    shown = page(curator, study)

    assert "1 wrong of 1 judged in the order drawn" in shown
    assert "rejects at" in shown
    assert "not valid: the test alone decides" in shown


def test_the_state_takes_as_many_queries_for_many_records_as_for_few(
    curator, settings, monkeypatch, tmp_path, reviewer, django_assert_max_num_queries
):
    for records in (10, 40):
        study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=records), SMALL | {"rate": 0.05})
        judge_all(study, [reviewer])
        page(curator, study)
        with django_assert_max_num_queries(22):
            page(curator, study)


# --- its end


def test_published_it_is_shown_and_can_be_downloaded(curator, settings, monkeypatch, tmp_path, reviewer):
    study = open_study(build_candidate(settings, monkeypatch, tmp_path), SMALL | {"confidence": 0.5})
    judge_all(study, [reviewer], wrong={1, 2})
    close = reverse("certificate_close", args=(study.pk,))
    assert "It will say" in curator.get(close).content.decode()

    assert curator.post(close, {"do": "publish"}).url == reverse("certificate", args=(study.snapshot_id,))
    assert "A worker signs it" in page(curator, study)
    write_certificates()

    shown, export = page(curator, study), curator.get(reverse("export", args=(study.snapshot_id,))).content.decode()
    study.refresh_from_db()
    assert "Does not hold" in shown
    assert Fault.WRONG_FACT.label in shown
    for text in (shown, export):
        assert study.document["sentence"] in text
        for name in ("certificate.json", "certificate.sig"):
            address = reverse("export_file", args=(study.snapshot_id, name))
            assert address in text
            assert curator.get(address).status_code == 200


def test_it_is_not_published_too_early_and_given_up_it_stays_so(curator, study, reviewer):
    say(claim_next(study=study, reviewer=reviewer))
    close = reverse("certificate_close", args=(study.pk,))

    early = curator.post(close, {"do": "publish"})
    nothing = curator.post(close, {"do": "something"})
    curator.post(close, {"do": "give_up"})

    assert (early.status_code, nothing.status_code) == (422, 422)
    assert "still to be judged" in early.content.decode()
    assert "Given up" in page(curator, study)
    assert "closed already" in curator.post(close, {"do": "give_up"}).content.decode()


def test_what_is_on_screens_can_be_given_back(curator, study, reviewer):
    claim_next(study=study, reviewer=reviewer)
    assert "Give back" in page(curator, study)

    curator.post(reverse("certificate_release", args=(study.pk,)))

    assert not SampleClaim.objects.filter(state="live").exists()


def test_an_export_of_the_same_records_points_to_the_study(curator, study):
    twin = Snapshot.objects.get(pk=study.snapshot_id)
    twin.pk, twin.number = uuid4(), 2
    twin.save(force_insert=True)

    shown = curator.get(reverse("certificate", args=(twin.pk,))).content.decode()

    assert "The same records, to the letter, were studied in" in shown
    assert reverse("certificate", args=(study.snapshot_id,)) in shown
