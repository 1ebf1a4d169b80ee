"""What a page sends, as `Said`."""

from __future__ import annotations

from django.http import QueryDict

from apps.reasoning.sentences import SPLITTER_VERSION
from apps.review.queues.said import LONGEST_SITTING_MS, Said
from apps.review.services import AXES


def read_said(data: QueryDict) -> Said:
    """Axes count when all three are said; otherwise they follow from verdict and reasons. Numbers that are none are 0."""
    axes = {axis: data[axis] == "pass" for axis in AXES if data.get(axis) in ("pass", "fail")}
    return Said(
        label=data.get("label", ""),
        axes=axes if len(axes) == len(AXES) else None,
        reasons=data.getlist("reasons"),
        harm=data.get("harm", ""),
        sentences=[number(n) for n in data.getlist("sentences")],
        splitter=number(data.get("splitter", ""), SPLITTER_VERSION),
        comment=data.get("comment", ""),
        flagged=bool(data.get("flagged")),
        active_ms=min(number(data.get("active_ms", "")), LONGEST_SITTING_MS),
    )


def number(text: str, otherwise: int = 0) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise
