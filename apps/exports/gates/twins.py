"""Records with the same reasoning, found in one pass over a run whose texts are not kept: a digest and a place each."""

from __future__ import annotations

from hashlib import blake2b

Place = tuple[int, int]  # question id, slot
_SLOT_BITS = 8


def digest_of(cot: str) -> int:
    """Of its words; case and white space do not count. 0 where there are none."""
    words = " ".join(cot.lower().split())
    if not words:
        return 0
    return int.from_bytes(blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


class Twins:
    """The first record of each reasoning. About 125 bytes a record: 46 MB for 370,000."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}  # digest → place, in one number

    def earlier(self, digest: int) -> Place | None:
        found = self._first.get(digest)
        return None if found is None else (found >> _SLOT_BITS, found & ((1 << _SLOT_BITS) - 1))

    def remember(self, digest: int, place: Place) -> None:
        if digest:
            self._first.setdefault(digest, place[0] << _SLOT_BITS | place[1])
