"""What can be chosen of an export: each choice leaves out what it says, and the preview is what the build then makes."""

from __future__ import annotations

import itertools

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.exports import sieves
from apps.exports.build import build_export
from apps.exports.config import ExportConfig, read_config
from apps.exports.errors import ExportRefusedError
from apps.exports.lineage import read_pages
from apps.exports.models import Snapshot
from apps.exports.preview import preview_export
from apps.questions.models import Question
from apps.reasoning.models import PathLabel, Run, RunQuestion, Selection
from apps.reasoning.services import add_counters
from tests.factories import make_finished_run, make_question, make_run_question, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    """16 questions of four benchmarks: one held out, three that are one question, labels of people, one waiting, one excluded."""
    made = make_finished_run(16, allow_held_out=True)
    questions = list(Question.objects.filter(in_runs__run=made).order_by("pk"))
    Question.objects.filter(pk=questions[2].pk).update(held_out=True)
    Question.objects.filter(pk__in=(questions[4].pk, questions[9].pk)).update(canonical=questions[12])
    absent = make_question()
    Question.objects.filter(pk__in=(questions[5].pk, questions[6].pk)).update(canonical=absent)
    people(made, questions[0], slots=(1, 2))
    people(made, questions[1], slots=(1,))
    people(made, questions[7], slots=(1, 2), judged="error")
    make_run_question(made, make_question(), state="waiting", reason="disputed")
    make_run_question(made, make_question(), state="excluded", reason="rewrites_failed")
    return made


def people(run: Run, question: Question, *, slots: tuple[int, ...], judged: str = "correct") -> None:
    """A person called the kept paths Correct, whatever the judge had said."""
    kept = Selection.objects.filter(run=run, question=question, slot__in=slots).values("path")
    PathLabel.objects.filter(run=run, path__in=kept).update(source="person", overridden=True, judge_label=judged)
    RunQuestion.objects.filter(run=run, question=question).update(overridden=True)


def build(run: Run, tmp_path, **config):
    return build_export(
        run=run, variants=("cotmed",), format="jsonl", out_dir=tmp_path / "out", config=ExportConfig(**config)
    )


CHOICES = [
    {},
    {"sources": "open"},
    {"sources": "held_out"},
    {"benchmarks": ("medqa", "mmlu")},
    {"tiers": ("easy",)},
    {"tiers": ("medium", "difficult"), "benchmarks": ("pubmedqa",)},
    {"duplicates": "out"},
    {"labels": "judge"},
    {"labels": "clinician"},
    {"labels": "clinician", "duplicates": "out", "tiers": ("easy", "medium"), "sources": "open"},
    {"labels": "judge", "duplicates": "out", "benchmarks": ("medqa", "medmcqa", "pubmedqa")},
]


@pytest.mark.parametrize("config", CHOICES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()) or "defaults")
def test_the_preview_is_what_is_built_and_it_adds_up(run, tmp_path, config):
    preview = preview_export(run, ExportConfig(**config))

    manifest = build(run, tmp_path, **config)

    counted = manifest["questions"]
    assert (preview.questions, preview.ready, preview.records) == (18, counted["exported"], manifest["records"])
    assert {r: n for s, r, n in preview.reasons if s == "excluded"} == manifest["excluded"]
    assert {r: n for s, r, n in preview.reasons if s == "waiting"} == manifest["waiting"] == {"disputed": 1}
    assert dict(preview.records_left_out) == manifest["records_left_out"]
    assert preview.tier_counts == [manifest["tiers"][t]["questions"] for t in ("easy", "medium", "difficult")]
    exported = {(r["benchmark"]): 0 for r in manifest["composition"]}
    for row in manifest["composition"]:
        exported[row["benchmark"]] += row["exported"]
    assert {name: row.ready for name, row in preview.rows.items()} == exported
    assert counted["exported"] + counted["excluded"] + counted["waiting"] == counted["total"]
    assert manifest["choices"] == ExportConfig(**config).as_json()


def test_each_choice_leaves_out_what_it_says(run, tmp_path):
    def excluded(**config):
        made = build(run, tmp_path, **config)
        return {k: n for k, n in made["excluded"].items() if k != "rewrites_failed"}, made["records_left_out"]

    assert excluded() == ({}, {})
    assert excluded(sources="open") == ({"held_out": 1}, {})
    assert excluded(sources="held_out") == ({sieves.OPEN_SOURCE: 15}, {})
    assert excluded(benchmarks=("medqa",)) == ({sieves.NOT_CHOSEN_BENCHMARK: 12}, {})
    assert excluded(duplicates="out") == (
        {sieves.DUPLICATE: 3},
        {},
    )  # two beside the canonical one, one of two without it
    assert excluded(labels="judge") == ({sieves.BY_PEOPLE: 3}, {})
    assert excluded(labels="clinician") == ({sieves.NOT_BY_PEOPLE: 13}, {sieves.NOT_BY_PEOPLE: 1})


def test_of_duplicates_the_first_stays_where_the_canonical_one_is_not_in_the_run(run):
    page = [asked for page in read_pages(run) for asked in page]

    out = {pk for pk, _ in sieves.DuplicateSieve(run).sift(page, {})}

    pairs = list(Question.objects.filter(in_runs__run=run, canonical__isnull=False).order_by("pk"))
    absent = [q.pk for q in pairs if not q.canonical.in_runs.filter(run=run).exists()]
    assert out == {q.pk for q in pairs} - {absent[0]}


def test_the_same_choices_are_the_same_configuration():
    for names in itertools.permutations(("mmlu", "medqa", "medqa")):
        assert ExportConfig(benchmarks=names) == ExportConfig(benchmarks=("medqa", "mmlu"))
    assert ExportConfig(tiers=("difficult", "easy")).tiers == ("easy", "difficult")
    assert read_config(ExportConfig(labels="judge").as_json()) == ExportConfig(labels="judge")


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ({"labels": "mine"}, "labels"),
        ({"tiers": ["hard"]}, "tiers"),
        ({"colour": 1}, "colour"),
        ({"forms": "csv"}, "forms"),
    ],
)
def test_choices_that_will_not_do_are_refused_by_name(stored, named):
    with pytest.raises(ExportRefusedError, match=named):
        read_config(stored)


def test_held_out_ones_alone_want_a_run_that_allows_them(client):
    run = make_finished_run(1)
    client.force_login(make_user("curator"))

    response = client.post(
        reverse("export_new"), {"run": run.name, "variant": ["cotmed"], "format": "jsonl", "sources": "held_out"}
    )

    assert response.status_code == 422
    assert "does not allow held-out questions" in response.content.decode()


def test_what_is_chosen_on_the_page_is_ordered(client, run):
    client.force_login(make_user("curator"))
    chosen = {
        "run": run.name, "variant": ["cotmed"], "format": "jsonl", "labels": "clinician", "duplicates": "out",
        "sources": "open", "benchmark": ["mmlu", "medqa"], "tier": ["easy", "difficult"],
    }  # fmt: skip

    page = client.get(reverse("export_new"), chosen)
    client.post(reverse("export_new"), chosen)

    config = read_config(Snapshot.objects.get().config)
    assert config == ExportConfig(
        labels="clinician",
        duplicates="out",
        sources="open",
        benchmarks=("medqa", "mmlu"),
        tiers=("easy", "difficult"),
    )
    assert page.context["preview"].ready == preview_export(run, config).ready
    text = page.content.decode()
    for field in ('value="clinician" checked', 'value="out" checked', 'value="open" checked', 'value="mmlu" checked'):
        assert field in text


def test_the_api_previews_and_orders_with_choices(client, run):
    client.force_login(make_user("curator"))
    body = {"run": run.name, "variants": ["cotmed"], "config": {"tiers": ["easy"], "labels": "judge"}}

    preview = client.post("/api/v1/exports/preview", body, content_type="application/json").json()
    made = client.post("/api/v1/exports", body, content_type="application/json").json()

    expected = preview_export(run, ExportConfig(tiers=("easy",), labels="judge"))
    assert (preview["questions"], preview["exported"], preview["records"]) == (18, expected.ready, expected.records)
    assert preview["exported"] + sum(r["questions"] for r in preview["left_out"]) == 18
    assert sum(r["exported"] for r in preview["by_benchmark"]) == expected.ready
    assert Snapshot.objects.get().config == made["choices"] == ExportConfig(tiers=("easy",), labels="judge").as_json()


def test_a_preview_is_kept_while_the_run_stays_as_it_is():
    run = make_finished_run(3)

    def counted() -> bool:
        with CaptureQueriesContext(connection) as asked:
            preview_export(run)
        return any("FROM reasoning_runquestion q" in q["sql"] for q in asked)

    assert [counted(), counted()] == [True, False]
    with transaction.atomic():
        add_counters(run_id=run.pk, change={"overridden": 1})
    assert [counted(), counted()] == [True, False]
    Question.objects.filter(pk=run.questions.first().question_id).update(held_out=True)
    assert counted()
    assert preview_export(run).left_out["excluded", "held_out"] == 1
