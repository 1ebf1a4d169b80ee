"""What the API of people's decisions shares: refusals in words, and what every saved change carries."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Schema, Status

from apps.questions.access import project_of
from apps.questions.api_access import Problem
from apps.questions.models import Question
from apps.reasoning.api import run_named
from apps.reasoning.models import RunQuestion
from apps.review.api import VersionProblem
from apps.review.queues.errors import ItemChanged, ItemLost, NotAdmitted, QueueError
from apps.review.queues.plans import PlanError
from apps.review.services import OverrideError, VersionConflict

REFUSED: dict[Any, Any] = {403: Problem, 404: Problem, 409: VersionProblem, 422: Problem}


class SaidIn(Schema):
    """Of every change that is saved."""

    idempotency_key: UUID | None = Field(None, description="The same request sent again is saved once")
    expected_version: int | None = Field(None, description="`version` of the question as you saw it; 409 if it changed")


class WhyIn(SaidIn):
    reason: str = Field(min_length=1, max_length=4_000)


def answered(view: Callable[..., Any]) -> Callable[..., Any]:
    """What the services refuse, as 403, 409 and 422 in words."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(*args, **kwargs)
        except NotAdmitted as error:
            return Status(403, {"detail": str(error), "field": ""})
        except ItemLost as error:
            return Status(409, {"detail": str(error), "field": "token"})
        except ItemChanged as error:
            return Status(409, both_sides(error, kwargs.get("body")))
        except (OverrideError, QueueError) as error:
            return Status(422, {"detail": str(error), "field": error.field})
        except PlanError as error:
            return Status(422, {"detail": str(error), "field": "plan"})
        except VersionConflict as error:
            return Status(409, {"detail": str(error), "field": "expected_version", "version": error.current.version})

    # types as they are: the wrapper's module does not know the view's names
    guarded.__signature__ = inspect.signature(view, eval_str=True)  # type: ignore[attr-defined]
    return guarded


def both_sides(error: ItemChanged, body: object) -> dict[str, Any]:
    """What stands and what was sent, of an item judged in two windows."""
    return {
        "detail": str(error),
        "field": "expected_version",
        "version": error.claim.version,
        "mine": error.current,
        "sent": body.model_dump(mode="json") if isinstance(body, Schema) else None,
    }


def question_named(request: HttpRequest, uid: str) -> Question:
    """A question that the person's project sees, or 404."""
    rows = Question.objects.visible_to(project_of(request)).defer("search", "explanation")
    return get_object_or_404(rows, uid=uid.replace("\x00", ""))


def row_named(request: HttpRequest, run: str, uid: str) -> RunQuestion:
    """The question in a run of the person's project, whole, or 404."""
    rows = RunQuestion.objects.select_related("question__benchmark").defer("question__search")
    return get_object_or_404(rows, run=run_named(request, run), question__uid=uid.replace("\x00", ""))
