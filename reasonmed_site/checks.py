"""System checks of the configuration, each with an id and a hint. `manage.py check` shows them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

BROKER_SCHEMES = ("redis", "rediss", "amqp", "amqps", "rabbitmq")


@register
def check_database_engine(**_: Any) -> list[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
        return []
    return [
        Error(
            "The ledger needs PostgreSQL.",
            hint="Unset DATABASE_URL for the private one, or set it to postgresql://…",
            id="reasonmed.E001",
        )
    ]


@register
def check_folders(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name, folder in (("REASONMED_VAR", settings.VAR_DIR), ("REASONMED_EXPORTS", settings.EXPORT_DIR)):
        if not _can_write(Path(folder)):
            found.append(
                Error(
                    f"{folder} cannot be written.",
                    hint=f"Set {name} to a folder of your own, or change this one's permissions.",
                    id="reasonmed.E002",
                )
            )
    return found


@register
def check_public(**_: Any) -> list[CheckMessage]:
    """What an instance that others can reach must have."""
    if settings.LOCAL:
        return []
    found: list[CheckMessage] = []
    if not os.environ.get("DJANGO_SECRET_KEY"):
        found.append(
            Error(
                "A public instance has no secret key of its own.",
                hint="Set DJANGO_SECRET_KEY to 50 random characters and keep it.",
                id="reasonmed.E003",
            )
        )
    if not settings.ALLOWED_HOSTS:
        found.append(
            Error(
                "A public instance answers to no host name.",
                hint="Set DJANGO_ALLOWED_HOSTS to its name.",
                id="reasonmed.E004",
            )
        )
    if settings.DEBUG:
        found.append(
            Error("A public instance runs in debug mode.", hint="Unset DJANGO_DEBUG.", id="reasonmed.E005"),
        )
    if settings.EMBEDDED_POSTGRES:
        found.append(
            Warning(
                "A public instance uses the private PostgreSQL under var/.",
                hint="Set DATABASE_URL to a server that is backed up.",
                id="reasonmed.W001",
            )
        )
    return found


@register
def check_broker(**_: Any) -> list[CheckMessage]:
    broker_url = settings.DRAMATIQ_BROKER_URL
    if not broker_url or urlsplit(broker_url).scheme in BROKER_SCHEMES:
        return []
    return [
        Error(
            f"DRAMATIQ_BROKER_URL names an unknown kind of broker: {urlsplit(broker_url).scheme or 'none'}.",
            hint="Use redis://…, amqp://…, or leave it empty for the in-process broker.",
            id="reasonmed.E006",
        )
    ]


def _can_write(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, lets us write."""
    for candidate in (folder, *folder.parents):
        if candidate.exists():
            return candidate.is_dir() and os.access(candidate, os.W_OK | os.X_OK)
    return False
