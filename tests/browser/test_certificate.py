"""A certificate from plan to signed file in a real browser: the clinician by keys, the curator following."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apps.exports.certificate.claims import claim_next
from apps.exports.certificate.signing import write_certificates
from apps.exports.models_certificate import Certification, SampleJudgment
from tests.browser.conftest import Reader
from tests.exports.certificate_world import build_candidate, make_candidate, open_study, say
from tests.factories import make_user

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_from_plan_to_certificate(reader: Callable[..., Reader], settings, monkeypatch, tmp_path, theme, width) -> None:
    candidate = build_candidate(settings, monkeypatch, tmp_path)
    curator = reader(make_user("curator"), theme=theme, width=width)
    clinician = reader(make_user("clinician"), theme=theme, width=width)
    page, judge = curator.page, clinician.page

    # planned
    curator.open(f"/exports/{candidate.pk}/")
    page.get_by_role("link", name="Plan a certificate").click()
    page.get_by_label("At most wrong, %").fill("20")
    with page.expect_response(lambda r: "confidence=60" in r.url):
        page.get_by_label("Confidence, %").fill("60")
        page.get_by_label("Confidence, %").blur()
    page.locator("#preview", has_text="Judgments").wait_for()
    look(curator, "plan")
    page.get_by_role("button", name="Draw the sample").click()
    page.locator("#main").get_by_text("wait to be judged").wait_for()
    study = Certification.objects.get()
    look(curator, "open")

    # judged, by keys
    clinician.open("/review/")
    judge.get_by_role("link", name="Judge records").click()
    for position in range(1, study.size + 1):
        judge.locator("#item").get_by_text(f"Record {position} of the sample").wait_for()
        if position == 1:
            look(clinician, "judge")
        judge.locator("#item-h").focus()
        for key in "fc" if position == 1 else "c":
            judge.keyboard.press(key)
        if position == 1:  # a reason and "right" do not go together
            judge.keyboard.press("Enter")
            judge.locator(".errors").get_by_text("A right record has no reasons").wait_for()
            look(clinician, "refused")
            judge.locator("#item-h").focus()
            judge.keyboard.press("e")
        judge.locator("#item-h").focus()
        judge.keyboard.press("Enter")
    judge.locator("#item").get_by_text("Judging is over").wait_for()
    assert SampleJudgment.objects.filter(wrong=True, faults=["wrong_fact"]).count() == 1
    assert SampleJudgment.objects.count() == study.size
    look(clinician, "over")

    # followed, and published
    page.locator(".note", has_text="It does not hold.").wait_for()  # came by itself
    look(curator, "decided")
    page.get_by_role("link", name="End judging and publish it").click()
    look(curator, "close")
    page.get_by_role("button", name="Publish it").click()
    page.locator("#certificate .note", has_text="A worker signs it").wait_for()
    write_certificates()
    page.get_by_role("heading", name="It does not hold").wait_for()
    look(curator, "published")
    with page.expect_download() as download:
        page.get_by_role("link", name="certificate.json").click()
    assert b"reasonmed-certificate/1" in download.value.path().read_bytes()
    curator.open(f"/exports/{candidate.pk}/")
    look(curator, "export")
    assert clinician.complaints == [m for m in clinician.complaints if "422" in m]  # the refusal above
    assert curator.complaints == []


def test_a_sequential_test_on_a_phone(reader: Callable[..., Reader], settings, monkeypatch, tmp_path) -> None:
    made, person = make_candidate(settings, monkeypatch, tmp_path, records=30), make_user("clinician")
    study = open_study(made, {"kind": "sequential", "good": 0.02, "rate": 0.2, "confidence": 0.8})
    for wrong in (False, True, False):
        claim = claim_next(study=study, reviewer=person)
        assert claim
        say(claim, wrong=wrong)
    curator = reader(make_user("curator"), theme="light", width=390)

    curator.open(f"/exports/{made.pk}/certificate/")

    assert curator.page.get_by_role("img", name="1 wrong of 3 judged").bounding_box()["width"] < 390  # type: ignore[index]
    look(curator, "lines")
    assert curator.complaints == []


def look(reader: Reader, name: str) -> None:
    """Nothing in the way of anyone, nothing wider than the screen."""
    assert reader.barriers() == [], name
    assert not reader.wider_than_screen(), name
