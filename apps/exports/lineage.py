"""What stands behind each record: a page of questions read with everything its records are made from.

Each page is one short read of a single moment of the ledger (REPEATABLE READ), in a fixed number of statements.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

from django.db import connection, transaction

from apps.exports.errors import LedgerBrokenError
from apps.exports.evidence import Evidence
from apps.exports.rows import (
    CallKind,
    ChosenRow,
    PathRow,
    QuestionRow,
    ResponseRow,
    RunQuestionRow,
    ScoreRow,
    VerdictRow,
)
from apps.questions.models import Question
from apps.reasoning.models import Label, QuestionState, Run
from apps.review.models_records import Decision
from apps.review.records.content import content_hash

PAGE = 200  # questions a read
PLANNED = 50  # pages whose bounds are looked up together


@dataclass(slots=True)
class Kept:
    """A kept path with its response: one record, and the calls and verdicts it rests on."""

    slot: int
    why: str
    path: PathRow
    source: PathRow | None  # what was chosen, where the kept path is its rewriting
    response: ResponseRow
    score: ScoreRow | None
    signed_by: int | None  # who accepted it, while its content is still what they read
    chain: list[PathRow] = field(default_factory=list)  # the path, its earlier attempts (latest first), the source
    verdicts: list[VerdictRow] = field(default_factory=list)  # of the chain
    calls: dict[str, CallKind] = field(default_factory=dict)  # by id: that wrote, judged or ranked this record's texts
    simulated_stages: list[str] = field(default_factory=list)  # with a simulated call in the lineage of any path


@dataclass(slots=True)
class Asked:
    """A question of the run with what it gives; `kept` is empty unless it is ready."""

    row: RunQuestionRow
    question: QuestionRow
    kept: list[Kept] = field(default_factory=list)
    left_out: int = 0  # records that a person excluded
    tier_verdicts: list[int] = field(default_factory=list)  # current verdicts of the paths that set the tier


def bounds_of(run: Run, *, page: int = PAGE, after: int = 0) -> Iterator[tuple[int, int]]:
    """(id behind which a page begins, id of its last question), for pages of so many questions with ids above `after`."""
    evidence = Evidence(run)
    while ids := evidence.ids(after=after, size=page * PLANNED):
        for last in (*ids[page - 1 :: page], ids[-1]):
            if last > after:
                yield after, last
                after = last


def read_pages(run: Run, *, page: int = PAGE, after: int = 0) -> Iterator[list[Asked]]:
    """The questions of the run with an id above `after`, by id, a page at a time. Raises LedgerBrokenError.

    A page is read by a thread with a database session of its own while the caller works on the one before. Inside a
    transaction there is no such thread: it would not see what the transaction has written.
    """
    with frozen():
        if connection.in_atomic_block:
            for begin, end in bounds_of(run, page=page, after=after):
                yield _read_page(run, after=begin, upto=end)
        else:
            yield from _read_ahead(run, bounds_of(run, page=page, after=after))


def _read_ahead(run: Run, bounds: Iterator[tuple[int, int]]) -> Iterator[list[Asked]]:
    with ThreadPoolExecutor(1, thread_name_prefix="read-pages") as thread:
        try:
            coming: Future[list[Asked]] | None = None
            for begin, end in bounds:
                ready, coming = coming, thread.submit(read_page, run, after=begin, upto=end)
                if ready:
                    yield ready.result()
            if coming:
                yield coming.result()
        finally:
            thread.submit(_close_session)


@contextmanager
def frozen() -> Iterator[None]:
    """What the process already holds is left alone by the collector of cycles, which the many small objects of a page set
    off again and again: a quarter of an export's time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def read_question(run: Run, question: Question) -> Asked | None:
    """One question as the builder sees it, or None when it is not in the run. Raises LedgerBrokenError."""
    found = _read_page(run, after=question.pk - 1, upto=question.pk)
    return found[0] if found else None


def read_page(run: Run, *, after: int, upto: int) -> list[Asked]:
    """The questions of the run with an id above `after` and up to `upto`, at one moment. Raises LedgerBrokenError."""
    if connection.in_atomic_block:
        return _read_page(run, after=after, upto=upto)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _read_page(run, after=after, upto=upto)


def _close_session() -> None:
    """Of the thread that calls it."""
    connection.close()


def _read_page(run: Run, *, after: int, upto: int) -> list[Asked]:
    evidence = Evidence(run)
    asked = [Asked(row, question) for row, question in evidence.page(after=after, upto=upto)]
    ready = [a for a in asked if a.row.state == QuestionState.READY]
    if ready:
        _attach_records(evidence, ready)
    return asked


def _attach_records(evidence: Evidence, ready: list[Asked]) -> None:
    """Give each question what it keeps, and each record what it rests on."""
    question_ids = [a.row.question_id for a in ready]
    chosen, tiers = evidence.chosen(question_ids), evidence.tiers(question_ids)
    for asked in ready:
        asked.tier_verdicts = tiers[asked.row.question_id].verdicts if asked.row.question_id in tiers else []
        _keep(asked, chosen[asked.row.question_id])
    attempts = evidence.rewritten([a.row.question_id for a in ready if any(k.path.revision > 1 for k in a.kept)])
    every = [(asked.row.question_id, kept) for asked in ready for kept in asked.kept]
    for question_id, kept in every:
        kept.chain = _chain(kept, attempts[question_id])
    verdicts = evidence.verdicts({path.pk for _, kept in every for path in kept.chain})
    for _, kept in every:
        kept.verdicts = [verdict for path in kept.chain for verdict in verdicts[path.pk]]
    call_ids = [_call_ids(kept) for _, kept in every]
    calls = evidence.calls(set(chain.from_iterable(call_ids)))
    for (question_id, kept), ids in zip(every, call_ids, strict=True):
        kept.calls = {call_id: calls[call_id] for call_id in ids}
        stages = {kind.stage for kind in kept.calls.values() if kind.simulated}
        if question_id in tiers:
            stages.update(tiers[question_id].simulated_stages)
        kept.simulated_stages = sorted(stages)


def _keep(asked: Asked, slots: list[ChosenRow]) -> None:
    """Raises LedgerBrokenError."""
    leaving = [chosen for chosen in slots if chosen.decision != Decision.EXCLUDED]
    asked.left_out = len(slots) - len(leaving)
    asked.kept = [_kept(asked, chosen) for chosen in leaving]
    if not asked.kept or len(asked.kept) != asked.row.records:
        raise LedgerBrokenError(
            _said(asked, f"counts {asked.row.records} records but {len(asked.kept)} paths are kept")
        )


def _kept(asked: Asked, chosen: ChosenRow) -> Kept:
    """Invariant 4: what leaves was judged Correct, is not disputed or replaced, and its response states the key."""
    path, response, key = chosen.path, chosen.response, asked.question.key_letter
    if path is None:
        raise LedgerBrokenError(_said(asked, f"slot {chosen.slot} keeps no path of this question"))
    if chosen.label != Label.CORRECT or chosen.disputed:
        said = "disputed" if chosen.disputed else chosen.label or "not judged"
        raise LedgerBrokenError(_said(asked, f"keeps path {path.pk}, which is {said}"))
    if not path.current:
        raise LedgerBrokenError(_said(asked, f"keeps path {path.pk}, which was replaced by a later one"))
    if response is None:
        raise LedgerBrokenError(_said(asked, f"keeps path {path.pk}, which has no response"))
    if response.answer != key:
        answer = response.answer or "nothing"
        raise LedgerBrokenError(_said(asked, f"the response to path {path.pk} answers {answer}, the key is {key}"))
    return Kept(
        slot=chosen.slot,
        why=chosen.why,
        path=path,
        source=chosen.source,
        response=response,
        score=chosen.score,
        signed_by=_signed_by(asked.question, chosen, path, response),
    )


def _signed_by(question: QuestionRow, chosen: ChosenRow, path: PathRow, response: ResponseRow) -> int | None:
    if chosen.decision != Decision.ACCEPTED:
        return None
    same = chosen.decided_content == content_hash(question, cot=path.text, response=response.text)
    return chosen.decided_by if same else None


def _chain(kept: Kept, attempts: list[PathRow]) -> list[PathRow]:
    """The path; for a rewriting the attempts before it, whose verdicts' reasons went into it, and what it rewrote."""
    path, source = kept.path, [kept.source] if kept.source else []
    if path.revision == 1:
        return [path, *source]
    earlier = [p for p in attempts if p.slot == path.slot and p.revision < path.revision]
    return [path, *sorted(earlier, key=lambda p: -p.revision), *source]


def _call_ids(kept: Kept) -> list[str]:
    found = [path.call_id for path in kept.chain]
    found += [verdict.call_id for verdict in kept.verdicts]
    found += [kept.score.call_id, kept.response.call_id] if kept.score else [kept.response.call_id]
    return [call_id for call_id in found if call_id]


def _said(asked: Asked, what: str) -> str:
    return f"{asked.question.uid} counts as ready in run {asked.row.run_id}, but {what}"
