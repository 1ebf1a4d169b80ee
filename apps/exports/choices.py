"""What of an export is chosen by what the ledger says of its questions and records, as the new-export page shows and sends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.http import QueryDict

from apps.exports.config import DEFAULT, DUPLICATE_WORDS, LABEL_WORDS, SOURCE_WORDS, TIER_NAMES, ExportConfig
from apps.questions.models import Benchmark, Project

_ONE = ("labels", "duplicates", "sources")
_SEVERAL = {"benchmarks": "benchmark", "tiers": "tier"}  # key of the configuration → name in the form


def read_selection(data: QueryDict) -> dict[str, Any]:
    """Parts of a configuration; `config.read_config` says what will not do. What was not sent keeps its default."""
    one: dict[str, Any] = {key: data[key] for key in _ONE if data.get(key)}
    return one | {key: data.getlist(sent) for key, sent in _SEVERAL.items() if data.getlist(sent)}


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    words: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """What the page shows; `changed` where something of it differs from the defaults, so that it is shown open."""

    labels: list[Choice]
    sources: list[Choice]
    duplicates: list[Choice]
    benchmarks: list[Choice]
    tiers: list[Choice]
    changed: bool


def selection_of(project: Project, config: ExportConfig) -> Selection:
    found = Benchmark.objects.filter(project=None) | Benchmark.objects.filter(project=project)
    names = dict(found.order_by("name").values_list("slug", "name"))
    return Selection(
        labels=_choices(LABEL_WORDS, [config.labels]),
        sources=_choices(SOURCE_WORDS, [config.sources]),
        duplicates=_choices(DUPLICATE_WORDS, [config.duplicates]),
        benchmarks=_choices(names, config.benchmarks),
        tiers=_choices({tier: tier.capitalize() for tier in TIER_NAMES}, config.tiers),
        changed=any(getattr(config, key) != getattr(DEFAULT, key) for key in (*_ONE, *_SEVERAL)),
    )


def _choices(words: Mapping[Any, str], chosen: Iterable[str]) -> list[Choice]:
    picked = set(chosen)
    return [Choice(cast("str", value), word, value in picked) for value, word in words.items()]
