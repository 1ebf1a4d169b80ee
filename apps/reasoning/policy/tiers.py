"""Tiers by error count (ReasonMed: easy 0–4, medium 5–7, difficult 8–9 of nine)."""

from __future__ import annotations

from apps.reasoning.policy.facts import Policy, TierName


def tier_of(errors: int, policy: Policy) -> TierName:
    if errors <= policy.easy:
        return "easy"
    return "medium" if errors <= policy.medium else "difficult"


def settled_tier(errors: int, missing: int, policy: Policy) -> TierName | None:
    """The tier, if every completion of the missing labels gives the same one."""
    least, most = tier_of(errors, policy), tier_of(errors + missing, policy)
    return least if least == most else None
