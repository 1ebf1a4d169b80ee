"""Finding questions and paths: filters, keyset pages, capped counts, empty states."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.questions.models import Question
from apps.reasoning import paging
from apps.reasoning.models import Label, PathLabel, ReasoningPath, RunQuestion, Verdict
from apps.reasoning.paging import count_capped, read_page
from apps.reasoning.path_selectors import PathFilter, search_paths
from apps.reasoning.question_selectors import QuestionFilter, search_run_questions
from tests.factories import make_question, make_run, make_run_question
from tests.pages.conftest import World

pytestmark = pytest.mark.django_db


def uids(text: str) -> list[str]:
    return re.findall(r'<p class="hash">([\w-]+)</p>', text)


def found(world: World, **said: str) -> set[int | None]:
    """The error counts (each question of the world has its own) of the questions that match."""
    rows = search_run_questions(world.run, QuestionFilter.read(said))
    return set(rows.values_list("error_count", flat=True))


@pytest.mark.parametrize(
    ("said", "errors"),
    [
        ({}, {0, 2, 4, 5}),
        ({"tier": "medium"}, {5}),
        ({"errors": "2"}, {2}),
        ({"errors": "1-4"}, {2, 4}),
        ({"pattern": "C" * 9}, {0}),
        ({"pattern": "CCCCC*EEEE"}, {4}),
        ({"pattern": "????E*"}, {5}),
        ({"benchmark": "pubmedqa"}, {4}),
        ({"benchmark": "nowhere"}, set()),
        ({"split": "train", "tier": "easy"}, {0, 2, 4}),
        ({"subject": "endocrinology"}, {0, 2, 4, 5}),
        ({"subject": "endo"}, set()),
        ({"contradiction": "1"}, {5}),
        ({"overridden": "1"}, set()),
        ({"state": "ready"}, {0, 2, 4, 5}),
        ({"state": "waiting:rank"}, set()),
        ({"q": "bicarbonate"}, {0, 2, 4, 5}),
        ({"q": '"replace saline"'}, set()),
        ({"q": "zebra or bicarbonate", "errors": "0"}, {0}),
        ({"q": "bicarbonate -potassium"}, set()),
    ],
)
def test_filters_of_questions(world: World, said: dict[str, str], errors: set[int]) -> None:
    assert found(world, **said) == errors


def test_search_reads_stems_and_options(world: World) -> None:
    question = make_question(stem="A child ate oleander.", options=["digoxin immune fab", "atropine"], key=0)
    make_run_question(world.run, question)
    for words in ("oleander", "digoxin", "oleanders digoxin"):
        rows = search_run_questions(world.run, QuestionFilter.read({"q": words}))
        assert [row.question_id for row in rows] == [question.pk]


@pytest.mark.parametrize(
    "said",
    [
        {"tier": "impossible", "errors": "x", "pattern": "Q!", "split": "'; drop", "state": "gone", "q": "\x00"},
        {"errors": "5-", "pattern": ".*)(", "q": '"'},
        {"q": "((("},
        {"q": "x" * 5000},
        {"after": "-1"},
        {"after": "9" * 40},
        {"before": "abc"},
        {"after": "٣"},
    ],
)
def test_nonsense_in_the_address_is_no_error(signed_in: Client, said: dict[str, str]) -> None:
    assert signed_in.get(reverse("questions"), said).status_code == 200
    assert (
        signed_in.get(
            reverse("paths"), said | {"temperature": "hot", "label": "?", "reason": said.get("q", "")}
        ).status_code
        == 200
    )


def test_filters_of_paths(world: World) -> None:
    def count(**said: str) -> int:
        return search_paths(world.run, PathFilter.read(said)).count()

    base = ("generated", "imported")
    wrong = sum(path.answer != path.question.key_letter for path in ReasoningPath.objects.filter(run=world.run))
    assert count() == PathLabel.objects.filter(run=world.run).count()
    assert count(label="error") == 0 + 2 + 4 + 5
    assert count(generator="qwen2.5-72b", origin="generated") == 4 * 3
    assert count(temperature="0.9", origin="generated") == 4 * 3
    assert count(off_key="1") == wrong == 12
    assert count(contradiction="1") == 1
    assert count(origin="refined") == ReasoningPath.objects.exclude(origin__in=base).count() > 0
    ReasoningPath.objects.filter(pk=world.path.pk).update(finish_reason="length", answer="")
    assert count(truncated="1") == count(no_answer="1") == 1
    assert count(off_key="1") == wrong


def test_paths_by_what_the_judge_says(world: World) -> None:
    Verdict.objects.filter(path=world.path).update(reason="Overlooks the widened mediastinum.")
    rows = search_paths(world.run, PathFilter.read({"reason": "mediastinum overlooked"}))
    assert [row.path_id for row in rows] == [world.path.pk]
    Verdict.objects.filter(path=world.path).update(current=False)
    assert not rows.all().exists()


def test_every_question_is_on_exactly_one_page(
    signed_in: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forwards to the end and back again, over rows that end a page exactly."""
    run = make_run(name="many")
    wanted = [make_run_question(run, make_question()).question.uid for _ in range(9)]
    monkeypatch.setattr(read_page, "__kwdefaults__", {"size": 3})
    address, pages = reverse("questions") + "?run=many", []
    while address:
        text = signed_in.get(address).text
        pages.append(uids(text))
        following = re.search(r'rel="next" href="([^"]+)"', text)
        address = reverse("questions") + following[1].replace("&amp;", "&") if following else ""
    assert pages == [wanted[:3], wanted[3:6], wanted[6:]]
    back = re.search(r'rel="prev" href="([^"]+)"', text)
    assert back
    text = signed_in.get(reverse("questions") + back[1].replace("&amp;", "&")).text
    assert uids(text) == wanted[3:6]


def test_a_page_beyond_the_end_leads_back(signed_in: Client, world: World) -> None:
    text = signed_in.get(reverse("questions") + f"?run=four&after={10**9}").text
    assert "Nothing further" in text
    assert 'href="?run=four"' in text


@given(total=st.integers(0, 12), cap=st.integers(1, 10))
def test_counts_stop_at_the_cap(total: int, cap: int) -> None:
    class Rows:
        def order_by(self) -> Rows:
            return self

        values_list = lambda self, _: self  # noqa: E731

        def __getitem__(self, part: slice) -> Rows:
            self.part = part
            return self

        def count(self) -> int:
            return min(total, self.part.stop)

    said = str(count_capped(Rows(), cap))  # type: ignore[arg-type]
    assert said == (f"{cap}+" if total > cap else str(total))


def test_only_that_there_are_many_is_believed_for_a_while(django_assert_num_queries: Any) -> None:
    rows = Question.objects.all()
    for _ in range(3):
        make_question()
    with django_assert_num_queries(3):  # the second one asks nothing
        assert [str(paging.count_again(rows, cap)) for cap in (2, 2, 3, 3)] == ["2+", "2+", "3", "3"]


def test_no_list_counts_to_the_end(signed_in: Client, world: World, django_assert_num_queries: object) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for name in ("questions", "paths"):
        with CaptureQueriesContext(connection) as queries:
            signed_in.get(reverse(name))
        counting = [q["sql"] for q in queries if "COUNT(" in q["sql"] and "review_mention" not in q["sql"]]
        assert counting
        assert all(f"LIMIT {paging.COUNT_CAP + 1}" in sql for sql in counting)
        assert not any("OFFSET" in q["sql"] for q in queries)


def test_filters_survive_in_every_link(signed_in: Client, world: World) -> None:
    text = signed_in.get(reverse("questions"), {"run": "four", "tier": "easy", "q": 'a "b&c"'}).text
    for link in re.findall(r'class="facet" id="x-(\w+)" href="([^"]+)"', text):
        name, href = link
        assert f"{name}=" not in href
        assert "run=four" in href


def test_empty_lists_say_what_to_do(client: Client) -> None:
    from tests.factories import make_user

    client.force_login(make_user("curator"))
    assert reverse("run_new") in client.get(reverse("overview")).text
    assert reverse("run_new") in client.get(reverse("paths")).text
    assert "import_questions" in client.get(reverse("questions")).text
    assert "New run" in client.get(reverse("runs")).text


def test_all_imported_questions_without_a_run(signed_in: Client, world: World) -> None:
    loose = make_question(stem="Never asked of any model?", flags=["key_text_repeated"], blocked=True)
    text = signed_in.get(reverse("questions") + "?run=none").text
    assert loose.uid in text
    assert "Key text repeated" in text
    assert RunQuestion.objects.filter(run=world.run).count() + 1 == len(uids(text))
    assert "In no run yet" in signed_in.get(reverse("question", args=(loose.uid,))).text


def test_a_path_opens_in_its_question(signed_in: Client, world: World) -> None:
    response = signed_in.get(reverse("path", args=(world.run.pk, world.path.pk)))
    assert response.url.endswith(f"/questions/{world.row.question.uid}/?path={world.path.pk}#path")
    assert Label.CORRECT in PathLabel.objects.filter(path=world.path).values_list("label", flat=True)
