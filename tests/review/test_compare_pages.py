"""The comparison page and the page of one claim in several paths."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from apps.reasoning.models import RunQuestion, Verdict
from apps.review.models_records import ReasonMark
from tests.factories import make_user, make_verdict
from tests.pages.conftest import World, signed_in, stranger, world
from tests.pages.test_override import plain
from tests.pages.test_pages import HOSTILE, queries_for
from tests.pages.test_records import shown

__all__ = ["signed_in", "stranger", "world"]
HTMX = {"HX-Request": "true"}
REASON = "- “Insulin would drive it into cells” starts too early.\n- Never says why."


@pytest.fixture
def criticised(world: World) -> World:
    """The path that was chosen is a person's Error; its rewriting changed the sentence in question."""
    assert world.record.source
    make_verdict(world.record.source, label="error", reviewer=make_user(first_name="Ada"), reason=REASON)
    return world


def address(world: World) -> str:
    a, b = world.record.source_id, world.record.path_id
    return reverse("compare", args=(world.run.pk, world.row.question.uid)) + f"?a={a}&b={b}"


def alike(world: World, **more: Any) -> str:
    path = more.get("path", world.path.pk)
    return reverse("alike", args=(world.run.pk, world.row.question.uid)) + f"?path={path}&s=4"


def form(world: World, **said: Any) -> dict[str, Any]:
    version = RunQuestion.objects.get(pk=world.row.pk).version
    return {
        "reason": "Starts insulin too early.", "factuality": "on", "version": version, "idempotency_key": str(uuid4()),
    } | said  # fmt: skip


def test_changed_words_stand_out_and_reasons_are_suggested(criticised: World, signed_in: Client) -> None:
    page = signed_in.get(address(criticised))
    text = plain(page.text)
    assert "0 sentences added, 0 removed, 1 changed, 5 unchanged" in text
    assert "Insulin would drive" in text
    assert re.search(r'<ins class="is">.*<b>', page.text)
    assert "Fixed suggested" in text
    assert "No suggestion" in text
    assert "a reason counts as fixed when the words it quotes" in text
    assert "Reason 1 : Fixed" in text


def test_a_clinician_settles_what_became_of_a_reason(criticised: World, signed_in: Client) -> None:
    verdict = Verdict.objects.get(source="person")
    given = {"a": criticised.record.source_id, "b": criticised.record.path_id, "verdict": verdict.pk, "part": 1, "mark": "present"}  # fmt: skip
    settle = reverse("settle_reason", args=(criticised.run.pk, criticised.row.question.uid))
    page = signed_in.post(settle, given, follow=True)
    assert "Still there settled by" in plain(page.text)
    mark = ReasonMark.objects.get()
    assert (mark.by, mark.mark, mark.suggested) == (criticised.clinician, "present", "")
    assert "fixed or still there" in plain(signed_in.post(settle, given | {"mark": "new"}, follow=True).text)
    assert signed_in.post(settle, given | {"verdict": 10**9}).status_code == 404
    assert signed_in.post(settle, given | {"part": "x"}, follow=True).status_code == 200
    assert ReasonMark.objects.count() == 1


def test_the_same_claim_is_judged_once_for_the_chosen_paths(world: World, signed_in: Client) -> None:
    page = signed_in.get(alike(world))
    offered = [int(v) for v in re.findall(r'name="paths" value="(\d+)"', page.text)]
    assert offered[0] == world.path.pk
    assert len(offered) > 3
    assert "at least half of the telling words" in plain(page.text)
    chosen = [p.pk for p in world.run.paths.filter(pk__in=offered, labels__label="correct", origin="generated")][:2]
    given = form(world, paths=chosen)
    blind = signed_in.post(alike(world), given | {"do": "save"})
    assert (blind.status_code, "Look at what it changes" in plain(blind.text)) == (422, True)
    looked = signed_in.post(alike(world), given | {"do": "preview"}, headers=HTMX)
    assert "5 errors Medium" in plain(looked.text)
    assert "7 errors Medium" in plain(looked.text)
    other = signed_in.post(alike(world), given | {"paths": chosen[:1], "do": "save", "shown": shown(looked.text)})
    assert other.status_code == 422
    saved = signed_in.post(alike(world), given | {"do": "save", "shown": shown(looked.text)}, follow=True)
    assert "Your verdict is saved on 2 paths. 5 → 7 errors" in plain(saved.text)
    assert RunQuestion.objects.get(pk=world.row.pk).error_count == 7
    said = Verdict.objects.filter(source="person")
    assert {v.path_id for v in said} == set(chosen)
    assert all(v.details["sentences"] for v in said)


def test_a_change_meanwhile_and_what_is_missing_are_told(world: World, signed_in: Client) -> None:
    given = form(world, paths=[world.path.pk])
    looked = signed_in.post(alike(world), given | {"do": "preview"}, headers=HTMX)
    RunQuestion.objects.filter(pk=world.row.pk).update(version=given["version"] + 1)
    late = signed_in.post(alike(world), given | {"do": "save", "shown": shown(looked.text)})
    assert (late.status_code, "changed since you opened it" in plain(late.text)) == (409, True)
    again = {"version": given["version"] + 1, "shown": shown(late.text), "do": "save"}
    for missing, words in (
        ("reason", "Give the reason"),
        ("factuality", "fails at least one axis"),
        ("paths", "at least one path"),
    ):
        rest = {k: v for k, v in (given | again).items() if k != missing}
        refused = signed_in.post(alike(world), rest)
        assert (refused.status_code, words in plain(refused.text)) == (422, True), missing
    assert signed_in.post(alike(world), given | again).status_code == 302


def test_without_sentences_it_says_what_to_do(world: World, signed_in: Client) -> None:
    bare = reverse("alike", args=(world.run.pk, world.row.question.uid)) + f"?path={world.path.pk}&s=999"
    assert "No sentence chosen" in signed_in.get(bare).text
    assert signed_in.get(bare.replace(str(world.path.pk), "0")).status_code == 404


def test_queries(criticised: World, signed_in: Client) -> None:
    few = queries_for(signed_in, address(criticised))
    for n in range(3):
        make_verdict(criticised.record.source, label="error", reviewer=make_user(), reason=f"Wrong {n}.")  # type: ignore[arg-type]
    assert queries_for(signed_in, address(criticised)) == few <= 17
    assert queries_for(signed_in, alike(criticised)) <= 17


def test_hostile_text_is_text(criticised: World, signed_in: Client) -> None:
    Verdict.objects.filter(path=criticised.record.source).update(reason=HOSTILE)
    criticised.run.paths.filter(question=criticised.row.question).update(text=f"{HOSTILE} is given at once to all.")
    for page in (address(criticised), alike(criticised).replace("s=4", "s=1")):
        text = signed_in.get(page).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text
