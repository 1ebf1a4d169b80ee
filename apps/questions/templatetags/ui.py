"""What every page is set with: icons, numbers, times, options, who is signed in."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from urllib.parse import urlencode

from django import template
from django.contrib.auth.models import AnonymousUser, User
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

from apps.questions import access

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86400

BENCHMARKS = {"medqa": "MedQA", "medmcqa": "MedMCQA", "pubmedqa": "PubMedQA", "mmlu": "MMLU"}
# (address name, word, names of the pages that belong to it)
FOR_CLINICIANS = {"agreement", "review_home"}
NAV = (
    ("overview", "Overview", {"overview", "run", "failures", "failures_aside", "failures_attempts", "failures_retry"}),
    (
        "questions",
        "Questions",
        {
            "questions",
            "question",
            "run_question",
            "composition",
            "key_conflicts",
            "held_out",
            "record",
            "record_change",
            "compare",
            "alike",
            "question_history",
            "override",
        },
    ),
    ("paths", "Paths", {"paths"}),
    (
        "review_home",
        "Review",
        {
            "review_home",
            "practice",
            "practice_item",
            "practice_judge",
            "practice_next",
            "review_work",
            "review_item",
            "review_sitting",
            "review_queues",
            "review_queue_new",
            "review_queue",
            "review_queue_close",
            "settle",
            "settle_path",
            "settle_flags",
            "settle_flag",
            "question_flag",
            "certificate_work",
            "certificate_record",
        },
    ),
    ("agreement", "Agreement", {"agreement"}),
    (
        "exports",
        "Exports",
        {
            "exports",
            "export",
            "export_new",
            "certificate",
            "certificate_new",
            "certificate_close",
            "quality",
            "contamination",
            "run_contamination",
        },
    ),
    ("runs", "Runs", {"runs", "run_new", "run_cancel", "stale"}),
)


@register.simple_tag
@lru_cache(256)
def icon(name: str) -> SafeString:
    """A picture beside a word; never alone."""
    return format_html('<svg class="i" aria-hidden="true"><use href="#i-{}"></use></svg>', name)


@register.filter
def num(value: int | float | Decimal | None) -> str:
    """12345 → 12,345; nothing → an en dash."""
    return "–" if value is None or value == "" else f"{value:,}"


@register.filter
def percent(part: int, whole: int) -> str:
    """`part|percent:whole` → 73.5 %; nothing of nothing → an en dash."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


@register.filter
def width(part: int, whole: int) -> str:
    """`part|width:whole`: a length in an SVG, in per cent."""
    return f"{100 * part / whole:.2f}%" if whole else "0%"


@register.filter
def prose(text: str) -> SafeString:
    """A model's sentence with the little Markdown that models write shown as meant: bold, headings, list marks.

    All else stays text. What is judged and exported is the text as it is.
    """
    mark = _MARK.match(text)
    if not mark and "**" not in text:  # nearly every sentence
        return escape(text)
    heading, rest = bool(mark and mark[1].startswith("#")), text[mark.end() :] if mark else text
    pieces = _BOLD.split(rest)  # every second one is bold
    forms = ("<strong>{}</strong>" if piece and (heading or i % 2) else "{}" for i, piece in enumerate(pieces))
    shown = format_html_join("", "{}", ((format_html(form, piece),) for form, piece in zip(forms, pieces, strict=True)))
    return format_html("{}{}", "• " if mark and not heading else "", shown)


_MARK = re.compile(r"\s*(#{1,6}|[-*•])\s+(?=\S)")
_BOLD = re.compile(r"\*\*(?=\S)([^*]+?)(?<=\S)\*\*")


@register.filter
def words(code: str) -> str:
    """key_text_repeated → Key text repeated."""
    return code.replace("_", " ").capitalize()


@register.filter
def benchmark_word(slug: str) -> str:
    """medqa → MedQA; one we do not know keeps its slug."""
    return BENCHMARKS.get(slug, slug)


@register.filter
def without(params: dict[str, str], name: str) -> str:
    """A list's address with one filter taken away."""
    return "?" + urlencode({key: value for key, value in params.items() if key != name})


@register.filter
def first_page(params: dict[str, str]) -> str:
    """A list's address without a cursor."""
    return "?" + urlencode(params)


@register.filter
def address(params: dict[str, str], cursor: str) -> str:
    """A list's address, ready for the value of its cursor to follow."""
    return "?" + urlencode(params) + ("&" if params else "") + f"{cursor}="


@register.simple_tag
def ago(moment: datetime | None) -> SafeString | str:
    """A relative time with the exact one on hover and for machines."""
    if moment is None:
        return "–"
    utc = moment.astimezone(timezone.get_default_timezone())
    exact = f"{utc.day} {utc:%B %Y, %H:%M:%S} UTC"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', utc.isoformat(timespec="seconds"), exact, relative(moment)
    )


def relative(moment: datetime, now: datetime | None = None) -> str:
    """How long ago in words: "3 min ago", "yesterday", "12 August 2026"."""
    seconds = ((now or timezone.now()) - moment).total_seconds()
    if seconds < 5:
        return "just now"
    if seconds < MINUTE:
        return f"{int(seconds)} s ago"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min ago"
    if seconds < DAY:
        return f"{int(seconds // HOUR)} h ago"
    days = int(seconds // DAY)
    if days < 2:
        return "yesterday"
    return f"{days} days ago" if days < 30 else f"{moment.day} {moment:%B %Y}"


@register.simple_tag
def duration(seconds: float | None) -> str:
    """ "2 d 21 h", "3 min", "40 s"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole >= DAY:
        return f"{whole // DAY} d {whole % DAY // HOUR} h"
    if whole >= HOUR:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // MINUTE} min" if whole >= 2 * MINUTE else f"{whole} s"


@register.simple_tag
@lru_cache(256)
def opt(letter: str, key: str = "") -> SafeString:
    """An option's letter in its box; filled when it is the key."""
    if letter == key:
        return format_html('<span class="opt opt--key">{}</span><span class="vh"> (the key)</span>', letter)
    return format_html('<span class="opt">{}</span>', letter)


@register.filter
def role_word(user: User | AnonymousUser) -> str:
    """The stronger role a person has, as a word."""
    roles = access.roles_of(user)
    return next((role for role in access.ROLES if role in roles), "no role yet")


@register.filter
def has_role(user: User | AnonymousUser, role: str) -> bool:
    return access.has_role(user, role)


@register.simple_tag(takes_context=True)
def nav_items(context: template.Context) -> list[dict[str, object]]:
    """The pages of the top bar, the one we are on marked. A page whose address is not wired is left out."""
    match = getattr(context.get("request"), "resolver_match", None)
    here = match.url_name if match else ""
    clinician = "user" in context and access.has_role(context["user"], access.CLINICIAN)
    items: list[dict[str, object]] = []
    for name, word, members in NAV:
        if name in FOR_CLINICIANS and not clinician:
            continue
        try:
            items.append({"url": reverse(name), "word": word, "current": here in members})
        except NoReverseMatch:
            continue
    return items
