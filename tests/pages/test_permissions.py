"""Who gets in: every named page for everyone, as data."""

from __future__ import annotations

import contextlib
import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve, reverse

from tests.factories import make_user
from tests.pages.addresses import ELSEWHERE, PUBLIC, ROLES_TO_READ, ROLES_TO_WRITE, page_addresses, write_addresses
from tests.pages.conftest import World

PEOPLE = ("anonymous", "no role", "consumer", "clinician", "adjudicator", "curator")


def sign_in(client: Client, world: World, who: str) -> set[str]:
    """The roles of the one who is signed in."""
    if who == "anonymous":
        return set()
    client.force_login(make_user(None if who == "no role" else who))
    return {who} - {"no role"}


def wanted(roles: set[str], allowed: set[str], who: str) -> str:
    return "in" if roles & allowed else "asked to sign in" if who == "anonymous" else "refused"


def outcome(response: object) -> str:
    status = response.status_code  # type: ignore[attr-defined]
    if status == 302 and response.url.startswith(reverse("login")):  # type: ignore[attr-defined]
        return "asked to sign in"
    return "refused" if status == 403 else "in" if status < 400 or status in (409, 422) else str(status)


@pytest.mark.parametrize("who", PEOPLE)
def test_reading(world: World, client: Client, who: str) -> None:
    roles = sign_in(client, world, who)
    found = {
        name: outcome(client.get(address)) for name, address in page_addresses(world).items() if name not in PUBLIC
    }
    assert found == {name: wanted(roles, allowed, who) for name, allowed in ROLES_TO_READ.items()}


@pytest.mark.parametrize("who", PEOPLE)
def test_writing(world: World, client: Client, who: str) -> None:
    roles = sign_in(client, world, who)
    found = {name: outcome(client.post(address, form)) for name, (address, form) in write_addresses(world).items()}
    assert found == {name: wanted(roles, allowed, who) for name, allowed in ROLES_TO_WRITE.items()}


@pytest.mark.parametrize("who", [who for who in PEOPLE if who not in ("anonymous", "no role")])
def test_no_page_shows_a_door_that_stays_shut(world: World, client: Client, who: str) -> None:
    sign_in(client, world, who)
    shut = set()
    for name, address in page_addresses(world).items():
        response = client.get(address)
        if response.status_code != 200:
            continue
        for link in re.findall(r'href="(/[^"?#]*)', response.content.decode()):
            with contextlib.suppress(Resolver404):
                behind = resolve(link).url_name
                if not {who} & ROLES_TO_READ.get(behind, {who}):
                    shut.add((name, behind))
    assert shut == set()


def test_no_page_is_forgotten() -> None:
    """A new name in `urls` must be put in the matrix (or in `ELSEWHERE`, with its own test)."""

    def names(resolver: URLResolver) -> set[str]:
        found: set[str] = set()
        for pattern in resolver.url_patterns:
            if isinstance(pattern, URLResolver):
                if not pattern.app_name and not pattern.namespace:
                    found |= names(pattern)
            elif isinstance(pattern, URLPattern) and pattern.name:
                found.add(pattern.name)
        return found

    assert names(get_resolver()) == {*ROLES_TO_READ, *ROLES_TO_WRITE, *PUBLIC, *ELSEWHERE}


def test_another_projects_objects_are_not_there(world: World, client: Client, stranger: User) -> None:
    client.force_login(stranger)
    for name, address in page_addresses(world).items():
        if name not in PUBLIC:
            assert client.get(address).status_code == 404, name


def test_a_run_of_another_project_is_not_there(world: World, client: Client) -> None:
    from tests.factories import make_finished_run, make_project

    run = make_finished_run(1, name="theirs", project=make_project("elsewhere"))
    path = run.paths.all()[0]
    client.force_login(world.curator)
    addresses = [
        reverse("run", args=(run.pk,)),
        reverse("run_question", args=(run.pk, path.question.uid)),
        reverse("record", args=(run.pk, path.question.uid, 1)),
        reverse("path", args=(run.pk, path.pk)),
        reverse("override", args=(run.pk, path.pk)),
        reverse("override", args=(world.run.pk, path.pk)),
        reverse("run_cancel", args=(run.pk,)),
        reverse("questions") + "?run=theirs",
        reverse("paths") + "?run=theirs",
    ]
    assert [client.get(address).status_code for address in addresses] == [404] * len(addresses)
    assert client.post(reverse("run_action", args=(run.pk, "pause"))).status_code == 404


@pytest.mark.parametrize("name", ["run_action", "remake"])
def test_what_writes_is_never_done_by_reading(world: World, client: Client, name: str) -> None:
    client.force_login(world.curator)
    assert client.get(write_addresses(world)[name][0]).status_code == 405
