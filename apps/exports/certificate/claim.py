"""What a study of a sample allows to say of all records, in plain words; or why it allows nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from apps.exports.certificate.bounds import Misses, Stratum, corrected_rate, stratified_bound
from apps.exports.certificate.sequential import Progress, Sprt
from apps.review.statistics.acceptance import highest_rate
from apps.review.statistics.intervals import CONFIDENCE


@dataclass(frozen=True, slots=True)
class Claim:
    holds: bool  # the target is met with the confidence asked for
    bound: float | None  # the highest share of wrong records; None where the study says nothing of it
    sentence: str


def claim_from_sample(
    strata: Sequence[Stratum],
    *,
    target: float,
    planned: int,
    reviewers: int,
    misses: Misses | None = None,
    confidence: float = CONFIDENCE,
    finite: bool = False,
) -> Claim:
    """From a sample whose size was planned: one stratum is a simple sample. `misses` None: nobody measured them.

    Binomial (Clopper–Pearson) bounds; `finite` takes the exact ones for drawing without putting back, which cannot be
    had together with misses.
    """
    if finite and misses:
        raise ValueError("With misses, the bound is binomial.")
    drawn, faults = sum(s.drawn for s in strata), sum(s.faults for s in strata)
    if drawn < planned:
        why = f"only {drawn:,} of the {planned:,} records planned are judged"
        return _nothing(target, f"{why}; what a part of a sample shows may not be read as if it were all of it")
    if drawn > planned:
        return _nothing(
            target,
            f"{drawn:,} records were judged where {planned:,} were planned; a sample made longer needs a fresh plan",
        )
    level = (1 + confidence) / 2 if misses else confidence
    if len(strata) == 1 and not finite:
        bound = highest_rate(faults, drawn, confidence=level)
    else:
        bound = stratified_bound(strata, confidence=level, finite=finite)
    if misses:
        bound = corrected_rate(bound, misses.highest(level))
    said = f"{faults:,} of {drawn:,} records drawn at random were found wrong"
    if len(strata) > 1:
        said += f", from {len(strata)} strata"
    return _claim(bound, target, confidence, reviewers, said, misses, level)


def claim_from_sequence(
    test: Sprt, progress: Progress, *, reviewers: int, misses: Misses | None = None, confidence: float = CONFIDENCE
) -> Claim:
    """From a sequential test; the target is its `bad` share, corrected for misses where they were measured.

    Misses need a part of the risk: beta must be smaller than 1 − confidence then. Raises ValueError.
    """
    risk = 1 - confidence - test.beta  # left for the miss rate
    if risk < -1e-12 or (misses and risk <= 1e-12):
        raise ValueError("Beta leaves no risk for the confidence asked for: plan with a smaller beta.")
    level = 1 - risk
    bound = corrected_rate(test.bad, misses.highest(level)) if misses else test.bad
    said = f"{progress.faults:,} of {progress.judged:,} records judged in the order drawn were found wrong"
    if progress.decision == "open":
        more = f"{progress.to_accept:,} more without a fault would settle it"
        return _nothing(bound, f"the test is not decided: {said}; {more}")
    if progress.decision == "reject":
        return _nothing(
            bound,
            f"the test rejected it: {said}. Correct what was found and certify the next candidate with a fresh sample",
        )
    return _claim(bound, bound, confidence, reviewers, said, misses, level)


def percent_up(share: float) -> str:
    """Two significant digits, rounded up, so that no bound is said to be lower than it is: 0.00991 → 1 %."""
    if share <= 0:
        return "0 %"
    step = 10.0 ** (1 - math.floor(math.log10(share * 100)))
    rounded = math.ceil(share * 100 * step - 1e-9) / step
    return f"{min(rounded, 100.0):.10g} %"


def percent_down(share: float) -> str:
    """Two significant digits, rounded down: the lower end of an interval."""
    if share <= 0:
        return "0 %"
    step = 10.0 ** (1 - math.floor(math.log10(share * 100)))
    return f"{math.floor(share * 100 * step + 1e-9) / step:.10g} %"


def _claim(
    bound: float, target: float, confidence: float, reviewers: int, said: str, misses: Misses | None, level: float
) -> Claim:
    by = f"as judged by {reviewers:,} reviewer{'' if reviewers == 1 else 's'}"
    limit = f"{percent_up(bound)} of records are wrong, with {100 * confidence:.4g} % confidence, {by}"
    found = f"{said}; {_misses_words(misses, level)}"
    if bound <= target:
        return Claim(True, bound, f"At most {limit} ({found}).")
    return Claim(False, bound, f"{_short(target)} What the sample shows: at most {limit} ({found}).")


def _misses_words(misses: Misses | None, level: float) -> str:
    if misses is None:
        return "what the reviewers overlook was not measured"
    if not misses.known:
        return "the reviewers were shown no known fault, so they may overlook all"
    sure = 2 * level - 1  # of an interval whose upper end has the confidence `level`
    low, high = misses.interval(sure)
    return (
        f"adjusted for a measured miss rate of {100 * misses.rate:.2g} % "
        f"({misses.missed:,} of {misses.known:,} known faults; {100 * sure:.4g} % interval {percent_down(low)} to "
        f"{percent_up(high)}), taken as at most {percent_up(misses.highest(level))}"
    )


def _nothing(target: float, why: str) -> Claim:
    return Claim(False, None, f"{_short(target)[:-1]}: {why}.")


def _short(target: float) -> str:
    return f"It is not shown that at most {100 * target:.4g} % of records are wrong."
