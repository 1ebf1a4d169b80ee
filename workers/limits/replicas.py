"""Which replica gets a call: one for all calls of a question, unless it is down or has far more to do than the others."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

SPILL = 1.25  # times the mean in flight, plus one: a replica with as many gets no more
_MASK = 2**64 - 1


def ranked(affinity: int, addresses: Mapping[str, int]) -> list[str]:
    """Every address, the question's own first (rendezvous hashing): when one leaves, only its questions move."""
    return sorted(addresses, key=lambda address: (_score(affinity, address), address), reverse=True)


def choose(affinity: int, in_flight: Mapping[str, int]) -> str:
    """The address for a call, given the calls in flight at each live one; at least one must be live."""
    if len(in_flight) == 1:
        return next(iter(in_flight))
    bound = SPILL * sum(in_flight.values()) / len(in_flight) + 1
    return next(address for address in ranked(affinity, in_flight) if in_flight[address] < bound)


def _score(affinity: int, address: str) -> int:
    """The same in every process."""
    mixed = (affinity * 0x9E3779B97F4A7C15 ^ zlib.crc32(address.encode()) * 0xD1B54A32D192ED03) & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31
