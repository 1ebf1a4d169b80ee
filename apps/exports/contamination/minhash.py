"""Candidates for near-duplicates: MinHash signatures cut into bands (LSH), as numpy arrays of a fixed size a question.

The signatures are datasketch's. Its own index keeps a Python dictionary a band, gigabytes at full size; here a band is
sorted instead, one at a time, which needs a few bytes a question and gives the same candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray

PERMUTATIONS = 128
SEED = 20250606
RECALL = 0.9999  # of the pairs exactly at the threshold; of closer ones more
SLACK = 0.17  # an estimate this far below the threshold is no candidate: over four standard errors at 0.8
CHUNK = 200_000  # pairs held at once

Signatures = NDArray[np.uint32]  # (questions, PERMUTATIONS)
Pairs = NDArray[np.int64]  # (pairs, 2), row numbers, the smaller first


def sign(sets: Iterable[Iterable[str]]) -> Signatures:
    """One row a set. The same sets give the same rows on every machine."""
    encoded = ([s.encode("utf-8", "surrogatepass") for s in one] for one in sets)
    made = MinHash.generator(encoded, num_perm=PERMUTATIONS, seed=SEED, scheme="affine32")
    rows = [m.hashvalues for m in made]
    return np.array(rows, dtype=np.uint32).reshape(-1, PERMUTATIONS)


def rows_of_a_band(threshold: float) -> int:
    """The most rows (fewest candidates) with which a pair at the threshold still shares a band with RECALL."""
    fits = (r for r in range(16, 1, -1) if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= RECALL)
    return next(fits, 1)


def candidates(signatures: Signatures, *, threshold: float) -> Iterator[Pairs]:
    """Every pair that shares a band and whose estimate is not far below the threshold, once, in chunks."""
    rows = rows_of_a_band(threshold)
    for band in range(PERMUTATIONS // rows):
        columns = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = columns.view(np.dtype((np.void, columns.dtype.itemsize * rows))).ravel()
        _, inverse = np.unique(keys, return_inverse=True)
        for pairs in _pairs_of_equals(inverse):
            yield from _not_seen(signatures, pairs, band, rows, threshold)


def _pairs_of_equals(labels: NDArray[Any]) -> Iterator[Pairs]:
    """All pairs of positions with the same label, at most about CHUNK at a time."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    ends = np.searchsorted(ordered, ordered, side="right")  # where the label of each position ends
    counts = ends - np.arange(len(order)) - 1
    start = 0
    while start < len(order):
        total = np.cumsum(counts[start : start + CHUNK])
        stop = start + max(1, int(np.searchsorted(total, CHUNK, side="right")))
        first = np.repeat(np.arange(start, min(stop, len(order))), counts[start:stop])
        if len(first):
            offset = np.arange(len(first)) - np.searchsorted(first, first, side="left")
            yield np.sort(np.stack([order[first], order[first + 1 + offset]], axis=1).astype(np.int64), axis=1)
        start = stop


def _not_seen(signatures: Signatures, pairs: Pairs, band: int, rows: int, threshold: float) -> Iterator[Pairs]:
    """Without the pairs that an earlier band gave, so none has to be remembered."""
    for at in range(0, len(pairs), 20_000):
        some = pairs[at : at + 20_000]
        equal = signatures[some[:, 0]] == signatures[some[:, 1]]
        earlier = equal[:, : band * rows].reshape(len(some), band, rows).all(axis=2).any(axis=1)
        kept = some[~earlier & (equal.mean(axis=1) >= threshold - SLACK)]
        if len(kept):
            yield kept[np.lexsort((kept[:, 1], kept[:, 0]))]
