"""Merkle trees over records: the root and proofs of RFC 6962 §2.1 (SHA-256), in memory that grows with log₂ n.

A leaf is the bytes of one record as a JSONL line without its line end; leaves stand in the order of the records. The
hash of a leaf and that of an inner node start with different bytes, so that neither can be passed off as the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY = hashlib.sha256(b"").digest()  # the root of no records


class MerkleTree:
    """Takes leaves one by one. With `watch`, also the proof of the leaf at that place (from 0)."""

    def __init__(self, *, watch: int | None = None) -> None:
        self.size = 0
        self._watch = watch
        self._peaks: list[tuple[bytes, bool]] = []  # hash of a full subtree, whether the watched leaf is in it
        self._path: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        peak, watched = leaf_hash(leaf), self.size == self._watch
        self.size += 1
        size = self.size
        while size % 2 == 0:  # two full subtrees of one height become one
            left, left_watched = self._peaks.pop()
            if watched or left_watched:
                self._path.append(left if watched else peak)
            peak, watched = node_hash(left, peak), watched or left_watched
            size //= 2
        self._peaks.append((peak, watched))

    def root(self) -> bytes:
        return self._close()[0]

    def proof(self) -> list[bytes]:
        """The hashes beside the way from the watched leaf to the root, from below. Raises ValueError without that leaf."""
        if self._watch is None or not 0 <= self._watch < self.size:
            raise ValueError("No leaf was watched, or it never came.")
        return self._path + self._close()[1]

    def _close(self) -> tuple[bytes, list[bytes]]:
        """The root, and what the proof needs above the full subtrees."""
        if not self._peaks:
            return EMPTY, []
        path: list[bytes] = []
        right, watched = self._peaks[-1]
        for left, left_watched in reversed(self._peaks[:-1]):
            if watched or left_watched:
                path.append(left if watched else right)
            right, watched = node_hash(left, right), watched or left_watched
        return right, path


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


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
