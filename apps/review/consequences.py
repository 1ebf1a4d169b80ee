"""What an override changes, worked out from facts by the same rule that saving uses."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from apps.reasoning.models import Run
from apps.reasoning.policy.assess import FIRST_STAGES, Assessment, assess
from apps.reasoning.policy.facts import LabelName, PersonVerdict, Policy, QuestionFacts
from apps.reasoning.words import reason_words, stage_word


@dataclass(frozen=True, slots=True)
class Ruling:
    """An adjudicator's label; `unjudged` takes an earlier one back."""

    label: LabelName


@dataclass(frozen=True, slots=True)
class Consequences:
    """Of one override in one run. `errors_*` is none while the tier is not settled; `remade` counts outputs by stage.

    `hold`: outputs became stale, so nothing is made again before someone confirms (`confirm_remake`).
    `records_changed`: records that no longer leave as they were, or that newly leave.
    """

    run_id: int
    run_name: str
    label_before: str
    label_after: str
    disputed: bool
    errors_before: int | None
    errors_after: int | None
    tier_before: str
    tier_after: str
    state_before: str
    state_after: str
    reason_before: str
    reason_after: str
    records_before: int
    records_after: int
    records_changed: int
    remade: dict[str, int]
    hold: bool
    others: tuple[Consequences, ...] = ()  # the other runs of the project that use the path

    @property
    def summary(self) -> str:
        """ "5 → 4 errors: medium → easy; 2 records change; to be made: 2 × summarise, once someone confirms"."""
        parts = [f"{self._errors()}: {self._tier()}", self._records()]
        if self.disputed:
            parts.append("reviewers disagree, the judge’s label stands until adjudication")
        if self.remade:
            work = ", ".join(f"{n} × {stage_word(stage).lower()}" for stage, n in self.remade.items())
            parts.append(f"to be made: {work}{', once someone confirms' if self.hold else ''}")
        elif (self.state_before, self.reason_before) != (self.state_after, self.reason_after):
            reason = f" ({reason_words(self.reason_after)})" if self.reason_after else ""
            parts.append(f"{self.state_before} → {self.state_after}{reason}")
        parts += [f"in run {other.run_name}: {other.summary}" for other in self.others]
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "summary": self.summary, "others": [other.as_json() for other in self.others]}

    def _errors(self) -> str:
        before, after = ("?" if n is None else str(n) for n in (self.errors_before, self.errors_after))
        if before == after:
            return "errors not settled" if after == "?" else f"{_count(int(after), 'error')}, as before"
        return f"{before} → {_count(int(after), 'error') if after != '?' else 'not settled'}"

    def _tier(self) -> str:
        before, after = self.tier_before or "no tier", self.tier_after or "no tier"
        return f"{before} → {after}" if before != after else f"stays {after}" if self.tier_after else "no tier yet"

    def _records(self) -> str:
        if not self.records_changed:
            return "no record changes"
        return f"{_count(self.records_changed, 'record')} {'changes' if self.records_changed == 1 else 'change'}"


def consequences_of(
    *, run: Run, facts: QuestionFacts, policy: Policy, path_id: int, verdict: PersonVerdict | Ruling
) -> Consequences:
    """Compare the question as it is with what it becomes once `verdict` counts."""
    before, after, hold = judge_again(facts, policy, path_id, verdict)
    remade = Counter(item.stage for item in new_items(facts, policy, path_id, verdict))
    old_label, new_label = before.labels[path_id], after.labels[path_id]
    return Consequences(
        run_id=run.pk,
        run_name=run.name,
        label_before=old_label.label,
        label_after=new_label.label,
        disputed=new_label.disputed,
        errors_before=before.error_count,
        errors_after=after.error_count,
        tier_before=before.tier or "",
        tier_after=after.tier or "",
        state_before=before.state,
        state_after=after.state,
        reason_before=before.reason,
        reason_after=after.reason,
        records_before=before.records if before.state == "ready" else 0,
        records_after=after.records if after.state == "ready" else 0,
        records_changed=_records_changed(facts, before, after),
        remade=dict(remade),
        hold=hold,
    )


def judge_again(
    facts: QuestionFacts, policy: Policy, path_id: int, verdict: PersonVerdict | Ruling
) -> tuple[Assessment, Assessment, bool]:
    """The assessment before and after the verdict, and whether the question must be held.

    It is held when outputs were made already and the verdict asks for later work that nobody asked for before; a
    question on hold stays so while anything is missing.
    """
    after_facts = with_verdict(facts, path_id, verdict)
    later = [i for i in new_items(facts, policy, path_id, verdict) if i.stage not in FIRST_STAGES]
    after_facts.hold = False
    missing = bool(assess(after_facts, policy).items)
    after_facts.hold = has_outputs(facts) and (bool(later) or (facts.hold and missing))
    return assess(facts, policy), assess(after_facts, policy), after_facts.hold


def new_items(facts: QuestionFacts, policy: Policy, path_id: int, verdict: PersonVerdict | Ruling) -> list[Any]:
    """Outputs wanted after the verdict and not before it, as if nothing were held."""
    old, new = copy.deepcopy(facts), with_verdict(facts, path_id, verdict)
    old.hold = new.hold = False
    wanted = {(i.stage, i.key) for i in assess(old, policy).items}
    return [i for i in assess(new, policy).items if (i.stage, i.key) not in wanted]


def with_verdict(facts: QuestionFacts, path_id: int, verdict: PersonVerdict | Ruling) -> QuestionFacts:
    """A copy in which the reviewer's verdict replaces the one they gave before; `unjudged` only takes that back."""
    changed = copy.deepcopy(facts)
    path = next(p for p in changed.paths if p.id == path_id)
    said = [] if verdict.label == "unjudged" else [verdict]
    if isinstance(verdict, Ruling):
        path.adjudication = said[0].label if said else None
    else:
        path.people = [v for v in path.people if v.reviewer != verdict.reviewer]
        path.people += [verdict] if said else []
    return changed


def next_verdict(facts: QuestionFacts, path_id: int, *, reviewer: int, label: LabelName) -> PersonVerdict:
    """The latest verdict of the path, should the reviewer give it now."""
    path = next(p for p in facts.paths if p.id == path_id)
    return PersonVerdict(reviewer, label, max((v.order for v in path.people), default=0) + 1)


def has_outputs(facts: QuestionFacts) -> bool:
    """Something was made from the labels: a score, a rewritten path, a summary."""
    return bool(facts.scores or facts.responses or any(not p.is_base for p in facts.paths))


def _records_changed(facts: QuestionFacts, before: Assessment, after: Assessment) -> int:
    old = _leaving(facts, before)
    kept = {choice.path for choice in after.choices}
    gained = _leaving(facts, after) - old
    return max(len(old - kept), len(gained))


def _leaving(facts: QuestionFacts, found: Assessment) -> set[int]:
    if found.state != "ready":
        return set()
    return {c.path for c in found.choices if c.path is not None and facts.responses.get(c.path) == facts.key}


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
