"""The order of the paths that may be kept: by score; ties to a generator not yet taken, then by a seeded hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from apps.reasoning.policy.facts import PathFacts


def rank_paths(
    paths: Sequence[PathFacts], scores: Mapping[int, int], *, seed: int, question_id: int
) -> list[PathFacts]:
    """All paths, best first. A path without a score counts as 0 (none is scored when all are kept anyway)."""

    def lot(path: PathFacts) -> bytes:
        return hashlib.sha256(f"{seed}:{question_id}:{path.generator}:{path.sample}".encode()).digest()

    left = sorted(paths, key=lot)
    ordered: list[PathFacts] = []
    taken: set[str] = set()
    while left:
        best = max(scores.get(p.id, 0) for p in left)
        tied = [p for p in left if scores.get(p.id, 0) == best]
        pick = next((p for p in tied if p.generator not in taken), tied[0])
        ordered.append(pick)
        taken.add(pick.generator)
        left.remove(pick)
    return ordered
