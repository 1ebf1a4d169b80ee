"""Settling what became of a reason, and giving one verdict to every path that makes the same wrong claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from django.contrib.auth.models import User
from django.db import transaction

from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import BASE_ORIGINS, ReasoningPath, Run, RunQuestion, Verdict
from apps.reasoning.sentences import SPLITTER_VERSION
from apps.review.compare.reasons import split_reason
from apps.review.consequences import Consequences, compare_facts, next_verdict, with_verdict
from apps.review.models_records import Mark, ReasonMark
from apps.review.services import (
    OverrideError,
    VersionConflict,
    check_judgment,
    follow_questions,
    key_taken,
    lock_path,
    override_verdict,
    parse_key,
    runs_using,
)


def mark_reason(
    *,
    verdict: Verdict,
    part: int,
    before: ReasoningPath,
    after: ReasoningPath,
    mark: str,
    by: User,
    suggested: str = "",
) -> ReasonMark:
    """Settle what became of a reason. The mark before stays, no longer current; the same mark again writes nothing."""
    if mark not in Mark.values:
        raise OverrideError("Choose fixed, still there or new.", field="mark")
    if verdict.path_id not in (before.pk, after.pk) or before.question_id != after.question_id:
        raise OverrideError("This reason was given against another path.")
    if not 0 <= part < len(split_reason(verdict.reason)):
        raise OverrideError("This verdict has no such reason.")
    if (mark == Mark.NEW) != (verdict.path_id == after.pk) and mark != Mark.PRESENT:
        raise OverrideError(
            "A reason against the earlier path is fixed or still there; one against the later can be new."
        )
    same = {"verdict": verdict, "part": part, "before": before, "after": after}
    with transaction.atomic():
        ReasoningPath.objects.select_for_update(no_key=True).only("pk").get(pk=after.pk)  # one mark at a time
        standing = ReasonMark.objects.filter(**same, current=True).first()
        if standing and standing.mark == mark:
            return standing
        if standing:
            ReasonMark.objects.filter(pk=standing.pk).update(current=False)
        return ReasonMark.objects.create(
            **same, mark=mark, suggested=suggested if suggested in Mark.values else "", by=by, replaces=standing
        )


@dataclass(frozen=True, slots=True)
class Alike:
    """`verdicts` in the order of the paths; `replayed`: the same request was saved before, nothing was written."""

    verdicts: list[Verdict]
    row: RunQuestion
    summary: str
    consequences: Consequences | None = None
    replayed: bool = False


def preview_alike(*, run: Run, paths: Sequence[ReasoningPath], reviewer: User, label: str) -> Consequences:
    """What the same verdict on all of these paths of one question would change together. Writes nothing."""
    if label not in ("correct", "error"):
        raise OverrideError("Choose Correct or Error.", field="label")
    if not paths:
        raise OverrideError("Choose at least one path.", field="paths")
    used = {path.pk: runs_using(run=run, path=path) for path in paths}
    runs = {r.pk: r for found in used.values() for r in found}
    changes: dict[int, Consequences] = {}
    for pk, used_in in sorted(runs.items()):
        question_id = paths[0].question_id
        before = after = load_facts(used_in, [question_id])[question_id]
        for path in paths:
            if used_in in used[path.pk]:
                verdict = next_verdict(after, path.pk, reviewer=reviewer.pk, label=label)  # type: ignore[arg-type]
                after = with_verdict(after, path.pk, verdict)
        changes[pk] = compare_facts(run=used_in, before=before, after=after, policy=policy_of(used_in))
    own = changes.pop(run.pk)
    return replace(own, others=tuple(changes.values()))


def judge_alike(
    *,
    run: Run,
    sentences: Mapping[ReasoningPath, Sequence[int]],
    label: str,
    axes: Mapping[str, bool],
    reason: str,
    by: User,
    idempotency_key: UUID,
    expected_version: int | None = None,
) -> Alike:
    """The same verdict on each path, pointing to its own `sentences`, in one transaction: all of them or none.

    Each verdict's key is derived from the action's. Raises OverrideError, VersionConflict.
    """
    check_judgment(label=label, axes=axes, reason=reason)
    action = parse_key(idempotency_key)
    if action is None:
        raise OverrideError("Send an idempotency key.", field="idempotency_key")
    if len({path.question_id for path in sentences}) > 1:
        raise OverrideError("These paths answer different questions.", field="paths")
    paths = sorted(
        sentences, key=lambda p: (p.origin not in BASE_ORIGINS, p.pk)
    )  # a base path locks every run concerned
    if not paths:
        raise OverrideError("Choose at least one path.", field="paths")
    keys = {path.pk: uuid5(action, f"path:{path.pk}") for path in paths}
    with transaction.atomic():
        runs = {r.pk: r for path in paths for r in lock_path(run=run, path=path)[0]}
        row = RunQuestion.objects.select_related("question").get(run=run, question_id=paths[0].question_id)
        if saved := list(Verdict.objects.filter(idempotency_key__in=keys.values()).order_by("pk")):
            return _replay(saved, paths, row, by)
        if expected_version is not None and row.version != expected_version:
            raise VersionConflict(row)
        found = preview_alike(run=run, paths=paths, reviewer=by, label=label)
        together = {"action": str(action), "paths": [p.pk for p in paths], "summary": found.summary}
        verdicts = [
            override_verdict(
                run=run, path=path, reviewer=by, label=label, **axes, reason=reason, idempotency_key=keys[path.pk],
                details={"sentences": sorted(sentences[path]), "splitter": SPLITTER_VERSION, "alike": together},
            ).verdict
            for path in paths
        ]  # fmt: skip
        for change in (found, *found.others):  # what held on the way does not hold at the end
            follow_questions(runs[change.run_id], [row.question_id], hold=change.hold)
        row.refresh_from_db()
    return Alike(verdicts, row, found.summary, found)


def _replay(saved: list[Verdict], paths: Sequence[ReasoningPath], row: RunQuestion, by: User) -> Alike:
    if saved[0].details["alike"]["paths"] != [p.pk for p in paths] or saved[0].reviewer_id != by.pk:
        raise key_taken()
    return Alike(saved, row, str(saved[0].details["alike"]["summary"]), replayed=True)
