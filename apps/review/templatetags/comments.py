"""Comments as text, and the number of unseen mentions for the top bar."""

from __future__ import annotations

import re

from django import template
from django.contrib.auth.models import AnonymousUser, User
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.questions.access import CLINICIAN, has_role
from apps.review.comments.selectors import count_unseen
from apps.review.comments.services import mentioned_names

register = template.Library()


@register.simple_tag
def unseen_mentions(user: User | AnonymousUser) -> int:
    """One query over an index of unseen mentions, for those who can read comments."""
    return count_unseen(user) if isinstance(user, User) and has_role(user, CLINICIAN) else 0


@register.filter
def comment_text(text: str) -> SafeString:
    """Plain text in paragraphs; names after an @ stand out. Everything is escaped."""
    names = mentioned_names(text)
    pattern = "|".join(re.escape(f"@{name}") for name in sorted(names, key=len, reverse=True))
    paragraphs = [p for p in re.split(r"\n{2,}", text) if p.strip()]
    return format_html_join("", "<p>{}</p>", ((_lines(p, pattern),) for p in paragraphs))


def _lines(paragraph: str, pattern: str) -> SafeString:
    return format_html_join(SafeString("<br>"), "{}", ((_marked(line, pattern),) for line in paragraph.split("\n")))


def _marked(line: str, pattern: str) -> SafeString:
    pieces = re.split(f"({pattern})", line) if pattern else [line]
    marked = (
        format_html('<b class="mention">{}</b>', p) if n % 2 else format_html("{}", p) for n, p in enumerate(pieces)
    )
    return format_html_join("", "{}", ((piece,) for piece in marked))
