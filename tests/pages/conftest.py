"""A finished run and people of each kind, for tests of pages."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from apps.questions.access import ADJUDICATOR
from apps.reasoning.models import ReasoningPath, Run, RunQuestion, Selection
from tests.factories import make_finished_run, make_project, make_user


@dataclass
class World:
    """A run of four questions; `row` is a medium question of it with two records."""

    run: Run
    row: RunQuestion
    path: ReasoningPath
    record: Selection
    curator: User
    clinician: User


@pytest.fixture
def world(db: None) -> World:
    run = make_finished_run(4, name="four")
    row = RunQuestion.objects.select_related("question").get(run=run, error_count=5)
    return World(
        run=run,
        row=row,
        path=ReasoningPath.objects.filter(run=run, question=row.question, origin="generated").order_by("pk")[1],
        record=Selection.objects.filter(run=run, question=row.question).order_by("slot")[0],
        curator=make_user("curator"),
        clinician=make_user("clinician"),
    )


@pytest.fixture
def signed_in(world: World, client: Client) -> Client:
    client.force_login(world.clinician)
    return client


@pytest.fixture
def stranger(db: None) -> User:
    """A curator and adjudicator of another project only."""
    user = make_user("curator", member_of=make_project("elsewhere"))
    return with_role(user, ADJUDICATOR)


def with_role(user: User, role: str) -> User:
    """The same person with one role more."""
    user.groups.add(Group.objects.get_or_create(name=role)[0])
    return user
