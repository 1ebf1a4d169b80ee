"""What each override of a record changes in the facts of its question. Pure: copies, the originals stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apps.reasoning.policy.facts import QuestionFacts, TierName


def with_tier(facts: QuestionFacts, tier: TierName | None) -> QuestionFacts:
    """None gives the tier back to the error count."""
    return replace(facts, tier_by_person=tier)


def with_choice(facts: QuestionFacts, paths: Sequence[int]) -> QuestionFacts:
    """None chosen gives the choice back to the ranker."""
    return replace(facts, chosen=tuple(paths))


def with_response(facts: QuestionFacts, path: int, answer: str) -> QuestionFacts:
    """A new revision of the path's response, stating `answer`."""
    revisions = facts.revisions | {path: facts.revisions.get(path, 0) + 1}
    return replace(facts, responses=facts.responses | {path: answer}, revisions=revisions)


def without_response(facts: QuestionFacts, path: int) -> QuestionFacts:
    """The path's response was sent back: it is to be made again, as the next revision."""
    return replace(facts, responses={pk: answer for pk, answer in facts.responses.items() if pk != path})


def with_exclusion(facts: QuestionFacts, path: int, *, excluded: bool) -> QuestionFacts:
    return replace(facts, excluded=facts.excluded | {path} if excluded else facts.excluded - {path})
