"""One question's whole state from its facts: labels, tier, what is kept, what is missing, why it waits.

Every flush, every override and `check_ledger` use this one function; nothing else decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from apps.reasoning.policy.facts import PathFacts, Policy, QuestionFacts, TierName
from apps.reasoning.policy.labels import Effective, effective_label, is_keepable
from apps.reasoning.policy.ranking import rank_paths
from apps.reasoning.policy.tiers import settled_tier, tier_of

MAX_REWRITES = 2  # a rewritten path that fails re-verification goes back once
PATTERN = {"correct": "C", "error": "E", "unjudged": "U"}


@dataclass(frozen=True, slots=True)
class Item:
    """One missing output. Keys: `generator/sample`, `path:<id>`, `path:<source>/<revision>`, `new:<n>/<revision>`."""

    stage: str
    key: str
    path: int | None = None  # the path it is about
    generator: str = ""
    sample: int = 1
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """A slot of what the question keeps: `source` was chosen, `path` is what leaves (none while being rewritten)."""

    slot: int
    source: int | None
    path: int | None
    why: str


@dataclass(slots=True)
class Assessment:
    labels: dict[int, Effective]
    pattern: str = ""
    answers: str = ""
    error_count: int | None = None
    tier: TierName | None = None
    state: str = "waiting"
    reason: str = "generate"
    records: int = 0
    choices: list[Choice] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)  # what may be made now; empty on hold
    by_person: bool = False  # a person set the tier or chose the paths

    @property
    def contradictions(self) -> int:
        return sum(e.contradiction for e in self.labels.values())

    @property
    def overridden(self) -> bool:
        return self.by_person or any(e.overridden for e in self.labels.values())

    @property
    def disputed(self) -> bool:
        return any(e.disputed for e in self.labels.values())


def assess(facts: QuestionFacts, policy: Policy) -> Assessment:
    result = Assessment({p.id: effective_label(p, facts.key, policy) for p in facts.paths})
    result.by_person = bool(facts.tier_by_person or facts.chosen)
    base = _label_base_paths(facts, policy, result)
    first_items = list(_missing_answers_and_verdicts(facts, policy, base))
    if not _settle_tier(facts, policy, result, base, pending=bool(first_items)) or first_items:
        result.items = first_items
        if first_items:
            result.state, result.reason = "waiting", first_items[0].stage
    elif facts.held_out and not policy.allow_held_out:
        result.state, result.reason = "excluded", "held_out"
    else:
        _plan_records(facts, policy, result, base)
    if facts.invalid:
        result.state, result.reason, result.records = "excluded", "question_invalid", 0
        result.items, result.choices = [], []
    if result.state != "excluded" and result.disputed:
        result.state, result.reason, result.records = "waiting", "disputed", 0
    if facts.hold and _later_work(result):
        result.state, result.reason, result.records = "waiting", "stale", 0
        result.items = [i for i in result.items if i.stage in FIRST_STAGES]
    return result


FIRST_STAGES = ("generate", "verify")


def _later_work(result: Assessment) -> bool:
    return any(i.stage not in FIRST_STAGES for i in result.items)


def _label_base_paths(facts: QuestionFacts, policy: Policy, result: Assessment) -> dict[tuple[str, int], PathFacts]:
    """Sets pattern and answers; returns the base path of each slot that has one."""
    base = {(p.generator, p.sample): p for p in facts.paths if p.is_base}
    pattern, answers = [], []
    for slot in policy.slots:
        path = base.get(slot)
        label = result.labels[path.id] if path else None
        pattern.append("-" if label is None else "D" if label.disputed else PATTERN[label.label])
        answers.append((path.answer if path else "") or "-")
    result.pattern, result.answers = "".join(pattern), "".join(answers)
    return base


def _missing_answers_and_verdicts(
    facts: QuestionFacts, policy: Policy, base: dict[tuple[str, int], PathFacts]
) -> Iterator[Item]:
    if not policy.imported:
        for generator, sample in policy.slots:
            key = f"{generator}/{sample}"
            if (generator, sample) not in base and ("generate", key) not in facts.failures:
                yield Item("generate", key, generator=generator, sample=sample)
    for path in base.values():
        yield from _verdict_item("verify", path, facts)


def _verdict_item(stage: str, path: PathFacts, facts: QuestionFacts) -> Iterator[Item]:
    """A verdict is missing while the judge said nothing usable, no person decided, and it was not set aside."""
    decided = path.judge_label in ("correct", "error") or path.people or path.adjudication
    if not decided and (stage, f"path:{path.id}") not in facts.failures:
        yield Item(stage, f"path:{path.id}", path=path.id)


def _settle_tier(
    facts: QuestionFacts,
    policy: Policy,
    result: Assessment,
    base: dict[tuple[str, int], PathFacts],
    *,
    pending: bool,
) -> bool:
    """Sets tier and error count: a person's tier; else as soon as missing labels cannot change it, or by the run's policy."""
    labels = [result.labels[base[slot].id].label if slot in base else "unjudged" for slot in policy.slots]
    errors, missing = labels.count("error"), labels.count("unjudged")
    tier = facts.tier_by_person or settled_tier(errors, missing, policy)
    if tier is None and not pending:
        if policy.unjudged_policy == "exclude":
            result.state, result.reason = "excluded", "unjudged"
            return False
        if policy.unjudged_policy == "count_as_error":
            errors += missing
            tier = tier_of(errors, policy)
    if tier is None:
        result.state, result.reason = "waiting", "verify" if pending else "unjudged"
        return False
    result.tier, result.error_count = tier, errors
    return True


def _plan_records(
    facts: QuestionFacts, policy: Policy, result: Assessment, base: dict[tuple[str, int], PathFacts]
) -> None:
    """What is kept and what is still to be made for it; the question is ready when nothing is."""
    blocked = False
    if result.tier == "difficult":
        choices, blocked = _regenerated(facts, policy, result)
    else:
        ranked = _ranked(facts, policy, result, base)
        if ranked is None:
            blocked = not result.items
            choices = []
        elif result.tier == "easy":
            choices = [Choice(n, p.id, p.id, _why(facts, p, n)) for n, p in enumerate(ranked[: policy.keep], start=1)]
        else:
            choices, blocked = _refined(facts, policy, result, ranked)
    result.choices = choices
    refused = _summarise(facts, result)
    if result.items:
        result.state, result.reason = "waiting", result.items[0].stage
    elif blocked or any(_summary_failed(facts, c.path) for c in choices if c.path):
        result.state, result.reason = "waiting", "failed"
    elif result.records:
        result.state, result.reason = "ready", ""
    elif refused:
        result.state, result.reason = "excluded", "summary_answer_not_key"
    elif any(c.path in facts.excluded for c in choices):
        result.state, result.reason = "excluded", "record_excluded"
    elif result.tier == "difficult" or any(p.origin == "refined" for p in facts.paths):
        result.state, result.reason = "excluded", "rewrites_failed"
    else:
        result.state, result.reason = "excluded", "no_rankable_path"


def _summary_failed(facts: QuestionFacts, path: int) -> bool:
    waits = path not in facts.responses and path not in facts.excluded
    return waits and ("summarise", f"path:{path}") in facts.failures


def _ranked(
    facts: QuestionFacts, policy: Policy, result: Assessment, base: dict[tuple[str, int], PathFacts]
) -> list[PathFacts] | None:
    """The keepable paths, a person's choice first, then the best; none while a score is missing.

    Where all are kept anyway, none is asked for. A chosen path that may not be kept any more gives its slot back.
    """
    keepable = [
        base[s] for s in policy.slots if s in base and is_keepable(base[s], result.labels[base[s].id], facts.key)
    ]
    chosen = [p for pk in facts.chosen for p in keepable if p.id == pk]
    rest = [p for p in keepable if p not in chosen]
    if len(chosen) < policy.keep < len(keepable):
        unscored = [p for p in rest if p.id not in facts.scores]
        result.items = [
            Item("rank", f"path:{p.id}", path=p.id) for p in unscored if ("rank", f"path:{p.id}") not in facts.failures
        ]
        if unscored:
            return None
    return chosen + rank_paths(rest, facts.scores, seed=policy.seed, question_id=facts.id)


def _why(facts: QuestionFacts, path: PathFacts, place: int) -> str:
    if path.id in facts.chosen:
        return "chosen by a person"
    if path.id not in facts.scores:
        return "kept without ranking: no more paths than places"
    return f"ranked {place}, score {facts.scores[path.id]}"


def _refined(
    facts: QuestionFacts, policy: Policy, result: Assessment, ranked: list[PathFacts]
) -> tuple[list[Choice], bool]:
    """The first candidates whose rewriting holds; one that failed twice gives its slot to the next-ranked."""
    choices: list[Choice] = []
    blocked = False
    for place, source in enumerate(ranked, start=1):
        if len(choices) == policy.keep:
            break
        attempts = [p for p in facts.paths if p.origin == "refined" and p.parent == source.id]
        outcome = _follow(facts, result, attempts, "refine", f"path:{source.id}", source.id)
        blocked |= outcome == "blocked"
        if outcome != "rejected":
            kept = outcome if isinstance(outcome, int) else None
            choices.append(Choice(len(choices) + 1, source.id, kept, _why(facts, source, place)))
    return choices, blocked


def _regenerated(facts: QuestionFacts, policy: Policy, result: Assessment) -> tuple[list[Choice], bool]:
    choices: list[Choice] = []
    blocked = False
    for number in range(1, policy.regenerate + 1):
        attempts = [p for p in facts.paths if p.origin == "regenerated" and p.sample == number]
        outcome = _follow(facts, result, attempts, "regenerate", f"new:{number}", None, number)
        blocked |= outcome == "blocked"
        if outcome != "rejected":
            kept = outcome if isinstance(outcome, int) else None
            choices.append(Choice(len(choices) + 1, None, kept, "regenerated from the errors of all paths"))
    return choices, blocked


def _follow(
    facts: QuestionFacts,
    result: Assessment,
    attempts: list[PathFacts],
    stage: str,
    prefix: str,
    source: int | None,
    sample: int = 1,
) -> int | str:
    """A rewritten path's id when it may be kept; else `open` (with the item missing), `blocked` or `rejected`."""
    last = max(attempts, key=lambda p: p.revision, default=None)
    if last is not None:
        label = result.labels[last.id]
        if is_keepable(last, label, facts.key):
            return last.id
        if label.label == "unjudged":
            verdicts = list(_verdict_item("reverify", last, facts))
            result.items += verdicts
            return "open" if verdicts else "blocked"
        if last.revision >= MAX_REWRITES:
            return "rejected"
    revision = last.revision + 1 if last else 1
    key = f"{prefix}/{revision}"
    if (stage, key) in facts.failures:
        return "blocked"
    about = last.id if last else source
    result.items.append(Item(stage, key, path=about, sample=sample, revision=revision))
    return "open"


def _summarise(facts: QuestionFacts, result: Assessment) -> bool:
    """Adds missing summaries and counts records; True when one was refused because its answer is not the key."""
    refused = False
    for choice in result.choices:
        if choice.path is None or choice.path in facts.excluded:
            continue
        if choice.path not in facts.responses:
            if ("summarise", f"path:{choice.path}") not in facts.failures:
                revision = facts.revisions.get(choice.path, 0) + 1  # another seed than that of a summary sent back
                result.items.append(Item("summarise", f"path:{choice.path}", path=choice.path, revision=revision))
        elif facts.responses[choice.path] == facts.key:
            result.records += 1
        else:
            refused = True
    return refused
