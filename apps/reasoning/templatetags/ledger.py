"""Labels, tiers and states as marks: always a picture and a word (UI: no colour alone, no icon alone)."""

from __future__ import annotations

from functools import lru_cache

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.questions.models import Question
from apps.reasoning.layout import Layout
from apps.reasoning.models import Label, QuestionState, Run, RunState, Tier
from apps.reasoning.text import opening, split_stem
from apps.reasoning.words import origin_word, reason_words, stage_word

register = template.Library()

LABELS = {
    Label.CORRECT: ("correct", "check", "Correct"),
    Label.ERROR: ("error", "cross", "Error"),
    Label.UNJUDGED: ("unjudged", "none", "Unjudged"),
    "disputed": ("disputed", "split", "Disputed"),
}
LETTER_LABELS = {"C": Label.CORRECT, "E": Label.ERROR, "U": Label.UNJUDGED, "D": "disputed"}
TIERS = (Tier.EASY, Tier.MEDIUM, Tier.DIFFICULT)
RUN_STATES = {
    RunState.READY: ("plain", "none", "Not started"),
    RunState.RUNNING: ("live", "play", "Running"),
    RunState.PAUSED: ("warn", "pause", "Paused"),
    RunState.CANCELLED: ("plain", "cross", "Cancelled"),
    RunState.FINISHED: ("plain", "check", "Finished"),
}


@register.simple_tag
@lru_cache(64)
def label_chip(label: str) -> SafeString:
    """Correct ✓, Error ✕, Unjudged, Disputed; nothing known yet reads "Unjudged"."""
    kind, picture, word = LABELS.get(label) or LABELS[Label.UNJUDGED]
    return format_html(
        '<span class="chip chip--{}"><svg class="i" aria-hidden="true"><use href="#i-{}"></use></svg>{}</span>',
        kind,
        picture,
        word,
    )


@register.simple_tag
def run_chip(state: str) -> SafeString:
    kind, picture, word = RUN_STATES.get(RunState(state), ("plain", "none", state))
    return format_html(
        '<span class="chip chip--{}"><svg class="i" aria-hidden="true"><use href="#i-{}"></use></svg>{}</span>',
        kind,
        picture,
        word,
    )


@register.simple_tag
@lru_cache(64)
def tier_mark(tier: str) -> SafeString:
    """One to three bars in ink and the word; an order, so no colour."""
    if tier not in TIERS:
        return format_html('<span class="muted">{}</span>', "No tier yet")
    filled = TIERS.index(Tier(tier))
    bars = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="3.5" height="{}" rx=".5"/>',
        (("on" if n <= filled else "off", 0.5 + 5 * n, 7.5 - 3 * n, 3 + 3 * n) for n in range(3)),
    )
    return format_html(
        '<span class="tier"><svg viewBox="0 0 15 11" aria-hidden="true">{}</svg>{}</span>', bars, tier.capitalize()
    )


@register.simple_tag
@lru_cache(1024)  # a list shows the same few patterns again and again
def nine(pattern: str, layout: Layout) -> SafeString:
    """The label pattern of a question as a small grid: generators down, temperatures across."""
    cells = []
    for y, row in enumerate(layout.rows):
        for x, slot in enumerate(row.slots):
            letter = pattern[slot.index : slot.index + 1] or "-"
            cells.append(nine_cell(letter, 13 * x, 13 * y))
    return format_html(
        '<svg class="nine nine--{}x{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        layout.columns,
        len(layout.rows),
        13 * max(layout.columns, 1),
        13 * max(len(layout.rows), 1),
        pattern_words(pattern),
        format_html_join("", "{}", ((cell,) for cell in cells)),
    )


@lru_cache(1024)
def nine_cell(letter: str, x: int, y: int) -> SafeString:
    if letter == "C":
        return format_html(
            '<rect class="cb" x="{}" y="{}" width="12" height="12" rx="2"/><path class="c" d="M{} {}l2.2 2.3 4-5"/>',
            x, y, x + 3, y + 6.4,
        )  # fmt: skip
    if letter == "E":
        return format_html(
            '<rect class="eb" x="{}" y="{}" width="12" height="12" rx="2"/><path class="e" d="M{} {}l5 5M{} {}l-5 5"/>',
            x, y, x + 3.5, y + 3.5, x + 8.5, y + 3.5,
        )  # fmt: skip
    if letter == "D":
        return format_html(
            '<rect class="db" x="{}" y="{}" width="12" height="12" rx="2"/><path class="d" d="M{} {}v-3l-3-3m3 3l3-3"/>',
            x, y, x + 6, y + 9.5,
        )  # fmt: skip
    dashes = "2 1.8" if letter == "U" else ".1 3"
    return format_html('<circle class="u" cx="{}" cy="{}" r="4" stroke-dasharray="{}"/>', x + 6, y + 6, dashes)


def pattern_words(pattern: str) -> str:
    """ "7 Error, 2 Correct"."""
    words = {"E": "Error", "C": "Correct", "U": "Unjudged", "D": "Disputed", "-": "not there yet"}
    said = [f"{pattern.count(letter)} {word}" for letter, word in words.items() if letter in pattern]
    return ", ".join(said) or "no paths yet"


register.filter("pattern_words", pattern_words)


@register.simple_tag
def state_words(state: str, reason: str) -> str:
    """ "Ready", "Waiting: ranking", "Excluded: …"."""
    if state == QuestionState.READY:
        return "Ready"
    return f"{state.capitalize()}: {reason_words(reason)}"


register.filter("reason_words", reason_words)
register.filter("stage_word", stage_word)
register.filter("origin_word", origin_word)
register.filter("split_stem", split_stem)
register.filter("opening", opening)


@register.filter
def desk(question: Question, run: Run | None) -> str:
    """The question's page, in a run where there is one."""
    return reverse("run_question", args=(run.pk, question.uid)) if run else reverse("question", args=(question.uid,))
