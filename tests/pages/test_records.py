"""Pages on which people decide about records: what follows is seen before anything is saved, and then exactly that is."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from apps.reasoning.models import ReasoningPath, Response, RunQuestion, Selection, Verdict
from apps.review.models_records import RecordDecision, RecordOverride
from apps.review.records.decisions import read_record
from tests.factories import make_user
from tests.pages.conftest import World
from tests.pages.test_override import plain
from tests.pages.test_pages import HOSTILE, queries_for

HTMX = {"HX-Request": "true"}


def change(world: World, kind: str) -> str:
    return reverse("record_change", args=(world.run.pk, world.row.question.uid, kind))


def form(world: World, **said: Any) -> dict[str, Any]:
    version = RunQuestion.objects.get(pk=world.row.pk).version
    return {"reason": "Because it is so.", "version": version, "idempotency_key": str(uuid4()), "slot": "1"} | said


def shown(text: str) -> str:
    found = re.search(r'name="shown" value="([0-9a-f]+)"', text)
    return found[1] if found else ""


def look_and_save(client: Client, world: World, kind: str, **said: Any) -> Any:
    given = form(world, **said)
    looked = client.post(change(world, kind), given | {"do": "preview"}, headers=HTMX)
    assert looked.status_code == 200, plain(looked.text)
    assert "<form" not in looked.text
    return client.post(change(world, kind), given | {"do": "save", "shown": shown(looked.text)}, follow=True)


def good_text(world: World) -> str:
    question = world.row.question
    return f"Potassium first.\n\nAnswer: {question.key_letter}. {question.key_text}"


def test_a_tier_is_set_after_its_consequences_were_seen(world: World, signed_in: Client) -> None:
    page = plain(signed_in.get(change(world, "tier")).text)
    assert "as soon as you have chosen" in page
    blind = signed_in.post(change(world, "tier"), form(world, tier="difficult", do="save"))
    assert blind.status_code == 422
    assert "Look at what it changes" in plain(blind.text)
    assert "5 errors Difficult" in plain(blind.text)
    assert RecordOverride.objects.count() == 0
    response = look_and_save(signed_in, world, "tier", tier="difficult")
    assert "5 errors, as before: medium → difficult" in plain(response.text)
    row = RunQuestion.objects.get(pk=world.row.pk)
    assert (row.tier, row.hold) == ("difficult", True)
    page = plain(signed_in.get(change(world, "tier")).text)
    assert "set the tier to difficult" in page
    assert "Back to what the error count says" in page
    look_and_save(signed_in, world, "tier", tier="follow")
    assert RunQuestion.objects.get(pk=world.row.pk).tier == "medium"


def test_what_was_seen_must_be_what_is_saved(world: World, signed_in: Client) -> None:
    given = form(world)
    looked = signed_in.post(change(world, "tier"), given | {"do": "preview", "tier": "easy"}, headers=HTMX)
    other = signed_in.post(
        change(world, "tier"), given | {"do": "save", "tier": "difficult", "shown": shown(looked.text)}
    )
    assert other.status_code == 422
    assert RecordOverride.objects.count() == 0


def test_paths_are_chosen(world: World, signed_in: Client) -> None:
    page = signed_in.get(change(world, "choice"))
    values = [int(v) for v in re.findall(r'<option value="(\d+)"', page.text)]
    first, second = [
        s.source_id for s in Selection.objects.filter(question=world.row.question, current=True).order_by("slot")
    ]
    assert {first, second} <= set(values)
    response = look_and_save(signed_in, world, "choice", place_1=str(second), place_2=str(first))
    assert "Saved" in response.text
    kept = Selection.objects.filter(question=world.row.question, current=True).order_by("slot")
    assert [(s.source_id, s.why) for s in kept] == [(second, "chosen by a person"), (first, "chosen by a person")]
    twice = signed_in.post(
        change(world, "choice"), form(world, place_1=str(first), place_2=str(first), do="preview"), headers=HTMX
    )
    assert (twice.status_code, "a different path for each place" in twice.text) == (422, True)


def test_a_response_is_written(world: World, signed_in: Client) -> None:
    wrong = signed_in.post(change(world, "response"), form(world, text="Answer: A", do="preview"), headers=HTMX)
    assert wrong.status_code == 422
    assert "answers A; the key is D" in plain(wrong.text)
    response = look_and_save(signed_in, world, "response", text=good_text(world))
    assert response.redirect_chain[-1][0] == reverse("record", args=(world.run.pk, world.row.question.uid, 1))
    text = plain(response.text)
    assert "Potassium first." in text
    assert "Earlier response, revision 1" in text
    assert Response.objects.get(path=world.record.path, current=True).author == world.clinician


def test_a_path_is_rewritten(world: World, signed_in: Client) -> None:
    page = signed_in.get(change(world, "path") + "?slot=1").text
    assert "Insulin is held below 3.3" in page
    response = look_and_save(signed_in, world, "path", text=good_text(world))
    text = plain(response.text)
    assert "Saved" in text
    made = ReasoningPath.objects.get(question=world.row.question, author=world.clinician)
    assert made.text == good_text(world)
    history = plain(
        signed_in.get(f"{reverse('run_question', args=(world.run.pk, world.row.question.uid))}?path={made.pk}").text
    )
    assert f"written by {world.clinician.username}" in history
    told = plain(signed_in.get(reverse("question_history", args=(world.run.pk, world.row.question.uid))).text)
    assert "rewrote a kept path" in told
    signed_in.force_login(world.curator)
    assert "A path was rewritten" in plain(signed_in.get(reverse("stale", args=(world.run.pk,))).text)


def test_a_record_is_returned_for_its_path(world: World, signed_in: Client) -> None:
    given = form(world, again="path")
    looked = signed_in.post(change(world, "return"), given | {"do": "preview"}, headers=HTMX)
    refused = signed_in.post(change(world, "return"), given | {"do": "save", "shown": shown(looked.text)})
    assert refused.status_code == 422
    assert "say which one" in plain(refused.text)
    response = look_and_save(signed_in, world, "return", again="path", factuality="on")
    verdict = Verdict.objects.get(path=world.record.path, source="person")
    assert (verdict.label, verdict.factuality, verdict.correctness) == ("error", False, True)
    assert "Because it is so." in response.text


def test_a_record_is_excluded_and_the_decision_taken_back(world: World, signed_in: Client) -> None:
    page = signed_in.get(change(world, "exclude") + "?slot=1")
    assert "1 export record changes: 2 now, 1 after" in plain(page.text)
    response = signed_in.post(change(world, "exclude"), form(world, do="save", shown=shown(page.text)), follow=True)
    assert "Excluded" in plain(response.text)
    assert "What would leave" in plain(response.text)
    page = signed_in.get(change(world, "withdraw") + "?slot=1")
    signed_in.post(change(world, "withdraw"), form(world, do="save", shown=shown(page.text)))
    assert RunQuestion.objects.get(pk=world.row.pk).records == 2
    assert [d.decision for d in RecordDecision.objects.order_by("pk")] == ["excluded", "withdrawn"]


def test_a_record_is_accepted_as_it_was_read(world: World, signed_in: Client) -> None:
    address = reverse("record", args=(world.run.pk, world.row.question.uid, 1))
    page = signed_in.get(address).text
    said = {name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("hash", "key")}  # type: ignore[index]
    accept = reverse("record_accept", args=(world.run.pk, world.row.question.uid, 1))
    Response.objects.filter(path=world.record.path).update(text="Something else.")
    assert "the record changed since you opened it" in signed_in.post(accept, said, follow=True).text
    Response.objects.filter(path=world.record.path).update(text=good_text(world))
    record = read_record(world.run, world.row.question, 1)
    assert record
    said["hash"] = record.hash
    for _ in range(2):
        assert "Accepted" in signed_in.post(accept, said, follow=True).text
    assert RecordDecision.objects.count() == 1


def test_a_change_meanwhile_is_told_and_can_be_saved_all_the_same(world: World, client: Client) -> None:
    client.force_login(world.clinician)
    mine = form(world, tier="difficult")
    looked = client.post(change(world, "tier"), mine | {"do": "preview"}, headers=HTMX)
    other = Client()
    other.force_login(make_user())
    look_and_save(other, world, "tier", tier="easy")
    response = client.post(change(world, "tier"), mine | {"do": "save", "shown": shown(looked.text)})
    assert response.status_code == 409
    assert "changed since you opened it" in plain(response.text)
    assert "5 errors Easy" in plain(response.text)
    fresh = re.search(r'name="version" value="(\d+)"', response.text)
    assert fresh
    again = client.post(
        change(world, "tier"), mine | {"do": "save", "version": fresh[1], "shown": shown(response.text)}
    )
    assert again.status_code == 302
    assert RunQuestion.objects.get(pk=world.row.pk).tier == "difficult"


def test_sent_twice_it_is_saved_once(world: World, signed_in: Client) -> None:
    page = signed_in.get(change(world, "exclude") + "?slot=1")
    same = form(world, do="save", shown=shown(page.text))
    assert signed_in.post(change(world, "exclude"), same).status_code == 302
    signed_in.post(change(world, "exclude"), same)
    assert RecordDecision.objects.count() == 1


def test_stale_questions_are_listed_with_what_they_take(world: World, client: Client) -> None:
    address = reverse("stale", args=(world.run.pk,))
    client.force_login(world.curator)
    assert "Nothing is stale" in client.get(address).text
    look_and_save(client, world, "tier", tier="difficult")
    text = plain(client.get(address).text)
    assert "1 × regenerate then 1 × re-verify, 1 × summarise 3" in text
    assert "A tier was set" in text
    assert "make again…" in client.get(reverse("run", args=(world.run.pk,))).text
    none = client.post(address, {"do": "chosen"}, follow=True)
    assert "Nothing was confirmed" in none.text
    done = client.post(address, {"do": "chosen", "question": str(world.row.question_id)}, follow=True)
    assert "1 question will be made again" in plain(done.text)
    assert not RunQuestion.objects.get(pk=world.row.pk).hold
    assert "Nothing is stale" in done.text


def test_all_stale_questions_are_confirmed_at_once(world: World, client: Client) -> None:
    client.force_login(world.curator)
    for row in world.run.questions.exclude(tier="difficult").select_related("question"):
        world.row = row
        look_and_save(client, world, "tier", tier="difficult")
    assert RunQuestion.objects.filter(hold=True).count() == 4
    client.post(reverse("stale", args=(world.run.pk,)), {"do": "all"})
    assert RunQuestion.objects.filter(hold=True).count() == 0


@pytest.mark.parametrize(
    ("name", "budget"), [("tier", 20), ("choice", 26), ("response", 26), ("path", 26), ("exclude", 27)]
)
def test_queries_of_a_change(world: World, signed_in: Client, name: str, budget: int) -> None:
    assert queries_for(signed_in, change(world, name) + "?slot=1") <= budget


def test_queries_of_the_stale_list_do_not_grow(world: World, client: Client) -> None:
    client.force_login(world.curator)
    address = reverse("stale", args=(world.run.pk,))
    look_and_save(client, world, "tier", tier="difficult")
    one = queries_for(client, address)
    for row in world.run.questions.filter(tier="easy").select_related("question"):
        world.row = row
        look_and_save(client, world, "tier", tier="difficult")
    assert queries_for(client, address) == one <= 18


def test_hostile_reasons_are_text(world: World, signed_in: Client) -> None:
    page = signed_in.get(change(world, "exclude") + "?slot=1")
    signed_in.post(change(world, "exclude"), form(world, do="save", shown=shown(page.text), reason=HOSTILE))
    text = signed_in.get(reverse("record", args=(world.run.pk, world.row.question.uid, 1))).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_what_is_not_there_is_not_there(world: World, signed_in: Client) -> None:
    assert signed_in.get(change(world, "return") + "?slot=7").status_code == 404
    assert signed_in.get(change(world, "exclude")).status_code == 404
    assert signed_in.post(reverse("stale", args=(world.run.pk,)), {"do": "all"}).status_code == 403
