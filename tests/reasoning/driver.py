"""A pure model of the pipeline for tests of the rules: carries out the items of an assessment on the facts alone."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from apps.reasoning.policy.assess import Assessment, Item, assess
from apps.reasoning.policy.facts import PathFacts, Policy, QuestionFacts

GENERATORS = ("a", "b", "c")
SLOTS = tuple((g, n) for g in GENERATORS for n in (1, 2, 3))
KEY, WRONG = "B", "C"
Outcome = Callable[[Item], str]  # "good", "bad", "unjudged" (verdicts), "failed"


def policy(**changes: object) -> Policy:
    return Policy(slots=SLOTS, **changes)  # type: ignore[arg-type]


def judged(labels: str, *, answers: str = "", **fields: object) -> QuestionFacts:
    """A question with a path for each letter of `labels`: C, E, U (judged without result), ? (not judged), - (none)."""
    names = {"C": "correct", "E": "error", "U": "unjudged", "?": None}
    facts = QuestionFacts(id=7, key=KEY, **fields)  # type: ignore[arg-type]
    for number, (letter, (generator, sample)) in enumerate(zip(labels, SLOTS, strict=True), start=1):
        if letter != "-":
            answer = answers[number - 1].strip() if answers else WRONG if letter == "E" else KEY
            facts.paths.append(
                PathFacts(number, "generated", generator, sample, answer=answer, judge_label=names[letter])  # type: ignore[arg-type]
            )
    return facts


def run_to_end(facts: QuestionFacts, rules: Policy, outcome: Outcome, *, most: int = 100) -> tuple[Assessment, int]:
    """Carry out one item at a time until none is left; the assessment then, and the number of steps."""
    for step in range(most):
        found = assess(facts, rules)
        if not found.items:
            return found, step
        carry_out(facts, found.items[0], outcome(found.items[0]))
    raise AssertionError(f"still work after {most} steps: {assess(facts, rules)}")


def carry_out(facts: QuestionFacts, item: Item, outcome: str) -> None:
    if outcome == "failed":
        facts.failures.add((item.stage, item.key))
        return
    by_id = {p.id: p for p in facts.paths}
    new = max(by_id, default=0) + 1
    answer = KEY if outcome == "good" else WRONG
    if item.stage == "generate":
        facts.paths.append(PathFacts(new, "generated", item.generator, item.sample, answer=answer))
    elif item.stage == "regenerate":
        facts.paths.append(PathFacts(new, "regenerated", "", item.sample, item.path, item.revision, answer))
    elif item.stage == "refine":
        source = int(item.key.split(":")[1].split("/")[0])
        parent = by_id[source]
        facts.paths.append(PathFacts(new, "refined", parent.generator, parent.sample, source, item.revision, answer))
    else:
        assert item.path is not None
        about_path(facts, by_id[item.path], item, outcome, answer)


def about_path(facts: QuestionFacts, path: PathFacts, item: Item, outcome: str, answer: str) -> None:
    if item.stage in ("verify", "reverify"):
        labels = {"good": "correct", "bad": "error", "unjudged": "unjudged"}
        path.judge_label = labels[outcome]  # type: ignore[assignment]
        if outcome == "unjudged":  # the pump sets aside a verdict that no retry made valid
            facts.failures.add((item.stage, item.key))
    elif item.stage == "rank":
        facts.scores[path.id] = 5 if outcome == "good" else 2
    else:
        assert item.stage == "summarise"
        facts.responses[path.id] = answer


def random_outcome(random: Random, weights: tuple[int, int, int, int]) -> Outcome:
    """Weights of good, bad, unjudged, failed; only verdicts come out unjudged."""

    def choose(item: Item) -> str:
        outcome = random.choices(("good", "bad", "unjudged", "failed"), weights)[0]
        return "failed" if outcome == "unjudged" and item.stage not in ("verify", "reverify") else outcome

    return choose
