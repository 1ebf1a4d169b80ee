"""What is known of one question in one run: the input of every rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

LabelName = Literal["correct", "error", "unjudged"]
TierName = Literal["easy", "medium", "difficult"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The part of a run's configuration that rules depend on. `slots`: (generator, sample) in grid order."""

    slots: tuple[tuple[str, int], ...]
    easy: int = 4  # most errors of an easy question
    medium: int = 7
    keep: int = 2
    regenerate: int = 1
    label_policy: Literal["single", "two"] = "single"
    unjudged_policy: Literal["wait", "count_as_error", "exclude"] = "wait"
    seed: int = 0
    allow_held_out: bool = False
    imported: bool = False  # the run's paths are imported: none is generated

    @classmethod
    def from_config(cls, config: dict[str, Any], *, allow_held_out: bool, imported: bool) -> Policy:
        return cls(
            slots=tuple((g["name"], n) for g in config["generators"] for n in range(1, len(g["temperatures"]) + 1)),
            easy=config["cutoffs"]["easy"],
            medium=config["cutoffs"]["medium"],
            keep=config["keep"],
            regenerate=config["regenerate"],
            label_policy=config["label_policy"],
            unjudged_policy=config["unjudged_policy"],
            seed=config["seed"],
            allow_held_out=allow_held_out,
            imported=imported,
        )


@dataclass(frozen=True, slots=True)
class PersonVerdict:
    """A counting, current verdict of a person; `order` rises with time."""

    reviewer: int
    label: LabelName
    order: int


@dataclass(slots=True)
class PathFacts:
    id: int
    origin: str  # generated, imported, refined, regenerated
    generator: str
    sample: int
    parent: int | None = None
    revision: int = 1
    answer: str = ""
    judge_label: LabelName | None = None  # of the run's judge, last round; none: not asked yet
    people: list[PersonVerdict] = field(default_factory=list)
    adjudication: LabelName | None = None

    @property
    def is_base(self) -> bool:
        return self.origin in ("generated", "imported")


@dataclass(slots=True)
class QuestionFacts:
    id: int
    key: str  # letter
    held_out: bool = False
    invalid: bool = False  # someone flagged it (key wrong, ambiguous, outdated) and nobody revoked that
    hold: bool = False  # an override made outputs stale: nothing is made again until someone confirms
    paths: list[PathFacts] = field(default_factory=list)
    scores: dict[int, int] = field(default_factory=dict)  # path id -> 0…5
    responses: dict[int, str] = field(default_factory=dict)  # path id -> answer of its current summary
    revisions: dict[int, int] = field(default_factory=dict)  # path id -> revision of its last summary, current or not
    failures: set[tuple[str, str]] = field(default_factory=set)  # (stage, item) set aside
    tier_by_person: TierName | None = None
    chosen: tuple[int, ...] = ()  # paths a person chose for the slots, in order; none: the ranker's
    excluded: set[int] = field(default_factory=set)  # kept paths whose record a person excluded
