"""What people decide: an override is a new verdict, its consequences are written in the same transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from apps.pipeline.services import want_work
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import BASE_ORIGINS, Label, ReasoningPath, Run, RunQuestion, Verdict, VerdictSource
from apps.reasoning.policy.facts import LabelName, QuestionFacts
from apps.reasoning.services import assess_questions, lock_questions
from apps.review.consequences import Consequences, Ruling, consequences_of, next_verdict

log = logging.getLogger(__name__)
AXES = ("correctness", "coherence", "factuality")


class OverrideError(ValueError):
    """An override that cannot be saved as given. `field` names the form field it is about, if any."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class VersionConflict(Exception):  # noqa: N818 - named after what happened
    """The question changed since the reviewer read it. `current` is the question's row as it is now."""

    def __init__(self, current: RunQuestion) -> None:
        super().__init__(f"The question changed since you opened it (version {current.version} now). Look at it again.")
        self.current = current


@dataclass(frozen=True, slots=True)
class OverrideResult:
    """`row` is the question in the run as it is now; `replayed`: the same request was saved before, nothing was written."""

    verdict: Verdict
    row: RunQuestion
    summary: str
    consequences: Consequences | None = None  # none when replayed: `summary` is what the first one said
    replayed: bool = False


def preview_override(
    *, run: Run, path: ReasoningPath, reviewer: User, label: str, source: VerdictSource = VerdictSource.PERSON
) -> Consequences:
    """What saving this verdict would change, in `run` and (`others`) in the project's other runs. Writes nothing."""
    runs = runs_using(run=run, path=path)
    return _consequences(run, runs, path, reviewer, _person_label(label), source)


def preview_labels(*, run: Run, path: ReasoningPath, reviewer: User) -> dict[str, Consequences]:
    """What saving either label would change, {label: consequences}; the facts are read once. Writes nothing."""
    runs = runs_using(run=run, path=path)
    facts = _facts(runs, path)
    labels: tuple[LabelName, ...] = ("correct", "error")
    return {label: _consequences(run, runs, path, reviewer, label, facts=facts) for label in labels}


def override_verdict(
    *,
    run: Run,
    path: ReasoningPath,
    reviewer: User,
    label: str,
    correctness: bool,
    coherence: bool,
    factuality: bool,
    reason: str,
    details: Mapping[str, Any] | None = None,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> OverrideResult:
    """Save a person's verdict on a path; every run of the project that uses it follows in the same transaction.

    `expected_version` is `RunQuestion.version` as the reviewer saw it. Raises OverrideError, VersionConflict.
    Demo reviewers count too: they exist only in the demo's own database, where the change must be seen to happen.
    """
    axes = dict(zip(AXES, (correctness, coherence, factuality), strict=True))
    name, key = check_judgment(label=label, axes=axes, reason=reason), parse_key(idempotency_key)
    with transaction.atomic():
        runs, row = lock_path(run=run, path=path)
        saved = Verdict.objects.filter(idempotency_key=key).first() if key else None
        if saved is not None:
            return _replay(saved, row, path, reviewer)
        if expected_version is not None and row.version != expected_version:
            raise VersionConflict(row)
        verdict, found = record_verdict(
            run=run,
            runs=runs,
            path=path,
            reviewer=reviewer,
            label=name,
            axes=axes,
            reason=reason.strip(),
            details=details or {},
            idempotency_key=key,
        )
        row.refresh_from_db()
    return OverrideResult(verdict, row, found.summary, found)


def lock_path(*, run: Run, path: ReasoningPath) -> tuple[list[Run], RunQuestion]:
    """Lock the path's question in every run of the project that uses it; those runs, and its row in `run`."""
    runs = runs_using(run=run, path=path, lock=True)
    rows = RunQuestion.objects.select_related("question").defer("question__search")
    return runs, rows.get(run=run, question_id=path.question_id)


def record_verdict(
    *,
    run: Run,
    runs: Sequence[Run],
    path: ReasoningPath,
    reviewer: User,
    label: LabelName,
    axes: Mapping[str, bool | None],
    reason: str,
    details: Mapping[str, Any],
    idempotency_key: UUID | None,
    source: VerdictSource = VerdictSource.PERSON,
) -> tuple[Verdict, Consequences]:
    """Write a counting verdict and everything that follows from it, in the transaction that called `lock_path`.

    The label `unjudged` (without axes) takes back what the reviewer said of the path.
    """
    found = _consequences(run, runs, path, reviewer, label, source)
    verdict = save_verdict(
        path=path,
        project=run.project,
        reviewer=reviewer,
        source=source,
        counts=True,
        label=label,
        **axes,
        reason=reason,
        details={**details, "consequences": found.as_json()},
        idempotency_key=idempotency_key,
    )
    hold = {c.run_id: c.hold for c in (found, *found.others)}
    for used_in in runs:
        follow_questions(used_in, [path.question_id], hold=hold[used_in.pk])
    return verdict, found


def confirm_remake(*, run: Run, question_ids: Sequence[int], by: User) -> int:
    """Let the outputs that an override made stale be made again; returns how many questions were on hold."""
    with transaction.atomic():
        lock_questions(run=run, question_ids=question_ids)
        held = list(
            RunQuestion.objects.filter(run=run, question_id__in=question_ids, hold=True)
            .order_by("question_id")
            .values_list("question_id", flat=True)
        )
        follow_questions(run, held, hold=False)
    log.info("run %s: %s confirmed that %d questions are made again", run.name, by.get_username(), len(held))
    return len(held)


_USERS = """
SELECT rq.run_id FROM reasoning_runquestion rq JOIN reasoning_run r ON r.id = rq.run_id
WHERE rq.question_id = %(question)s AND r.project_id = %(project)s AND (r.id = %(run)s OR r.paths_from_id = %(paths_from)s)
ORDER BY rq.run_id """


def runs_using(*, run: Run, path: ReasoningPath, lock: bool = False) -> list[Run]:
    """The runs of `run`'s project in which a verdict on the path counts, by id; `lock`: with the question's row in each.

    Raises OverrideError for a stranger.
    """
    base = path.origin in BASE_ORIGINS
    if path.run_id != (run.paths_run_id if base else run.pk) or (base and not path.current):
        raise OverrideError("This path does not belong to the run, or was replaced.")
    asked = {"question": path.question_id, "project": run.project_id, "run": run.pk, "paths_from": None}
    if base:
        asked |= {"run": path.run_id, "paths_from": path.run_id}
    with connection.cursor() as cursor:
        cursor.execute(_USERS + ("FOR NO KEY UPDATE OF rq" if lock else ""), asked)
        found = [pk for (pk,) in cursor.fetchall()]
    if run.pk not in found:
        raise OverrideError("The question of this path is not in the run.")
    others = [pk for pk in found if pk != run.pk]
    known = Run.objects.select_related("project").in_bulk(others) if others else {}
    return [known.get(pk, run) for pk in found]


def check_judgment(*, label: str, axes: Mapping[str, bool | None], reason: str) -> LabelName:
    """The rules of a verdict, in words for the person who gives it; raises OverrideError."""
    name = _person_label(label)
    missing = [axis for axis in AXES if not isinstance(axes.get(axis), bool)]
    if missing:
        raise OverrideError(f"Say pass or fail for {', '.join(missing)}.", field=missing[0])
    passed = all(axes[axis] for axis in AXES)
    if name == "correct" and not passed:
        raise OverrideError("A Correct path passes all three axes; one of them is set to fail.", field="label")
    if name == "error" and passed:
        raise OverrideError("An Error path fails at least one axis; say which one.", field="correctness")
    if not reason.strip():
        raise OverrideError("Give the reason: it is kept with the verdict.", field="reason")
    return name


def _person_label(label: str) -> LabelName:
    if label == Label.CORRECT:
        return "correct"
    if label == Label.ERROR:
        return "error"
    raise OverrideError("Choose Correct or Error.", field="label")


def parse_key(key: UUID | str | None) -> UUID | None:
    try:
        return UUID(str(key)) if key else None
    except ValueError:
        raise OverrideError("The idempotency key must be a UUID.", field="idempotency_key") from None


def _consequences(
    run: Run,
    runs: Sequence[Run],
    path: ReasoningPath,
    reviewer: User,
    label: LabelName,
    source: VerdictSource = VerdictSource.PERSON,
    *,
    facts: Mapping[int, QuestionFacts] | None = None,
) -> Consequences:
    """`facts`: of each run, by its id, if at hand."""
    facts = facts or _facts(runs, path)
    found: dict[int, Consequences] = {}
    for used_in in runs:
        known = facts[used_in.pk]
        found[used_in.pk] = consequences_of(
            run=used_in,
            facts=known,
            policy=policy_of(used_in),
            path_id=path.pk,
            verdict=Ruling(label)
            if source == VerdictSource.ADJUDICATION
            else next_verdict(known, path.pk, reviewer=reviewer.pk, label=label),
        )
    own = found.pop(run.pk)
    return replace(own, others=tuple(found.values()))


def _facts(runs: Sequence[Run], path: ReasoningPath) -> dict[int, QuestionFacts]:
    return {run.pk: load_facts(run, [path.question_id])[path.question_id] for run in runs}


_SUPERSEDE = """
UPDATE reasoning_verdict SET current = false
WHERE current AND project_id = %s AND path_id = %s AND reviewer_id = %s AND source = %s AND counts = %s RETURNING id"""


def save_verdict(**fields: Any) -> Verdict:
    """The reviewer's earlier verdict of the same kind on the path stays, no longer current, named by `replaces`.

    Call it in a transaction that an OverrideError ends: what was refused leaves it unusable.
    """
    mine = [fields["project"].pk, fields["path"].pk, fields["reviewer"].pk, fields["source"], fields["counts"]]
    with connection.cursor() as cursor:
        cursor.execute(_SUPERSEDE, mine)
        earlier = cursor.fetchone()
    try:
        return Verdict.objects.create(**fields, replaces_id=earlier[0] if earlier else None)
    except IntegrityError as error:
        said = str(error).partition("\n")[0]  # without the row, whose texts are not ours
        if "idempotency_key" in said:
            raise key_taken() from None
        if "is an author of a verdict" in said:
            raise OverrideError("Nobody both judges and adjudicates one path.") from error
        raise


def _replay(saved: Verdict, row: RunQuestion, path: ReasoningPath, reviewer: User) -> OverrideResult:
    """Requests with one key on one path wait for each other's lock, so the later one always finds the earlier."""
    if (saved.path_id, saved.reviewer_id) != (path.pk, reviewer.pk):
        raise key_taken()
    return OverrideResult(saved, row, saved.details.get("consequences", {}).get("summary", ""), replayed=True)


def key_taken() -> OverrideError:
    return OverrideError("This idempotency key belongs to another judgment.", field="idempotency_key")


def follow_questions(run: Run, question_ids: Sequence[int], *, hold: bool | None = None) -> None:
    """Set the hold (none: leave it), assess again and ask for the work; the version rises even where the row stays the same."""
    if not question_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE reasoning_runquestion SET hold = coalesce(%s, hold), version = version + 1, changed_at = now()"
            " WHERE run_id = %s AND question_id = ANY(%s)",
            [hold, run.pk, list(question_ids)],
        )
    want_work(run=run, found=assess_questions(run=run, question_ids=question_ids, locked=True))
