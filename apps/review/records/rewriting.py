"""A person's text in place of a rewritten path: its next revision, judged again like any other before it leaves."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.contrib.auth.models import User

from apps.questions.models import Question
from apps.reasoning.answers import extract_answer
from apps.reasoning.cleaning import sanitize_text
from apps.reasoning.models import BASE_ORIGINS, ReasoningPath, Run, RunQuestion, Selection
from apps.reasoning.policy.facts import PathFacts, QuestionFacts
from apps.reasoning.services import add_counters
from apps.review.consequences import Consequences
from apps.review.models_records import OverrideKind, RecordOverride
from apps.review.records.overrides import Change, write_override
from apps.review.records.saving import Saved, preview, require_reason, save_change
from apps.review.services import OverrideError, parse_key

MOST_CHARACTERS = 100_000  # of a path
_NOT_YET = 0  # the id of a path that is not saved


def preview_rewriting(*, run: Run, path: ReasoningPath, text: str) -> Consequences:
    """Raises OverrideError where the text may not stand in the path's place."""
    answer = _answer(path.question, _text(text))
    _check(run, path)
    return preview(run, path.question, lambda facts: with_rewriting(facts, path.pk, answer))


def override_path(
    *,
    run: Run,
    path: ReasoningPath,
    text: str,
    reason: str,
    by: User,
    idempotency_key: UUID | str | None = None,
    expected_version: int | None = None,
) -> Saved[RecordOverride]:
    """A person's text as the next revision of a kept, rewritten path. It waits until the judge has found it Correct.

    Raises OverrideError, VersionConflict.
    """
    clean, why, key = _text(text), require_reason(reason), parse_key(idempotency_key)
    found_answer = extract_answer(clean, path.question.options)
    answer = _answer(path.question, clean)

    def check(row: RunQuestion) -> Change:
        path.refresh_from_db(fields=["current", "text"])
        _check(run, path)
        if path.text == clean:
            raise OverrideError("This is the path as it stands.", field="text")
        return lambda facts: with_rewriting(facts, path.pk, answer)

    def write(found: Consequences) -> RecordOverride:
        ReasoningPath.objects.filter(pk=path.pk).update(current=False)
        same = {name: getattr(path, name) for name in ("run", "question", "origin", "generator", "sample", "parent")}
        made = ReasoningPath.objects.create(
            **same, revision=path.revision + 1, text=clean, answer=answer, answer_how=found_answer.how if answer else "",
            author=by,
        )  # fmt: skip
        add_counters(run_id=run.pk, change={f"paths:{path.origin}": 1})
        said = {"kind": OverrideKind.PATH, "path": made}
        return write_override(run, path.question, by, key, found, said, why, instead_of=path)

    return save_change(
        RecordOverride,
        run=run,
        question=path.question,
        by=by,
        key=key,
        expected_version=expected_version,
        check=check,
        write=write,
        mine={"kind": OverrideKind.PATH},
    )


def with_rewriting(facts: QuestionFacts, path_id: int, answer: str) -> QuestionFacts:
    """The next revision of a path, stating `answer`, not judged yet."""
    path = next(p for p in facts.paths if p.id == path_id)
    made = PathFacts(_NOT_YET, path.origin, path.generator, path.sample, path.parent, path.revision + 1, answer)
    return replace(facts, paths=[*facts.paths, made])


def _check(run: Run, path: ReasoningPath) -> None:
    if path.origin in BASE_ORIGINS:
        raise OverrideError(
            "Only a rewritten path can be written by a person: what a model was sampled for stays as it is."
        )
    if (
        path.run_id != run.pk
        or not path.current
        or not Selection.objects.filter(run=run, path=path, current=True).exists()
    ):
        raise OverrideError("This path is not kept, or was replaced meanwhile.")


def _text(text: str) -> str:
    clean = sanitize_text(text).replace("\r\n", "\n").strip()
    if not clean:
        raise OverrideError("Write the path: the reasoning that ends with the answer.", field="text")
    if len(clean) > MOST_CHARACTERS:
        raise OverrideError(f"A path has at most {MOST_CHARACTERS:,} characters.", field="text")
    return clean


def _answer(question: Question, text: str) -> str:
    """The letter it states; the key, or none, as of every path that may leave."""
    answer, key = extract_answer(text, question.options).letter, question.key_letter
    if answer in ("", key):
        return answer
    raise OverrideError(
        f"It answers {answer}; the key is {key}. A path that leaves may end with no other.", field="text"
    )
