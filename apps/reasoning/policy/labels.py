"""The effective label of a path: adjudication, else people, else the run's judge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from apps.reasoning.policy.facts import LabelName, PathFacts, Policy


@dataclass(frozen=True, slots=True)
class Effective:
    label: LabelName
    source: str = ""  # judge, person, adjudication; "" while nobody judged
    disputed: bool = False
    contradiction: bool = False  # the judge's Correct stands, but the answer stated is not the key
    overridden: bool = False  # a person's label stands


def effective_label(path: PathFacts, key: str, policy: Policy) -> Effective:
    """People count by the run's label policy: `single` takes the latest, `two` needs two latest to agree.

    Under `two`, people who disagree make the path disputed and the judge's label stands until adjudication.
    """
    if path.adjudication:
        return Effective(path.adjudication, "adjudication", overridden=True)
    people = sorted(path.people, key=lambda v: v.order) if path.people else []
    disputed = False
    if people and policy.label_policy == "single":
        return Effective(people[-1].label, "person", overridden=True)
    if len(people) >= 2:
        if len({v.label for v in people}) == 1:
            return Effective(people[-1].label, "person", overridden=True)
        disputed = True
    if path.judge_label is None:
        return _by_judge("unjudged", "", disputed, False)
    contradiction = path.judge_label == "correct" and path.answer not in ("", key)
    return _by_judge(path.judge_label, "judge", disputed, contradiction)


@cache
def _by_judge(label: LabelName, source: str, disputed: bool, contradiction: bool) -> Effective:
    """One for all paths that are alike: a run asks for each path's a dozen times."""
    return Effective(label, source, disputed=disputed, contradiction=contradiction)


def is_keepable(path: PathFacts, label: Effective, key: str) -> bool:
    """May be ranked, kept, exported: Correct, and its answer absent or the key."""
    return label.label == "correct" and path.answer in ("", key)
