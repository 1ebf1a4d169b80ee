"""What people do, by keyboard: filter, watch a run, override. Focus is kept and every swap is announced and clean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from apps.reasoning.models import Run, RunCounter, RunQuestion, Verdict
from tests.browser.conftest import Reader
from tests.pages.conftest import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_filtering_swaps_the_results_alone(world: World, reader: Callable[..., Reader]) -> None:
    person = reader(world.clinician)
    page = person.page
    person.open(reverse("questions"))
    page.focus("#f-t")
    page.select_option("#f-t", "medium")
    expect(page.locator("#res-h")).to_have_text("1 question")
    expect(page.locator("#status")).to_have_text("1 questions match")
    assert person.focused() == "f-t"
    assert page.url.endswith("?run=four&tier=medium")
    assert person.barriers() == []
    page.focus("#q")
    page.keyboard.type("zebra")
    page.keyboard.press("Enter")
    expect(page.locator("#results h2")).to_have_text("No question matches")
    assert person.focused() == "q"
    assert person.barriers() == []
    page.go_back()
    expect(page.locator("#res-h")).to_have_text("1 question")
    assert person.complaints == []


def test_a_run_moves_under_the_reader_without_taking_the_focus(world: World, reader: Callable[..., Reader]) -> None:
    Run.objects.filter(pk=world.run.pk).update(state="running", finished_at=None)
    person = reader(world.curator)
    page = person.page
    person.open(reverse("run", args=(world.run.pk,)))
    page.focus("#e-4")
    RunCounter.objects.create(run=world.run, key="errors:4", shard=1, value=1_233)
    expect(page.locator("#e-4")).to_have_text("1,234", timeout=10_000)
    assert person.focused() == "e-4"
    assert person.barriers() == []
    Run.objects.filter(pk=world.run.pk).update(state="finished")
    expect(page.locator("#status")).to_have_text("Run four: finished", timeout=10_000)
    expect(page.locator("#live[hx-trigger]")).to_have_count(0)
    assert person.focused() == "e-4"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2_500)  # longer than one poll
    assert asked == []
    assert person.complaints == []


def test_override_by_keyboard(world: World, reader: Callable[..., Reader]) -> None:
    row = RunQuestion.objects.select_related("question").get(run=world.run, error_count=4)
    path = world.run.paths.filter(question=row.question, origin="generated").order_by("pk")[1]
    person = reader(world.clinician)
    page, press = person.page, person.page.keyboard.press
    person.open(reverse("run_question", args=(world.run.pk, row.question.uid)) + f"?path={path.pk}")
    page.focus("#to-override")
    press("Enter")
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("4 errors")
    expect(dialog).to_contain_text("5 errors")
    assert page.evaluate("document.activeElement.value") == "error"
    assert person.barriers() == []

    # saved without axes or reason: refused, focus on the summary
    page.evaluate("document.querySelector('dialog form').requestSubmit()")
    expect(dialog.locator(".errors")).to_be_visible()
    assert "Not saved" in person.focused()
    assert person.barriers() == []
    assert page.evaluate("document.querySelector('dialog [name=label]:checked').value") == "error"

    for axis, key in (("correctness", "ArrowRight"), ("coherence", "Space"), ("factuality", "Space")):
        page.focus(f"dialog [name={axis}][value=pass]")
        press(key)
    page.focus("#f-reason")
    page.keyboard.type("Insulin before potassium is unsafe.")
    press("Tab")
    page.keyboard.type("4")
    press("Tab")
    assert person.focused() == "Save my verdict"
    press("Enter")
    page.wait_for_selector(".note--success")
    expect(page.locator("#status")).to_contain_text("4 → 5 errors: easy → medium")
    expect(page.locator(".pagehead .tier")).to_have_text("Medium")
    expect(page.locator(".sent--cited")).to_have_count(1)
    assert person.barriers() == []
    row.refresh_from_db()
    assert (row.tier, row.error_count) == ("medium", 5)
    assert list(Verdict.objects.filter(path=path).order_by("pk").values_list("source", "label")) == [
        ("judge", "correct"),
        ("person", "error"),
    ]
    unexpected = [c for c in person.complaints if "422" not in c]  # the browser itself reports the refused request
    assert unexpected == []


def test_escape_closes_the_dialog_and_gives_the_focus_back(world: World, reader: Callable[..., Reader]) -> None:
    person = reader(world.clinician)
    page = person.page
    person.open(reverse("run_question", args=(world.run.pk, world.row.question.uid)))
    page.focus("#to-override")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] form")
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert person.focused() == "to-override"


def test_override_without_script(world: World, chromium: object, live_server: object) -> None:
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(world.clinician)
    base = live_server.url  # type: ignore[attr-defined]
    context = chromium.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": base}])
    page = context.new_page()
    page.goto(base + reverse("run_question", args=(world.run.pk, world.row.question.uid)) + f"?path={world.path.pk}")
    page.click("#to-override")
    page.check("[name=label][value=error]")
    for axis, value in (("correctness", "fail"), ("coherence", "pass"), ("factuality", "pass")):
        page.check(f"[name={axis}][value={value}]")
    page.fill("#f-reason", "Wrong.")
    page.click("text=Save my verdict")
    expect(page.locator(".note--success")).to_be_visible()
    context.close()
    assert Verdict.objects.filter(path=world.path, source="person").count() == 1
