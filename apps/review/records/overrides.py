"""People over the pipeline: a question's tier, the choice of its paths, the text of a response. Append-only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args
from uuid import UUID

from django.contrib.auth.models import User

from apps.questions.models import Question
from apps.reasoning.answers import extract_answer
from apps.reasoning.cleaning import sanitize_text
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import ReasoningPath, Response, Run, RunQuestion, Selection
from apps.reasoning.policy.assess import assess
from apps.reasoning.policy.facts import QuestionFacts, TierName
from apps.reasoning.policy.labels import is_keepable
from apps.review.consequences import Consequences
from apps.review.models_records import OverrideKind, RecordOverride
from apps.review.records.changes import with_choice, with_response, with_tier
from apps.review.records.saving import Saved, preview, require_reason, save_change, supersede
from apps.review.services import OverrideError, parse_key

MOST_CHARACTERS = 50_000  # of a response

Change = Callable[[QuestionFacts], QuestionFacts]


def preview_tier(*, run: Run, question: Question, tier: str) -> Consequences:
    """`tier` "" gives it back to the error count. Raises OverrideError."""
    wanted = _tier(tier)
    return preview(run, question, lambda facts: with_tier(facts, wanted))


def override_tier(
    *,
    run: Run,
    question: Question,
    tier: str,
    reason: str,
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordOverride]:
    """Set the question's tier in the run, whatever its error count. Raises OverrideError, VersionConflict."""
    wanted, why, key = _tier(tier), require_reason(reason), parse_key(idempotency_key)

    def check(row: RunQuestion) -> Change:
        standing = RecordOverride.objects.filter(
            run=run, question=question, kind=OverrideKind.TIER, current=True
        ).first()
        if (standing.tier if standing else "") == (wanted or ""):
            raise OverrideError(
                f"A person set it to {wanted} already." if wanted else "No person set this tier.", field="tier"
            )
        return lambda facts: with_tier(facts, wanted)

    said = {"kind": OverrideKind.TIER, "tier": wanted or ""}
    return _save(run, question, by, key, expected_version, check, said, reason=why)


def preview_choice(*, run: Run, question: Question, paths: Sequence[int]) -> Consequences:
    """`paths`: ids in the order of the slots; none gives the choice back to the ranker. Raises OverrideError."""
    return preview(run, question, _choice(run, question, paths))


def override_choice(
    *,
    run: Run,
    question: Question,
    paths: Sequence[int],
    reason: str,
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordOverride]:
    """Keep these paths instead of the ranker's; places left over go to the best of the others."""
    why, key = require_reason(reason), parse_key(idempotency_key)
    said = {"kind": OverrideKind.CHOICE, "paths": list(paths)}

    def check(row: RunQuestion) -> Change:
        return _choice(run, question, paths)

    return _save(run, question, by, key, expected_version, check, said, reason=why)


def preview_response(*, run: Run, path: ReasoningPath, text: str) -> Consequences:
    """Raises OverrideError where the text may not be the path's response."""
    answer = _answer(path.question, _text(text))
    return preview(run, path.question, lambda facts: with_response(facts, path.pk, answer))


def override_response(
    *,
    run: Run,
    path: ReasoningPath,
    text: str,
    reason: str,
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordOverride]:
    """A person's text as the next revision of a kept path's response; it must state the key, as every response."""
    clean, why, key = _text(text), require_reason(reason), parse_key(idempotency_key)
    answer = _answer(path.question, clean)

    def check(row: RunQuestion) -> Change:
        if not Selection.objects.filter(run=run, path=path, current=True).exists():
            raise OverrideError("This path is not kept: only what leaves has a response.")
        standing = Response.objects.filter(run=run, path=path, current=True).first()
        if standing and standing.text == clean:
            raise OverrideError("This is the response as it stands.", field="text")
        return lambda facts: with_response(facts, path.pk, answer)

    def write(found: Consequences) -> RecordOverride:
        last = Response.objects.filter(run=run, path=path).order_by("-revision").first()
        Response.objects.filter(run=run, path=path, current=True).update(current=False)
        made = Response.objects.create(
            run=run, path=path, revision=last.revision + 1 if last else 1, text=clean, answer=answer, author=by
        )
        said = {"kind": OverrideKind.RESPONSE, "path": path, "response": made}
        return write_override(run, path.question, by, key, found, said, why)

    return save_change(
        RecordOverride,
        run=run,
        question=path.question,
        by=by,
        key=key,
        expected_version=expected_version,
        check=check,
        write=write,
        mine={"kind": OverrideKind.RESPONSE, "path_id": path.pk},
    )


def choosable(run: Run, question: Question) -> list[int]:
    """Ids of the paths that may be kept, in grid order; none where the tier keeps new paths."""
    facts = load_facts(run, [question.pk])[question.pk]
    rules = policy_of(run)
    found = assess(facts, rules)
    if found.tier not in ("easy", "medium"):
        return []
    base = {(p.generator, p.sample): p for p in facts.paths if p.is_base}
    kept = (base[s] for s in rules.slots if s in base and is_keepable(base[s], found.labels[base[s].id], facts.key))
    return [p.id for p in kept]


def _save(
    run: Run,
    question: Question,
    by: User,
    key: UUID | None,
    expected_version: int | None,
    check: Callable[[RunQuestion], Change],
    said: dict[str, Any],
    *,
    reason: str,
) -> Saved[RecordOverride]:
    return save_change(
        RecordOverride,
        run=run,
        question=question,
        by=by,
        key=key,
        expected_version=expected_version,
        check=check,
        write=lambda found: write_override(run, question, by, key, found, said, reason),
        mine=said,
    )


def write_override(
    run: Run,
    question: Question,
    by: User,
    key: UUID | None,
    found: Consequences,
    said: dict[str, Any],
    reason: str,
    *,
    instead_of: ReasoningPath | None = None,
) -> RecordOverride:
    """The row, in place of the one that stands for the same; `instead_of`: the path that said's path follows."""
    about = instead_of or said.get("path")
    earlier = supersede(RecordOverride, run=run, question=question, kind=said["kind"], path=about)
    return RecordOverride.objects.create(
        run=run, question=question, by=by, reason=reason, idempotency_key=key, replaces=earlier,
        consequences=found.as_json(), **said,
    )  # fmt: skip


def _tier(tier: str) -> TierName | None:
    if tier == "":
        return None
    if tier not in get_args(TierName):
        raise OverrideError("Choose easy, medium or difficult.", field="tier")
    return tier  # type: ignore[return-value]


def _choice(run: Run, question: Question, paths: Sequence[int]) -> Change:
    """Raises OverrideError when one of the paths may not be kept."""
    wanted = list(paths)
    if wanted:
        allowed, keep = choosable(run, question), policy_of(run).keep
        if not allowed:
            raise OverrideError(
                "There is nothing to choose: a difficult question keeps new paths, and others need a Correct one.",
                field="paths",
            )
        if len(set(wanted)) != len(wanted):
            raise OverrideError("Choose a different path for each place.", field="paths")
        if len(wanted) > keep:
            raise OverrideError(f"This run keeps {keep} path{'s' if keep > 1 else ''} of a question.", field="paths")
        if any(pk not in allowed for pk in wanted):
            raise OverrideError("Only a Correct path whose answer is absent or the key can be kept.", field="paths")
    elif (
        not RecordOverride.objects.filter(run=run, question=question, kind=OverrideKind.CHOICE, current=True)
        .exclude(paths=[])
        .exists()
    ):
        raise OverrideError("The choice is the ranker’s already.", field="paths")
    return lambda facts: with_choice(facts, wanted)


def _text(text: str) -> str:
    clean = sanitize_text(text).replace("\r\n", "\n").strip()
    if not clean:
        raise OverrideError("Write the response: a few sentences that end with the answer.", field="text")
    if len(clean) > MOST_CHARACTERS:
        raise OverrideError(f"A response has at most {MOST_CHARACTERS:,} characters.", field="text")
    return clean


def _answer(question: Question, text: str) -> str:
    """The letter it states, which must be the key."""
    answer, key = extract_answer(text, question.options).letter, question.key_letter
    if answer == key:
        return answer
    said = f"answers {answer}" if answer else "states no answer that can be found"
    raise OverrideError(
        f"It {said}; the key is {key}. End it with a line such as “Answer: {key}. {question.key_text}”.", field="text"
    )
