"""What waits for an adjudicator, and both sides of a disagreement under pseudonyms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, QuerySet

from apps.questions.models import Project
from apps.reasoning.models import (
    Label,
    PathLabel,
    QuestionState,
    ReasoningPath,
    Run,
    RunQuestion,
    Verdict,
    VerdictSource,
)
from apps.reasoning.paging import Capped, count_capped
from apps.reasoning.sentences import SPLITTER_VERSION
from apps.review.models import FlagState, Harm, Judgment, QuestionFlag, Reason
from apps.review.queues.adjudication import said_by

MOST_COUNTED = 100


def disagreements(project: Project) -> QuerySet[PathLabel]:
    """Disputed paths of all runs whose question waits; by way of the questions, which have an index for it.

    A question that is set aside or held out waits for nothing; its paths appear once it is back.
    """
    waiting = RunQuestion.objects.filter(
        run=OuterRef("run"),
        question=OuterRef("question"),
        state=QuestionState.WAITING,
        reason__in=("disputed", "stale"),  # what a disputed question waits for
        disputed=True,
    )
    rows = PathLabel.objects.filter(Exists(waiting), run__project=project, disputed=True)
    return rows.select_related("run", "question__benchmark").defer("question__search", "question__explanation")


def for_person(project: Project, person: User) -> QuerySet[PathLabel]:
    """Those that the person may settle."""
    return disagreements(project).exclude(Exists(said_by(person, project.pk, OuterRef("path"))))


def judged_themselves(project: Project, person: User) -> QuerySet[PathLabel]:
    """Those that are for another adjudicator: the person is one of the sides."""
    return disagreements(project).filter(Exists(said_by(person, project.pk, OuterRef("path"))))


def open_flags(project: Project) -> QuerySet[QuestionFlag]:
    rows = QuestionFlag.objects.filter(project=project, state=FlagState.OPEN).select_related("question__benchmark")
    return rows.defer("question__search", "question__explanation")


@dataclass(frozen=True, slots=True)
class Waiting:
    disagreements: Capped
    flags: Capped

    def __bool__(self) -> bool:
        return bool(self.disagreements.value or self.flags.value)

    @property
    def one(self) -> bool:
        return self.disagreements.value + self.flags.value == 1


def waiting_for(project: Project, person: User) -> Waiting:
    """How much waits, counted to MOST_COUNTED."""
    return Waiting(
        count_capped(for_person(project, person), MOST_COUNTED), count_capped(open_flags(project), MOST_COUNTED)
    )


def next_for(project: Project, person: User, *, after: int = 0) -> PathLabel | None:
    """The one behind the label row `after`, else the first: what is passed over comes round again."""
    mine = for_person(project, person).order_by("pk")
    return mine.filter(pk__gt=after).first() or mine.exclude(pk=after).first()


def said_in_short(project: Project, rows: Sequence[PathLabel]) -> dict[int, str]:
    """By path: "2 Error, 1 Correct"; nobody is named."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    people = _standing(project).filter(path__in=[row.path_id for row in rows])
    for path, label in people.values_list("path", "label"):
        found[path][label] += 1
    return {
        path: ", ".join(f"{n} {Label(label).label}" for label, n in sorted(labels.items(), reverse=True))
        for path, labels in found.items()
    }


@dataclass(frozen=True, slots=True)
class Side:
    """What one person says of a path. `sentences` in the numbering of today; `quoted` what was marked in another."""

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]
    harm: str
    comment: str
    sentences: tuple[int, ...]
    quoted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`ruling`: the adjudication that stands, none as long as nobody settled it. `label`: the path's in this run."""

    label: PathLabel | None
    sides: tuple[Side, ...]
    ruling: Verdict | None
    judge: Verdict | None

    @property
    def disputed(self) -> bool:
        return self.label is not None and self.label.disputed

    @property
    def marked(self) -> set[int]:
        return {n for side in self.sides for n in side.sentences}


def read_disagreement(run: Run, path: ReasoningPath) -> Disagreement:
    """Names are told once it is settled; until then "Reviewer 1", in the order in which they judged."""
    people = list(
        _standing(run.project).filter(path=path).select_related("reviewer", "judgment").order_by("pk")
    )  # fmt: skip
    given = Verdict.objects.filter(path=path, project=run.project, source=VerdictSource.ADJUDICATION, current=True)
    ruling = given.select_related("reviewer").order_by("-pk").first()
    judged = Verdict.objects.filter(run=run, path=path, source=VerdictSource.JUDGE, current=True)
    return Disagreement(
        PathLabel.objects.filter(run=run, path=path).first(),
        tuple(_side(verdict, n, named=ruling is not None) for n, verdict in enumerate(people, start=1)),
        ruling,
        judged.first(),
    )


def name_of(person: User) -> str:
    return person.get_full_name() or person.get_username()


def _standing(project: Project) -> QuerySet[Verdict]:
    """What people say now and what counts; not what they took back."""
    said = Verdict.objects.filter(project=project, source=VerdictSource.PERSON, counts=True, current=True)
    return said.exclude(label=Label.UNJUDGED)


def _side(verdict: Verdict, number: int, *, named: bool) -> Side:
    """An override from the question page has no `Judgment`; its words are the verdict's."""
    judgment: Judgment | None = getattr(verdict, "judgment", None)
    details = verdict.details
    same = details.get("splitter") == SPLITTER_VERSION
    return Side(
        name=name_of(verdict.reviewer) if named and verdict.reviewer else f"Reviewer {number}",
        verdict=verdict,
        reasons=tuple(Reason(code).label for code in details.get("reasons", ()) if code in Reason.values),
        harm=Harm(details["harm"]).label if details.get("harm") in Harm.values else "",
        comment=judgment.comment if judgment else verdict.reason,
        sentences=tuple(details.get("sentences", ())) if same else (),
        quoted=tuple(text for _, _, text in judgment.sentences) if judgment and not same else (),
    )
