"""Each wrong configuration is a check with its id and a hint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings

from reasonmed_site import checks


def ids(found: list[CheckMessage]) -> list[str | None]:
    assert all(message.hint for message in found)
    return [message.id for message in found]


def test_the_configuration_of_the_tests_passes_and_the_checks_are_registered() -> None:
    assert [message for message in run_checks() if str(message.id).startswith("reasonmed.")] == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(
    ("check", "changed", "expected"),
    [
        (checks.check_database_engine, {"DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3"}}}, ["reasonmed.E001"]),
        (checks.check_folders, {"VAR_DIR": Path("/dev/null/var")}, ["reasonmed.E002"]),
        (checks.check_folders, {"EXPORT_DIR": Path("/dev/null/out")}, ["reasonmed.E002"]),
        (checks.check_broker, {"DRAMATIQ_BROKER_URL": "kafka://x"}, ["reasonmed.E006"]),
        (checks.check_broker, {"DRAMATIQ_BROKER_URL": "localhost"}, ["reasonmed.E006"]),
        (checks.check_broker, {"DRAMATIQ_BROKER_URL": "redis://localhost"}, []),
        (checks.check_broker, {"DRAMATIQ_BROKER_URL": "amqp://localhost"}, []),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_found(
    check: Callable[..., list[CheckMessage]], changed: dict[str, Any], expected: list[str]
) -> None:
    with override_settings(**changed):
        assert ids(check()) == expected


def test_a_public_instance_needs_a_key_a_name_and_no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SECRET_KEY", raising=False)
    with override_settings(LOCAL=False, ALLOWED_HOSTS=[], DEBUG=True, EMBEDDED_POSTGRES=True):
        assert ids(checks.check_public()) == ["reasonmed.E003", "reasonmed.E004", "reasonmed.E005", "reasonmed.W001"]
    monkeypatch.setenv("DJANGO_SECRET_KEY", "x" * 50)
    with override_settings(LOCAL=False, ALLOWED_HOSTS=["lab.example"], DEBUG=False, EMBEDDED_POSTGRES=False):
        assert checks.check_public() == []
