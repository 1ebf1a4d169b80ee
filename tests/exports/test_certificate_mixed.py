"""Known faults mixed among the records of a sample: what reviewers overlook is measured while they judge."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from django.urls import reverse

from apps.exports.certificate.claims import claim_next, skip_record
from apps.exports.certificate.closing import give_up, request_certificate
from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.frozen import read_record
from apps.exports.certificate.opening import drawn_numbers
from apps.exports.certificate.planted import known_faults, places_among
from apps.exports.certificate.signing import write_certificates
from apps.exports.certificate.standing import standing_of
from apps.exports.models import Snapshot, SnapshotRecord
from apps.exports.models_certificate import Certification
from apps.exports.services import folder_of
from apps.reasoning.models import ReasoningPath, Verdict
from reasonmed_verify.checks import check_folder
from tests.exports.certificate_world import make_candidate, open_study, say
from tests.exports.proof_world import KEY, make_export, save
from tests.factories import make_path, make_path_label, make_user, make_verdict

pytestmark = pytest.mark.django_db
KNOWN = 10
PLAN = {"rate": 0.2, "confidence": 0.6, "misses": "mixed", "known": KNOWN, "missed": 2}


@pytest.fixture
def candidate(settings, monkeypatch, tmp_path) -> Snapshot:
    made = make_candidate(settings, monkeypatch, tmp_path, records=60)
    for held in made.held.select_related("question").order_by("number"):
        make_fault(held)
    return made


def make_fault(held: SnapshotRecord, *, label: str = "error", source: str = "person", **fields) -> ReasoningPath:
    """A path of the record's question, found wrong by a person though it ends at the key."""
    fields |= {"text": f"A subtle fault beside record {held.number}."}
    path = make_path(held.snapshot.run, held.question, generator="huatuogpt", **fields)
    make_path_label(path, label=label, source=source)
    return path


@pytest.fixture
def reviewer():
    return make_user("clinician")


def judge_mixed(study: Certification, people, *, missed: int, wrong: int = 0) -> list[bool]:
    """All people agree: the first `missed` known faults are called right, the first `wrong` of the records drawn wrong.
    Whether each one handed out was a known fault, in the order it came."""
    overlooked = set(study.known_faults.values_list("pk", flat=True)[:missed])
    faulty = set(study.drawn.values_list("pk", flat=True)[:wrong])
    order = []
    for person in people:
        order = []
        while (claim := claim_next(study=study, reviewer=person)) is not None:
            planted = claim.record.planted_id is not None
            order.append(planted)
            say(claim, wrong=claim.record_id in faulty or (planted and claim.record_id not in overlooked))
    return order


def told(study: Certification) -> dict:
    request_certificate(study=study, by=None)
    assert write_certificates() == 1
    study.refresh_from_db()
    return json.loads((folder_of(study.snapshot) / "certificate.json").read_text())


def problems(study: Certification) -> list[str]:
    found = check_folder(folder_of(study.snapshot), key=KEY.private.public_key())
    return [one.text for one in found if one.kind == "problem"]


def test_they_come_among_the_records_and_look_like_them(candidate, reviewer):
    study = open_study(candidate, PLAN)

    order = judge_mixed(study, [reviewer], missed=0)

    assert len(order) == study.size + KNOWN == study.sample.count()
    assert sum(order) == KNOWN
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)
    assert [r.number for r in study.drawn] == drawn_numbers(study)  # the draw is what the seed says, as without them
    drawn = set(study.drawn.values_list("held", flat=True))
    for fault in study.known_faults.select_related("planted"):
        shown = read_record(fault)
        assert fault.held_id not in drawn
        assert fault.planted.text in shown.reasoning
        assert shown.response
    ids = list(study.sample.order_by("pk").values_list("position", flat=True))
    assert ids == sorted(ids)  # the address of a record's page tells nothing


def test_a_fifth_missed_stands_in_the_sentence_and_makes_the_bound_larger(candidate, reviewer):
    study = open_study(candidate, PLAN)

    judge_mixed(study, [reviewer], missed=2)
    said = told(study)

    assert "adjusted for a measured miss rate of 20 % (2 of 10 known faults; 60 % interval " in said["sentence"]
    assert "were mixed among the records drawn and judged by the same people" in said["sentence"]
    assert (said["misses"]["missed"], said["misses"]["known"], said["misses"]["spread"]) == (2, KNOWN, 1)
    assert [one["found"] for one in said["misses"]["items"]].count(False) == 2
    low, high = said["misses"]["interval"]
    assert low < 0.2 < high
    assert len(said["judged"]["records"]) == study.size  # none of the known faults counts as a record
    assert said["judged"]["wrong"] == []
    assert said["holds"] is True
    assert problems(study) == []


def test_more_missed_than_planned_for_does_not_hold_and_says_so(candidate, reviewer):
    study = open_study(candidate, PLAN)

    judge_mixed(study, [reviewer], missed=7)
    said = told(study)

    assert said["holds"] is False
    assert said["sentence"].startswith("It is not shown that at most 20 % of records are wrong.")
    assert problems(study) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(missed=0),
        lambda m: m["items"][0].update(found=not m["items"][0]["found"]),
        lambda m: m["items"].pop(),
        lambda m: m.update(interval=[0.0, 0.1]),
    ],
)
def test_another_miss_rate_than_the_one_measured_is_refused(candidate, reviewer, change):
    study = open_study(candidate, PLAN)
    judge_mixed(study, [reviewer], missed=2)
    said = told(study)

    change(said["misses"])
    data = json.dumps(said).encode()
    folder = folder_of(study.snapshot)
    (folder / "certificate.json").write_bytes(data)
    (folder / "certificate.sig").write_bytes(KEY.sign(data, file="certificate.json"))

    (problem,) = problems(study)
    assert "its miss rate" in problem


def test_what_several_people_miss_together_is_what_counts(candidate):
    people = [make_user("clinician"), make_user("clinician")]
    study = open_study(candidate, PLAN | {"overlap": 2})
    fault = study.known_faults.first()
    for person in people:
        while (claim := claim_next(study=study, reviewer=person)) is not None:
            seen = claim.record.planted_id is not None and (claim.record_id != fault.pk or person == people[1])
            say(claim, wrong=seen)

    assert standing_of(study).decided
    assert told(study)["misses"]["missed"] == 0  # one of two saw it


def test_nothing_is_decided_before_the_known_faults_are_judged(candidate, reviewer):
    study = open_study(candidate, PLAN)
    last = study.known_faults.last()
    while (claim := claim_next(study=study, reviewer=reviewer)) is not None:
        if claim.record_id == last.pk:
            held = claim
            break
        say(claim, wrong=claim.record.planted_id is not None)
    other = make_user("clinician")
    while (claim := claim_next(study=study, reviewer=other)) is not None:
        say(claim, wrong=claim.record.planted_id is not None)

    standing = standing_of(study)

    assert (standing.judged, standing.waiting, standing.left, standing.decided) == (study.size, 1, 1, False)
    with pytest.raises(CertificateRefusedError, match=f"1 of {study.size + KNOWN} records are still to be judged"):
        request_certificate(study=study, by=None)
    say(held, wrong=True)
    assert standing_of(study).decided


def test_a_sequential_test_has_them_early_and_counts_none_as_a_record(candidate, reviewer):
    plan = {
        "kind": "sequential",
        "good": 0.02,
        "rate": 0.2,
        "confidence": 0.7,
        "misses": "mixed",
        "known": 6,
        "missed": 1,
    }
    study = open_study(candidate, plan)

    judge_mixed(study, [reviewer], missed=1)
    said = told(study)

    assert said["judged"]["decision"] == "accept"
    assert (said["misses"]["missed"], said["misses"]["known"]) == (1, 6)
    assert said["bound"] > 0.2 / (1 - 1 / 6)  # what was overlooked makes it larger
    assert problems(study) == []


@pytest.mark.parametrize(
    "faults",
    [
        {"label": "correct"},
        {"source": "judge"},
        {"answer": "A"},
        {"finish_reason": "length"},
        {"current": False},
    ],
)
def test_only_faults_that_people_found_and_no_glance_shows_are_mixed_in(settings, monkeypatch, tmp_path, faults):
    made = make_candidate(settings, monkeypatch, tmp_path, records=3)
    good = make_fault(made.held.get(number=0))
    made.held.get(number=1)
    make_fault(made.held.get(number=1), **faults)
    person = make_user("clinician")

    assert [fault.path for fault in known_faults(made, people=[person.pk], overlap=1)] == [good.pk]


def test_nobody_gets_a_fault_that_they_found_themselves(candidate, reviewer):
    for path in ReasoningPath.objects.filter(generator="huatuogpt")[:55]:
        make_verdict(path, label="error", reviewer=reviewer)
    assert Verdict.objects.filter(reviewer=reviewer).count() == 55

    with pytest.raises(CertificateRefusedError, match="10 are to be mixed in, and there are 5") as refused:
        open_study(candidate, PLAN)
    make_user("clinician")
    open_study(candidate, PLAN)  # another one may judge them

    assert refused.value.field == "known"


def test_records_that_an_earlier_study_found_wrong_are_known_faults_of_the_next(
    candidate, reviewer, settings, monkeypatch, tmp_path
):
    study = open_study(candidate, {"rate": 0.2, "confidence": 0.6})
    judge_mixed(study, [reviewer], missed=0, wrong=2)
    told(study)
    following = make_candidate(settings, monkeypatch, tmp_path, records=40)
    wrong = {record.held.path_id for record in study.drawn.filter(outcome="wrong").select_related("held")}

    found = known_faults(following, people=[make_user("clinician").pk], overlap=1)
    known = known_faults(following, people=[reviewer.pk], overlap=1)

    assert {fault.path for fault in found} == wrong
    assert known == []  # who judged them knows them


def test_withdrawing_and_opening_again_draws_no_other_sample(candidate, reviewer):
    study = open_study(candidate, {"rate": 0.2, "confidence": 0.6})
    drawn = [record.number for record in study.drawn]
    for _ in range(2):
        give_up(study=study, by=None)
        assert study.refresh_from_db() or study.state == "withdrawn"
        study = open_study(candidate, {"rate": 0.1, "confidence": 0.6})

    again = [record.number for record in study.drawn]

    assert len(again) > len(drawn)
    assert again[: len(drawn)] == drawn


def test_a_certificate_tells_of_candidates_of_the_run_that_were_studied_before(candidate, reviewer):
    first = open_study(candidate, {"rate": 0.2, "confidence": 0.6})
    judge_mixed(first, [reviewer], missed=0, wrong=3)
    assert told(first)["earlier"] == []
    following = corrected(candidate)
    study = open_study(following, {"rate": 0.2, "confidence": 0.6})
    judge_mixed(study, [make_user("clinician")], missed=0)

    said = told(study)

    assert study.seed != first.seed
    assert said["earlier"] == [{"root": first.root, "holds": False}]
    assert "1 earlier candidate of this run was studied; 0 of them met the target." in said["sentence"]
    assert problems(study) == []


def corrected(candidate: Snapshot) -> Snapshot:
    """A further candidate of the same run, with a record fewer."""
    folder = folder_of(candidate).with_name(uuid4().hex)
    manifest = make_export(folder, records=candidate.records - 1) | {"simulated": False}
    save(folder, manifest, KEY)
    held = list(candidate.held.order_by("number")[: candidate.records - 1])
    made = Snapshot.objects.get(pk=candidate.pk)
    made.pk, made.number, made.folder, made.manifest, made.records = uuid4(), 2, folder.name, manifest, len(held)
    made.save(force_insert=True)
    for record in held:
        record.pk, record.snapshot = None, made
    SnapshotRecord.objects.bulk_create(held)
    return made


def test_who_could_see_the_figures_or_was_not_measured_is_told(candidate):
    informed, other = make_user("curator"), make_user("clinician")
    study = open_study(candidate, PLAN, reviewers=[informed])
    while (claim := claim_next(study=study, reviewer=informed)).record.planted_id is not None:
        skip_record(record=claim.record, reviewer=informed, reason="other")
    say(claim)
    judge_mixed(study, [other], missed=0)

    said = told(study)

    assert (said["reviewers_informed"], said["reviewers_unmeasured"]) == (1, 1)
    assert "1 of the 2 reviewers could see what was found so far while judging." in said["sentence"]
    assert "1 of the 2 reviewers judged none of the known faults." in said["sentence"]
    assert problems(study) == []


def test_places_are_anywhere_within():
    assert places_among(5, 0, within=5) == set()
    for _ in range(50):
        assert places_among(20, 3, within=4) <= set(range(1, 8))
    assert len({frozenset(places_among(20, 3, within=20)) for _ in range(50)}) > 10


# --- through the pages and the API


def test_from_the_form_to_the_verified_certificate_with_three_people(client, candidate):
    """Planned on the page, judged blind by three people over the API, published, downloaded, verified."""
    curator, people = make_user("curator"), [make_user("clinician") for _ in range(3)]
    client.force_login(curator)
    form = {
        "kind": "acceptance", "rate": "20", "confidence": "60", "accept": "0", "overlap": "3", "rule": "majority",
        "role": "clinician", "misses": "mixed", "known": str(KNOWN), "missed": "2",
    }  # fmt: skip
    new = reverse("certificate_new", args=(candidate.pk,))
    assert "Known faults mixed among them, of 60 there are" in client.get(new, form).content.decode()
    assert client.post(new, form).status_code == 302
    study = Certification.objects.get()
    page = client.get(reverse("certificate", args=(candidate.pk,))).content.decode()
    assert study.seed in page  # published before anyone judges
    assert "from 10 known faults mixed among the records" in page
    assert "and no more than 2 of the 10 known faults mixed among them are overlooked." in page

    overlooked = set(study.known_faults.values_list("pk", flat=True)[:2])
    planted = set(study.known_faults.values_list("pk", flat=True))
    for person in people:
        client.force_login(person)
        seen = client.get(reverse("certificate_work", args=(study.pk,))).content.decode()
        assert "known fault" not in seen.lower()
        while record := post(client, f"/certificates/{study.pk}/claim", {})["record"]:
            assert set(record) == {
                "record", "position", "token", "version", "question", "reasoning", "response", "expires_at",
            }  # fmt: skip
            wrong = record["record"] in planted - overlooked
            body = {"token": record["token"], "wrong": wrong, "idempotency_key": str(uuid4())}
            post(
                client,
                f"/sample-records/{record['record']}/judge",
                body | ({"faults": ["wrong_fact"]} if wrong else {}),
            )

    client.force_login(curator)
    live = client.get(reverse("certificate", args=(candidate.pk,))).content.decode()
    assert "It holds." in live
    client.post(reverse("certificate_close", args=(study.pk,)), {"do": "publish"})
    assert write_certificates() == 1
    sentence = client.get(reverse("certificate", args=(candidate.pk,))).content.decode()
    assert "miss rate of 20 % (2 of 10 known faults" in sentence
    assert "as judged by 3 reviewers" in sentence
    assert problems(study) == []


def post(client, path: str, body: dict) -> dict:
    answer = client.post(f"/api/v1{path}", body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    return answer.json()
