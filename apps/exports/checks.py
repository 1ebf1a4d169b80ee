"""Configuration checks of the exports."""

from __future__ import annotations

from typing import Any

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
