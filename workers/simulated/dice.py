"""Chance that repeats itself: the same words always throw the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def digest(*words: object) -> int:
    """64 bits that depend on the words and nothing else (no process salt, no platform)."""
    return int.from_bytes(
        blake2b("\x1f".join(map(str, words)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    )


class Dice:
    """A stream of numbers for one seed. Far cheaper to start than `random.Random`, and a reply starts a new one."""

    __slots__ = ("_numbers", "_position", "_round", "_seed")

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._round = 0
        self._position = 0
        self._numbers: Sequence[int] = ()

    def below(self, limit: int) -> int:
        """0 … limit − 1, for small limits."""
        return self._next() % limit

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def unit(self) -> float:
        """In [0, 1)."""
        return self._next() / 65536

    def pick(self, items: Sequence[T]) -> T:
        return items[self._next() % len(items)]

    def _next(self) -> int:
        if self._position == len(self._numbers):
            block = blake2b(b"%d/%d" % (self._seed, self._round), digest_size=64).digest()
            self._numbers = memoryview(block).cast("H")
            self._round += 1
            self._position = 0
        number = self._numbers[self._position]
        self._position += 1
        return number
