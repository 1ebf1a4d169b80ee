"""Whether what a certificate claims follows from the counts it tells: decision, bound, whether it holds, its sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reasonmed_verify.bounds import Misses, Stratum, Test, corrected, percent_up, sample_bound

NEAR = 1e-6  # of a bound
NEAR_RISK = 1e-9  # of the risk: the count at which an exact bound jumps may differ by rounding


class FiguresError(Exception):
    """What does not follow, to be read after the file's name."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """`low` to `high`: the bound, but for rounding; None where nothing is shown. `target`: what its sentence says is not."""

    low: float | None
    high: float | None
    target: float


def check_figures(
    said: dict[str, Any], *, judged: Sequence[int], wrong: set[int], drawn: int, stratum_of: Sequence[str] | None
) -> tuple[str, ...]:
    """`stratum_of`: of each record by its number. Raises FiguresError; ValueError, KeyError, … for what cannot be read."""
    plan, misses = said["plan"], _misses(said)
    if float(said["confidence"]) != float(plan["confidence"]) or float(said["target"]) != float(plan["rate"]):
        raise FiguresError("its target or its confidence is not that of its plan")
    if plan["kind"] == "sequential":
        shown = _of_sequence(said, [n in wrong for n in judged], drawn, misses)
        holds = shown.low is not None
    else:
        shown = _of_sample(said, judged, wrong, misses, stratum_of)
        holds = said["bound"] is not None and said["bound"] <= said["target"]
    _check_bound(said["bound"], shown)
    if bool(said["holds"]) != holds:
        raise FiguresError("whether it holds does not follow from its bound")
    _check_sentence(said, shown, holds=holds, judged=len(judged), wrong=len(wrong), misses=misses)
    if said["bound"] is None:
        return ("certificate: that it shows nothing was worked out again",)
    return (f"certificate: its bound of {100 * said['bound']:.3g} % was worked out again",)


def _misses(said: dict[str, Any]) -> Misses | None:
    """The counts, those of known faults mixed among the records with what was said of each one."""
    plan, told = said["plan"], said["misses"]
    if (told is None) != (plan["misses"] == "none") or (told is not None and told["from"] != plan["misses"]):
        raise FiguresError("whether misses are counted is not as planned")
    if told is None:
        return None
    found = Misses(int(told["missed"]), int(told["known"]), float(told["spread"]))
    if plan["misses"] == "entered" and (found.missed, found.known) != (int(plan["missed"]), int(plan["known"])):
        raise FiguresError("its miss rate is not the one that was entered with the plan")
    k = int(plan["overlap"])
    spread = k / (k // 2 + 1) if plan["rule"] == "majority" else 1.0
    if plan["misses"] == "mixed":
        spread, each = 1.0, [bool(one["found"]) for one in told["items"]]
        if (found.missed, found.known) != (each.count(False), len(each)) or found.known != int(plan["known"]):
            raise FiguresError("its miss rate is not the one of the known faults that it tells")
    low, high = found.interval(float(said["confidence"]))
    told_low, told_high = map(float, told.get("interval", (low, high)))
    if abs(told_low - low) > NEAR or abs(told_high - high) > NEAR:
        raise FiguresError("the interval of its miss rate is not the one that its counts give")
    if found.spread != spread:
        raise FiguresError("its miss rate is not the one for so many reviewers")
    return found


def _of_sample(
    said: dict[str, Any],
    judged: Sequence[int],
    wrong: set[int],
    misses: Misses | None,
    stratum_of: Sequence[str] | None,
) -> _Shown:
    told = said["drawing"]["strata"]
    one = str(told[0]["name"])
    of = {n: one if stratum_of is None else stratum_of[n] for n in judged}
    drawn, faults = Counter(of.values()), Counter(of[n] for n in wrong)
    strata = [Stratum(int(s["records"]), drawn[str(s["name"])], faults[str(s["name"])]) for s in told]
    finite, confidence = bool(said["plan"]["finite"]) and misses is None, float(said["confidence"])
    low, high = (
        sample_bound(strata, misses, confidence=confidence + shift, finite=finite) for shift in (-NEAR_RISK, NEAR_RISK)
    )
    return _Shown(low, high, float(said["target"]))


def _of_sequence(said: dict[str, Any], faults: list[bool], drawn: int, misses: Misses | None) -> _Shown:
    plan, risk = said["plan"], 1 - float(said["confidence"])
    beta = risk / (2 if misses else 1) if plan["beta"] is None else float(plan["beta"])
    test = Test(float(plan["good"]), float(plan["rate"]), float(plan["alpha"]), beta)
    decision, after = test.decide(faults)
    if decision != said["judged"]["decision"] or after != len(faults) or (decision == "open" and after != drawn):
        raise FiguresError("its decision is not the one that the test comes to, or not where it comes to it")
    if misses and risk - beta <= 0:
        raise FiguresError("its test leaves no risk for the miss rate")
    bound = corrected(test.bad, misses, 1 - (risk - beta))
    return _Shown(bound, bound, bound) if decision == "accept" else _Shown(None, None, bound)


def _check_bound(bound: Any, shown: _Shown) -> None:
    if shown.low is None or shown.high is None:
        if bound is not None:
            raise FiguresError("it names a bound, where its counts give none")
    elif bound is None or not shown.low * (1 - NEAR) <= float(bound) <= shown.high * (1 + NEAR):
        raise FiguresError("its bound is not the one that its counts give")


def _check_sentence(
    said: dict[str, Any], shown: _Shown, *, holds: bool, judged: int, wrong: int, misses: Misses | None
) -> None:
    """The figures that people read are those that were checked; its other words are not looked at."""
    sentence, bound = str(said["sentence"]), said["bound"]
    start = "At most " if holds else f"It is not shown that at most {100 * shown.target:.4g} % of records are wrong"
    parts = [f"{wrong:,} of {judged:,} records"]
    if bound is not None:
        parts.append(
            f"t most {percent_up(bound)} of records are wrong, with {100 * said['confidence']:.4g} % confidence"
        )
    if misses and misses.known and bound is not None:
        parts.append(f"({misses.missed:,} of {misses.known:,} known faults")
    if not sentence.startswith(start) or not all(part in sentence for part in parts):
        raise FiguresError("its sentence tells other figures than those that it rests on")
