"""What the server was asked and what it answered: counts by stage and model, and requests answered more than once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_REPEATED = 1000  # listed by /stats, the most often repeated first


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two requests the same. `number` is a hash of all of it and of the temperature."""

    number: int
    stage: str
    model: str
    prompt: str  # hex hash of the messages
    seed: int | None


@dataclass(slots=True)
class Tally:
    """`limit` bounds the memory (about 130 bytes an identity); requests beyond it are counted, not told apart."""

    limit: int = 2_000_000
    received: int = 0
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)  # (stage, model): whole replies sent
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)  # (stage, kind)
    untracked: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    _times: dict[int, int] = field(default_factory=dict)
    _failed: dict[int, int] = field(default_factory=dict)
    _repeated: dict[int, Identity] = field(default_factory=dict)

    def attempt(self, identity: Identity) -> int:
        """How often this request was answered or met a fault before."""
        return self._times.get(identity.number, 0) + self._failed.get(identity.number, 0)

    def add_answer(self, identity: Identity) -> None:
        self.answered[identity.stage, identity.model] += 1
        times = self._times.get(identity.number, 0)
        if times == 0 and len(self._times) >= self.limit:
            self.untracked += 1
            return
        self._times[identity.number] = times + 1
        if times:
            self._repeated[identity.number] = identity

    def add_fault(self, identity: Identity, kind: str) -> None:
        self.faults[identity.stage, kind] += 1
        self._failed[identity.number] = self._failed.get(identity.number, 0) + 1

    def report(self) -> dict[str, Any]:
        """The body of /stats. `repeats` are answers beyond the first of the same request."""
        times = self._times
        repeated = sorted(self._repeated.values(), key=lambda i: (-times[i.number], i.number))
        return {
            "received": self.received,
            "answered": self.answered.total(),
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "by_stage": _nested(self.answered),
            "faults": _nested(self.faults),
            "distinct": len(times),
            "repeats": sum(times[i.number] - 1 for i in repeated),
            "repeated": [
                {**{k: v for k, v in asdict(i).items() if k != "number"}, "times": times[i.number]}
                for i in repeated[:MAX_REPEATED]
            ],
            "untracked": self.untracked,
        }


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (outer, inner), count in sorted(counts.items()):
        found.setdefault(outer or "none", {})[inner] = count
    return found
