"""The one thing that practice leaves behind."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils import timezone

from apps.review.models import ReviewSettings


def finish_practice(*, person: User) -> None:
    """They went through the practice items, or passed them by: home no longer puts them first."""
    ReviewSettings.objects.update_or_create(user=person, defaults={"practised_at": timezone.now()})
