"""What keeps a record out of an export besides the ledger itself: each choice is a sieve, and each says why.

A sieve names the questions and records of a page that stay behind. The first sieve to name a record gives the reason, which
lands in the manifest's sums. Most look at a page alone, and are asked where it is made. Those for which it matters what left
before are asked last, in the order of the pages (`Sifter`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from apps.exports.config import ExportConfig
from apps.exports.gates.sieve import GateSieve
from apps.exports.gates.texts import GATES
from apps.exports.lineage import Asked
from apps.exports.making.parts import WHOLE, Open
from apps.exports.tally import HELD_OUT
from apps.questions.models import Question
from apps.reasoning.models import Label, PathLabel, Run, RunQuestion, VerdictSource

OPEN_SOURCE = "open_source"
NOT_CHOSEN_BENCHMARK = "benchmark_not_chosen"
NOT_CHOSEN_TIER = "tier_not_chosen"
DUPLICATE = "duplicate"
BY_PEOPLE = "label_by_people"
NOT_BY_PEOPLE = "no_label_by_people"

LeftOut = Mapping[tuple[int, int], str]  # (question id, slot or WHOLE) → reason


class Sieve(Protocol):
    def sift(self, page: Sequence[Asked], out: LeftOut) -> LeftOut:
        """`page` holds ready questions only; `out` is what stays behind already. At most a fixed number of queries a page."""


class OrderedSieve(Protocol):
    def sift(self, page: Sequence[Open], out: LeftOut) -> LeftOut:
        """`page` holds what nothing else keeps out; `out` is what stays behind of it already."""


@runtime_checkable
class Telling(Protocol):
    """A sieve that has more to say than the reasons it gave."""

    @property
    def warnings(self) -> list[str]: ...
    def settle(self, out: LeftOut) -> None:
        """The page is done: `out` is all that stays behind of it."""

    def told(self) -> dict[str, Any]:
        """Keys of the manifest."""


def sieves_of(run: Run, config: ExportConfig) -> list[Sieve]:
    """Those that look at a page alone, in the order in which they are asked."""
    found: list[Sieve] = []
    if config.sources != "allowed":
        found.append(SourceSieve(held_out=config.sources == "held_out"))
    if config.benchmarks:
        found.append(BenchmarkSieve(frozenset(config.benchmarks)))
    if config.tiers:
        found.append(TierSieve(frozenset(config.tiers)))
    if config.duplicates == "out":
        found.append(DuplicateSieve(run))
    if config.labels != "clinician_first":
        found.append(LabelSieve(run, by_people=config.labels == "clinician"))
    return found


def ordered_sieves_of(
    run: Run, config: ExportConfig, *, should_stop: Callable[[], bool] | None = None
) -> list[OrderedSieve]:
    """Those that are asked after them, page by page."""
    found: list[OrderedSieve] = []
    if looks(config):
        found.append(GateSieve(config.gates))
    chosen = config.contamination
    if (chosen.policy, chosen.within) != ("keep", "keep"):
        from apps.exports.contamination.sieve import ContaminationSieve  # numpy and scipy: 60 MiB that few exports need
        from apps.exports.inspections.services import contamination_of

        inspect = partial(contamination_of, run, threshold=chosen.threshold, should_stop=should_stop)
        found.append(ContaminationSieve(chosen, inspect))
    return found


def ordered(config: ExportConfig) -> bool:
    """There are such."""
    return looks(config) or (config.contamination.policy, config.contamination.within) != ("keep", "keep")


def looks(config: ExportConfig) -> bool:
    """A quality gate is on, so that texts are looked through."""
    return any(config.gates.get(gate, "warn") != "off" for gate in GATES)


@dataclass(frozen=True, slots=True)
class SourceSieve:
    held_out: bool  # those that may stay in

    def sift(self, page: Sequence[Asked], out: LeftOut) -> LeftOut:
        why = OPEN_SOURCE if self.held_out else HELD_OUT
        return {(a.question.pk, WHOLE): why for a in page if a.question.held_out != self.held_out}


@dataclass(frozen=True, slots=True)
class BenchmarkSieve:
    slugs: frozenset[str]

    def sift(self, page: Sequence[Asked], out: LeftOut) -> LeftOut:
        return {
            (a.question.pk, WHOLE): NOT_CHOSEN_BENCHMARK for a in page if a.question.benchmark.slug not in self.slugs
        }


@dataclass(frozen=True, slots=True)
class TierSieve:
    tiers: frozenset[str]

    def sift(self, page: Sequence[Asked], out: LeftOut) -> LeftOut:
        return {(a.question.pk, WHOLE): NOT_CHOSEN_TIER for a in page if a.row.tier not in self.tiers}


@dataclass(frozen=True, slots=True)
class DuplicateSieve:
    """Of each group of equals in the run one question stays: the canonical one, else the first. Held-out and open ones are apart."""

    run: Run

    def sift(self, page: Sequence[Asked], out: LeftOut) -> LeftOut:
        groups = {a.question.pk: a.question.canonical_id for a in page if a.question.canonical_id}
        if not groups:
            return {}
        wanted = set(groups.values())
        rows = RunQuestion.objects.filter(run=self.run).order_by()
        present = set(rows.filter(question_id__in=wanted).values_list("question_id", flat=True))
        firsts: dict[int | None, int] = {}
        members = Question.objects.filter(canonical_id__in=wanted - present, in_runs__run=self.run).order_by("pk")
        for pk, canonical in members.values_list("pk", "canonical_id"):
            firsts.setdefault(canonical, pk)
        return {
            (pk, WHOLE): DUPLICATE
            for pk, canonical in groups.items()
            if canonical in present or firsts.get(canonical) != pk
        }


@dataclass(frozen=True, slots=True)
class LabelSieve:
    """Whose verdict a record rests on.

    The judge's alone: the judge called the kept path Correct, and no person's word changed anything on its question. A
    clinician's alone: the kept path's label is a person's.
    """

    run: Run
    by_people: bool

    def sift(self, page: Sequence[Asked], out: LeftOut) -> LeftOut:
        labels = PathLabel.objects.filter(run=self.run, path_id__in=[k.path.pk for a in page for k in a.kept])
        said = {pk: (source, judge) for pk, source, judge in labels.values_list("path_id", "source", "judge_label")}
        return {
            (a.question.pk, kept.slot): NOT_BY_PEOPLE if self.by_people else BY_PEOPLE
            for a in page
            for kept in a.kept
            if self._stays_behind(a, *said.get(kept.path.pk, ("", "")))
        }

    def _stays_behind(self, asked: Asked, source: str, judge: str) -> bool:
        if self.by_people:
            return source not in (VerdictSource.PERSON, VerdictSource.ADJUDICATION)
        return asked.row.overridden or judge != Label.CORRECT


@dataclass(frozen=True, slots=True)
class Sifter:
    """Asks the sieves for which it matters what left before, and hears what they have to say in the end."""

    sieves: Sequence[OrderedSieve]

    def sift(self, page: Sequence[Open]) -> dict[tuple[int, int], str]:
        """What stays behind of the page, with the reason."""
        out: dict[tuple[int, int], str] = {}
        for sieve in self.sieves:
            out = {**sieve.sift(page, out), **out}
        for telling in self._telling:
            telling.settle(out)
        return out

    @property
    def _telling(self) -> list[Telling]:
        return [sieve for sieve in self.sieves if isinstance(sieve, Telling)]

    def told(self) -> dict[str, Any]:
        """What the sieves have to say, as keys of the manifest."""
        return {key: value for sieve in self._telling for key, value in sieve.told().items()}

    @property
    def warnings(self) -> list[str]:
        return [warning for sieve in self._telling for warning in sieve.warnings]
