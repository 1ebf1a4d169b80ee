"""The locked environments fit together."""

from __future__ import annotations

import re

from django.conf import settings


def test_the_engines_environment_has_all_that_the_product_runs_on_in_the_same_versions():
    """The offline lane runs the product itself in there; without a package it does not start."""
    product, engine = locked("base"), locked("engine")

    assert product
    assert product.items() <= engine.items()


def locked(name: str) -> dict[str, str]:
    text = (settings.BASE_DIR / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)", text, re.MULTILINE))
