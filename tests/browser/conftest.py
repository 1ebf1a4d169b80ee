"""A real Chromium on a live server. Every page collects what the console, the policy and scripts complain about."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright

from tests.pages.conftest import world

__all__ = ["world"]

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; name one in CHROMIUM")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = (
        "1"  # Playwright's loop runs in this thread; the ORM is not used inside it
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Reader:
    """A signed-in person with a browser."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.complaints: list[str] = []
        page.on(
            "console",
            lambda m: self.complaints.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def open(self, address: str) -> None:
        response = self.page.goto(self.base + address)
        assert response
        assert response.ok, f"{address}: {response.status}"

    def barriers(self) -> list[str]:
        """What axe finds: "rule: selector, selector"."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{v['id']}: {', '.join(str(n['target'][0]) for n in v['nodes'][:4])}" for v in found["violations"]]

    def focused(self) -> str:
        """What has the focus: its id, else its text."""
        return str(self.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    def wider_than_screen(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.fixture
def reader(chromium: Browser, live_server: object) -> Iterator[Callable[..., Reader]]:
    """`reader(user, theme=…, width=…)`; closing the pages at the end of the test."""
    contexts = []

    def open_for(user: User | None, *, theme: str = "light", width: int = 1280) -> Reader:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
        contexts.append(context)
        base = live_server.url  # type: ignore[attr-defined]
        if user:
            client = Client()
            client.force_login(user)
            cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": base}])
        return Reader(context.new_page(), base)

    yield open_for
    for context in contexts:
        context.close()
    wait_for_the_server()


def wait_for_the_server(patience_s: float = 20.0) -> None:
    """Until nothing that a page asked for is still at work in the database: emptying it beside that is a deadlock."""
    deadline, quiet = time.monotonic() + patience_s, 0
    while quiet < 3 and time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend' AND state <> 'idle'"
            )
            quiet = 0 if cursor.fetchone()[0] else quiet + 1
        time.sleep(0.05)
