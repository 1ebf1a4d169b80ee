"""Pictures of the pages of a running demo, both themes: `make screens`, into docs/screens/.

Walks as each role would, judges one item as the clinician, and leaves that judgment in the demo.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SETTLED_MS = 400  # colours fade from one theme to the other
WIDE, PHONE = (1280, 860), (390, 844)
# (name of the picture, address, or links to follow one after the other: the first that matches on each page)
Walk = tuple[str, tuple[str, ...]]
CURATOR: tuple[Walk, ...] = (
    ("overview", ("/",)),
    ("run", ("/", r"/runs/\d+/$")),
    ("runs", ("/runs/",)),
    ("run-new", ("/runs/new/",)),
    ("questions", ("/questions/",)),
    ("question", ("/questions/", r"/questions/(?!composition|conflicts|held-out)[^/?]+/(\?.*)?$")),
    ("paths", ("/paths/",)),
    ("record", ("/questions/", r"/questions/(?!composition|conflicts|held-out)[^/?]+/(\?.*)?$", r"/record/\d+/$")),
    ("queues", ("/review/queues/",)),
    ("queue-new", ("/review/queues/new/",)),
    ("queue", ("/review/queues/", r"/queues/\d+/progress/$")),
    ("agreement", ("/agreement/",)),
    ("exports", ("/exports/",)),
    ("export-new", ("/exports/new/",)),
    ("export", ("/exports/", r"/exports/[0-9a-f-]{36}/$")),
    ("certificate", ("/exports/", r"/exports/[0-9a-f-]{36}/$", r"/certificate/$")),
    ("contamination", ("/exports/contamination/",)),
)
ADJUDICATOR: tuple[Walk, ...] = (("settle", ("/review/settle/",)),)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
    parser.add_argument("--var", type=Path, default=Path(os.environ.get("REASONMED_VAR", "var")))
    parser.add_argument("--out", type=Path, default=Path("docs/screens"))
    given = parser.parse_args()
    logins = json.loads((given.var / "demo_logins.json").read_text())
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for role, walks in (("curator", CURATOR), ("adjudicator", ADJUDICATOR)):
            page = sign_in(browser, given.url, role, logins[role])
            for name, steps in walks:
                if follow(page, given.url, steps):
                    take(page, given.out, name)
                else:
                    print(f"{name}: nothing to show", file=sys.stderr)
        page = sign_in(browser, given.url, "clinician", logins["clinician"])
        for name in review(page, given.url):
            take(page, given.out, name)
        browser.close()
    return 0


def sign_in(browser: Browser, url: str, name: str, password: str) -> Page:
    page = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]}).new_page()
    page.goto(urljoin(url, "/login/"))
    page.locator("#id_username").fill(name)
    page.locator("#id_password").fill(password)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"^(?!.*/login/)"))
    return page


def follow(page: Page, url: str, steps: tuple[str, ...]) -> bool:
    page.goto(urljoin(url, steps[0]))
    for pattern in steps[1:]:
        links = page.locator("main a[href]").evaluate_all("links => links.map(a => a.getAttribute('href'))")
        found = next((link for link in links if re.search(pattern, link)), None)
        if found is None:
            return False
        page.goto(urljoin(page.url, found))
    return page.title() != "" and "Not found" not in page.title()


def review(page: Page, url: str) -> Iterator[str]:
    """Names of what is on the screen then."""
    page.goto(urljoin(url, "/review/"))
    yield "review-home"
    page.goto(urljoin(url, "/review/practice/"))
    yield "review-practice"
    page.goto(urljoin(url, "/review/"))
    page.locator("main table a", has_text="Judge").first.click()
    page.locator("#judge").wait_for()
    yield "review"
    for key in ("1", "f"):
        page.keyboard.press(key)
    yield "review-marked"
    page.keyboard.press("?")
    yield "review-keys"
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.locator(".outcome").wait_for()
    yield "review-after"
    page.goto(urljoin(url, "/review/sitting/"))
    yield "review-sitting"
    page.goto(urljoin(url, "/review/"))
    page.locator("main a", has_text="Judge records").first.click()
    page.locator("#judge").wait_for()
    yield "review-record"


def take(page: Page, folder: Path, name: str) -> None:
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=folder / f"{name}-{theme}.png")
    page.emulate_media(color_scheme="light")
    if not name.startswith("review"):
        return
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page.screenshot(path=folder / f"{name}-phone.png")
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})


if __name__ == "__main__":
    sys.exit(main())
