"""Settling without script: the list, one disagreement, flags; what is refused, and what is kept of it."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.reasoning.models import RunQuestion, Verdict
from apps.review.models import QuestionFlag
from apps.review.queues.flags import flag_question
from tests.factories import make_run, make_user
from tests.review.test_override import Scene, make_scene

pytestmark = pytest.mark.django_db
FRAGMENT = {"X-Fragment": "1"}


@pytest.fixture
def scene() -> Scene:
    """A question with four errors of which the third path, judged Correct, is disputed."""
    return disputed(make_scene(4, run=make_run(config={"label_policy": "two"})))


def disputed(scene: Scene, place: int = 2) -> Scene:
    told = {"reasons": ["wrong_fact"], "harm": "mild", "sentences": [2], "splitter": 1}
    scene.person = make_user(first_name="Ada", last_name="Moreau")
    scene.override(place, reason="Insulin at 3.1 is unsafe.", details=told)
    scene.override(place, "correct", reviewer=make_user(first_name="Ben", last_name="Okri"), reason="It holds.")
    return scene


@pytest.fixture
def adjudicator(client: Client) -> User:
    person = make_user("adjudicator", first_name="Cy", last_name="Third")
    client.force_login(person)
    return person


def address(scene: Scene, place: int = 2) -> str:
    return reverse("settle_path", args=(scene.run.pk, scene.paths[place].pk))


def form(scene: Scene, **changes: object) -> dict[str, object]:
    given = {"label": "error", "reasons": ["faulty_logic"], "sentences": ["3"], "comment": "It does not follow."}
    return given | {"version": scene.row().version, "idempotency_key": uuid4()} | changes


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def rulings(scene: Scene) -> list[str]:
    return list(Verdict.objects.filter(source="adjudication").order_by("pk").values_list("label", flat=True))


def test_the_list_shows_what_one_may_settle_and_why_not_the_rest(
    scene: Scene, adjudicator: User, client: Client
) -> None:
    text = plain(client.get(reverse("settle")).text)
    assert "Disagreements for you 1" in text
    assert "1 Error, 1 Correct" in text
    assert "Ada Moreau" not in text
    scene.override(2, reviewer=adjudicator)
    text = plain(client.get(reverse("settle")).text)
    assert "Disagreements for you 0" in text
    assert "1 not yours to settle: you judged it yourself" in text
    assert "another adjudicator settles them" in text


def test_both_sides_under_pseudonyms_until_it_is_settled(scene: Scene, adjudicator: User, client: Client) -> None:
    page = client.get(address(scene)).text
    text = plain(page)
    for said in ("Reviewer 1", "Reviewer 2", "Insulin at 3.1 is unsafe.", "It holds.", "Wrong fact", "Mild harm"):
        assert said in text
    assert "Moreau" not in text
    assert f"temperature {scene.paths[2].temperature}" not in text
    assert re.search(r'sent--cited" id="s2">.*?Reviewer 1', page, re.S)
    assert page.count("sent--cited") == 1
    assert "After 5 errors Medium" in text
    assert "After 4 errors Easy" in text
    done = plain(client.post(address(scene), form(scene), follow=True).text)
    assert "Ada Moreau" in done
    assert "It does not follow." in done
    assert f"temperature {scene.paths[2].temperature}" in done


def test_a_settled_label_stands_and_says_what_it_changed(scene: Scene, adjudicator: User, client: Client) -> None:
    response = client.post(address(scene), form(scene), headers=FRAGMENT)
    assert response.status_code == 200
    assert "data-focus" in response.text
    assert "4 → 5 errors: easy → medium" in plain(response.text)
    scene.override(2, "correct", reviewer=make_user())
    row = scene.row()
    assert (row.error_count, row.tier, row.disputed) == (5, "medium", False)
    assert "Disagreements for you 0" in plain(client.get(reverse("settle")).text)


def test_sent_twice_it_is_one_ruling_and_can_be_changed_by_who_gave_it(
    scene: Scene, adjudicator: User, client: Client
) -> None:
    same = form(scene)
    assert [client.post(address(scene), same).status_code for _ in range(2)] == [302, 302]
    assert rulings(scene) == ["error"]
    again = client.get(address(scene) + "?again=1").text
    assert 'value="faulty_logic" data-key="l" checked' in again
    client.post(address(scene), form(scene, label="correct", reasons=[], sentences=[]))
    assert scene.row().error_count == 4
    client.force_login(make_user("adjudicator"))
    assert 'id="judge"' not in client.get(address(scene) + "?again=1").text


def test_nobody_settles_what_they_judged_themselves(scene: Scene, adjudicator: User, client: Client) -> None:
    scene.override(2, reviewer=adjudicator)
    response = client.get(address(scene))
    assert response.status_code == 403
    assert "You have judged this path yourself" in response.text
    answers = [client.post(address(scene), form(scene), headers=h) for h in ({}, FRAGMENT)]
    assert [answer.status_code for answer in answers] == [403, 409]
    assert all("It does not follow." in answer.text for answer in answers)
    assert rulings(scene) == []


def test_a_change_meanwhile_keeps_what_was_typed(scene: Scene, adjudicator: User, client: Client) -> None:
    mine = form(scene)
    client.force_login(make_user("adjudicator", first_name="Dora", last_name="Fast"))
    client.post(address(scene), form(scene, label="correct", reasons=[], sentences=[], comment="Fine."))
    client.force_login(adjudicator)
    response = client.post(address(scene), mine, headers=FRAGMENT)
    assert response.status_code == 409
    text = plain(response.text)
    assert "Dora Fast has settled it meanwhile: Correct “Fine.”" in text
    assert ">It does not follow.</textarea>" in response.text
    assert 'value="3" form="judge" checked' in response.text
    fresh = re.search(r'name="version" value="(\d+)"', response.text)
    assert fresh
    assert client.post(address(scene), mine | {"version": fresh[1]}).status_code == 302
    assert scene.row().error_count == 5


def test_what_is_not_valid_comes_back_as_it_was(scene: Scene, adjudicator: User, client: Client) -> None:
    response = client.post(address(scene), form(scene, reasons=[], comment="", harm="severe"))
    assert response.status_code == 422
    assert "Say what is wrong" in response.text
    assert 'value="severe" selected' in response.text
    assert 'href="#f-reasons"' in response.text
    assert rulings(scene) == []


def test_where_nobody_disagrees_there_is_nothing_to_settle(scene: Scene, adjudicator: User, client: Client) -> None:
    assert "Nothing to settle here" in client.get(address(scene, 0)).text
    response = client.post(address(scene, 0), form(scene))
    assert response.status_code == 409
    assert "It does not follow." in response.text
    assert rulings(scene) == []


def test_the_next_one_is_offered_and_the_last_says_so(scene: Scene, adjudicator: User, client: Client) -> None:
    disputed(scene, 3)
    done = client.post(address(scene), form(scene), headers=FRAGMENT).text
    assert f'action="{address(scene, 3)}"' in done
    done = client.post(address(scene, 3), form(scene), headers=FRAGMENT).text
    assert "No other disagreement waits for you" in done


def test_the_lists_cost_the_same_for_many(scene: Scene, adjudicator: User, client: Client) -> None:
    def queries(name: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(reverse(name)).status_code == 200
        return len(seen)

    flag_question(question=scene.row().question, project=scene.run.project, reviewer=make_user(), kind="outdated")
    other = disputed(make_scene(4, run=make_run(config={"label_policy": "two"}, name="other")))
    few = {name: queries(name) for name in ("settle", "settle_flags")}
    for place in (3, 4, 5):
        disputed(other, place)
    more = disputed(make_scene(5, run=make_run(config={"label_policy": "two"}, name="more")))
    for kind in ("ambiguous", "key_wrong"):
        flag_question(question=scene.row().question, project=more.run.project, reviewer=make_user(), kind=kind)
    assert {name: queries(name) for name in few} == few
    assert few["settle"] <= 14
    assert few["settle_flags"] <= 8


def test_review_tells_adjudicators_and_nobody_else(scene: Scene, adjudicator: User, client: Client) -> None:
    assert "1 disagreement waits for you to settle" in plain(client.get(reverse("review_home")).text)
    client.force_login(scene.person)
    assert reverse("settle") not in client.get(reverse("review_home")).text


def raise_flag(scene: Scene, client: Client, **changes: object) -> object:
    given = {"kind": "key_wrong", "note": "B since 2019.", "idempotency_key": uuid4()}
    return client.post(reverse("question_flag", args=(scene.run.pk, scene.row().question.uid)), given | changes)


def test_a_question_is_flagged_outside_a_queue_and_comes_back_when_revoked(client: Client) -> None:
    scene = make_scene(4)
    client.force_login(scene.person)
    page = reverse("question_flag", args=(scene.run.pk, scene.row().question.uid))
    assert page in client.get(reverse("run_question", args=(scene.run.pk, scene.row().question.uid))).text
    assert "2 → 0 records" in plain(client.get(page).text)
    raise_flag(scene, client)
    assert (scene.row().state, scene.row().reason) == ("excluded", "question_invalid")
    flag = QuestionFlag.objects.get()
    client.force_login(make_user("adjudicator"))
    one = reverse("settle_flag", args=(flag.pk,))
    text = plain(client.get(one).text)
    assert "Reviewer 1 : the key is wrong" in text
    assert "B since 2019." in text
    assert "0 → 2 records" in text
    refused = client.post(one, {"decision": "revoke", "why": " "})
    assert refused.status_code == 422
    assert "Say why the question is sound" in refused.text
    given = {"decision": "revoke", "why": "The key is right since 2019."}
    done = client.post(one, given, follow=True)
    assert "data-focus" in done.text
    assert (scene.row().state, scene.row().records) == ("ready", 2)
    assert client.post(one, given).status_code == 302  # the same again
    late = client.post(one, {"decision": "uphold", "why": "No, it is wrong."})
    assert late.status_code == 409
    assert "No, it is wrong." in late.text


def test_a_flag_is_taken_back_where_it_was_raised(client: Client) -> None:
    scene = make_scene(4)
    client.force_login(scene.person)
    raise_flag(scene, client)
    page = reverse("question_flag", args=(scene.run.pk, scene.row().question.uid))
    back = reverse(
        "question_flag_withdraw", args=(scene.run.pk, scene.row().question.uid, QuestionFlag.objects.get().pk)
    )
    assert f'action="{back}"' in client.get(page).text
    other = Client()
    other.force_login(make_user())
    assert back not in other.get(page).text
    assert "an adjudicator may revoke it" in plain(other.post(back, follow=True).text)
    assert scene.row().reason == "question_invalid"
    assert "Your flag is taken back." in client.post(back, follow=True).text
    assert (scene.row().state, scene.row().records) == ("ready", 2)


def test_an_upheld_flag_keeps_the_question_out(client: Client) -> None:
    scene = make_scene(4)
    client.force_login(scene.person)
    raise_flag(scene, client)
    raise_flag(scene, client, kind="outdated")
    first, second = QuestionFlag.objects.order_by("pk")
    client.force_login(make_user("adjudicator"))
    assert "1 other flag on it still stands" in plain(client.get(reverse("settle_flag", args=(second.pk,))).text)
    client.post(reverse("settle_flag", args=(second.pk,)), {"decision": "revoke", "why": "Still taught."})
    client.post(reverse("settle_flag", args=(first.pk,)), {"decision": "uphold"})
    assert RunQuestion.objects.get(run=scene.run).reason == "question_invalid"
    assert "No open flag" in client.get(reverse("settle_flags")).text


def test_a_flag_without_a_kind_comes_back(client: Client) -> None:
    scene = make_scene(4)
    client.force_login(scene.person)
    response = raise_flag(scene, client, kind="")
    assert response.status_code == 422  # type: ignore[attr-defined]
    assert ">B since 2019.</textarea>" in response.text  # type: ignore[attr-defined]
    assert not QuestionFlag.objects.exists()
