"""The demo's accounts: made on a local instance only, with passwords generated once and kept readable by their owner."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.contrib.auth.models import Group, User
from django.db import transaction

from apps.questions.access import ROLES, default_project

FILE_NAME = "demo_logins.json"
ACCOUNTS = {
    "curator": "runs, imports, exports",
    "clinician": "reads and judges",
    "adjudicator": "settles what clinicians disagree on",
    "consumer": "reads and downloads",
    "admin": "the Django admin",
}


@dataclass(frozen=True)
class Login:
    name: str
    password: str | None  # none: the account was there before and its password is not ours
    purpose: str


def ensure_logins(var: Path) -> list[Login]:
    """The accounts, made where they are missing. An account that we did not make is left as it is."""
    path = var / FILE_NAME
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    passwords = {name: known.get(name) or secrets.token_urlsafe(9) for name in ACCOUNTS}
    _keep(path, passwords)  # before the accounts: a password in use is never one that was lost
    with transaction.atomic():
        return [_ensure(name, passwords[name], purpose) for name, purpose in ACCOUNTS.items()]


def _ensure(name: str, password: str, purpose: str) -> Login:
    user = User.objects.filter(username=name).first()
    if user is None:
        make = User.objects.create_superuser if name == "admin" else User.objects.create_user
        user = make(username=name, password=password)
        if name in ROLES:
            user.groups.add(Group.objects.get(name=name))
        default_project().members.add(user)
    return Login(name, password if user.check_password(password) else None, purpose)


def _keep(path: Path, passwords: dict[str, str]) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(passwords, file, indent=1)
    fresh.replace(path)
