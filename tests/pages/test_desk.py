"""The question page, the comparison and the record."""

from __future__ import annotations

import html
import json
import re

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.lineage import read_question
from apps.exports.records import VARIANTS, make_record
from apps.reasoning.models import ReasoningPath, RunQuestion, Selection
from apps.reasoning.reading import read_path
from apps.reasoning.text import opening, split_stem
from tests.pages.conftest import World
from tests.pages.test_override import plain


def page(world: World, path: int | None = None) -> str:
    address = reverse("run_question", args=(world.run.pk, world.row.question.uid))
    return address + (f"?path={path}" if path else "")


def test_nine_cells_and_the_rewritings(world: World, signed_in: Client) -> None:
    text = signed_in.get(page(world)).text
    grid = text[text.index('class="grid9"') : text.index("</table>")]
    assert grid.count('class="cell"') == 9
    assert grid.count("chip--error") == 5
    assert grid.count("chip--correct") == 4
    assert plain(text).count("refined") >= 2
    assert "Answer is not the key" in grid


def test_a_path_that_is_not_of_this_question_is_not_opened(world: World, signed_in: Client) -> None:
    stranger = world.run.paths.exclude(question=world.row.question)[0]
    text = signed_in.get(page(world, stranger.pk)).text
    assert f"?path={stranger.pk}" not in text
    assert text.count('aria-current="true"') == 1


def test_the_calls_behind_it_add_up(world: World, signed_in: Client) -> None:
    text = plain(signed_in.get(page(world)).text)
    calls = world.run.calls.filter(question=world.row.question)
    assert f"{calls.count()} calls" in text
    assert "$0.00" not in text  # no price is set: nothing is said of money
    assert f"Total {calls.count()} {812 * calls.count():,}" in text
    assert "Simulated models" in text


def test_comparison_names_what_changed(world: World, signed_in: Client) -> None:
    refined = ReasoningPath.objects.filter(run=world.run, question=world.row.question, origin="refined")[0]
    address = reverse("compare", args=(world.run.pk, world.row.question.uid))
    response = signed_in.get(address, {"a": refined.parent_id, "b": refined.pk})
    assert "0 sentences added, 0 removed, 1 changed" in plain(response.text)
    assert "<del" in response.text
    assert "<ins" in response.text
    assert signed_in.get(address, {"a": refined.pk, "b": "x"}).status_code == 404
    assert signed_in.get(address, {"a": refined.pk}).status_code == 404


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_record_is_what_is_exported_to_the_letter(world: World, signed_in: Client, variant: str) -> None:
    asked = read_question(world.run, world.row.question)
    assert asked
    for kept in asked.kept:
        address = reverse("record", args=(world.run.pk, world.row.question.uid, kept.slot))
        text = signed_in.get(address, {"set": variant}).text
        shown = re.search(r'aria-label="Record as JSON">(.*?)</pre>', text, re.S)
        assert shown
        wanted = make_record(variant, question=asked.question, cot=kept.path.text, response=kept.response.text)  # type: ignore[arg-type]
        assert json.loads(html.unescape(shown[1])) == wanted
        output = re.search(r'id="output"><div class="read read--exact">(.*?)</div>', text, re.S)
        assert output
        assert html.unescape(output[1]) == wanted["output"]


def test_the_lineage_leads_back_to_prompts(world: World, signed_in: Client) -> None:
    address = reverse("record", args=(world.run.pk, world.row.question.uid, world.record.slot))
    text = signed_in.get(address).text
    steps = plain(text[text.index("Lineage") :])
    order = ["Response, revision 1", "Re-verified, round 1", "refined", "Judged, round 1", "Scored 5 of 5", "Question"]
    assert [steps.index(step) for step in order] == sorted(steps.index(step) for step in order)
    prompts = set(re.findall(r'href="(/prompts/[0-9a-f]{64}/)"', text))
    assert len(prompts) == 6
    assert all("Stage: " in signed_in.get(prompt).text for prompt in prompts)


def test_a_record_that_waits_says_why(world: World, signed_in: Client) -> None:
    RunQuestion.objects.filter(pk=world.row.pk).update(state="waiting", reason="stale")
    text = signed_in.get(reverse("record", args=(world.run.pk, world.row.question.uid, 1))).text
    assert "does not leave yet" in text
    assert "to confirm" in text
    Selection.objects.filter(pk=world.record.pk).update(path=None)
    assert signed_in.get(reverse("record", args=(world.run.pk, world.row.question.uid, 1))).status_code == 404


texts = st.text(alphabet="ab .?\n", max_size=200)


@given(text=texts)
def test_a_reading_shows_every_sentence_once_in_order(text: str) -> None:
    reading = read_path(text, stem="a b", options=["a", "b"])
    numbers = [line.number for lines in (reading.opening, *reading.paragraphs) for line in lines]
    assert numbers == list(range(1, reading.count + 1))


@given(stem=st.text(min_size=1, max_size=300))
def test_a_stem_keeps_all_its_words(stem: str) -> None:
    parts = split_stem(stem)
    assert "".join(("".join(parts.paragraphs) + parts.ask).split()) == "".join(stem.split())
    assert len(opening(stem)) <= 111
