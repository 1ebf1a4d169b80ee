"""Failures in groups, and outputs set aside tried again: services, command, and a run over poisoned models."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.pipeline import retries
from apps.pipeline.config import parse_config
from apps.pipeline.failure_words import CLASSES, words_of
from apps.pipeline.failures import (
    Place,
    add_samples,
    groups_aside,
    groups_of_attempts,
    item_words,
    open_failures,
    read_samples,
)
from apps.pipeline.models import Call, Failure, Task
from apps.pipeline.retries import Selection, preview_retry, retry_failures
from apps.pipeline.services import RunError, create_run, start_run
from apps.questions.models import Question
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, Run, RunQuestion, RunState, Verdict
from apps.reasoning.selectors import run_status
from apps.reasoning.services import assess_questions
from tests.factories import count_again, make_call, make_project, make_question, make_run, make_user
from tests.pipeline.test_run_end_to_end import assert_settled, wait_for, wait_for_state
from workers.embedded import embedded_worker
from workers.simulated import SimulatorConfig, parse_faults, start_in_thread
from workers.simulated.keys import DatabaseKeys
from workers.simulated.running import RunningSimulator

JUDGE = Place("verify", "judge", "schema")


def set_aside(run: Run, question: Question, stage: str = "verify", item: str = "path:1", **fields: Any) -> Failure:
    """With the call that failed last, unless the test gives one."""
    error_class = fields.setdefault("error_class", "schema")
    fields.setdefault("message", "not the JSON asked for")
    if "call" not in fields:
        call = {"error_class": error_class, "error": fields["message"], "status": "failed", "excerpt": "{"}
        fields["call"] = make_call(run, question, stage, item, **call)
    return Failure.objects.create(run=run, question=question, stage=stage, item=item, **fields)


def new_run(questions: int = 3, config: dict[str, Any] | None = None) -> Run:
    """A run as `create_run` makes it: every question waits for its first paths."""
    for number in range(questions):
        make_question(
            uid=f"medqa-train-9{number:05d}",  # seeds hang on it: the same models, whatever ran before
            stem=f"Case {number}: which treatment comes first, given finding {number}?",
            key=number % 4,
        )
    return create_run(project=make_project(), name="poisoned", config=parse_config(config or {}))


def settle_tasks(run: Run) -> None:
    """As workers leave them when nothing is to be done."""
    Task.objects.filter(run=run).update(state="idle")


def answer_but_the_poisoned(run: Run) -> list[Failure]:
    """Each question has all of its nine paths but the first of the first generator, which was set aside."""
    made = []
    for row in run.questions.select_related("question"):
        for generator in run.config["generators"]:
            for sample in (1, 2, 3):
                key = f"{generator['name']}/{sample}"
                if key == "qwen2.5-72b/1":
                    made.append(set_aside(run, row.question, "generate", key, error_class="refused"))
                    continue
                ReasoningPath.objects.create(
                    run=run,
                    question=row.question,
                    origin="generated",
                    generator=generator["name"],
                    sample=sample,
                    text="…",
                )
    with transaction.atomic():
        assess_questions(run=run, question_ids=[failure.question_id for failure in made])
    count_again(run)
    settle_tasks(run)
    return made


@pytest.mark.django_db
class TestGroups:
    def test_by_stage_endpoint_and_class_with_counts_and_times(self) -> None:
        run, other = make_run(), make_run()
        question = make_question()
        early = timezone.now() - timedelta(hours=3)
        first = set_aside(run, question, item="path:1")
        Failure.objects.filter(pk=first.pk).update(created_at=early)
        set_aside(run, question, item="path:2")
        set_aside(run, question, item="path:3", error_class="empty")
        set_aside(run, question, "generate", "qwen2.5-72b/1")
        set_aside(run, question, "generate", "r1-distill-70b/3")
        set_aside(run, question, item="path:9", resolved_at=timezone.now())
        set_aside(other, question)
        found = [(g.place, g.count) for g in groups_aside(run)]
        assert found == [
            (Place("generate", "qwen2.5-72b", "schema"), 1),
            (Place("generate", "r1-distill-70b", "schema"), 1),
            (JUDGE, 2),
            (Place("verify", "judge", "empty"), 1),
        ]
        assert groups_aside(run)[2].first_at == early

    def test_generators_that_share_an_endpoint_are_one_group(self) -> None:
        generators = [{"name": "cold", "endpoint": "writer"}, {"name": "hot", "endpoint": "writer"}]
        run, question = (
            make_run(config={"generators": generators, "cutoffs": {"easy": 1, "medium": 4}}),
            make_question(),
        )
        for item in ("cold/1", "hot/1", "hot/2"):
            set_aside(run, question, "generate", item)
        set_aside(run, question, "refine", "path:1/1")
        assert [(g.place.lane, g.count) for g in groups_aside(run)] == [("generate@writer", 3), ("refine@writer", 1)]
        assert open_failures(run, endpoint="writer").count() == 4
        assert open_failures(run, endpoint="writer", stage="generate").count() == 3
        assert open_failures(run, endpoint="judge").count() == 0
        (group, _) = groups = groups_aside(run)
        add_samples(run, "aside", groups)
        assert [s.item for s in group.samples] == ["hot/2", "hot/1", "cold/1"]

    def test_attempts_with_their_share_of_the_lane(self) -> None:
        run, question = new_run(1), Question.objects.get()
        for attempt in (1, 2):
            make_call(run, question, "verify", error_class="schema", status="retried", attempt=attempt)
        make_call(run, question, "verify")
        make_call(run, question, "generate", error_class="server", status="retried", endpoint="qwen2.5-72b")
        run.counters.create(key="calls:verify@judge", value=8)
        server, schema = groups_of_attempts(run)
        assert (schema.place, schema.count, schema.lane_calls) == (JUDGE, 2, 8)
        assert (server.place, server.lane_calls) == (Place("generate", "qwen2.5-72b", "server"), None)
        assert (schema.share, server.share) == ("25.0 %", "–")
        schema.lane_calls = 1_000_000
        assert schema.share == "< 0.1 %"

    def test_samples_are_the_latest_with_what_was_sent(self) -> None:
        run, question = make_run(), make_question()
        for number in range(5):
            set_aside(run, question, item=f"path:{number}", message=f"words {number}")
        make_call(run, question, "verify", "path:4", error_class="schema", status="retried")
        groups = groups_aside(run)
        add_samples(run, "aside", groups)
        samples = groups[0].samples
        assert [s.message for s in samples] == ["words 4", "words 3", "words 2"]
        assert (samples[0].attempts, samples[0].path, samples[0].about) == (2, 4, "path 4")
        assert samples[0].call is not None
        assert samples[0].call.excerpt == "{"
        assert samples[0].prompt is not None
        assert samples[0].question == question

    @pytest.mark.parametrize("kind", ["aside", "attempts"])
    def test_a_group_is_read_page_by_page_newest_first(self, kind: Any) -> None:
        run, question, now = make_run(), make_question(), timezone.now()
        for number in range(7):
            at = now - timedelta(seconds=number // 3)  # several at one time
            call = make_call(
                run, question, "verify", f"path:{number}", error_class="schema", status="failed", created_at=at
            )
            set_aside(run, question, item=f"path:{number}", call=call)
        make_call(run, question, "verify", error_class="empty", status="failed")
        seen, before, pages = [], "", 0
        while pages == 0 or before:
            page = read_samples(run, kind, JUDGE, before=before, size=3)
            seen += [s.item for s in page.samples]
            before, pages = page.older, pages + 1
        assert sorted(seen) == [f"path:{n}" for n in range(7)]
        assert pages == 3
        if kind == "attempts":
            assert {seen[6]} == {"path:6"}

    @pytest.mark.parametrize(
        "before", ["x", "9" * 40, "1_2", f"{'9' * 30}_6f2b0c3e-7a9b-4a57-9f1d-0a4f5f3c9e11", "-1", "²"]
    )
    @pytest.mark.parametrize("kind", ["aside", "attempts"])
    def test_a_cursor_nobody_made_starts_at_the_newest(self, kind: Any, before: str) -> None:
        run = make_run()
        set_aside(run, make_question())
        assert len(read_samples(run, kind, JUDGE, before=before).samples) == 1

    def test_the_number_of_queries_does_not_grow(self) -> None:
        run = make_run()

        def queries() -> int:
            with CaptureQueriesContext(
                connection,
            ) as captured:
                for kind, groups in (("aside", groups_aside(run)), ("attempts", groups_of_attempts(run))):
                    add_samples(run, kind, groups)  # type: ignore[arg-type]
            return len(captured)

        set_aside(run, make_question())
        few = queries()
        for number, error_class in enumerate(list(CLASSES) * 3):
            set_aside(run, make_question(), item=f"path:{number}", error_class=error_class)
        assert queries() == few <= 14


def test_every_class_has_words_and_an_unknown_one_keeps_its_name() -> None:
    assert all(words.word and words.meaning and words.advice for words in CLASSES.values())
    assert words_of("odd").word == "odd"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("qwen2.5-72b/2", "qwen2.5-72b, sample 2"),
        ("path:123", "path 123"),
        ("path:7/2", "path 7, try 2"),
        ("new:1/1", "new path 1, try 1"),
        ("x", "x"),
        ("", ""),
    ],
)
def test_items_in_words(item: str, words: str) -> None:
    assert item_words(item) == words


@pytest.mark.django_db
class TestRetry:
    def test_makes_the_question_wait_and_raises_its_task(self) -> None:
        run, by = new_run(1), make_user("curator")
        (failure,) = answer_but_the_poisoned(run)
        done = retry_failures(run=run, by=by, failure_ids=[failure.pk])
        assert (done.failures, done.questions, done.at_work) == (1, 1, 1)
        failure.refresh_from_db()
        assert failure.resolved_by == by
        assert failure.resolved_at is not None
        row = RunQuestion.objects.get(run=run)
        assert (row.state, row.reason) == ("waiting", "generate")
        assert Task.objects.get(run=run, lane="generate@qwen2.5-72b").state == "ready"
        assert check_run(run) == []

    def test_asking_twice_does_it_once(self) -> None:
        run = new_run(2)
        answer_but_the_poisoned(run)
        assert retry_failures(run=run, by=None).failures == 2
        wanted = Task.objects.get(
            run=run, lane="generate@qwen2.5-72b", unit_id=run.questions.first().question_id
        ).wanted  # type: ignore[union-attr]
        again = retry_failures(run=run, by=None)
        assert (again.failures, str(again)) == (0, "Nothing was left to try again")
        assert Task.objects.filter(run=run, wanted__gt=wanted).count() == 0
        assert Failure.objects.filter(run=run).count() == 2

    def test_in_chunks_and_each_question_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retries, "CHUNK", 2)
        run = new_run(5)
        failures = answer_but_the_poisoned(run)
        set_aside(run, failures[0].question, "generate", "qwen2.5-72b/9", error_class="refused", call=None)
        done = retry_failures(run=run, by=None, stage="generate", endpoint="qwen2.5-72b", error_class="refused")
        assert (done.failures, done.questions, done.at_work) == (6, 5, 5)
        assert not open_failures(run).exists()
        assert check_run(run) == []

    @pytest.mark.parametrize(
        ("chosen", "left"),
        [
            ({"error_class": "schema"}, {"b", "c", "d"}),
            ({"stage": "verify"}, {"c", "d"}),
            ({"endpoint": "judge"}, {"d"}),
            ({"endpoint": "judge", "stage": "rank"}, {"a", "b", "d"}),
            ({"endpoint": "qwen2.5-72b"}, {"a", "b", "c"}),
            ({"endpoint": "nowhere"}, {"a", "b", "c", "d"}),
            ({"failure_ids": [0]}, {"a", "b", "c", "d"}),
            ({"up_to": 0}, {"a", "b", "c", "d"}),
            ({}, set()),
        ],
    )
    def test_what_is_chosen(self, chosen: dict[str, Any], left: set[str]) -> None:
        run = new_run(1)
        question = Question.objects.get()
        set_aside(run, question, "verify", "path:1", error_class="schema", message="a")
        set_aside(run, question, "verify", "path:2", error_class="empty", message="b")
        set_aside(run, question, "rank", "path:1", error_class="empty", message="c")
        set_aside(run, question, "generate", "qwen2.5-72b/1", error_class="empty", message="d")
        retry_failures(run=run, by=None, **chosen)
        assert set(open_failures(run).values_list("message", flat=True)) == left

    def test_what_was_set_aside_since_is_left(self) -> None:
        run = new_run(2)
        first, second = answer_but_the_poisoned(run)
        retry_failures(run=run, by=None, up_to=first.pk)
        assert list(open_failures(run)) == [second]

    def test_a_finished_run_runs_again_and_a_paused_one_stays_paused(self) -> None:
        run = new_run(2)
        first, second = answer_but_the_poisoned(run)
        for state, after, failure in (("finished", "running", first), ("paused", "paused", second)):
            Run.objects.filter(pk=run.pk).update(state=state)
            retry_failures(run=run, by=None, failure_ids=[failure.pk])
            run.refresh_from_db()
            assert run.state == after

    def test_a_cancelled_run_is_refused(self) -> None:
        run = new_run(1)
        answer_but_the_poisoned(run)
        Run.objects.filter(pk=run.pk).update(state="cancelled")
        with pytest.raises(RunError, match="cancelled for good"):
            retry_failures(run=run, by=None)
        assert open_failures(run).count() == 1

    def test_an_output_nobody_needs_any_more_is_let_go(self) -> None:
        run = new_run(1)
        answer_but_the_poisoned(run)
        question = Question.objects.get()
        stray = set_aside(run, question, "refine", "path:99/1")
        done = retry_failures(run=run, by=None, failure_ids=[stray.pk])
        assert (done.failures, done.questions) == (1, 1)
        assert not Task.objects.filter(run=run, lane__startswith="refine@").exists()


PRICED = {"price_in": 1, "price_out": 10}


def priced_config() -> dict[str, Any]:
    config = parse_config({}).model_dump(mode="json")
    config["endpoints"] = [e | PRICED if e["name"] == "qwen2.5-72b" else e for e in config["endpoints"]]
    return config | {"budget": {"hard": 5}}


@pytest.mark.django_db
class TestPreview:
    def test_counts_and_the_most_it_can_cost(self) -> None:
        run = new_run(2, priced_config())
        answer_but_the_poisoned(run)
        found = preview_retry(run, Selection())
        assert (found.failures, found.questions, found.ready) == (2, 2, 0)
        assert found.left == Decimal(5)
        tokens_out = 2 * 8192 * (1 + 2 * 3)  # a first reply that is cut, then three at twice the cap
        assert found.cost is not None
        assert 0 < found.cost - Decimal(tokens_out * 10) / 1_000_000 < Decimal("0.1")
        assert not found.estimated
        assert open_failures(run).count() == 2

    def test_what_has_no_price_costs_nothing(self) -> None:
        run = new_run(1, priced_config())
        set_aside(run, Question.objects.get())
        assert preview_retry(run, Selection(stage="verify")).cost is None

    def test_many_are_estimated_from_the_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = new_run(4, priced_config())
        answer_but_the_poisoned(run)
        whole = preview_retry(run, Selection()).cost
        monkeypatch.setattr(retries, "COSTED", 2)
        found = preview_retry(run, Selection())
        assert found.estimated
        assert found.cost is not None
        assert abs(found.cost - whole) < whole / 100  # type: ignore[operator]

    def test_nothing_to_try(self) -> None:
        run = new_run(1, priced_config())
        found = preview_retry(run, Selection(failure_ids=(1,)))
        assert (found.failures, found.questions, found.up_to, found.cost) == (0, 0, 0, None)


@pytest.mark.django_db
class TestCommand:
    def say(self, *args: str) -> str:
        out = io.StringIO()
        call_command("retry_failures", "poisoned", *args, stdout=out)
        return out.getvalue()

    def test_lists_and_changes_nothing_unless_told(self) -> None:
        run = new_run(2)
        assert "Nothing was set aside" in self.say()
        answer_but_the_poisoned(run)
        text = self.say()
        assert "generate    qwen2.5-72b" in text
        assert "will not take this request" in text
        assert json.loads(self.say("--json"))[0]["outputs"] == 2
        assert "2 outputs of 2 questions would be tried again" in self.say("--all", "--dry-run")
        assert json.loads(self.say("--all", "--dry-run", "--json"))["failures"] == 2
        assert open_failures(run).count() == 2

    def test_one_a_class_or_all(self) -> None:
        run = new_run(3)
        first, *_ = answer_but_the_poisoned(run)
        assert "1 output of 1 question will be tried again" in self.say("--id", str(first.pk))
        assert json.loads(self.say("--class", "schema", "--json")) == {"failures": 0, "questions": 0, "at_work": 0}
        assert "2 outputs of 2 questions" in self.say("--all")
        assert not open_failures(run).exists()

    @pytest.mark.parametrize(("args", "words"), [(("--all", "--stage", "verify"), "leave"), (("--all",), "cancelled")])
    def test_refuses_with_words(self, args: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
        run = new_run(1)
        Run.objects.filter(pk=run.pk).update(state="cancelled")
        with pytest.raises(SystemExit) as ended:
            self.say(*args)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    with start_in_thread(SimulatorConfig(), DatabaseKeys()) as running:
        monkeypatch.setenv("REASONMED_SIMULATOR_URL", running.base_url)
        yield running


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("faults", "error_class"),
    [
        ({"stages": {"generate": {"refuse_400": 0.06}, "verify": {"refuse_400": 0.05}}}, "refused"),
        ({"stages": {"verify": {"bad_schema": 0.4}}}, "schema"),
    ],
)
def test_poison_is_set_aside_its_lane_finishes_and_a_retry_makes_it_good(
    models: RunningSimulator, faults: dict[str, Any], error_class: str
) -> None:
    models.simulator.config.faults = parse_faults(faults)
    run = new_run(20)
    start_run(run=run)
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    poisoned = set(open_failures(run).values_list("question", "stage", "item"))
    assert poisoned, "the faults must strike some"
    assert set(open_failures(run).values_list("error_class", flat=True)) == {error_class}
    for failure in open_failures(run).select_related("call"):
        assert failure.message
        assert failure.call
        assert bool(failure.call.excerpt) == (error_class == "schema"), (
            "a refusal has words, a rejected reply its beginning"
        )
    assert_nothing_else_failed(run, poisoned, error_class)
    assert_settled(run)
    status = run_status(run)
    assert status["exported_ready"] > 0
    assert status["exported_ready"] + sum(status["waiting"].values()) + sum(status["excluded"].values()) == 20

    unjudged = Verdict.objects.filter(run=run, label="unjudged", current=True).count()
    assert unjudged == len([p for p in poisoned if p[1] in ("verify", "reverify")])
    models.simulator.config.faults = parse_faults({})
    before = set(Call.objects.filter(run=run).values_list("pk", flat=True))
    done = retry_failures(run=run, by=None)
    assert done.failures == len(poisoned)
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    assert run_status(run)["exported_ready"] == 20
    made = Call.objects.filter(run=run).exclude(pk__in=before)
    assert poisoned <= set(made.values_list("question", "stage", "item")), "each was asked again"
    assert not made.filter(status="failed").exists()
    assert not Verdict.objects.filter(run=run, label="unjudged", current=True).exists()
    assert Verdict.objects.filter(run=run, label="unjudged", current=False).count() == unjudged
    assert_settled(run)


def assert_nothing_else_failed(run: Run, poisoned: set[tuple[int, str, str]], error_class: str) -> None:
    """An output that was not set aside was made, at most after rejected attempts of its own."""
    calls = Call.objects.filter(run=run)
    failed = calls.filter(status="failed")
    assert set(failed.values_list("question", "stage", "item")) == poisoned
    assert set(failed.values_list("error_class", flat=True)) == {error_class}
    good = calls.filter(status="ok").values_list("question", "stage", "item")
    assert len(good) == len(set(good)) == calls.values("question", "stage", "item").distinct().count() - len(poisoned)
    assert not Task.objects.filter(run=run, attempts__gt=0).exists(), "no lease came back because of a neighbour"


@pytest.mark.django_db(transaction=True)
def test_of_two_who_try_the_same_again_one_does_it() -> None:
    run = new_run(2)
    answer_but_the_poisoned(run)
    second: list[retries.Retried] = []

    def also() -> None:
        second.append(retry_failures(run=run, by=None))
        connection.close()

    thread = threading.Thread(target=also)
    with transaction.atomic():  # the first holds its locks until the second waits for them
        first = retry_failures(run=run, by=None)
        thread.start()
        wait_for(somebody_waits_for_a_lock, "the second to wait for the first")
    thread.join()
    assert (first.failures, second[0].failures) == (2, 0)
    assert set(Task.objects.filter(run=run, lane="generate@qwen2.5-72b").values_list("wanted", flat=True)) == {2}
    assert check_run(run) == []


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_trying_again_while_the_lanes_work_loses_nothing(models: RunningSimulator) -> None:
    models.simulator.config.faults = parse_faults({"stages": {"verify": {"bad_schema": 0.5}}, "latency_ms": 5})
    run = new_run(30)
    start_run(run=run)
    again = 0
    with embedded_worker():
        while again < 5 or not made_good(run):
            wait_for(lambda: open_failures(run).exists() or made_good(run), "something to try again")
            again += retry_failures(run=run, by=None).failures
        wait_for_state(run, RunState.FINISHED)
    status = run_status(run)
    assert status["waiting"] == {}
    assert status["exported_ready"] + sum(status["excluded"].values()) == 30
    assert status["exported_ready"] > 20
    assert again == Failure.objects.filter(run=run, resolved_at__isnull=False).count()
    assert_settled(run)


def made_good(run: Run) -> bool:
    """A run can be finished for a moment though a retry just gave it work: the reconciler sets it running again."""
    return not open_failures(run).exists() and not Task.objects.filter(run=run).exclude(state="idle").exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_retry_draws_another_seed(models: RunningSimulator) -> None:
    """A server that is asked with the same seed gives the same unusable reply."""
    models.simulator.config.faults = parse_faults({"stages": {"verify": {"bad_schema": 1}}})
    run = new_run(1)
    start_run(run=run)
    for _ in range(2):
        with embedded_worker():
            wait_for_state(run, RunState.FINISHED)
        assert open_failures(run).count() == 9
        retry_failures(run=run, by=None)
    seeds = list(Call.objects.filter(run=run, stage="verify", item=first_item(run)).values_list("seed", flat=True))
    assert len(seeds) == len(set(seeds)) == 6
    assert check_run(run) == []


def first_item(run: Run) -> str:
    return Failure.objects.filter(run=run)[0].item
