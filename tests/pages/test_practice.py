"""Practice: compared, explained, and nothing of it kept."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.reasoning.models import Verdict
from apps.reasoning.reading import read_path
from apps.reasoning.sentences import split_sentences
from apps.review.models import Claim, Judgment, Reason, ReviewSettings
from apps.review.practice.items import PracticeItem, compare, practice_items
from apps.review.queues.said import Said, check_said
from tests.pages.conftest import World

SUBTLE, WRONG = 2, 3
FRAGMENT = {"X-Fragment": "1"}


@pytest.mark.parametrize("item", practice_items(), ids=lambda item: f"item-{item.number}")
def test_items_are_whole(item: PracticeItem) -> None:
    sentences = split_sentences(item.path)
    reading = read_path(item.path, stem=item.stem, options=item.options)
    assert 8 <= len(sentences) <= 15
    assert reading.opening
    assert sentences[-1].text.endswith(f"answer is {item.answer}.")
    assert set(item.wrong) <= {s.number for s in sentences}
    assert set(item.reasons) <= set(Reason.values)
    assert (item.label == "error") == bool(item.wrong) == bool(item.reasons)
    named = {int(n) for n in re.findall(r"[Ss]entence (\d+)", item.explanation)}
    assert set(item.wrong) <= named


def test_one_correct_one_subtle_one_wrong() -> None:
    found = [(item.label, item.answer == "ABCD"[item.key]) for item in practice_items()]
    assert found == [("correct", True), ("error", True), ("error", False)]


@pytest.mark.parametrize(
    ("said", "agreed", "found", "missed", "beyond", "reasons_missed"),
    [
        (Said(label="error", reasons=("faulty_logic", "other"), sentences=(6, 8)), True, (6,), (7, 10), (8,), 2),
        (Said(label="correct"), False, (), (6, 7, 10), (), 3),
    ],
)
def test_compared(said: Said, agreed: bool, found: object, missed: object, beyond: object, reasons_missed: int) -> None:
    item = practice_items()[WRONG - 1]
    seen = compare(item, check_said(said, text=item.path))
    assert (seen.agreed, seen.found, seen.missed, seen.beyond) == (agreed, found, missed, beyond)
    assert len(seen.reasons_missed) == reasons_missed


def judge(client: Client, number: int, **said: object) -> str:
    response = client.post(reverse("practice_judge", args=(number,)), {"splitter": 1} | said)
    assert response.status_code == 200
    return response.text


def test_nothing_is_known_before_one_commits(signed_in: Client) -> None:
    for item in practice_items():
        page = signed_in.get(reverse("practice_item", args=(item.number,))).text
        assert item.explanation[:30] not in page
        assert item.judge["reason"][:30] not in page
        assert "Known to be" not in page


def test_right(signed_in: Client) -> None:
    page = judge(signed_in, SUBTLE, label="error", reasons=["wrong_fact"], sentences=["7"])
    assert "You agree with what is known." in page
    assert 'found: <a href="#s7"' in page
    assert "named: Wrong fact" in page
    assert "boxed warning" in page
    assert "<html" in page  # without script: a whole page


def test_wrong(signed_in: Client) -> None:
    page = judge(signed_in, SUBTLE, label="correct")
    assert "You said Correct; it is known to be Error." in page
    assert 'not marked: <a href="#s7"' in page
    seventh = page[page.index('id="s7"') : page.index('id="s8"')]
    assert "Known to be wrong" in seventh
    assert page.count("Known to be wrong") == len(practice_items()[SUBTLE - 1].wrong)
    assert "not named: Wrong fact" in page


def test_what_a_real_item_refuses(signed_in: Client) -> None:
    answer = signed_in.post(reverse("practice_judge", args=(1,)), {"label": "error", "comment": " ", "harm": "mild"})
    assert answer.status_code == 422
    assert "Say what is wrong" in answer.text
    assert 'value="mild" selected' in answer.text


def test_through_all_without_script_and_nothing_is_kept(world: World, signed_in: Client) -> None:
    before = [model.objects.count() for model in (Judgment, Verdict, Claim)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for item in practice_items():
            assert not ReviewSettings.objects.filter(practised_at__isnull=False).exists()
            judge(signed_in, item.number, label=item.label, reasons=list(item.reasons))
            answer = signed_in.post(reverse("practice_next", args=(item.number,)))
            last = item.number == len(practice_items())
            following = reverse("review_home") if last else reverse("practice_item", args=(item.number + 1,))
            assert answer.url == following  # type: ignore[attr-defined]
    assert [model.objects.count() for model in (Judgment, Verdict, Claim)] == before
    assert ReviewSettings.objects.get(user=world.clinician).practised_at
    written = {m[1] for q in queries if (m := re.match(r"(?:INSERT INTO|UPDATE|DELETE FROM) \"(\w+)\"", q["sql"]))}
    assert written == {"review_reviewsettings"}


def test_passed_by(world: World, signed_in: Client) -> None:
    ReviewSettings.objects.create(user=world.clinician, text_size="l")
    answer = signed_in.post(reverse("practice_skip"))
    assert answer.url == reverse("review_home")  # type: ignore[attr-defined]
    kept = ReviewSettings.objects.get(user=world.clinician)
    assert kept.practised_at
    assert kept.text_size == "l"


def test_for_scripts(signed_in: Client) -> None:
    address = reverse("practice")
    ahead = signed_in.get(f"{address}?after=practice-1", headers=FRAGMENT).text
    assert 'data-item="practice-2"' in ahead
    assert "<html" not in ahead
    assert signed_in.get(f"{address}?after=practice-3", headers=FRAGMENT).status_code == 204
    shown = signed_in.post(reverse("practice_next", args=(1,)), headers=FRAGMENT).text
    assert 'data-item="practice-2"' in shown
    done = signed_in.post(reverse("practice_next", args=(3,)), headers=FRAGMENT)
    assert done.headers["X-Go-To"] == reverse("review_home")


def test_no_fourth(signed_in: Client) -> None:
    for number in (0, 4):
        assert signed_in.get(reverse("practice_item", args=(number,))).status_code == 404
