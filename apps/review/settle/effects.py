"""What settling would change, worked out before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from django.contrib.auth.models import User

from apps.pipeline.config import RunConfig
from apps.pipeline.estimate import output_costs
from apps.questions.models import Project, Question
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import Label, PathLabel, ReasoningPath, Run, VerdictSource
from apps.review.consequences import Consequences, compare_facts
from apps.review.models import FlagState, QuestionFlag, QueueItem
from apps.review.records.stale import FOLLOWING
from apps.review.services import preview_override


@dataclass(frozen=True, slots=True)
class Effect:
    """`cost`: of what is to be made and what follows if each passes the first time; 0 where no price is known."""

    label: str
    change: Consequences
    cost: Decimal


def foresee_ruling(*, run: Run, path: ReasoningPath, by: User) -> list[Effect]:
    """For Correct and for Error."""
    costs = {} if RunConfig.model_validate(run.config).imported else output_costs(run)
    found = []
    for label in (Label.CORRECT, Label.ERROR):
        change = preview_override(run=run, path=path, reviewer=by, label=label, source=VerdictSource.ADJUDICATION)
        found.append(Effect(str(label), change, _cost(change.remade, costs)))
    return found


@dataclass(frozen=True, slots=True)
class FlagEffect:
    """`changes`: one a run of the project with the question. `items`: places in queues that close or open again.

    `kept_out`: other flags on the question still stand, so that revoking this one changes nothing.
    """

    changes: tuple[Consequences, ...]
    paths: int
    items: int
    kept_out: int = 0

    @property
    def records(self) -> int:
        """That leave no more, or again."""
        return sum(abs(change.records_after - change.records_before) for change in self.changes)


def foresee_flag(*, question: Question, project: Project) -> FlagEffect:
    """Of one more flag: nothing, where the question is set aside already."""
    return _effect(question, project, invalid=True)


def foresee_revoking(flag: QuestionFlag) -> FlagEffect:
    standing = QuestionFlag.objects.filter(question=flag.question, project=flag.project).exclude(pk=flag.pk)
    others = standing.exclude(state=FlagState.REVOKED).count()
    found = _effect(flag.question, flag.project, invalid=bool(others))
    return replace(found, kept_out=others, items=0 if others else found.items)


def _effect(question: Question, project: Project, *, invalid: bool) -> FlagEffect:
    runs = list(Run.objects.filter(project=project, questions__question=question).order_by("pk"))
    changes = []
    for run in runs:
        before = load_facts(run, [question.pk])[question.pk]
        after = replace(before, invalid=invalid)
        changes.append(compare_facts(run=run, before=before, after=after, policy=policy_of(run)))
    items = QueueItem.objects.filter(question=question, queue__project=project)
    labels = PathLabel.objects.filter(run__in=runs, question=question)
    return FlagEffect(
        tuple(changes),
        labels.values("path").distinct().count(),
        items.filter(open=True).count() if invalid else items.filter(set_aside=True).count(),
    )


def _cost(remade: Mapping[str, int], costs: Mapping[str, Decimal]) -> Decimal:
    then = Counter({later: n for stage, n in remade.items() for later in FOLLOWING.get(stage, ())})
    return sum((costs.get(stage, Decimal(0)) * n for stage, n in (Counter(remade) + then).items()), Decimal(0))
