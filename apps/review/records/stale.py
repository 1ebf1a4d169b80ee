"""Questions whose outputs an override made stale: what would be made again, and what that is expected to cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from django.contrib.auth.models import User
from django.db.models import QuerySet

from apps.pipeline.config import RunConfig
from apps.pipeline.estimate import output_costs
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import Run, RunQuestion
from apps.reasoning.policy.assess import assess
from apps.review.services import confirm_remake

FOLLOWING = {"rank": (), "refine": ("reverify", "summarise"), "regenerate": ("reverify", "summarise"), "reverify": ("summarise",), "summarise": ()}  # fmt: skip
CHUNK = 500  # questions confirmed in one transaction
MOST_FORESEEN = 2_000  # questions whose work is worked out for one page


@dataclass(slots=True)
class Work:
    """Calls by stage: `now` are wanted at once, `then` follow if each of them passes the first time. `cost`: expected, of both."""

    questions: int = 0
    now: dict[str, int] = field(default_factory=dict)
    then: dict[str, int] = field(default_factory=dict)
    cost: Decimal = Decimal(0)

    @property
    def calls(self) -> int:
        return self.calls_now + self.calls_then

    @property
    def calls_now(self) -> int:
        return sum(self.now.values())

    @property
    def calls_then(self) -> int:
        return sum(self.then.values())


def stale_questions(run: Run) -> QuerySet[RunQuestion]:
    """On hold with work to do, as the run's counters and lists tell them (`waiting`, `stale`)."""
    return RunQuestion.objects.filter(run=run, state="waiting", reason="stale", hold=True)


def foresee(run: Run, question_ids: Sequence[int]) -> dict[int, Work]:
    """By question id: what would be made, had someone confirmed."""
    facts, policy = load_facts(run, question_ids), policy_of(run)
    costs = {} if RunConfig.model_validate(run.config).imported else output_costs(run)
    return {
        pk: _work((i.stage for i in assess(replace(f, hold=False), policy).items), costs) for pk, f in facts.items()
    }


def together(found: Iterable[Work]) -> Work:
    total = Work()
    for work in found:
        total.questions += 1
        total.now = dict(Counter(total.now) + Counter(work.now))
        total.then = dict(Counter(total.then) + Counter(work.then))
        total.cost += work.cost
    return total


def confirm_all(*, run: Run, by: User) -> int:
    """Confirm everything that is stale in the run, a chunk a transaction; returns how many questions."""
    ids = list(stale_questions(run).order_by("question_id").values_list("question_id", flat=True))
    return sum(
        confirm_remake(run=run, question_ids=ids[start : start + CHUNK], by=by) for start in range(0, len(ids), CHUNK)
    )


def _work(stages: Iterable[str], costs: Mapping[str, Decimal]) -> Work:
    now = Counter(stages)
    then = Counter({next_stage: n for stage, n in now.items() for next_stage in FOLLOWING.get(stage, ())})
    cost = sum((costs.get(stage, Decimal(0)) * n for stage, n in (now + then).items()), Decimal(0))
    return Work(1, dict(now), dict(then), cost)
