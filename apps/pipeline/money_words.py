"""Amounts of money in words, for pages, commands and messages alike."""

from __future__ import annotations

from decimal import Decimal

SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
NBSP = "\u00a0"


def in_words(amount: Decimal, currency: str) -> str:
    """Two decimals from one unit up, four below, all eight where it would else read as nothing: $12.40, CHF 0.0312."""
    sign = SIGNS.get(currency, currency + NBSP)
    if amount >= 1 or amount == 0:
        return f"{sign}{amount:,.2f}"
    if amount >= Decimal("0.0001"):
        return f"{sign}{amount:,.4f}"
    return f"{sign}{amount:.8f}".rstrip("0").rstrip(".")
