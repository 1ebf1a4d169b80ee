"""Amounts of money as pages write them, in the currency of the run's prices."""

from __future__ import annotations

from decimal import Decimal

from django import template

from apps.pipeline.money_words import in_words

register = template.Library()


@register.filter
def cash(amount: Decimal | None, currency: str) -> str:
    """`amount|cash:"EUR"` → €12.40; nothing → an en dash. Runs made before there were currencies count in dollars."""
    return "–" if amount is None else in_words(amount, currency or "USD")


@register.filter
def share(part: Decimal | float | None) -> str:
    """0.614 → 61 %; nothing → an en dash."""
    return "–" if part is None else f"{100 * part:.0f} %"
