"""The demo's candidate and its certificate that is half judged."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.urls import reverse

from apps.exports.certificate.closing import request_certificate
from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.standing import standing_of
from apps.exports.errors import ExportRefusedError
from apps.exports.inspections.selectors import latest_inspection
from apps.exports.models_certificate import Certification, SampleJudgment
from apps.exports.models_checks import InspectionKind
from apps.exports.publishing import publish_snapshot
from apps.reasoning.models import Verdict
from tests.exports.certificate_world import judge_all
from tests.factories import make_finished_run, make_user
from workers.demo.candidate import REVIEWER, ensure_candidate

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(settings, tmp_path, monkeypatch):
    settings.EXPORT_DIR = tmp_path / "exports"
    monkeypatch.delenv("REASONMED_SIGNING_KEY", raising=False)
    found = ensure_candidate(make_finished_run(40, name="demo"))
    assert found is not None
    return found


def test_made_once_with_its_inspections_and_a_sample_partly_judged(made) -> None:
    study = Certification.objects.get(snapshot=made)
    standing = standing_of(study)

    assert ensure_candidate(made.run) is None
    assert 0 < standing.judged < study.size
    assert (standing.faults, standing.decided) == (1, False)
    assert set(SampleJudgment.objects.values_list("reviewer__username", flat=True)) == {REVIEWER}
    for kind in (InspectionKind.GATES, InspectionKind.CONTAMINATION):
        assert latest_inspection(made.project, kind, made.run).done is not None


def test_the_simulated_reviewer_moves_nothing_and_nobody_is_it(made) -> None:
    assert not Verdict.objects.filter(reviewer__username=REVIEWER).exists()
    assert authenticate(username=REVIEWER, password="") is None


def test_it_stays_a_candidate_without_a_certificate(made) -> None:
    study = Certification.objects.get(snapshot=made)
    judge_all(study, [make_user("clinician")])

    with pytest.raises(CertificateRefusedError, match="not signed"):
        request_certificate(study=study, by=None)
    with pytest.raises(ExportRefusedError, match="rest on simulated model calls"):
        publish_snapshot(snapshot=made, name="reasonmed-2026.1", by=None)


def test_its_pages_are_filled_and_marked(made, client) -> None:
    client.force_login(make_user("curator"))

    export = client.get(reverse("export", args=(made.pk,))).content.decode()
    certificate = client.get(reverse("certificate", args=(made.pk,))).content.decode()

    assert "Simulated." in export
    assert "These records rest on simulated model calls." in certificate
