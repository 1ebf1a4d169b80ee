"""Finding questions: what the filters of the Questions page mean, and its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.contrib.postgres.search import SearchQuery
from django.db.models import QuerySet

from apps.questions.models import Benchmark, Project, Question, Split
from apps.reasoning.layout import Layout
from apps.reasoning.models import QuestionState, Run, RunQuestion, Tier
from apps.reasoning.paging import Capped, Page, count_again, read_few, read_page
from apps.reasoning.words import reason_words

NO_RUN = "none"  # ?run=none: all imported questions, whether or not a run has them
PATTERN = re.compile(r"^[CEUD\-?*]{1,32}$")
NUL = "\x00"
MARKS = ("contradiction", "overridden", "disputed")


@dataclass(frozen=True, slots=True)
class QuestionFilter:
    """As the address says it; empty means any. A value that means nothing is dropped, never an error."""

    q: str = ""
    run: str = ""
    benchmark: str = ""
    split: str = ""
    subject: str = ""
    tier: str = ""
    errors: str = ""  # "4" or "5-7"
    pattern: str = ""  # CEUD-, ? for any one, * for any number
    state: str = ""  # "ready", "waiting", "waiting:rank"
    contradiction: str = ""
    overridden: str = ""
    disputed: str = ""

    @classmethod
    def read(cls, params: Mapping[str, str]) -> QuestionFilter:
        said = {f.name: params.get(f.name, "").replace(NUL, "").strip()[:300] for f in fields(cls)}
        if said["tier"] not in Tier.values:
            said["tier"] = ""
        if said["split"] not in Split.values:
            said["split"] = ""
        if said["pattern"] and not PATTERN.match(said["pattern"]):
            said["pattern"] = ""
        if said["errors"] and _range(said["errors"]) is None:
            said["errors"] = ""
        if said["state"].partition(":")[0] not in QuestionState.values:
            said["state"] = ""
        for name in MARKS:
            said[name] = "1" if said[name] else ""
        return cls(**said)

    def params(self, **changes: str) -> dict[str, str]:
        """The address's parameters, with changes; empty ones left out."""
        said = {f.name: getattr(self, f.name) for f in fields(self)} | changes
        return {name: value for name, value in said.items() if value}

    def said(self) -> list[tuple[str, str]]:
        """(parameter, words) of every filter that is set, the run apart."""
        words = {
            "q": f"“{self.q}”",
            "benchmark": f"Benchmark: {self.benchmark}",
            "split": f"Split: {self.split}",
            "subject": f"Subject: {self.subject}",
            "tier": f"Tier: {self.tier}",
            "errors": f"Errors: {self.errors}",
            "pattern": f"Pattern: {self.pattern}",
            "state": f"State: {state_filter_words(self.state)}",
            "contradiction": "Contradiction",
            "overridden": "Overridden",
            "disputed": "Disputed",
        }
        return [(name, word) for name, word in words.items() if getattr(self, name)]


def state_filter_words(state: str) -> str:
    name, _, reason = state.partition(":")
    return f"{name}, {reason_words(reason)}" if reason else name


TWINS = ("questions_question.id",)  # of question_id, for `read_page`


def search_run_questions(run: Run, wanted: QuestionFilter) -> QuerySet[RunQuestion]:
    """The questions of a run that match, with what a row shows."""
    rows = RunQuestion.objects.filter(run=run).select_related("question", "benchmark")
    rows = rows.filter(**_question_conditions(wanted, "question__"))
    if wanted.benchmark:
        # its id, not a subquery: only so the planner knows how many questions it has
        rows = rows.filter(
            benchmark__in=list(Benchmark.objects.filter(slug=wanted.benchmark).values_list("pk", flat=True))
        )
    if wanted.tier:
        rows = rows.filter(tier=wanted.tier)
    if wanted.errors:
        rows = rows.filter(error_count__range=_range(wanted.errors))
    if wanted.pattern:
        rows = (
            rows.filter(pattern__regex=_regex(wanted.pattern))
            if _wild(wanted.pattern)
            else rows.filter(pattern=wanted.pattern)
        )
    if wanted.state:
        state, _, reason = wanted.state.partition(":")
        rows = rows.filter(state=state, **({"reason": reason} if reason else {}))
    if wanted.contradiction:
        rows = rows.filter(contradictions__gt=0)
    if wanted.overridden:
        rows = rows.filter(overridden=True)
    if wanted.disputed:
        rows = rows.filter(disputed=True)
    return rows


def search_questions(project: Project, wanted: QuestionFilter) -> QuerySet[Question]:
    """All imported questions the project may see that match; what only a run knows does not count here."""
    rows = Question.objects.visible_to(project).select_related("benchmark")
    rows = rows.filter(**_question_conditions(wanted, ""))
    found: QuerySet[Question] = rows.filter(benchmark__slug=wanted.benchmark) if wanted.benchmark else rows
    return found.defer("search", "meta", "explanation")


@dataclass(frozen=True, slots=True)
class Found:
    page: Page[Any]
    count: Capped


def find(
    rows: QuerySet[Any], params: Mapping[str, str], *, field: str, twins: Sequence[str] = (), searched: bool = False
) -> Found:
    """`twins` as in `read_page`. `searched`: by words, whose number PostgreSQL guesses badly; where they are few, the page
    is taken from among them, or it would walk millions of rows in the list's order to find no more."""
    if searched:
        few = read_few(rows)
        if few is not None:
            return Found(read_page(rows.filter(pk__in=few), params, field=field), Capped(len(few), capped=False))
    return Found(read_page(rows, params, field=field, twins=twins), count_again(rows))


def named_patterns(layout: Layout) -> list[tuple[str, str]]:
    """(pattern, words) offered by the filter: all right, all wrong, one generator alone right or wrong."""
    n = layout.paths
    offered = [("C" * n, "All Correct"), ("E" * n, "All Error"), ("*U*", "Any Unjudged"), ("*-*", "Any not there yet")]
    for row in layout.rows if len(layout.rows) > 1 else ():
        places = {slot.index for slot in row.slots}
        alone = "".join("C" if i in places else "E" for i in range(n))
        offered.append((alone, f"Only {row.generator} Correct"))
        offered.append((alone.translate(str.maketrans("CE", "EC")), f"Only {row.generator} Error"))
    return offered


def _question_conditions(wanted: QuestionFilter, prefix: str) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    if wanted.q:
        conditions[f"{prefix}search"] = SearchQuery(wanted.q, config="english", search_type="websearch")
    if wanted.split:
        conditions[f"{prefix}split"] = wanted.split
    if wanted.subject:
        conditions[f"{prefix}subject__iexact"] = wanted.subject
    return conditions


def _range(errors: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", errors)
    return (int(found[1]), int(found[2] or found[1])) if found else None


def _wild(pattern: str) -> bool:
    return "?" in pattern or "*" in pattern


def _regex(pattern: str) -> str:
    """`?` and `*` as people write them; every other character allowed here stands for itself."""
    return "^" + pattern.replace("-", r"\-").replace("?", ".").replace("*", ".*") + "$"
