"""Who is signed in: the person with their roles, in one statement. Asked with every request."""

from __future__ import annotations

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User

from apps.questions.access import remember_roles

_PERSON = """
SELECT u.*, ARRAY(SELECT g.name::text FROM auth_group g JOIN auth_user_groups m ON m.group_id = g.id WHERE m.user_id = u.id)
  AS role_names
FROM auth_user u WHERE u.id = %s"""


class PeopleBackend(ModelBackend):
    """Django's own, but that a person comes with the names of their roles."""

    def get_user(self, user_id: int) -> User | None:
        user: User | None = next(iter(User.objects.raw(_PERSON, [user_id])), None)
        if user is None or not self.user_can_authenticate(user):
            return None
        remember_roles(user, user.role_names)  # type: ignore[attr-defined]
        return user
