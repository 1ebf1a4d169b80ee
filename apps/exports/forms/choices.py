"""The further forms, as the new-export page shows and sends them."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict

from apps.exports.config import ExportConfig
from apps.exports.forms.names import FORMS, HINTS, TITLES, FormName


def read_forms(data: QueryDict) -> dict[str, Any]:
    """Parts of a configuration; `config.read_config` says what will not do."""
    return {"forms": data.getlist("form"), "system_prompt": data.get("system_prompt", "").strip()}


def form_choices(config: ExportConfig) -> list[tuple[FormName, str, str, bool]]:
    return [(name, TITLES[name], HINTS[name], name in config.forms) for name in FORMS]
