"""Exports and the API's documentation in a real browser, under the pages' own content policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apps.exports.models import Snapshot
from apps.exports.services import build_queued_exports
from tests.browser.conftest import Reader
from tests.pages.conftest import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_export_from_choice_to_file(world: World, reader: Callable[..., Reader], settings, tmp_path, theme) -> None:
    settings.EXPORT_DIR = tmp_path / "exports"
    curator = reader(world.curator, theme=theme)
    page = curator.page
    curator.open("/exports/new/")
    assert curator.barriers() == []
    with page.expect_response(lambda r: "format=parquet" in r.url):
        page.locator("input[value=parquet]").check(force=True)
    page.get_by_role("button", name="Start the export").click()
    page.get_by_text("Waiting for a worker").wait_for()
    address = page.url
    assert curator.barriers() == []

    build_queued_exports()

    page.get_by_role("heading", name="Load it").wait_for()  # came by itself
    assert page.url == address
    page.locator("#status", has_text="four.1: done").wait_for()
    assert curator.barriers() == []
    with page.expect_download() as download:
        page.get_by_role("link", name="cotmed-00000-of-00001.parquet").click()
    assert download.value.path().read_bytes()[:4] == b"PAR1"
    curator.open("/exports/")
    assert curator.barriers() == []
    assert Snapshot.objects.get().state == "done"
    assert curator.complaints == []


def test_the_snippet_is_copied(world: World, reader: Callable[..., Reader], settings, tmp_path) -> None:
    settings.EXPORT_DIR = tmp_path / "exports"
    made = Snapshot.objects.create(run=world.run, number=1, variants=["cotmed"], format="jsonl")
    build_queued_exports()
    clinician = reader(world.clinician)
    clinician.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    clinician.open(f"/exports/{made.pk}/")

    clinician.page.locator("[data-copy=datasets-code]").click()

    clinician.page.get_by_role("button", name="Copied").wait_for()
    assert 'load_dataset("./four.1", "cotmed"' in clinician.page.evaluate("navigator.clipboard.readText()")
    assert clinician.complaints == []


def test_the_documentation_sends_real_requests(world: World, reader: Callable[..., Reader]) -> None:
    """Script, style and CSRF token all work under the policy, for a request that writes too."""
    curator = reader(world.curator)
    outside = []
    curator.page.on("request", lambda r: None if r.url.startswith((curator.base, "data:")) else outside.append(r.url))
    curator.open("/api/v1/docs")
    block = curator.page.locator(".opblock-post", has_text="/api/v1/exports").first
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.locator("textarea").fill('{"run": "four", "variants": ["cotmed"]}')

    with curator.page.expect_response("**/api/v1/exports") as answered:
        block.get_by_role("button", name="Execute").click()

    assert answered.value.status == 201
    assert Snapshot.objects.get().run == world.run
    assert (outside, curator.complaints) == ([], [])
