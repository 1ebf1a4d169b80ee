"""Merkle trees over records: the root and proofs of RFC 6962 §2.1 (SHA-256), in memory that grows with log₂ n.

A leaf is the bytes of one record as a JSONL line without its line end; leaves stand in the order of the records. The
hash of a leaf and that of an inner node start with different bytes, so that neither can be passed off as the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()  # the root of no records


class MerkleTree:
    """Takes leaves in their order. With `watch`, also the proof of the leaf at that place (from 0)."""

    def __init__(self, *, watch: int | None = None) -> None:
        self.size = 0
        self._watch = watch
        self._peaks: list[bytes] = []  # hashes of the full subtrees, the widest first: one for each bit of `size`
        self._path: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        peaks, size = self._peaks, self.size
        for leaf in leaves:
            node, width = leaf_hash(leaf), 1
            size += 1
            while not size & width:  # two full subtrees of this width become one
                left = peaks.pop()
                if self._watch is not None:
                    self._note(self._path, left, node, start=size - 2 * width, middle=size - width, end=size)
                node = node_hash(left, node)
                width *= 2
            peaks.append(node)
        self.size = size

    def join(self, subtrees: Iterable[tuple[int, bytes]]) -> None:
        """More leaves, as `subtrees_of` puts them together; nothing of them can be watched."""
        if self._watch is not None:
            raise ValueError("A watched leaf may be among them.")
        for width, node in subtrees:
            if self.size % width:
                raise ValueError("A subtree does not begin at this place.")
            self.size += width
            while not self.size & width:
                node = node_hash(self._peaks.pop(), node)
                width *= 2
            self._peaks.append(node)

    def root(self) -> bytes:
        return self._close()[0]

    def proof(self) -> list[bytes]:
        """The hashes beside the way from the watched leaf to the root, from below. Raises ValueError without that leaf."""
        if self._watch is None or not 0 <= self._watch < self.size:
            raise ValueError("No leaf was watched, or it never came.")
        return self._close()[1]

    def _close(self) -> tuple[bytes, list[bytes]]:
        """The root, and the proof of the watched leaf."""
        if not self._peaks:
            return EMPTY, []
        path = [*self._path]
        start, width, node = self.size, 1, b""
        for left in reversed(self._peaks):
            while not self.size & width:
                width *= 2
            if node:
                self._note(path, left, node, start=start - width, middle=start, end=self.size)
            node = node_hash(left, node) if node else left
            start, width = start - width, width * 2
        return node, path

    def _note(self, path: list[bytes], left: bytes, right: bytes, *, start: int, middle: int, end: int) -> None:
        """The subtrees of [start, middle) and [middle, end) become one: what stands beside the watched leaf is kept."""
        if self._watch is not None and start <= self._watch < end:
            path.append(right if self._watch < middle else left)


def root_from_proof(leaf: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that the proof leads to; None where it cannot be a proof of that place in a tree of that size.

    Whoever calls this compares the result with the root they trust (RFC 9162 §2.1.3.2).
    """
    if not 0 <= index < size:
        return None
    found, place, last = leaf_hash(leaf), index, size - 1
    for beside in path:
        if last == 0:
            return None
        if place % 2 or place == last:
            found = node_hash(beside, found)
            while place % 2 == 0 and place:
                place, last = place // 2, last // 2
        else:
            found = node_hash(found, beside)
        place, last = place // 2, last // 2
    return found if last == 0 else None


def subtrees_of(leaves: Iterable[bytes], *, start: int) -> list[tuple[int, bytes]]:
    """(leaves, hash) of the widest full subtrees over leaves of which the first stands at the place `start` (from 0)."""
    sha256 = hashlib.sha256
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    before: list[tuple[int, bytes]] = []
    behind: list[tuple[int, bytes]] = []
    width = 1
    while level:
        if start & width:  # the first is a right half, whose left one is not among them
            before.append((width, level.pop(0)))
            start += width
        if len(level) % 2:
            behind.append((width, level.pop()))
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
        width *= 2
    return before + behind[::-1]


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
