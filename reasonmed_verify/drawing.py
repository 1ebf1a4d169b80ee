"""A simple random sample of records that anyone can draw again from the published seed."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping

RULE = "sha256-smallest/1"  # how the certificate names it


def draw_sample(records: int, size: int, *, seed: str) -> list[int]:
    """`size` places from 0 to records − 1, in the order in which they are to be judged.

    Those with the smallest SHA-256 of `<seed>:<place>`. A longer sample of the same seed begins with the shorter one. The
    seed has to be fixed after the records are, best with their Merkle root in it: so nobody could choose it to their liking.
    """
    if not 0 <= size <= records:
        raise ValueError(f"{size} records cannot be drawn from {records}.")
    return _smallest(range(records), size, seed)


def draw_strata(strata: Iterable[str], sizes: Mapping[str, int], *, seed: str) -> list[int]:
    """The same within each stratum, `strata` being that of each place in turn; together in one order of judging."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(strata):
        places.setdefault(name, []).append(place)
    drawn: list[int] = []
    for name, size in sizes.items():
        if not 0 <= size <= len(places.get(name, ())):
            raise ValueError(f"{size} records cannot be drawn from {len(places.get(name, ()))} of {name}.")
        drawn += _smallest(places.get(name, ()), size, seed)
    return _smallest(drawn, len(drawn), seed)


def _smallest(places: Iterable[int], size: int, seed: str) -> list[int]:
    start = hashlib.sha256(f"{seed}:".encode())
    return [place for _, place in heapq.nsmallest(size, ((_hash(start, n), n) for n in places))]


def _hash(start: hashlib._Hash, place: int) -> bytes:
    found = start.copy()
    found.update(str(place).encode())
    return found.digest()
