"""The export pages: who may do what, what they show, how they follow a build."""

from __future__ import annotations

import pytest
from django.urls import reverse

from apps.exports.models import ExportState, Snapshot
from apps.exports.preview import preview_export
from apps.exports.services import build_queued_exports, create_export
from apps.questions.models import Question
from tests.factories import make_finished_run, make_question, make_run_question, make_user

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def export_dir(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"


@pytest.fixture
def curator(client):
    client.force_login(make_user("curator"))
    return client


@pytest.mark.parametrize(
    ("role", "listed", "ordered"),
    [(None, 403, 403), ("clinician", 200, 403), ("curator", 200, 302), ("anonymous", 302, 302)],
)
def test_who_may_look_and_who_may_order(client, role, listed, ordered):
    run = make_finished_run(1)
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    if role != "anonymous":
        client.force_login(make_user(role))
    post = {"run": run.name, "variant": ["cotmed"], "format": "jsonl"}

    assert client.get(reverse("exports")).status_code == listed
    assert client.get(reverse("export", args=(made.pk,))).status_code == listed
    response = client.post(reverse("export_new"), post)
    assert response.status_code == ordered
    assert Snapshot.objects.count() == (2 if role == "curator" else 1)


def test_an_export_from_order_to_files(curator):
    run = make_finished_run(3)

    response = curator.post(
        reverse("export_new"), {"run": run.name, "variant": ["cotmed", "reasonmed"], "format": "parquet"}
    )
    made = Snapshot.objects.get()
    assert response.url == reverse("export", args=(made.pk,))
    assert made.variants == ["reasonmed", "cotmed"]
    waiting = curator.get(response.url, headers=HTMX)
    assert (waiting.status_code, b'hx-trigger="every 1s"' in waiting.content) == (200, True)
    build_queued_exports()
    done = curator.get(response.url, headers=HTMX)

    assert (done.status_code, b"hx-trigger" in done.content) == (286, False)
    made.refresh_from_db()
    for file in made.manifest["files"]:
        assert file["sha256"] in done.content.decode()
        assert reverse("export_file", args=(made.pk, file["path"])) in done.content.decode()
    assert "<html" not in done.content.decode()
    assert "<html" in curator.get(response.url).content.decode()


def test_the_list_follows_what_is_being_built(curator):
    made = create_export(run=make_finished_run(1), variants=["cotmed"], format="jsonl")
    Snapshot.objects.update(state=ExportState.BUILDING, questions=200, done_questions=124)

    live = curator.get(reverse("exports"), headers=HTMX)
    Snapshot.objects.update(state=ExportState.FAILED, error="The disk is <full>.")
    ended = curator.get(reverse("exports"), headers=HTMX)

    assert "Writing, 62 %" in live.content.decode()
    assert ended.status_code == 286
    assert "The disk is &lt;full&gt;." in curator.get(reverse("export", args=(made.pk,))).content.decode()


def test_the_list_goes_on_where_the_page_ended(curator, monkeypatch):
    monkeypatch.setattr("apps.exports.views.ON_PAGE", 2)
    run = make_finished_run(1)
    made = [create_export(run=run, variants=["cotmed"], format="jsonl") for _ in range(5)]
    seen, url = [], reverse("exports")

    while url:
        context = curator.get(url).context
        seen += [s.pk for s in context["snapshots"]]
        url = f"{reverse('exports')}?before={context['more']}" if context["more"] else ""

    assert seen == [s.pk for s in reversed(made)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"run": "nobody"}, "Choose a run."),
        ({"variant": []}, "at least one set"),
        ({"variant": ["gold"]}, "at least one set"),
    ],
)
def test_an_order_with_something_missing_says_what(curator, change, said):
    run = make_finished_run(1)

    response = curator.post(reverse("export_new"), {"run": run.name, "variant": ["cotmed"], "format": "jsonl"} | change)

    assert response.status_code == 422
    assert said in response.content.decode()
    assert not Snapshot.objects.exists()


def test_the_preview_is_what_the_export_becomes(curator):
    run = make_finished_run(8)
    held_out, *_ = Question.objects.filter(in_runs__run=run)
    Question.objects.filter(pk=held_out.pk).update(held_out=True)
    make_run_question(run, make_question(), state="waiting", reason="disputed")
    make_run_question(run, make_question(), state="excluded", reason="rewrites_failed")

    preview = preview_export(run)
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    build_queued_exports()

    made.refresh_from_db()
    assert {"total": preview.questions, "exported": preview.ready, "excluded": 2, "waiting": 1} == made.manifest[
        "questions"
    ]
    assert preview.records == made.records
    assert preview.tier_counts == [made.manifest["tiers"][t]["questions"] for t in ("easy", "medium", "difficult")]
    assert preview.reasons == [
        ("excluded", "held_out", 1),
        ("excluded", "rewrites_failed", 1),
        ("waiting", "disputed", 1),
    ]


def test_choosing_a_run_shows_its_preview_alone(curator):
    run, other = make_finished_run(2), make_finished_run(5)

    page = curator.get(reverse("export_new"))
    fragment = curator.get(reverse("export_new"), {"run": run.name, "format": "jsonl"}, headers=HTMX)

    assert page.context["form"].run == other
    assert fragment.context["preview"].questions == 2
    assert "<html" not in fragment.content.decode()


def test_the_list_takes_as_many_queries_for_many_as_for_one(curator, django_assert_num_queries):
    run, author = make_finished_run(1), make_user("curator")
    for expected in (1, 6):
        for _ in range(expected):
            create_export(run=run, variants=["cotmed"], format="jsonl", created_by=author)
        curator.get(reverse("exports"))
        with django_assert_num_queries(5):
            curator.get(reverse("exports"))
