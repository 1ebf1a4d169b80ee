"""The ledger check finds nothing in a true ledger, and each thing broken by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.reasoning import ledger_check
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import (
    BASE_ORIGINS,
    PathLabel,
    ReasoningPath,
    Run,
    RunCounter,
    RunQuestion,
    Selection,
    Verdict,
    VerdictSource,
)
from apps.reasoning.services import add_counters, assess_questions
from tests.factories import (
    make_benchmark,
    make_call,
    make_finished_run,
    make_judged_question,
    make_path,
    make_path_label,
    make_question,
    make_run,
    make_user,
    make_verdict,
)


def make_true_run(n: int = 7) -> Run:
    """Made like a real one: the rows of the stages, then one assessment and the counters from nothing."""
    run = make_finished_run(n)
    PathLabel.objects.filter(run=run).delete()
    Selection.objects.filter(run=run).delete()
    counted = ("paths:", "calls", "failed:", "stage:", "questions", "cost_", "tokens_")
    for counter in RunCounter.objects.filter(run=run):
        if not counter.key.startswith(counted):
            counter.delete()
    assess_from_nothing(run)
    return run


def assess_from_nothing(run: Run) -> None:
    rows = RunQuestion.objects.filter(run=run)
    rows.update(
        state="waiting", reason="generate", pattern="", answers="", error_count=None, tier="", contradictions=0,
        overridden=False, disputed=False, records=0,
    )  # fmt: skip
    with transaction.atomic():
        change: dict[str, int] = {}
        for benchmark in rows.values_list("benchmark", flat=True):
            for key in ("state:waiting:generate", f"benchmark:{benchmark}:waiting"):
                change[key] = change.get(key, 0) + 1
        add_counters(run_id=run.pk, change=change)
        assess_questions(run=run, question_ids=list(rows.values_list("question", flat=True)))


@pytest.fixture
def run(db: None) -> Run:
    return make_true_run()


def test_a_true_ledger_has_no_drift(run: Run) -> None:
    assert check_run(run) == []
    states = set(RunQuestion.objects.filter(run=run).values_list("state", flat=True))
    assert "ready" in states
    assert Selection.objects.filter(run=run, current=True).count() > 5


def test_assessing_again_changes_nothing(run: Run) -> None:
    before = list(RunQuestion.objects.filter(run=run).values())
    with transaction.atomic():
        assess_questions(run=run, question_ids=[row["question_id"] for row in before])
    assert list(RunQuestion.objects.filter(run=run).values()) == before
    assert check_run(run) == []


def first(run: Run, **filters: object) -> RunQuestion:
    return RunQuestion.objects.filter(run=run, **filters).order_by("question_id")[0]


def change_row(**values: object) -> Callable[[Run], str]:
    def change(run: Run) -> str:
        row = first(run, state="ready", tier="easy")
        RunQuestion.objects.filter(pk=row.pk).update(**values)
        return f"question {row.question_id} {next(iter(values))}"

    return change


def change_benchmark(run: Run) -> str:
    row = first(run)
    RunQuestion.objects.filter(pk=row.pk).update(benchmark=make_benchmark("another"))
    return f"question {row.question_id} benchmark"


def lose_label(run: Run) -> str:
    label = PathLabel.objects.filter(run=run)[0]
    label.delete()
    return f"label path {label.path_id}"


def change_label(run: Run) -> str:
    label = PathLabel.objects.filter(run=run, label="correct")[0]
    PathLabel.objects.filter(pk=label.pk).update(label="error")
    return f"label path {label.path_id}"


def add_label(run: Run) -> str:
    path = make_path(make_run(), first(run).question)
    make_path_label(path, run=run)
    return f"label path {path.pk}"


def change_selection(run: Run) -> str:
    choice = Selection.objects.filter(run=run, current=True)[0]
    Selection.objects.filter(pk=choice.pk).update(why="because")
    return f"selection {choice.question_id} slot {choice.slot}"


def lose_selection(run: Run) -> str:
    choice = Selection.objects.filter(run=run, current=True)[0]
    Selection.objects.filter(pk=choice.pk).update(current=False)
    return f"selection {choice.question_id} slot {choice.slot}"


def add_selection(run: Run) -> str:
    question = first(run).question_id
    Selection.objects.create(run=run, question_id=question, slot=9, why="extra")
    return f"selection {question} slot 9"


def change_counter(key: str) -> Callable[[Run], str]:
    def change(run: Run) -> str:
        add_counters(run_id=run.pk, change={key: 1})
        return f"counter {key}"

    return change


def lose_counter(run: Run) -> str:
    assert RunCounter.objects.filter(run=run, key="tier:easy").delete()[0]
    return "counter tier:easy"


def benchmark_counter(run: Run) -> str:
    return change_counter(f"benchmark:{first(run).benchmark_id}:ready")(run)


def unbooked_call(run: Run) -> str:
    make_call(run, first(run).question, error_class="timeout", status="failed")
    return "counter calls"


def lose_question(run: Run) -> str:
    row = first(run)
    path = ReasoningPath.objects.filter(run=run, question=row.question_id).latest("pk")
    row.delete()
    return f"path {path.pk} of a question outside the run"


def second_path_in_slot(run: Run) -> str:
    row = first(run)
    path = ReasoningPath.objects.filter(run=run, question=row.question_id, origin__in=BASE_ORIGINS)[0]
    make_path(run, row.question, generator=path.generator, sample=path.sample, origin="imported")
    return f"path {row.question_id} {path.generator}/{path.sample}"


def path_outside_the_grid(run: Run) -> str:
    row = first(run)
    make_path(run, row.question, generator="stranger")
    return f"path {row.question_id} stranger/1"


def lose_current_verdict(run: Run) -> str:
    verdict = Verdict.objects.filter(run=run)[0]
    Verdict.objects.filter(pk=verdict.pk).update(current=False)
    return f"verdict {verdict.pk} is the judge’s last on its path but not current"


def lose_person(run: Run) -> str:
    verdict = make_verdict(ReasoningPath.objects.filter(run=run)[0], reviewer=make_user(), current=False)
    return f"verdict {verdict.pk} is a reviewer’s last on its path but not current"


def unseen_override(run: Run) -> str:
    """A person's verdict written without assessing."""
    row = first(run, error_count=4)
    path = ReasoningPath.objects.filter(run=run, question=row.question_id, origin__in=BASE_ORIGINS)[0]
    make_verdict(path, reviewer=make_user(), label="error")
    return f"question {row.question_id} tier"


def unseen_judgment(run: Run) -> str:
    """A judge's verdict edited in place."""
    row = first(run, error_count=7)
    path = ReasoningPath.objects.filter(run=run, question=row.question_id, origin__in=BASE_ORIGINS)[0]
    Verdict.objects.filter(path=path, source=VerdictSource.JUDGE).update(label="error", correctness=False)
    return f"question {row.question_id} error_count"


BREAKS = {
    "state": change_row(state="waiting", reason="verify"),
    "unknown state": change_row(state="lost", reason="nowhere"),
    "pattern": change_row(pattern="CCCCCCCCE"),
    "answers": change_row(answers="AAAAAAAAA"),
    "tier": change_row(tier="difficult"),
    "error count": change_row(error_count=9),
    "contradictions": change_row(contradictions=8),
    "overridden": change_row(overridden=True),
    "disputed": change_row(disputed=True),
    "records": change_row(records=7),
    "benchmark": change_benchmark,
    "label missing": lose_label,
    "label different": change_label,
    "label extra": add_label,
    "selection different": change_selection,
    "selection missing": lose_selection,
    "selection extra": add_selection,
    **{
        f"counter {key}": change_counter(key)
        for key in (
            "questions", "calls", "records", "contradictions", "overridden", "disputed", "tier:medium", "errors:3",
            "state:ready:", "state:waiting:nowhere", "labels:correct", "paths:generated", "failed:timeout",
        )
    },
    "counter lost": lose_counter,
    "counter of a benchmark": benchmark_counter,
    "call not counted": unbooked_call,
    "question lost": lose_question,
    "two paths in a slot": second_path_in_slot,
    "path outside the grid": path_outside_the_grid,
    "judge's verdict not current": lose_current_verdict,
    "person's verdict not current": lose_person,
    "override not assessed": unseen_override,
    "verdict edited": unseen_judgment,
}  # fmt: skip


@pytest.mark.parametrize("kind", BREAKS)
def test_everything_broken_by_hand_is_found(run: Run, kind: str) -> None:
    where = BREAKS[kind](run)
    assert where in [f"{d.kind} {d.where}" for d in check_run(run)]


def test_one_thing_broken_is_one_drift(run: Run) -> None:
    change_row(pattern="CCCCCCCCE")(run)
    (drift,) = check_run(run)
    assert (drift.stored, drift.expected) == ("CCCCCCCCE", "CCCCCCCCC")


def test_a_state_that_is_none_of_the_three_breaks_the_sum(run: Run) -> None:
    BREAKS["unknown state"](run)
    assert "ready + excluded + waiting" in [d.where for d in check_run(run)]


def test_labels_and_choices_outside_the_run_are_found(run: Run) -> None:
    stranger = make_question()
    label = make_path_label(make_path(make_run(), stranger), run=run)
    choice = Selection.objects.create(run=run, question=stranger, slot=1, why="stray")
    assert {(d.kind, d.where) for d in check_run(run)} == {
        ("label", f"path {label.path_id} of a question outside the run"),
        ("selection", f"{choice.pk} of a question outside the run"),
    }


def test_runs_that_share_paths_are_checked_apart(run: Run) -> None:
    other = make_run(paths_from=run)
    for row in RunQuestion.objects.filter(run=run):
        RunQuestion.objects.create(run=other, question_id=row.question_id, benchmark_id=row.benchmark_id)
    add_counters(run_id=other.pk, change={"questions": 7})
    assess_from_nothing(other)
    assert check_run(other) == []
    assert PathLabel.objects.filter(run=other, label="unjudged").count() == 63
    PathLabel.objects.filter(run=other).first().delete()  # type: ignore[union-attr]
    assert len(check_run(other)) == 1
    assert check_run(run) == []


def test_chunks_cover_every_question_with_bounded_statements(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(ledger_check, "CHUNK", 3)
    assert check_run(run, progress=seen.append) == []
    assert seen == [3, 6, 7]
    monkeypatch.undo()
    make_judged_question(run, make_question(), errors=1)
    with CaptureQueriesContext(connection) as queries:
        check_run(run)
    assert len(queries) < 26


def test_command_reports_as_json_and_by_exit_code(run: Run) -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("check_ledger", "--json", stdout=out, stderr=err)
    assert json.loads(out.getvalue()) == {"drift": 0, "details": []}
    assert "7 questions checked" in err.getvalue()

    change_row(records=7)(run)
    out = io.StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("check_ledger", run.name, "--json", stdout=out, stderr=err)
    assert stopped.value.code == 1
    said = json.loads(out.getvalue())
    assert said["drift"] == len(said["details"]) == 1
    assert said["details"][0] | {"where": ""} == {
        "run": run.name, "kind": "question", "where": "", "stored": 7, "expected": 2
    }  # fmt: skip


def test_command_refuses_a_run_it_does_not_know(run: Run) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("check_ledger", "nobody")
    assert refused.value.returncode == 2


@pytest.mark.django_db(transaction=True)
def test_the_check_runs_in_a_snapshot_that_cannot_write() -> None:
    make_finished_run(1)
    with ledger_check._snapshot(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        assert cursor.fetchone() == ("repeatable read", "on")
