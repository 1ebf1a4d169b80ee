"""What people write to each other about a question: threads, answers, mentions, resolved or open again."""

from __future__ import annotations

import re
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.questions.models import Project, Question
from apps.reasoning.cleaning import sanitize_text
from apps.reasoning.models import ReasoningPath, Run
from apps.review.models_records import Comment, Mention
from apps.review.services import OverrideError, key_taken, parse_key

LONGEST = 10_000
MOST_MENTIONS = 20
_MENTION = re.compile(r"(?<![\w@./+-])@([\w.@+-]{1,150})")


def mentioned_names(text: str) -> list[str]:
    """Usernames after an @, as written, each once; a full stop that ends the sentence is not part of one."""
    return list(dict.fromkeys(name.rstrip(".-+@") for name in _MENTION.findall(text) if name.rstrip(".-+@")))


def add_comment(
    *,
    project: Project,
    question: Question,
    author: User,
    text: str,
    run: Run | None = None,
    path: ReasoningPath | None = None,
    thread: Comment | None = None,
    idempotency_key: UUID | str | None = None,
) -> Comment:
    """A thread, or an answer in one; an answer opens a resolved thread again. Members named with @ are told.

    Raises OverrideError. The same request twice gives the comment that is there.
    """
    clean, key = _text(text), parse_key(idempotency_key)
    if thread is not None and (
        thread.thread_id or (thread.project_id, thread.question_id) != (project.pk, question.pk)
    ):
        raise OverrideError("This thread belongs to another question.")
    try:
        with transaction.atomic():
            if key and (saved := Comment.objects.filter(idempotency_key=key).first()):
                if (saved.author_id, saved.question_id) != (author.pk, question.pk):
                    raise key_taken()
                return saved
            comment = Comment.objects.create(
                project=project, question=question, run=run, path=path, thread=thread, author=author, text=clean,
                idempotency_key=key,
            )  # fmt: skip
            if thread is not None:
                Comment.objects.filter(pk=thread.pk).update(resolved_at=None, resolved_by=None)
            _mention(comment)
    except IntegrityError as error:
        if "idempotency_key" in str(error):  # the same request at the same moment
            return add_comment(
                project=project, question=question, author=author, text=text, run=run, path=path, thread=thread,
                idempotency_key=idempotency_key,
            )  # fmt: skip
        raise
    return comment


def resolve_thread(*, thread: Comment, by: User, resolved: bool) -> bool:
    """Settled, or open again; False where it was so already."""
    if thread.thread_id:
        raise OverrideError("Only a whole thread can be resolved.")
    change = (
        {"resolved_at": timezone.now(), "resolved_by": by} if resolved else {"resolved_at": None, "resolved_by": None}
    )
    return Comment.objects.filter(pk=thread.pk, resolved_at__isnull=resolved).update(**change) == 1


def see_mentions(*, user: User, question: Question | None = None) -> int:
    """Mark the person's mentions as seen (in one question, or all); returns how many were new."""
    unseen = Mention.objects.filter(user=user, seen_at__isnull=True)
    if question is not None:
        unseen = unseen.filter(comment__question=question)
    return unseen.update(seen_at=timezone.now())


def _mention(comment: Comment) -> None:
    """Active members of the project alone: nobody else can read it. Nobody is told of their own words."""
    names = mentioned_names(comment.text)[:MOST_MENTIONS]
    people = User.objects.filter(username__in=names, is_active=True, projects=comment.project_id) if names else []
    Mention.objects.bulk_create(Mention(comment=comment, user=u) for u in people if u.pk != comment.author_id)


def _text(text: str) -> str:
    clean = sanitize_text(text).replace("\r\n", "\n").strip()
    if not clean:
        raise OverrideError("Write something.", field="text")
    if len(clean) > LONGEST:
        raise OverrideError(f"A comment has at most {LONGEST:,} characters.", field="text")
    return clean
