"""What the admin must not do: change or delete what the ledger keeps for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest

if TYPE_CHECKING:  # Django's own classes take no parameters when they run
    AnyAdmin = admin.ModelAdmin[Any]
    AnyUserAdmin = UserAdmin[User]
else:
    AnyAdmin, AnyUserAdmin = admin.ModelAdmin, UserAdmin


class KeptAdmin(AnyAdmin):
    """Can be added and changed, never deleted."""

    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyAdmin(KeptAdmin):
    """Can be looked at only: the services write it."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class PeopleAdmin(AnyUserAdmin):
    """People are deactivated, never deleted: their verdicts stay theirs."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
