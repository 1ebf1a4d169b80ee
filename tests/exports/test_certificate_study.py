"""Certifications: who gets which record, what is kept of what they say, when it is decided, what is written and signed."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.exports.certificate.claims import (
    claim_next,
    heartbeat,
    release_records,
    skip_record,
    waiting_for,
    why_none,
)
from apps.exports.certificate.closing import give_up, request_certificate
from apps.exports.certificate.errors import CertificateRefusedError, RecordChangedError
from apps.exports.certificate.frozen import RecordLostError, read_record
from apps.exports.certificate.judging import RecordSaid, judge_record, undo_record
from apps.exports.certificate.misses import gold_misses
from apps.exports.certificate.opening import drawn_numbers, forecast_certification
from apps.exports.certificate.plan import CertificatePlan, parse_certificate_plan
from apps.exports.certificate.signing import write_certificates
from apps.exports.certificate.standing import standing_of
from apps.exports.errors import ExportRefusedError
from apps.exports.models import Snapshot
from apps.exports.models_certificate import Certification, SampleClaim, SampleJudgment, SampleRecord
from apps.exports.provenance import pseudonym
from apps.exports.publishing import discard_candidate
from apps.exports.services import folder_of
from apps.reasoning.models import ReasoningPath, Response, Verdict
from apps.review.queues.errors import ItemLost, NotAdmitted
from reasonmed_verify.checks import check_folder
from reasonmed_verify.drawing import draw_sample
from tests.exports.certificate_world import (
    SMALL,
    build_again,
    build_candidate,
    judge_all,
    make_candidate,
    open_study,
    say,
)
from tests.exports.proof_world import KEY, make_export
from tests.factories import make_path_label, make_run_question, make_user, make_verdict

pytestmark = pytest.mark.django_db


@pytest.fixture
def candidate(settings, monkeypatch, tmp_path) -> Snapshot:
    return make_candidate(settings, monkeypatch, tmp_path)


@pytest.fixture
def reviewer(db):
    return make_user("clinician")


@pytest.fixture
def study(candidate, reviewer) -> Certification:
    return open_study(candidate)


# --- opening


def test_the_sample_is_the_one_that_the_seed_draws(study):
    drawn = list(SampleRecord.objects.filter(certification=study).order_by("position").values_list("number", flat=True))

    assert drawn == draw_sample(study.records, study.size, seed=study.seed) == drawn_numbers(study)
    assert study.seed.startswith(study.root)
    assert study.root == study.snapshot.manifest["merkle"]["root"]
    assert [r.held.number for r in study.sample.all()] == [r.number for r in study.sample.all()]


def test_other_records_are_drawn_with_another_seed(study, reviewer, settings, monkeypatch, tmp_path):
    other = make_candidate(settings, monkeypatch, tmp_path, records=11)

    seeds = [study.seed, open_study(other).seed]

    assert len({seed.partition(":")[2] for seed in seeds}) == 2


def test_strata_are_drawn_from_each(candidate, reviewer):
    study = open_study(candidate, {"kind": "stratified", "by": "tier", "rate": 0.2, "confidence": 0.5})

    found = {name: study.sample.filter(stratum=name).count() for name, _, _ in study.strata}
    assert found == {name: drawn for name, _, drawn in study.strata}
    assert set(found) == {"easy", "medium", "difficult"}
    assert all(record.held.tier == record.stratum for record in study.sample.all())
    assert [r.number for r in study.sample.order_by("position")] == drawn_numbers(study)


def test_few_records_are_drawn_without_putting_back(candidate, reviewer):
    found = forecast_certification(snapshot=candidate, plan=CertificatePlan(rate=0.2), role="clinician")

    assert found.plan.finite
    assert found.size < candidate.records


def test_what_cannot_be_certified_is_refused_with_the_reason(candidate, reviewer):
    cases = [
        ({"plan": {"rate": 0.01, "accept": 5}}, "cannot show"),
        ({"plan": {"kind": "sequential", "rate": 0.01, "good": 0.005}}, "at least 595 records"),
        ({"plan": SMALL | {"misses": "gold"}}, "more known faults"),
        ({"plan": SMALL | {"overlap": 2}}, "2 people are to judge each record, and 1 may"),
        ({"role": "nobody"}, "no such role"),
        ({"role": ""}, "0 may"),
    ]
    for fields, said in cases:
        with pytest.raises(CertificateRefusedError, match=said):
            open_study(candidate, **fields)
    Snapshot.objects.update(state="building")
    candidate.refresh_from_db()
    with pytest.raises(CertificateRefusedError, match="done"):
        open_study(candidate)
    assert not Certification.objects.exists()


def test_an_unsigned_export_is_refused_before_anyone_reads_it(candidate, reviewer):
    candidate.manifest = candidate.manifest | {"signed_by": None, "simulated": False}

    with pytest.raises(CertificateRefusedError, match="not signed"):
        open_study(candidate)


# --- handing out


def test_records_come_in_the_order_drawn_and_one_at_a_time(study, reviewer):
    first = claim_next(study=study, reviewer=reviewer)
    again = claim_next(study=study, reviewer=reviewer)
    other = claim_next(study=study, reviewer=make_user("clinician"))

    assert first.record.position == 1
    assert again.pk == first.pk
    assert other.record.position == 2


def test_a_claim_that_lapsed_is_given_to_another_and_lost_to_the_first(study, reviewer):
    mine = claim_next(study=study, reviewer=reviewer)
    SampleClaim.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    SampleRecord.objects.update(free_at=timezone.now() - timedelta(seconds=1))

    theirs = claim_next(study=study, reviewer=make_user("clinician"))

    assert theirs.record_id == mine.record_id
    with pytest.raises(ItemLost, match="Someone else"):
        say(mine)
    assert not SampleJudgment.objects.exists()


def test_a_heartbeat_keeps_it(study, reviewer):
    claim = claim_next(study=study, reviewer=reviewer)
    SampleClaim.objects.update(expires_at=timezone.now())

    assert heartbeat(study=study, reviewer=reviewer) == 1
    claim.refresh_from_db()
    assert claim.expires_at > timezone.now() + timedelta(minutes=9)


def test_nobody_judges_what_they_had_a_hand_in(study, reviewer):
    other = make_user("clinician")
    touched, *rest = study.sample.order_by("position")
    make_verdict(touched.held.path, reviewer=reviewer, source="person", counts=False)
    Response.objects.filter(pk=rest[0].held.response_id).update(author=reviewer)

    assert claim_next(study=study, reviewer=reviewer).record.position == 3
    assert claim_next(study=study, reviewer=other).record.position == 1


def test_only_those_admitted_judge(study):
    stranger, named = make_user("consumer"), make_user("consumer")
    study.reviewers.add(named)

    with pytest.raises(NotAdmitted):
        claim_next(study=study, reviewer=stranger)
    assert claim_next(study=study, reviewer=named)


def test_what_is_passed_on_goes_to_another_and_keeps_the_sample_open(study, reviewer):
    other = make_user("clinician")
    claim = claim_next(study=study, reviewer=reviewer)

    skip_record(record=claim.record, reviewer=reviewer, reason="not_my_specialty")
    skip_record(record=claim.record, reviewer=reviewer, reason="not_my_specialty")

    assert claim_next(study=study, reviewer=reviewer).record.position == 2
    assert claim_next(study=study, reviewer=other).record.position == 1
    judge_all(study, [reviewer])
    assert not standing_of(study).complete
    with pytest.raises(CertificateRefusedError, match="Choose why"):
        skip_record(record=claim.record, reviewer=reviewer, reason="bored")


def test_a_curator_gives_back_what_all_passed_on(study, reviewer):
    claim = claim_next(study=study, reviewer=reviewer)
    skip_record(record=claim.record, reviewer=reviewer, reason="unsure")
    claim_next(study=study, reviewer=reviewer)

    assert release_records(study=study) == 2
    assert claim_next(study=study, reviewer=reviewer).record.position == 1


def test_why_nothing_comes(study, reviewer):
    other = make_user("clinician")
    for record in study.sample.order_by("position"):
        if record.position > 1:
            say(claim_next(study=study, reviewer=reviewer if record.position > 2 else other))
    claim_next(study=study, reviewer=other)

    assert why_none(study, reviewer).code == "claimed"
    assert waiting_for([study], other) == {study.pk}
    assert waiting_for([study], reviewer) == set()
    judge_all(study, [other])
    assert why_none(study, reviewer).code == "closed"


# --- judging


def test_a_judgment_is_kept_and_touches_nothing_else(study, reviewer):
    before = (Verdict.objects.count(), ReasoningPath.objects.count())
    claim = claim_next(study=study, reviewer=reviewer)

    done = say(claim, wrong=True)

    record = SampleRecord.objects.get(pk=claim.record_id)
    assert (record.outcome, record.done, done.version) == ("wrong", 1, 1)
    assert (Verdict.objects.count(), ReasoningPath.objects.count()) == before


def test_the_same_request_again_is_saved_once(study, reviewer):
    claim, key = claim_next(study=study, reviewer=reviewer), uuid4()
    first = say(claim, wrong=True, idempotency_key=key)
    say(claim, expected_version=1)  # revised meanwhile

    again = say(claim, wrong=True, idempotency_key=key)

    assert (again.replayed, again.judgment.pk, again.version) == (True, first.judgment.pk, 1)
    assert SampleJudgment.objects.count() == 2
    other = claim_next(study=study, reviewer=reviewer)
    with pytest.raises(CertificateRefusedError, match="another judgment"):
        say(other, idempotency_key=key)


def test_two_windows_do_not_overwrite_each_other(study, reviewer):
    claim = claim_next(study=study, reviewer=reviewer)
    say(claim, wrong=True, expected_version=0)

    with pytest.raises(RecordChangedError) as caught:
        say(claim, expected_version=0)

    assert caught.value.current.wrong
    assert caught.value.claim.version == 1


def test_undone_it_is_open_again(study, reviewer):
    claim = claim_next(study=study, reviewer=reviewer)
    say(claim, wrong=True)

    undo_record(record=claim.record, reviewer=reviewer, idempotency_key=uuid4())

    assert SampleRecord.objects.get(pk=claim.record_id).outcome == ""
    assert claim_next(study=study, reviewer=reviewer).record_id == claim.record_id
    with pytest.raises(CertificateRefusedError, match="no judgment of yours"):
        undo_record(record=claim.record, reviewer=reviewer, idempotency_key=uuid4())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (RecordSaid(wrong=None), "right or wrong"),
        (RecordSaid(wrong=True), "Say what is wrong"),
        (RecordSaid(wrong=True, faults=["gold"]), "no reason"),
        (RecordSaid(wrong=False, faults=["other"]), "no reasons"),
        (RecordSaid(wrong=True, comment="x" * 20_001), "At most"),
    ],
)
def test_what_cannot_stand_is_refused(study, reviewer, said, why):
    claim = claim_next(study=study, reviewer=reviewer)

    with pytest.raises(CertificateRefusedError, match=why):
        judge_record(record=claim.record, reviewer=reviewer, token=claim.token, said=said, idempotency_key=uuid4())


@pytest.mark.parametrize(
    ("rule", "said", "outcome"),
    [
        ("any", (True, False, False), "wrong"),
        ("any", (False, False, False), "right"),
        ("majority", (True, False, False), "right"),
        ("majority", (True, True, False), "wrong"),
        ("majority", (True, False), "wrong"),  # a tie
    ],
)
def test_what_reviewers_say_together(candidate, rule, said, outcome):
    people = [make_user("clinician") for _ in said]
    study = open_study(candidate, SMALL | {"overlap": len(said), "rule": rule})

    claims = [claim_next(study=study, reviewer=person) for person in people]
    assert {claim.record.position for claim in claims} == {1}
    for claim, wrong in zip(claims, said, strict=True):
        assert SampleRecord.objects.get(pk=claim.record_id).outcome == ""
        say(claim, wrong=wrong)

    assert SampleRecord.objects.get(pk=claims[0].record_id).outcome == outcome


def test_the_record_is_shown_as_it_leaves_and_not_at_all_when_it_changed(settings, monkeypatch, tmp_path, reviewer):
    study = open_study(build_candidate(settings, monkeypatch, tmp_path))
    lines = (folder_of(study.snapshot) / "reasonmed.jsonl").read_text().splitlines()
    for record in study.sample.all():
        shown, left = read_record(record), json.loads(lines[record.number])
        assert left == {
            "instruction": shown.question,
            "input": "",
            "output": f"<think>{shown.reasoning}</think>{shown.response}",
        }
    ReasoningPath.objects.filter(pk=record.held.path_id).update(text="Something else.")

    with pytest.raises(RecordLostError):
        read_record(SampleRecord.objects.get(pk=record.pk))


@pytest.mark.parametrize(
    ("variants", "shown"),
    [(["responsemed"], (False, True)), (["cotmed"], (True, False)), (["cotmed", "responsemed"], (True, True))],
)
def test_only_what_leaves_is_shown(study, variants, shown):
    record = study.sample.all()[0]
    record.certification.snapshot.variants = variants

    found = read_record(record)

    assert (bool(found.reasoning), bool(found.response)) == shown


# --- what it shows


def test_nothing_is_claimed_before_all_of_the_sample_is_judged(study, reviewer):
    judge_some = [claim_next(study=study, reviewer=reviewer) for _ in range(1)]
    say(judge_some[0])

    standing = standing_of(study)

    assert (standing.judged, standing.decided, standing.claim.holds, standing.claim.bound) == (1, False, False, None)
    assert standing.bound == pytest.approx(1 - 0.2)  # 1 of 1 right at 80 %
    with pytest.raises(CertificateRefusedError, match="still to be judged"):
        request_certificate(study=study, by=None)


def test_a_sample_without_a_fault_holds(study, reviewer):
    judge_all(study, [reviewer])

    standing = standing_of(study)

    assert standing.claim.holds
    assert standing.claim.sentence.startswith("At most ")


def test_a_fault_too_many_does_not_hold_and_says_so(study, reviewer):
    judge_all(study, [reviewer], wrong={2})

    standing = standing_of(study)

    assert (standing.claim.holds, standing.hopeless, standing.faults) == (False, True, 1)
    assert standing.claim.sentence.startswith("It is not shown that at most 20 % of records are wrong.")


EASY_TEST = {"kind": "sequential", "good": 0.02, "rate": 0.2, "confidence": 0.8}


def test_a_sequential_test_ends_when_it_is_decided(settings, monkeypatch, tmp_path, reviewer):
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=30), EASY_TEST)
    fewest = CertificatePlan.model_validate(study.plan).sprt.fewest
    assert fewest < study.size

    judge_all(study, [reviewer])

    standing = standing_of(study)
    assert (standing.judged, standing.progress.decision, standing.claim.holds) == (fewest, "accept", True)
    assert SampleJudgment.objects.count() == fewest
    assert waiting_for([study], make_user("clinician")) == set()
    assert why_none(study, reviewer).code == "closed"


def test_a_sequence_is_followed_without_gaps(settings, monkeypatch, tmp_path, reviewer):
    other = make_user("clinician")
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=30), EASY_TEST)
    held = claim_next(study=study, reviewer=reviewer)
    for _ in range(3):
        say(claim_next(study=study, reviewer=other))

    standing = standing_of(study)
    assert (held.record.position, standing.judged, standing.ahead) == (1, 0, 3)
    say(held)
    assert standing_of(study).judged == 4


def test_misses_are_counted_from_gold(candidate, reviewer):
    from apps.review.queues.build import Gold, build_queue
    from apps.review.queues.claims import claim_next as next_item
    from apps.review.queues.judging import judge_item
    from apps.review.queues.plans import parse_plan
    from apps.review.queues.said import Said

    paths = list(ReasoningPath.objects.filter(run=candidate.run, origin="generated")[:4])
    for path in paths:
        make_run_question(candidate.run, path.question)
        make_verdict(path)
        make_path_label(path)
    gold = [Gold(path.pk, "error" if n else "correct", "Known.") for n, path in enumerate(paths)]
    queue = build_queue(
        run=candidate.run, name="gold", plan=parse_plan({"size": 4}), gold=gold, practice=True, counts=False
    )
    queue.practice = False
    queue.save()
    assert gold_misses(candidate.run.project, [reviewer.pk]) == (0, 0)
    for n in range(4):
        (claim, *_) = next_item(queue=queue, reviewer=reviewer, prefetch=0)
        known_wrong = claim.item.gold_label == "error"
        label = "error" if known_wrong and n % 2 else "correct"
        judge_item(
            item=claim.item, reviewer=reviewer, token=claim.token, idempotency_key=uuid4(),
            said=Said(label=label, reasons=["wrong_fact"] if label == "error" else []),
        )  # fmt: skip

    missed, known = gold_misses(candidate.run.project, [reviewer.pk])

    said = queue.items.filter(gold_label="error", judgments__verdict__label="correct").count()
    assert (missed, known) == (said, 3)
    assert gold_misses(candidate.run.project, [make_user().pk]) == (0, 0)


def test_entered_misses_adjust_the_claim(candidate, reviewer):
    plan = {"rate": 0.2, "confidence": 0.5, "misses": "entered", "missed": 20, "known": 100, "source": "Pilot of May."}
    study = open_study(candidate, plan)

    judge_all(study, [reviewer])

    standing = standing_of(study)
    assert (
        "adjusted for a measured miss rate of 20 % (20 of 100 known faults; 50 % interval " in standing.claim.sentence
    )
    plain = standing_of_without(study)
    assert standing.claim.bound > plain / 0.8


def standing_of_without(study: Certification) -> float:
    from apps.review.statistics.acceptance import highest_rate

    return highest_rate(0, study.size, confidence=0.75)  # half of the risk


def test_reviewers_together_may_miss_oftener_than_one():
    def spread(**plan):
        return parse_certificate_plan(plan).spread

    assert [spread(overlap=k) for k in (1, 2, 5)] == [1, 1, 1]
    assert [spread(overlap=k, rule="majority") for k in (1, 2, 3, 5)] == [1, 1, 1.5, pytest.approx(5 / 3)]


# --- the end of it


def published(study: Certification, reviewer, **wrong) -> Certification:
    judge_all(study, [reviewer], **wrong)
    request_certificate(study=study, by=reviewer)
    assert write_certificates() == 1
    study.refresh_from_db()
    return study


def test_a_certificate_is_written_beside_the_records_and_changes_none(study, reviewer):
    folder = folder_of(study.snapshot)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    published(study, reviewer, wrong={3})

    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() - before.keys() == {"certificate.json", "certificate.sig"}
    assert before.items() <= after.items()
    said = json.loads(after["certificate.json"])
    assert study.state == "published"
    assert said["root"] == study.root
    assert said["drawing"]["seed"] == study.seed
    assert said["judged"]["records"] == drawn_numbers(study)
    assert said["judged"]["wrong"] == [study.sample.get(position=3).number]
    assert said["reviewers"] == [pseudonym(reviewer.pk)]
    assert said["holds"] is False
    assert reviewer.username not in after["certificate.json"].decode()
    assert write_certificates() == 0


def problems(folder) -> list[str]:
    return [found.text for found in check_folder(folder, key=KEY.private.public_key()) if found.kind == "problem"]


MISSES = {"misses": "entered", "missed": 10, "known": 100, "source": "A pilot."}


@pytest.mark.parametrize(
    "plan",
    [
        SMALL,
        SMALL | {"rate": 0.1},
        {"rate": 0.2, "confidence": 0.5} | MISSES,
        {"kind": "stratified", "by": "tier", "rate": 0.2, "confidence": 0.5},
        {"kind": "stratified", "by": "tier", "rate": 0.2, "confidence": 0.5} | MISSES,
        {"kind": "sequential", "good": 0.02, "rate": 0.2, "confidence": 0.8},
        {"kind": "sequential", "good": 0.02, "rate": 0.2, "confidence": 0.8} | MISSES,
    ],
    ids=["binomial", "finite", "misses", "strata", "strata and misses", "sequential", "sequential and misses"],
)
@pytest.mark.parametrize("wrong", [frozenset(), {2}], ids=["none wrong", "one wrong"])
def test_reasonmed_verify_shows_it_and_works_it_out_again(settings, monkeypatch, tmp_path, reviewer, plan, wrong):
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=30), plan)
    published(study, reviewer, wrong=wrong)

    told = [found.text for found in check_folder(folder_of(study.snapshot)) if "certificate" in found.text]

    assert problems(folder_of(study.snapshot)) == []
    assert told[-1].endswith(study.document["sentence"])
    assert f"{len(study.document['judged']['records'])} records are those that its seed draws" in told[0]
    assert "was worked out again" in told[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(root="0" * 64), "names another root"),
        (lambda d: d["drawing"].update(seed=d["root"] + ":mine"), "not those that its seed draws"),
        (lambda d: d["drawing"].update(seed="mine"), "not bound to these records"),
        (lambda d: d["judged"]["records"].reverse(), "not those that its seed draws"),
        (lambda d: d["judged"]["records"].pop(), "not those that its seed draws"),
        (lambda d: d["judged"].update(wrong=[10**6]), "were not judged"),
        (lambda d: d["judged"]["wrong"].pop(), "not the one that its counts give"),
        (lambda d: d.update(bound=0.001, holds=True), "not the one that its counts give"),
        (lambda d: d.update(holds=True), "does not follow"),
        (lambda d: d.update(judged=[]), "cannot be read"),
        (lambda d: d["drawing"].update(rule="by hand"), "does not know"),
        (lambda d: d["drawing"].update(size=10**9), "larger than the export"),
        (lambda d: d["drawing"]["strata"][0].update(records=29), "not those of the records"),
        (lambda d: d.update(sentence=d["sentence"].replace("1 of ", "0 of ")), "tells other figures"),
        (lambda d: d.update(sentence="At most 0.1 % of records are wrong."), "tells other figures"),
        (lambda d: d.update(confidence=0.99), "not that of its plan"),
        (lambda d: d.update(misses={"from": "gold", "missed": 0, "known": 9, "spread": 1}), "not as planned"),
    ],
)
def test_a_certificate_whose_figures_do_not_agree_is_refused_though_it_is_signed(
    settings, monkeypatch, tmp_path, reviewer, change, said
):
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=30))
    published(study, reviewer, wrong={1})

    (problem,) = problems_once_changed(study, change)

    assert said in problem


def problems_once_changed(study: Certification, change) -> list[str]:
    """Of a certificate changed and signed again with the right key."""
    folder, document = folder_of(study.snapshot), study.document
    change(document)
    data = json.dumps(document).encode()
    (folder / "certificate.json").write_bytes(data)
    (folder / "certificate.sig").write_bytes(KEY.sign(data, file="certificate.json"))
    return problems(folder)


STRATIFIED = {"kind": "stratified", "by": "tier", "rate": 0.2, "confidence": 0.5} | MISSES
SEQUENTIAL = {"kind": "sequential", "good": 0.02, "rate": 0.2, "confidence": 0.8} | MISSES


@pytest.mark.parametrize(
    ("plan", "change", "said"),
    [
        (STRATIFIED, lambda d: d.update(bound=d["bound"] * 0.9), "not the one that its counts give"),
        (STRATIFIED, lambda d: d["judged"]["wrong"].clear(), "not the one that its counts give"),
        (STRATIFIED, lambda d: d["misses"].update(missed=9), "not the one that was entered"),
        (STRATIFIED, lambda d: d["misses"].update(spread=1.5), "not the one for so many reviewers"),
        (STRATIFIED, lambda d: d["drawing"]["strata"][0].update(records=9), "not those of the records"),
        (STRATIFIED, lambda d: d["drawing"]["strata"].reverse(), ""),
        (SEQUENTIAL, lambda d: d.update(bound=d["bound"] * 0.9), "not the one that its counts give"),
        (SEQUENTIAL, lambda d: d["judged"]["wrong"].clear(), "not where it comes to it"),
        (SEQUENTIAL, lambda d: d["judged"]["wrong"].append(d["judged"]["records"][0]), "its decision is not the one"),
        (SEQUENTIAL, lambda d: d["judged"]["records"].pop(), "its decision is not the one"),
        (SEQUENTIAL, lambda d: d["judged"].update(decision="reject"), "its decision is not the one"),
        (SEQUENTIAL, lambda d: d["plan"].update(good=0.1), "its decision is not the one"),
        (SEQUENTIAL, lambda d: d["misses"].update(missed=9), "not the one that was entered"),
        (SEQUENTIAL, lambda d: d.update(holds=False), "does not follow"),
    ],
)
def test_strata_and_sequences_are_worked_out_again_too(settings, monkeypatch, tmp_path, reviewer, plan, change, said):
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=60), plan)
    published(study, reviewer, wrong={5})

    found = problems_once_changed(study, change)

    assert len(found) == bool(said)
    assert not said or said in found[0]


def test_a_sequence_that_did_not_accept_is_worked_out_again(settings, monkeypatch, tmp_path, reviewer):
    study = open_study(make_candidate(settings, monkeypatch, tmp_path, records=60), SEQUENTIAL)
    published(study, reviewer, wrong={1, 2, 3, 4})

    assert study.document["judged"]["decision"] == "reject"
    assert problems(folder_of(study.snapshot)) == []
    (problem,) = problems_once_changed(study, lambda d: d.update(bound=0.2, holds=True))
    assert "names a bound, where its counts give none" in problem


def test_judging_is_over_once_it_is_asked_for(study, reviewer):
    judge_all(study, [reviewer])
    claim = SampleClaim.objects.all()[0]
    request_certificate(study=study, by=None)

    with pytest.raises(CertificateRefusedError, match="Judging is over"):
        say(claim)
    with pytest.raises(CertificateRefusedError, match="closed already"):
        request_certificate(study=study, by=None)


def test_without_the_key_it_waits_and_says_why(study, reviewer, monkeypatch):
    judge_all(study, [reviewer])
    request_certificate(study=study, by=None)
    with monkeypatch.context() as patched:
        patched.delenv("REASONMED_SIGNING_KEY")
        assert write_certificates() == 0
    study.refresh_from_db()
    assert (study.state, "REASONMED_SIGNING_KEY" in study.error) == ("signing", True)

    assert write_certificates() == 1
    study.refresh_from_db()
    assert (study.state, study.error) == ("published", "")


def test_a_certificate_never_comes_to_other_records(study, reviewer, candidate, tmp_path):
    """The folder was exchanged after judging, for a sound export with the same key: nothing is signed."""
    folder = folder_of(candidate)
    judge_all(study, [reviewer])
    request_certificate(study=study, by=None)
    shutil.rmtree(folder)
    make_export(folder, records=candidate.records + 1)

    assert write_certificates() == 0

    study.refresh_from_db()
    assert "other records" in study.error
    assert not (folder / "certificate.json").exists()


def test_a_corrected_candidate_needs_a_sample_of_its_own(study, reviewer, candidate, settings, monkeypatch, tmp_path):
    published(study, reviewer, wrong={1})
    following = make_candidate(settings, monkeypatch, tmp_path, records=11)

    fresh = open_study(following)

    assert fresh.root != study.root
    assert fresh.seed != study.seed
    assert not fresh.sample.exclude(outcome="").exists()


def test_the_same_records_are_not_studied_twice(settings, monkeypatch, tmp_path, reviewer):
    candidate = build_candidate(settings, monkeypatch, tmp_path)
    study = open_study(candidate)
    with pytest.raises(CertificateRefusedError, match="open already"):
        open_study(candidate)
    say(claim_next(study=study, reviewer=reviewer))
    give_up(study=study, by=None)
    again = build_again(candidate.run, candidate.variants)
    assert again.manifest["merkle"]["root"] == study.root

    for snapshot in (candidate, again):
        with pytest.raises(CertificateRefusedError, match="next candidate, with a fresh sample"):
            open_study(snapshot)


def test_a_candidate_with_a_study_is_not_thrown_away(study, candidate):
    held = candidate.held.count()
    with pytest.raises(ExportRefusedError, match="rest on it"):
        discard_candidate(snapshot=candidate)
    assert candidate.held.count() == held > 0


def test_given_up_before_anything_was_said_it_may_be_opened_again(study, candidate):
    assert give_up(study=study, by=None).state == "withdrawn"
    assert open_study(candidate).is_open


# --- what the database refuses


@pytest.mark.parametrize(
    "change",
    [{"root": "0" * 64}, {"seed": "mine"}, {"plan": {}}, {"size": 1}, {"state": "signing"}, {"overlap": 2}],
)
def test_what_is_certified_never_changes(study, change):
    with pytest.raises(IntegrityError), transaction.atomic():
        Certification.objects.filter(pk=study.pk).update(**change)


def test_what_was_said_is_never_edited(study, reviewer):
    say(claim_next(study=study, reviewer=reviewer), wrong=True)

    for change in ({"wrong": False}, {"comment": "Not so."}, {"faults": []}):
        with pytest.raises(IntegrityError), transaction.atomic():
            SampleJudgment.objects.update(**change)
    with pytest.raises(IntegrityError), transaction.atomic():
        SampleJudgment.objects.all().delete()


def test_a_place_is_held_by_one(study, reviewer):
    claim = claim_next(study=study, reviewer=reviewer)

    with pytest.raises(IntegrityError), transaction.atomic():
        SampleClaim.objects.create(
            record=claim.record, reviewer=make_user(), slot=1, claimed_at=timezone.now(), expires_at=timezone.now()
        )
