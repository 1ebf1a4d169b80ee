"""What an export's page offers to copy."""

from __future__ import annotations

from typing import Any

from django import template
from django.conf import settings
from django.urls import reverse

from apps.exports.folder import MANIFEST
from apps.exports.forms.snippets import Snippet, snippets_of
from apps.exports.models import Snapshot
from apps.exports.sidecars import all_files_of
from apps.exports.templatetags.exports import folder_name

register = template.Library()


@register.simple_tag(takes_context=True)
def export_snippets(context: dict[str, Any], snapshot: Snapshot) -> list[Snippet]:
    """Of a snapshot that is done."""
    files = all_files_of(snapshot)
    address: str = context["request"].build_absolute_uri(reverse("export_file", args=(snapshot.pk, MANIFEST)))
    return snippets_of(
        snapshot.manifest or {},
        folder=folder_name(snapshot),
        files=files,
        base=address.removesuffix(f"/{MANIFEST}"),
        cookie=settings.SESSION_COOKIE_NAME,
    )
