"""Configuration checks of the exports."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from apps.exports.proof.signing import SigningKeyError, signing_key


@register
def check_signing_key(**kwargs: Any) -> list[CheckMessage]:
    """Told at the start and not when the first export is built."""
    try:
        signing_key()
    except SigningKeyError as error:
        return [Error(str(error), hint="Without the variable, exports are written unsigned.", id="exports.E001")]
    return []


@register
def check_sendfile(**kwargs: Any) -> list[CheckMessage]:
    """A word that no web server knows would send every download empty."""
    if settings.SENDFILE in ("", "x-accel-redirect", "x-sendfile"):
        return []
    said = f"REASONMED_SENDFILE is {settings.SENDFILE[:40]!r}, which names no way to send files."
    return [
        Error(said, hint="Use x-accel-redirect (nginx), x-sendfile (Apache), or leave it empty.", id="exports.E002")
    ]
