"""Endpoints that take turns on the same devices: whose turn it is. Free of Django and of clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from apps.pipeline.config import RunConfig
from apps.pipeline.lanes import lanes_of


@dataclass(frozen=True, slots=True)
class Patience:
    """When a switch is worth loading a model: not for a trickle, not for a lane that is empty for a moment."""

    empty_s: float = 10.0  # the one served has had nothing to do for so long
    least: int = 32  # tasks that are worth it at once …
    longest_s: float = 60.0  # … fewer wait this long


@dataclass(slots=True)
class Turns:
    """Feed it the work at hand; it says who is to be served. `order` is the order of the stages."""

    order: Sequence[str]
    patience: Patience = Patience()
    current: str | None = None
    _since: dict[str, float] = field(default_factory=dict)  # endpoint: since when it has had work
    _empty_since: float | None = None

    def choose(self, work: Mapping[str, int], now: float, failing: Set[str] = frozenset()) -> str | None:
        """`work`: ready and leased tasks by endpoint; `failing`: endpoints whose servers do not come up.

        Whoever is served stays until it has had no work for a while. Then comes the next in order that has enough of it,
        or whose work has waited long enough; after the last the first. A failing one gives way as soon as another has
        work, and comes last.
        """
        self._note(work, now)
        serving = self.current
        if serving is not None and work.get(serving, 0) > 0 and serving not in failing:
            return serving
        waiting = [name for name in self._after(serving) if work.get(name, 0) > 0 and name != serving]
        candidates = [name for name in waiting if name not in failing] or (
            [] if work.get(serving or "", 0) else waiting
        )
        if serving is not None and serving not in failing:
            empty_for = now - (self._empty_since if self._empty_since is not None else now)
            if empty_for < self.patience.empty_s:
                return serving
            candidates = [name for name in candidates if self._worth(name, work, now)]
        if candidates:
            self.current = candidates[0]
            self._empty_since = None
        return self.current

    def _note(self, work: Mapping[str, int], now: float) -> None:
        for name in self.order:
            if work.get(name, 0) > 0:
                self._since.setdefault(name, now)
            else:
                self._since.pop(name, None)
        if self.current is None or work.get(self.current, 0) > 0:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now

    def _after(self, serving: str | None) -> list[str]:
        """The order, from the one behind `serving` round to it."""
        start = self.order.index(serving) + 1 if serving in self.order else 0
        return [*self.order[start:], *self.order[:start]]

    def _worth(self, name: str, work: Mapping[str, int], now: float) -> bool:
        return work[name] >= self.patience.least or now - self._since[name] >= self.patience.longest_s


def stage_order(config: RunConfig, names: Sequence[str]) -> list[str]:
    """Endpoints in the order of the stages: generators as configured, then judge, ranker, …; those without a lane last."""
    used = list(dict.fromkeys(lane.partition("@")[2] for lane in lanes_of(config)))
    return [name for name in used if name in names] + [name for name in names if name not in used]
