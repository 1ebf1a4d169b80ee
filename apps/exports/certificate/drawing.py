"""A simple random sample of records that anyone can draw again from the published seed."""

from __future__ import annotations

import hashlib
import heapq


def draw_sample(records: int, size: int, *, seed: str) -> list[int]:
    """`size` places from 0 to records − 1, in the order in which they are to be judged.

    Those with the smallest SHA-256 of `<seed>:<place>`. A longer sample of the same seed begins with the shorter one. The
    seed has to be fixed after the records are, best with their Merkle root in it: so nobody could choose it to their liking.
    """
    if not 0 <= size <= records:
        raise ValueError(f"{size} records cannot be drawn from {records}.")
    start = hashlib.sha256(f"{seed}:".encode())
    return [place for _, place in heapq.nsmallest(size, ((_hash(start, n), n) for n in range(records)))]


def _hash(start: hashlib._Hash, place: int) -> bytes:
    found = start.copy()
    found.update(str(place).encode())
    return found.digest()
