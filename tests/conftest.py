"""Shared by all tests: the private PostgreSQL is started when none is configured; in CI a skipped test is a failed one."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


def pytest_configure() -> None:
    from reasonmed_site import launch

    launch.prepare(["pytest"])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, object, None]:
    outcome = yield
    fail_skipped_in_ci(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, object, None]:
    outcome = yield
    fail_skipped_in_ci(outcome.get_result())


def fail_skipped_in_ci(report: pytest.TestReport | pytest.CollectReport, in_ci: bool = IN_CI) -> None:
    """Only a missing GPU is a reason to skip there: anything else means that CI lacks what the test needs."""
    if not in_ci or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if "GPU" not in reason:
        report.outcome = "failed"
        report.longrepr = f"Skipped in CI, where only a missing GPU may be the reason: {reason}"
