"""The pairs of a run: what it shares with the evaluation sets, and what it holds twice. Reads only, in keyset pages.

A question that the run holds and that stands in an evaluation set itself needs no pair: it is named by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
from django.db.models import Q, QuerySet
from numpy.typing import NDArray

from apps.exports.contamination.minhash import PERMUTATIONS, Signatures, candidates, sign
from apps.exports.contamination.sets import EvaluationSet, evaluation_sets
from apps.exports.contamination.shingles import jaccard, shingles
from apps.exports.errors import ExportStoppedError
from apps.questions.models import Project, Question, Split
from apps.reasoning.models import Run

PAGE = 1_000
THRESHOLD = 0.8
LOWEST, HIGHEST = 0.5, 1.0  # thresholds: below, the bands no longer sort anything out
ALL_WITH_ALL = 20  # questions that hang together; of more only pairs that tie another one to them are told
EVALUATION = Q(held_out=True) | Q(split=Split.TEST)

Scope = Literal["evaluation", "within"]


@dataclass(frozen=True, slots=True)
class Pair:
    """`evaluation`: `right` stands in an evaluation set, `left` is the run's and does not. `within`: both are the run's, and
    both stand in evaluation sets or neither does.

    `exact`: the same fingerprint (stem, options in any order, contexts). `similarity` is exact, not the estimate.
    """

    left: int
    right: int
    scope: Scope
    exact: bool
    similarity: float


@dataclass(frozen=True, slots=True)
class _Read:
    """Columns of the same length: the examined questions by id, then those of evaluation sets that are not among them."""

    ids: NDArray[np.int64]
    evaluation: NDArray[np.bool_]
    in_run: NDArray[np.bool_]
    digests: NDArray[np.uint64]  # of the n-grams: equal ones are compared once
    signatures: Signatures


_Part = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.uint64], Signatures]


@dataclass(frozen=True, slots=True)
class Scan:
    """`themselves`: questions of the run that stand in an evaluation set themselves, whatever else they resemble."""

    questions: int  # of the run
    evaluation: int  # evaluation questions looked at, those of the run included
    threshold: float
    themselves: list[int]
    pairs: list[Pair]  # by scope, closest first
    sets: list[EvaluationSet]  # the nine, with what of each was there to compare with

    @property
    def contaminated(self) -> set[int]:
        """Ids of the run's questions that must not leave for training: in an evaluation set, or close to one in it."""
        return {*self.themselves, *(pair.left for pair in self.pairs if pair.scope == "evaluation")}

    @property
    def other_evaluation(self) -> int:
        """Evaluation questions that belong to none of the nine: private benchmarks, other test splits."""
        return max(0, self.evaluation - sum(one.imported for one in self.sets))

    def count(self, scope: Scope, *, exact: bool | None = None) -> int:
        return sum(p.scope == scope and exact in (None, p.exact) for p in self.pairs)


@dataclass(frozen=True, slots=True)
class Watch:
    """Told how many questions were read, of how many; asked between pages whether to stop."""

    progress: Callable[[int, int], None] | None = None
    should_stop: Callable[[], bool] | None = None

    def at(self, done: int, total: int) -> None:
        if self.should_stop and self.should_stop():
            raise ExportStoppedError
        if self.progress:
            self.progress(done, total)


def scan_run(run: Run, *, threshold: float = THRESHOLD, watch: Watch = Watch()) -> Scan:
    """The run's questions. A group of equals gives one pair for each but its first.

    Raises ValueError for a threshold outside LOWEST..HIGHEST, and ExportStoppedError.
    """
    return scan(run.project, run, threshold=threshold, watch=watch)


def scan(project: Project, run: Run | None, *, threshold: float = THRESHOLD, watch: Watch = Watch()) -> Scan:
    """Without a run: every question that the project may train on."""
    if not LOWEST <= threshold <= HIGHEST:
        raise ValueError(f"the threshold must be between {LOWEST} and {HIGHEST}")
    read = _read(*sources(project, run), watch)
    pairs = [*_equal(read), *_near(read, threshold, watch)]
    order = sorted(pairs, key=lambda p: (p.scope, -p.similarity, p.left, p.right))
    themselves = sorted(int(pk) for pk in read.ids[read.in_run & read.evaluation])
    return Scan(int(read.in_run.sum()), int(read.evaluation.sum()), threshold, themselves, order, evaluation_sets())


def sources(project: Project, run: Run | None) -> tuple[QuerySet[Question], QuerySet[Question]]:
    """What is examined, and the evaluation questions beside it."""
    visible = Question.objects.visible_to(project)
    if run is None:
        return visible.exclude(EVALUATION), visible.filter(EVALUATION)
    return Question.objects.filter(in_runs__run=run), visible.filter(EVALUATION).exclude(in_runs__run=run)


def _read(examined: QuerySet[Question], evaluation: QuerySet[Question], watch: Watch) -> _Read:
    total = examined.count() + evaluation.count()
    parts: list[_Part] = []
    done = 0
    for questions, in_run in ((examined, True), (evaluation, False)):
        for part in _pages(questions, in_run):
            parts.append(part)
            done += len(part[0])
            watch.at(done, total)
    if not parts:
        none = np.empty(0, dtype=np.int64)
        no = none.astype(np.bool_)
        return _Read(none, no, no, none.astype(np.uint64), np.empty((0, PERMUTATIONS), dtype=np.uint32))
    ids, held, inside, digests, signatures = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Read(ids, held, inside, digests, signatures)


def _pages(questions: QuerySet[Question], in_run: bool) -> Iterator[_Part]:
    after = 0
    while rows := list(
        questions.filter(pk__gt=after)
        .order_by("pk")
        .values_list("pk", "stem", "options", "contexts", "held_out", "split")[:PAGE]
    ):
        after = rows[-1][0]
        sets = [shingles(stem, options, contexts) for _, stem, options, contexts, _, _ in rows]
        yield (
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[4] or row[5] == Split.TEST for row in rows], dtype=np.bool_),
            np.full(len(rows), in_run, dtype=np.bool_),
            np.array([_digest(one) for one in sets], dtype=np.uint64),
            sign(sets),
        )


def _digest(one: frozenset[str]) -> int:
    text = "\x1f".join(sorted(one)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def _groups(read: _Read) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Rows that hold the same n-grams together, and the first row of each group."""
    order = np.argsort(read.digests, kind="stable").astype(np.int64)
    cuts = np.flatnonzero(np.diff(read.digests[order])) + 1
    groups = np.split(order, cuts) if len(order) else []
    return groups, np.array([group[0] for group in groups], dtype=np.int64)


def _equal(read: _Read) -> Iterator[Pair]:
    for group in _groups(read)[0]:
        if len(group) > 1:
            yield from _verified(_expanded(read, group, group), read, 1.0)


def _near(read: _Read, threshold: float, watch: Watch) -> Iterator[Pair]:
    groups, firsts = _groups(read)
    held = np.array([read.evaluation[group].any() for group in groups], dtype=np.bool_)
    open_ = np.array([(~read.evaluation[group]).any() for group in groups], dtype=np.bool_)
    clusters = Clusters()
    for chunk in candidates(read.signatures[firsts], threshold=threshold):
        across = (held[chunk[:, 0]] & open_[chunk[:, 1]]) | (open_[chunk[:, 0]] & held[chunk[:, 1]])
        wanted = [
            (a, b) for (a, b), both in zip(chunk.tolist(), across.tolist(), strict=True) if both or clusters.wants(a, b)
        ]
        for at in range(0, len(wanted), PAGE):
            watch.at(len(read.ids), len(read.ids))
            some = wanted[at : at + PAGE]
            sets = _sets({int(read.ids[firsts[k]]) for pair in some for k in pair})
            for a, b in some:
                found = jaccard(sets[int(read.ids[firsts[a]])], sets[int(read.ids[firsts[b]])])
                if found >= threshold:
                    clusters.join(a, b)
                    yield from _verified(_expanded(read, groups[a], groups[b]), read, found)


class Clusters:
    """What hangs together so far. All with all is told only in small clusters: a template asked a thousand times would give
    half a million pairs that say the same."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._size: dict[int, int] = {}

    def wants(self, a: int, b: int) -> bool:
        """Whether the pair may tell something: it ties two clusters, or stands in a small one."""
        root = self._root(a)
        return root != self._root(b) or self._size.get(root, 1) <= ALL_WITH_ALL

    def join(self, a: int, b: int) -> None:
        first, other = sorted((self._root(a), self._root(b)))
        if first != other:
            self._parent[other] = first
            self._size[first] = self._size.get(first, 1) + self._size.pop(other, 1)

    def _root(self, row: int) -> int:
        while (above := self._parent.get(row, row)) != row:
            self._parent[row] = self._parent.get(above, above)
            row = above
        return row


def _sets(ids: set[int]) -> dict[int, frozenset[str]]:
    rows = Question.objects.filter(pk__in=ids).values_list("pk", "stem", "options", "contexts")
    return {pk: shingles(stem, options, contexts) for pk, stem, options, contexts in rows}


def _expanded(read: _Read, a: NDArray[np.int64], b: NDArray[np.int64]) -> list[tuple[int, int, Scope]]:
    """The pairs that two groups (or one, twice) stand for: never all with all, but every run question that is concerned."""
    found: list[tuple[int, int, Scope]] = []
    for ours, theirs in ((a, b), (b, a)) if a is not b else ((a, a),):
        held = theirs[read.evaluation[theirs]]
        if len(held):
            trainable = ours[read.in_run[ours] & ~read.evaluation[ours]]
            found += [(int(row), int(held[0]), "evaluation") for row in trainable]
    for side in (read.evaluation, ~read.evaluation):
        left, right = (rows[side[rows] & read.in_run[rows]] for rows in (a, b))
        if len(left) and len(right):
            found += [(int(left[0]), int(row), "within") for row in (right[1:] if a is b else right[:1])]
    return found


def _verified(pairs: list[tuple[int, int, Scope]], read: _Read, similarity: float) -> Iterator[Pair]:
    """With ids for rows, and whether they are the same to the fingerprint."""
    ids = [(int(read.ids[a]), int(read.ids[b]), scope) for a, b, scope in pairs]
    same: dict[int, str] = {}
    if similarity == 1.0:
        asked = Question.objects.filter(pk__in={pk for a, b, _ in ids for pk in (a, b)})
        same = dict(asked.values_list("pk", "fingerprint"))
    for a, b, scope in ids:
        yield Pair(a, b, scope, bool(same) and same[a] == same[b], similarity)
