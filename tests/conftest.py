"""Shared by all tests: the private PostgreSQL is started when none is configured."""

from __future__ import annotations


def pytest_configure() -> None:
    from reasonmed_site import launch

    launch.prepare(["pytest"])
