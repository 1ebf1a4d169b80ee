"""Outputs set aside are tried again: what that touches and may cost, and doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Max, QuerySet
from django.utils import timezone

from apps.pipeline.config import RunConfig
from apps.pipeline.failure_words import ClassWords, words_of
from apps.pipeline.failures import GENERATOR, Endpoints, open_failures
from apps.pipeline.material import load_material
from apps.pipeline.models import Failure, PromptVersion, RunBudget
from apps.pipeline.prompts import prompt_from_text
from apps.pipeline.services import RunError, want_work
from apps.pipeline.stages import BY_NAME
from apps.pipeline.worst_case import most_it_costs
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import QuestionState, Run, RunQuestion, RunState
from apps.reasoning.policy.assess import assess
from apps.reasoning.services import assess_questions, lock_questions

CHUNK = 500  # questions a transaction
COSTED = 500  # questions whose requests are written out to see what they can cost


@dataclass(frozen=True, slots=True)
class Selection:
    """Which open failures are meant. All that is said must hold; `up_to`: none set aside after that Failure.id."""

    stage: str = ""
    endpoint: str = ""
    error_class: str = ""
    failure_ids: tuple[int, ...] = ()
    up_to: int | None = None

    @property
    def everything(self) -> bool:
        return not (self.stage or self.endpoint or self.error_class or self.failure_ids)

    @property
    def words(self) -> ClassWords:
        return words_of(self.error_class)

    def as_arguments(self) -> dict[str, Any]:
        """For `retry_failures`."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def rows(self, run: Run) -> QuerySet[Failure]:
        rows = open_failures(run, stage=self.stage, endpoint=self.endpoint, error_class=self.error_class)
        if self.failure_ids:
            rows = rows.filter(pk__in=self.failure_ids)
        return rows if self.up_to is None else rows.filter(pk__lte=self.up_to)


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry did: outputs tried again, their questions, and those of them that have work again."""

    failures: int
    questions: int
    at_work: int

    def __str__(self) -> str:
        if not self.failures:
            return "Nothing was left to try again"
        words = f"{self.failures:,} output{_s(self.failures)} of {self.questions:,} question{_s(self.questions)} will be tried again"
        idle = self.questions - self.at_work
        return words + (f"; {idle:,} question{_s(idle)} did not need what was missing any more" if idle else "")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a retry would touch. `cost`: the most the outputs can cost, None where their endpoints have no price;
    `estimated`: it was seen on some of the questions only. `left`: of the hard budget, None without one."""

    failures: int
    questions: int
    ready: int  # questions that can be exported now and will wait until the outputs are there
    up_to: int
    cost: Decimal | None
    estimated: bool
    left: Decimal | None


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def retry_failures(
    *,
    run: Run,
    by: User | None,
    stage: str = "",
    endpoint: str = "",
    error_class: str = "",
    failure_ids: Sequence[int] = (),
    up_to: int | None = None,
) -> Retried:
    """Have the outputs set aside that match made again; with nothing said, all of them. Raises RunError.

    In transactions of CHUNK questions, each whole: failures resolved, questions assessed again, tasks raised. What was
    done stays done if a later one fails, and doing it again takes up the rest. Outputs set aside while it works are left.
    """
    refuse_cancelled(run)
    chosen = Selection(stage, endpoint, error_class, tuple(failure_ids), up_to)
    newest = chosen.rows(run).aggregate(newest=Max("pk"))["newest"]
    failures = questions = at_work = last = 0
    while newest is not None:
        rows = chosen.rows(run).filter(pk__lte=newest, question__gt=last).order_by("question")
        ids = list(rows.values_list("question", flat=True).distinct()[:CHUNK])
        if not ids:
            break
        done = _retry_chunk(run, by, chosen, newest, ids)
        failures, questions, at_work = failures + done.failures, questions + done.questions, at_work + done.at_work
        last = ids[-1]
    return Retried(failures, questions, at_work)


@transaction.atomic
def _retry_chunk(run: Run, by: User | None, chosen: Selection, newest: int, ids: Sequence[int]) -> Retried:
    """Locks in the order of `store.flush`: questions first, then what belongs to them, counters and tasks."""
    refuse_cancelled(run)
    lock_questions(run=run, question_ids=ids)
    open_now = chosen.rows(run).filter(pk__lte=newest, question__in=ids).values_list("pk", "question")
    found = dict(open_now)  # again, under the lock: another may have come first
    Failure.objects.filter(pk__in=found).update(resolved_at=timezone.now(), resolved_by=by)
    questions = sorted(set(found.values()))
    assessed = assess_questions(run=run, question_ids=questions)
    want_work(run=run, found=assessed)
    return Retried(len(found), len(questions), sum(bool(a.items) for a in assessed.values()))


def refuse_cancelled(run: Run) -> None:
    """Raises RunError."""
    if Run.objects.filter(pk=run.pk, state=RunState.CANCELLED).exists():
        raise RunError(f"{run.name!r} is cancelled for good: nothing of it is tried again.")


def preview_retry(run: Run, chosen: Selection) -> Preview:
    rows = chosen.rows(run)
    sums = rows.aggregate(failures=Count("pk"), questions=Count("question", distinct=True), up_to=Max("pk"))
    ready = RunQuestion.objects.filter(run=run, state=QuestionState.READY, question__in=rows.values("question"))
    cost = _cost(run, rows)
    estimated = sums["questions"] > COSTED
    if cost and estimated:
        cost = cost * sums["questions"] / COSTED
    return Preview(
        failures=sums["failures"],
        questions=sums["questions"],
        ready=ready.count(),
        up_to=sums["up_to"] or 0,
        cost=cost,
        estimated=estimated,
        left=_left(run),
    )


def _cost(run: Run, rows: QuerySet[Failure]) -> Decimal | None:
    """The most that the outputs of the first COSTED questions can cost; None where nothing of them has a price."""
    known = Endpoints(run)
    lanes = rows.order_by().annotate(name=GENERATOR).values_list("stage", "name").distinct()
    names = {known.name(stage, name) for stage, name in lanes if stage == "generate"}
    names |= {known.name(stage, "") for stage, _ in lanes if stage != "generate"}
    if all(known.config.endpoint(name).free for name in names - {""}):
        return None
    questions = list(rows.order_by("question").values_list("question", flat=True).distinct()[:COSTED])
    wanted = rows.filter(question__in=questions).values_list("question", "stage", "item")
    return _most(run, known.config, questions, set(wanted))


def _most(run: Run, config: RunConfig, question_ids: Sequence[int], wanted: set[tuple[int, str, str]]) -> Decimal:
    """The most that making these outputs can cost: their requests as they would be sent, every reply rejected.

    At worst the first attempt is cut, and `schema_retries` more than one follow with twice the cap.
    """
    facts = load_facts(run, question_ids)
    for question, mine in facts.items():
        mine.failures = {(stage, item) for stage, item in mine.failures if (question, stage, item) not in wanted}
    policy = policy_of(run)
    found = {pk: assess(mine, policy) for pk, mine in facts.items()}
    items = {pk: [i for i in a.items if (pk, i.stage, i.key) in wanted] for pk, a in found.items()}
    material = load_material(run, facts, found, items)
    texts = dict(PromptVersion.objects.filter(pk__in=config.prompts.values()).values_list("sha256", "text"))
    prompts = {name: prompt_from_text(name, texts[digest]) for name, digest in config.prompts.items()}
    total = Decimal(0)
    for pk, mine_items in items.items():
        for item in mine_items:
            request = BY_NAME[item.stage].build(config, prompts, item, material[pk])
            total += most_it_costs(request) + (1 + config.schema_retries) * most_it_costs(request, caps=2)
    return total


def _left(run: Run) -> Decimal | None:
    money = RunBudget.objects.filter(pk=run.pk, hard__isnull=False).first()
    if money is None or money.hard is None:
        return None
    return max(money.hard - money.spent - money.reserved, Decimal(0))
