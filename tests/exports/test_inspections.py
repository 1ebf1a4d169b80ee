"""Inspections: ordered once, made by whoever comes, kept with their time, shown without being looked for again."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.errors import ExportRefusedError, ExportStoppedError, LedgerBrokenError
from apps.exports.inspections import services
from apps.exports.inspections.pairs import Side, _marked, view_of
from apps.exports.inspections.selectors import latest_inspection
from apps.exports.inspections.services import (
    contamination_of,
    make_now,
    order_inspection,
    run_queued_inspections,
)
from apps.exports.models_checks import Inspection, InspectionPair
from apps.questions.models import ImportBatch
from apps.reasoning.models import Response, Run
from apps.review.compare.diff import plain
from tests.factories import make_benchmark, make_finished_run, make_question, make_run, make_run_question, make_user

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
STEM = " ".join(f"word{n}" for n in range(40))


@pytest.fixture
def run() -> Run:
    return make_finished_run(3, name="looked-at")


@pytest.fixture
def alike() -> Run:
    """One question nearly stands in an evaluation set, and two are nearly the same."""
    run = make_run(name="alike")
    for stem in (STEM, STEM.replace("word7 ", "other "), "A third thing that is nothing like it?"):
        make_run_question(run, make_question(stem=stem))
    make_question(
        stem=STEM.replace("word20", "<b>another</b>"), held_out=True, split="test", benchmark="mmlu", subject="anatomy"
    )
    return run


@pytest.fixture
def curator(client: Client) -> Client:
    client.force_login(make_user("curator"))
    return client


def order(run: Run | None, kind: str = "gates", **fields: Any) -> Inspection:
    from tests.factories import make_project

    return order_inspection(project=run.project if run else make_project(), kind=kind, run=run, **fields)


def test_an_order_that_waits_is_not_ordered_again(run: Run) -> None:
    first = order(run)
    assert order(run) == first
    assert order(run, "contamination") != first
    assert order(run, "contamination", threshold=0.9) != order(run, "contamination")
    assert run_queued_inspections() == 3
    assert order(run) != first
    with pytest.raises(IntegrityError), transaction.atomic():
        Inspection.objects.create(project=run.project, run=run, kind="gates")


@pytest.mark.parametrize(
    ("kind", "fields"), [("gates", {"run": None}), ("nonsense", {}), ("contamination", {"threshold": 0.3})]
)
def test_an_order_that_makes_no_sense(run: Run, kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ExportRefusedError):
        order_inspection(**{"project": run.project, "run": run, "kind": kind} | fields)


@pytest.mark.parametrize(
    "fields",
    [{"kind": "gates", "threshold": 0.8}, {"kind": "gates", "run": None}, {"kind": "contamination"}, {"state": "done"}],
)
def test_the_database_keeps_what_makes_no_sense_out(run: Run, fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Inspection.objects.create(**{"project": run.project, "run": run, "kind": "gates"} | fields)


def test_gates_with_samples_that_lead_to_their_records(run: Run, curator: Client) -> None:
    response = Response.objects.filter(run=run).select_related("path__question")[0]
    Response.objects.filter(pk=response.pk).update(text="<think> <script>alert(1)</script> " + response.text)
    made = make_now(order(run))
    (sample,) = made.result["gates"]["think_tag"]["samples"]
    page = curator.get(reverse("quality", args=(run.pk,))).content.decode()
    address = reverse("record", args=(run.pk, sample["uid"], sample["slot"]))
    assert f'href="{address}"' in page
    assert curator.get(address).status_code == 200
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    twins = made.result["gates"]["twin"]  # the factories' paths are all alike
    assert twins["records"] == made.result["records"] - 1
    assert {tuple(twin["twin"]) for twin in twins["samples"]} == {(response.path.question.uid, 1)}


def test_a_failed_one_says_why_and_the_older_result_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_now(order(run))

    def broken(*args: Any) -> Any:
        raise LedgerBrokenError("question x counts as ready")

    monkeypatch.setattr(services, "look_through", broken)
    order(run)
    assert run_queued_inspections() == 1
    latest = latest_inspection(run.project, "gates", run)
    assert latest.done == whole
    assert latest.current
    assert (latest.current.state, latest.current.error) == (
        "failed",
        "question x counts as ready. Run check_ledger.",
    )
    with pytest.raises(ExportRefusedError, match="check_ledger"):
        make_now(order(run))


def test_one_that_is_stopped_goes_back_to_the_queue(alike: Run) -> None:
    ordered = order(alike, "contamination")
    answers = iter([False, True, True])
    assert run_queued_inspections(should_stop=lambda: next(answers)) == 0
    ordered.refresh_from_db()
    assert (ordered.state, ordered.attempts) == ("queued", 0)
    with pytest.raises(ExportStoppedError):
        make_now(ordered, should_stop=lambda: True)
    assert run_queued_inspections() == 1


def test_one_whose_makers_die_again_and_again_is_given_up(run: Run) -> None:
    ordered = order(run)
    Inspection.objects.update(state="running", attempts=services.MAX_ATTEMPTS)
    assert run_queued_inspections() == 1
    ordered.refresh_from_db()
    assert ordered.state == "failed"
    assert "Given up" in ordered.error


def test_pairs_are_kept_and_those_of_an_older_look_go(alike: Run) -> None:
    first = make_now(order(alike, "contamination"))
    assert first.result["pairs"] == {"evaluation": {"exact": 0, "near": 1}, "within": {"exact": 0, "near": 1}}
    anatomy = next(one for one in first.result["sets"] if one["name"] == "MMLU anatomy test")
    assert (anatomy["imported"], anatomy["found"]) == (1, 1)
    assert len(first.result["not_compared"]) == 8
    again = make_now(order(alike, "contamination"))
    other = make_now(order(alike, "contamination", threshold=0.95))
    assert [i.pairs.count() for i in (first, again, other)] == [0, 2, 0]


def test_an_export_finds_what_was_kept_while_the_questions_are_the_same(alike: Run) -> None:
    first = contamination_of(alike, threshold=0.8)
    assert contamination_of(alike, threshold=0.8) == first
    assert contamination_of(alike, threshold=0.85) != first
    make_question(stem="More to compare with?", held_out=True)
    assert contamination_of(alike, threshold=0.8) != first


@pytest.mark.django_db(transaction=True)
def test_two_who_need_the_same_make_it_once(alike: Run) -> None:
    """One holds the lock while the other comes; the other waits and takes what was made."""
    ordered = order(alike, "contamination")
    assert services._try_lock(ordered)
    found: list[Inspection] = []

    def other() -> None:
        try:
            found.append(contamination_of(alike, threshold=0.8))
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    services._take_up(ordered)
    services.make_inspection(ordered)
    services._release(ordered)
    thread.join(timeout=20)
    assert found == [ordered]
    assert Inspection.objects.count() == 1
    assert found[0].attempts == 1


def test_a_pair_beside_each_other_with_what_differs_marked(alike: Run, curator: Client) -> None:
    make_now(order(alike, "contamination"))
    page = curator.get(reverse("run_contamination", args=(alike.pk,))).content.decode()
    assert "<mark>&lt;b&gt;another&lt;/b&gt; </mark>" in page
    assert "<mark>word20 </mark>" in page
    assert "<b>another" not in page
    assert "Not known for 8 of the 9 evaluation sets" in page
    assert "MedQA test, MedMCQA validation" in page
    (pair,) = InspectionPair.objects.filter(scope="evaluation")
    assert view_of(pair).percent == "76.5" if pair.similarity < 0.8 else "86.7"
    within = curator.get(reverse("run_contamination", args=(alike.pk,)), {"scope": "within"}).content.decode()
    assert "<mark>other </mark>" in within


def test_pairs_go_on_where_the_page_ended(alike: Run, curator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.exports.inspections.views.ON_PAGE", 2)
    for _ in range(4):
        make_run_question(alike, make_question(stem=STEM))
    made = make_now(order(alike, "contamination"))
    expected = list(made.pairs.filter(scope="within").order_by("id").values_list("pk", flat=True))
    address, seen, after = reverse("run_contamination", args=(alike.pk,)), [], 0
    while after is not None:
        context = curator.get(address, {"scope": "within", "after": after}).context
        seen += [view.pair.pk for view in context["pairs"]]
        after = context["more"]
    assert seen == expected
    assert len(seen) == 5


def test_the_page_says_when_questions_came_since(alike: Run, curator: Client) -> None:
    make_now(order(alike, "contamination"))
    address = reverse("run_contamination", args=(alike.pk,))
    assert "Questions were imported since" not in curator.get(address).content.decode()
    ImportBatch.objects.create(benchmark=make_benchmark(), file_name="test.jsonl", sha256="0" * 64)
    assert "Questions were imported since" in curator.get(address).content.decode()


@pytest.mark.parametrize("kind", ["gates", "contamination"])
def test_from_the_button_to_the_result(run: Run, curator: Client, kind: str) -> None:
    page = reverse("quality" if kind == "gates" else "run_contamination", args=(run.pk,))
    assert "Not looked at yet" in curator.get(page).content.decode()
    response = curator.post(reverse("inspection_order"), {"kind": kind, "run": run.pk})
    assert (response.status_code, response.url) == (302, page)
    waiting = curator.get(page, headers=HTMX)
    assert (waiting.status_code, b'hx-trigger="every 1s"' in waiting.content) == (200, True)
    run_queued_inspections()
    done = curator.get(page, headers=HTMX)
    assert (done.status_code, done.headers["HX-Refresh"]) == (286, "true")
    assert "Look again" in curator.get(page).content.decode()


def test_all_trainable_questions_without_a_run(alike: Run, curator: Client) -> None:
    response = curator.post(reverse("inspection_order"), {"kind": "contamination", "threshold": "0.7"})
    assert response.url == reverse("contamination")
    run_queued_inspections()
    assert len(curator.get(response.url).context["pairs"]) == 2


@pytest.mark.parametrize("threshold", ["2", "nan", "a lot"])
def test_a_threshold_that_makes_no_sense_is_refused_on_the_page(run: Run, curator: Client, threshold: str) -> None:
    response = curator.post(
        reverse("inspection_order"), {"kind": "contamination", "run": run.pk, "threshold": threshold}
    )
    assert response.status_code == 422
    assert "0.5" in response.content.decode()
    assert not Inspection.objects.exists()


def test_the_pages_take_a_fixed_number_of_queries(
    alike: Run, curator: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(6):
        make_run_question(alike, make_question(stem=STEM))
    make_now(order(alike, "contamination"))
    make_now(order(alike))
    for name in ("quality", "run_contamination"):
        with django_assert_max_num_queries(9):
            curator.get(reverse(name, args=(alike.pk,)))


def test_the_api_shows_and_orders(alike: Run, curator: Client) -> None:
    base = f"/api/v1/runs/{alike.name}"
    assert curator.get(f"{base}/quality").json() == {"done": None, "current": None}
    ordered = curator.post(f"{base}/contamination", {"threshold": 0.7}, content_type="application/json")
    assert (ordered.status_code, ordered.json()["state"]) == (201, "queued")
    assert curator.get(f"{base}/contamination").json()["current"]["id"] == ordered.json()["id"]
    run_queued_inspections()
    latest = curator.get(f"{base}/contamination").json()
    assert latest["current"] is None
    assert latest["done"]["result"]["contaminated"] == 2
    first = curator.get(f"{base}/contamination/pairs", {"limit": 1}).json()
    rest = curator.get(f"{base}/contamination/pairs", {"after": first["next"]}).json()
    assert [p["similarity"] for p in (*first["items"], *rest["items"])] == sorted(
        (p["similarity"] for p in (*first["items"], *rest["items"])), reverse=True
    )
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (1, 1, None)
    refused = curator.post(f"{base}/contamination", {"threshold": 3}, content_type="application/json")
    assert refused.status_code == 422


@given(
    same=st.lists(st.sampled_from(["a", "b,", " c", "Ö\n", "<d>"]), max_size=5),
    left=st.lists(st.sampled_from(["a", "b", "x "]), max_size=4),
    right=st.lists(st.sampled_from(["a", "B ", "y"]), max_size=4),
)
def test_what_differs_is_marked_and_nothing_is_lost(same, left, right):
    """Also where both begin and end with the same words, which are not compared again."""
    texts = [" ".join([*same, *middle, *reversed(same)]) for middle in (left, right)]

    marked = _marked(*texts)

    for text, parts in zip(texts, marked, strict=True):
        assert "".join(part.text for part in parts) == text
    for text, other, parts in zip(texts, reversed(texts), marked, strict=True):
        if plain(text) == plain(other):
            assert not any(part.changed for part in parts)


def test_a_changed_word_alone_is_marked_and_no_text_becomes_markup():
    left, right = _marked("A man <b>with</b> gout & fever.", "A man <b>with</b> gout & pain.")

    assert Side(None, left, [], 0, True).stem_html == "A man &lt;b&gt;with&lt;/b&gt; gout &amp; <mark>fever.</mark>"
    assert [part.text for part in right if part.changed] == ["pain."]
