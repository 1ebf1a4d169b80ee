"""What an override changes, worked out from facts by the same rule that saving uses."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from apps.reasoning.models import Run
from apps.reasoning.policy.assess import FIRST_STAGES, Assessment, Item, assess
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
        parts += [f"in run {other.run_name}: {other.summary}" for other in self.others if other.changes]
        return "; ".join(parts)

    @property
    def changes(self) -> bool:
        """Whether anything but the one label is another afterwards."""
        before = (self.errors_before, self.tier_before, self.state_before, self.reason_before)
        after = (self.errors_after, self.tier_after, self.state_after, self.reason_after)
        return before != after or self.disputed or bool(self.records_changed or self.remade)

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
    return compare_facts(
        run=run, before=facts, after=with_verdict(facts, path_id, verdict), policy=policy, path_id=path_id
    )


def compare_facts(
    *, run: Run, before: QuestionFacts, after: QuestionFacts, policy: Policy, path_id: int | None = None
) -> Consequences:
    """What follows when facts `before` become `after`, a changed copy. `path_id`: the path whose label is told."""
    old, new, hold, asked = assess_change(before, after, policy)
    return Consequences(
        run_id=run.pk,
        run_name=run.name,
        label_before=old.labels[path_id].label if path_id else "",
        label_after=new.labels[path_id].label if path_id else "",
        disputed=new.labels[path_id].disputed if path_id else new.disputed,
        errors_before=old.error_count,
        errors_after=new.error_count,
        tier_before=old.tier or "",
        tier_after=new.tier or "",
        state_before=old.state,
        state_after=new.state,
        reason_before=old.reason,
        reason_after=new.reason,
        records_before=old.records if old.state == "ready" else 0,
        records_after=new.records if new.state == "ready" else 0,
        records_changed=_records_changed(before, old, after, new),
        remade=dict(Counter(item.stage for item in asked)),
        hold=hold,
    )


class Change(NamedTuple):
    old: Assessment
    new: Assessment
    hold: bool
    asked: list[Item]  # outputs wanted after the change and not before it, as if nothing were held


def assess_change(before: QuestionFacts, after: QuestionFacts, policy: Policy) -> Change:
    """The assessment before and after the change, and whether the question must be held.

    It is held when outputs were made already and the change asks for later work that nobody asked for before; a
    question on hold stays so while anything is missing.
    """
    old, new = (assess(replace(facts, hold=False), policy) for facts in (before, after))
    wanted = {(i.stage, i.key) for i in old.items}
    asked = [i for i in new.items if (i.stage, i.key) not in wanted]
    later = any(i.stage not in FIRST_STAGES for i in asked)
    hold = has_outputs(before) and (later or (before.hold and bool(new.items)))
    return Change(
        assess(before, policy) if before.hold else old,
        assess(replace(after, hold=True), policy) if hold else new,
        hold,
        asked,
    )


def with_verdict(facts: QuestionFacts, path_id: int, verdict: PersonVerdict | Ruling) -> QuestionFacts:
    """A copy in which the reviewer's verdict replaces the one they gave before; `unjudged` only takes that back."""
    path = copy.copy(next(p for p in facts.paths if p.id == path_id))
    said = [] if verdict.label == "unjudged" else [verdict]
    if isinstance(verdict, Ruling):
        path.adjudication = said[0].label if said else None
    else:
        path.people = [v for v in path.people if v.reviewer != verdict.reviewer]
        path.people += [verdict] if said else []
    return replace(facts, paths=[path if p.id == path_id else p for p in facts.paths])


def next_verdict(facts: QuestionFacts, path_id: int, *, reviewer: int, label: LabelName) -> PersonVerdict:
    """The latest verdict of the path, should the reviewer give it now."""
    path = next(p for p in facts.paths if p.id == path_id)
    return PersonVerdict(reviewer, label, max((v.order for v in path.people), default=0) + 1)


def has_outputs(facts: QuestionFacts) -> bool:
    """Something was made from the labels: a score, a rewritten path, a summary."""
    return bool(facts.scores or facts.responses or any(not p.is_base for p in facts.paths))


def _records_changed(before: QuestionFacts, old: Assessment, after: QuestionFacts, new: Assessment) -> int:
    """Records are told apart by path and by the revision of its summary."""
    left = _leaving(before, old)
    kept = {
        (c.path, after.revisions.get(c.path, 0))
        for c in new.choices
        if c.path in after.responses and c.path not in after.excluded
    }
    gained = _leaving(after, new) - left
    return max(len(left - kept), len(gained))


def _leaving(facts: QuestionFacts, found: Assessment) -> set[tuple[int, int]]:
    if found.state != "ready":
        return set()
    return {
        (c.path, facts.revisions.get(c.path, 0))
        for c in found.choices
        if c.path is not None and c.path not in facts.excluded and facts.responses.get(c.path) == facts.key
    }


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
