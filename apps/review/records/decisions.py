"""A record accepted, returned with a reason, or excluded: the last look before it leaves. Append-only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from django.contrib.auth.models import User
from django.db import transaction

from apps.questions.models import Question
from apps.reasoning.models import (
    QuestionState,
    ReasoningPath,
    Response,
    Run,
    RunQuestion,
    Selection,
    VerdictSource,
)
from apps.reasoning.policy.facts import QuestionFacts
from apps.review.consequences import Consequences
from apps.review.models_records import Again, Decision, RecordDecision
from apps.review.records.changes import with_exclusion, without_response
from apps.review.records.content import content_hash
from apps.review.records.saving import (
    Saved,
    check_version,
    lock_row,
    preview,
    replay,
    require_reason,
    save_change,
    supersede,
)
from apps.review.services import (
    OverrideError,
    VersionConflict,
    check_judgment,
    lock_path,
    parse_key,
    preview_override,
    record_verdict,
)

Change = Callable[[QuestionFacts], QuestionFacts]


@dataclass(frozen=True, slots=True)
class Record:
    """What one place of a question gives now; `hash` is "" while path or response are missing."""

    run: Run
    question: Question
    selection: Selection
    path: ReasoningPath
    response: Response | None
    decision: RecordDecision | None

    @property
    def hash(self) -> str:
        if not self.response:
            return ""
        return content_hash(self.question, cot=self.path.text, response=self.response.text)

    @property
    def standing(self) -> str:
        """accepted, void (accepted as it was before a change), returned, made_again, excluded, or "" for undecided."""
        decision = self.decision
        if decision is None or decision.decision == Decision.WITHDRAWN:
            return ""
        if decision.decision == Decision.ACCEPTED:
            return "accepted" if decision.content_hash == self.hash else "void"
        if decision.decision == Decision.RETURNED:
            return "made_again" if self.response else "returned"
        return str(decision.decision)


def read_record(run: Run, question: Question, slot: int) -> Record | None:
    """The record of a slot, in three statements; none where the question keeps no such path."""
    chosen = Selection.objects.filter(run=run, question=question, slot=slot, current=True, path__isnull=False)
    selection = chosen.select_related("path").defer("path__raw").first()
    if selection is None or selection.path is None:
        return None
    response = Response.objects.filter(run=run, path=selection.path, current=True).first()
    decisions = RecordDecision.objects.filter(run=run, path=selection.path, current=True).select_related("by")
    return Record(run, question, selection, selection.path, response, decisions.first())


def accept_record(
    *,
    run: Run,
    question: Question,
    slot: int,
    seen_hash: str,
    by: User,
    idempotency_key: UUID | str | None = None,
) -> Saved[RecordDecision]:
    """Sign off the record as it was read. VersionConflict when its content is another one by now."""
    key = parse_key(idempotency_key)

    def check(row: RunQuestion) -> Change:
        record = _record(run, question, slot)
        if record.hash != seen_hash:
            raise VersionConflict(row)
        excluded = record.standing == "excluded"
        if record.response is None or (row.state != QuestionState.READY and not excluded):
            raise OverrideError("It does not leave yet: only a record that is ready can be accepted.")
        if record.standing == "accepted":
            raise OverrideError("This record is accepted already.")
        return lambda facts: with_exclusion(facts, record.path.pk, excluded=False)

    said = {"decision": Decision.ACCEPTED, "content_hash": seen_hash}
    return _save(run, question, slot, by, key, None, check, said)


def preview_exclusion(*, run: Run, question: Question, slot: int, excluded: bool) -> Consequences:
    record = _record(run, question, slot)
    return preview(run, question, lambda facts: with_exclusion(facts, record.path.pk, excluded=excluded))


def exclude_record(
    *,
    run: Run,
    question: Question,
    slot: int,
    reason: str,
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordDecision]:
    """The record never leaves, until someone takes that back."""
    why, key = require_reason(reason), parse_key(idempotency_key)

    def check(row: RunQuestion) -> Change:
        record = _record(run, question, slot)
        if record.standing == "excluded":
            raise OverrideError("This record is excluded already.")
        return lambda facts: with_exclusion(facts, record.path.pk, excluded=True)

    return _save(run, question, slot, by, key, expected_version, check, {"decision": Decision.EXCLUDED, "reason": why})


def withdraw_decision(
    *,
    run: Run,
    question: Question,
    slot: int,
    reason: str = "",
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordDecision]:
    """Take an acceptance or an exclusion back. What was returned is stale already and stays so."""
    key = parse_key(idempotency_key)

    def check(row: RunQuestion) -> Change:
        record = _record(run, question, slot)
        if record.standing not in ("accepted", "void", "excluded"):
            raise OverrideError("There is no acceptance or exclusion to take back.")
        return lambda facts: with_exclusion(facts, record.path.pk, excluded=False)

    said = {"decision": Decision.WITHDRAWN, "reason": reason.strip()}
    return _save(run, question, slot, by, key, expected_version, check, said)


def preview_return(*, run: Run, question: Question, slot: int, again: str, by: User) -> Consequences:
    record = _record(run, question, slot)
    if _again(again) == Again.PATH:
        return preview_override(run=run, path=record.path, reviewer=by, label="error")
    return preview(run, question, lambda facts: without_response(facts, record.path.pk))


def return_record(
    *,
    run: Run,
    question: Question,
    slot: int,
    again: str,
    reason: str,
    axes: Mapping[str, bool] | None = None,
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordDecision]:
    """Send a record back: its response is made again, or its path gets this person's Error verdict (`axes`, as in a verdict).

    Nothing is made before someone confirms. The old response stays readable as an earlier revision.
    """
    why, key = require_reason(reason), parse_key(idempotency_key)
    if _again(again) == Again.PATH:
        return _return_path(run, question, slot, why, axes or {}, by, key, expected_version)

    def check(row: RunQuestion) -> Change:
        record = _record(run, question, slot)
        if record.response is None:
            raise OverrideError("There is no response to send back.", field="again")
        return lambda facts: without_response(facts, record.path.pk)

    def write(found: Consequences) -> RecordDecision:
        record = _record(run, question, slot)
        made = _write(record, by, key, found, {"decision": Decision.RETURNED, "again": Again.RESPONSE, "reason": why})
        Response.objects.filter(run=run, path=record.path, current=True).update(current=False)
        return made

    return save_change(
        RecordDecision,
        run=run,
        question=question,
        by=by,
        key=key,
        expected_version=expected_version,
        check=check,
        write=write,
        mine={"slot": slot, "decision": Decision.RETURNED},
    )


def _return_path(
    run: Run,
    question: Question,
    slot: int,
    reason: str,
    axes: Mapping[str, bool],
    by: User,
    key: UUID | None,
    expected_version: int | None,
) -> Saved[RecordDecision]:
    """As an override to Error does, in one transaction with the decision."""
    label = check_judgment(label="error", axes=axes, reason=reason)
    with transaction.atomic():
        record = read_record(run, question, slot)
        runs, row = lock_path(run=run, path=record.path) if record else ([], lock_row(run, question))
        if key and (saved := RecordDecision.objects.filter(idempotency_key=key).first()):
            return replay(saved, row, by, {"slot": slot, "decision": Decision.RETURNED})
        check_version(row, expected_version)
        if record is None or _record(run, question, slot).path != record.path:
            raise VersionConflict(row)
        verdict, found = record_verdict(
            run=run,
            runs=runs,
            path=record.path,
            reviewer=by,
            label=label,
            axes=axes,
            reason=reason,
            details={"returned_record": slot},
            idempotency_key=uuid5(key, "verdict") if key else None,
            source=VerdictSource.PERSON,
        )
        said = {"decision": Decision.RETURNED, "again": Again.PATH, "reason": reason, "verdict": verdict}
        made = _write(record, by, key, found, said)
        row.refresh_from_db()
    return Saved(made, row, found.summary, found)


def _record(run: Run, question: Question, slot: int) -> Record:
    record = read_record(run, question, slot)
    if record is None:
        raise OverrideError("This question keeps no such record any more.")
    return record


def _again(again: str) -> Again:
    if again not in Again.values:
        raise OverrideError("Say which step should make it again.", field="again")
    return Again(again)


def _save(
    run: Run,
    question: Question,
    slot: int,
    by: User,
    key: UUID | None,
    expected_version: int | None,
    check: Callable[[RunQuestion], Change],
    said: dict[str, Any],
) -> Saved[RecordDecision]:
    return save_change(
        RecordDecision,
        run=run,
        question=question,
        by=by,
        key=key,
        expected_version=expected_version,
        check=check,
        write=lambda found: _write(_record(run, question, slot), by, key, found, said),
        mine={"slot": slot, "decision": said["decision"]},
    )


def _write(record: Record, by: User, key: UUID | None, found: Consequences, said: dict[str, Any]) -> RecordDecision:
    earlier = supersede(RecordDecision, run=record.run, path=record.path)
    return RecordDecision.objects.create(
        run=record.run, question=record.question, slot=record.selection.slot, path=record.path, response=record.response,
        by=by, idempotency_key=key, replaces=earlier, consequences=found.as_json(),
        **({"content_hash": record.hash} | said),
    )  # fmt: skip
