"""An override at a cut-off, whole: shown, done exactly so, made again by a real worker and judged again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.exports.build import build_export
from apps.pipeline.config import parse_config
from apps.pipeline.models import Call, PromptVersion, Task
from apps.pipeline.services import create_run, start_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import Label, Origin, ReasoningPath, Response, Run, RunQuestion, RunState, Selection, Verdict
from apps.review.records.decisions import preview_return, read_record, return_record
from apps.review.records.overrides import override_tier, preview_tier
from apps.review.records.stale import confirm_all, foresee, stale_questions
from apps.review.services import override_verdict, preview_override
from tests.factories import make_project, make_question, make_user
from tests.pipeline.test_run_end_to_end import wait_for_state
from workers.embedded import embedded_worker
from workers.simulated import SimulatorConfig, start_in_thread
from workers.simulated.keys import DatabaseKeys
from workers.simulated.running import RunningSimulator

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
QUESTIONS = 60  # enough for one that stands at the cut-off


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    with start_in_thread(SimulatorConfig(), DatabaseKeys()) as running:
        monkeypatch.setenv("REASONMED_SIMULATOR_URL", running.base_url)
        yield running


def finished_run() -> Run:
    for number in range(QUESTIONS):
        make_question(stem=f"Case {number}: which treatment comes first, given finding {number}?", key=number % 4)
    run = create_run(project=make_project(), name="whole", config=parse_config({}))
    start_run(run=run)
    return run


def test_what_was_overridden_is_made_again_and_judged_again(models: RunningSimulator, tmp_path) -> None:
    clinician, curator = make_user(), make_user("curator")
    run = finished_run()
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    row = at_cutoff(run)
    calls = Call.objects.filter(run=run).count()
    before = build_export(run=run, variants=("reasonmed",), format="jsonl", out_dir=tmp_path / "before")

    # a Correct path of a question with four errors becomes an Error: shown first
    kept = {s.path_id for s in Selection.objects.filter(run=run, question=row.question, current=True)}
    path = next(p for p in correct_paths(run, row) if p.pk not in kept)
    shown = preview_override(run=run, path=path, reviewer=clinician, label="error")
    assert (shown.errors_before, shown.errors_after, shown.tier_before, shown.tier_after) == (4, 5, "easy", "medium")
    assert shown.hold
    assert set(shown.remade) <= {"rank", "refine"}

    # saved: exactly that
    axes = {"correctness": True, "coherence": True, "factuality": False}
    override_verdict(run=run, path=path, reviewer=clinician, label="error", reason="The second step is unsafe.", **axes)
    row.refresh_from_db()
    assert (row.error_count, row.tier, row.state, row.reason, row.hold) == (5, "medium", "waiting", "stale", True)
    assert [r.question_id for r in stale_questions(run)] == [row.question_id]
    assert foresee(run, [row.question_id])[row.question_id].now == shown.remade
    assert check_run(run) == []

    # nothing is made before someone confirms, and nothing of it leaves
    assert not Task.objects.filter(run=run).exclude(state="idle").exists()
    assert Call.objects.filter(run=run).count() == calls
    between = build_export(run=run, variants=("reasonmed",), format="jsonl", out_dir=tmp_path / "between")
    assert between["records"] == before["records"] - shown.records_changed
    assert between["waiting"]["stale"] == 1

    # a tier by a person and a returned response wait beside it
    hard = row_of_tier(run, "easy", not_this=row)
    tier_shown = preview_tier(run=run, question=hard.question, tier="difficult")
    override_tier(run=run, question=hard.question, tier="difficult", reason="Needs new reasoning.", by=clinician)
    sent_back = row_of_tier(run, "easy", not_this=row)
    record = read_record(run, sent_back.question, 1)
    assert record
    return_shown = preview_return(run=run, question=sent_back.question, slot=1, again="response", by=clinician)
    return_record(run=run, question=sent_back.question, slot=1, again="response", reason="Too short.", by=clinician)
    assert (tier_shown.remade, return_shown.remade) == ({"regenerate": 1}, {"summarise": 1})

    # confirmed: new paths, judged again, and everything adds up
    assert confirm_all(run=run, by=curator) == 3
    with embedded_worker():
        run.refresh_from_db()
        wait_for_state(run, RunState.FINISHED)
    refined = ReasoningPath.objects.filter(run=run, question=row.question, origin=Origin.REFINED)
    assert refined
    for made in refined:
        verdict = Verdict.objects.get(path=made, source="judge", current=True)
        assert verdict.call
        assert verdict.call.stage == "reverify"
    row.refresh_from_db()
    assert (row.state, row.hold, row.tier) == ("ready", False, "medium")
    chosen = Selection.objects.filter(run=run, question=row.question, current=True)
    assert {s.path.origin for s in chosen if s.path} == {Origin.REFINED}
    assert all(s.path and s.path.labels.get(run=run).label == Label.CORRECT for s in chosen)
    refine = Call.objects.filter(run=run, question=row.question, stage="refine")
    assert refine.exists()
    hard.refresh_from_db()
    assert (hard.state, hard.tier) == ("ready", "difficult")
    assert ReasoningPath.objects.filter(run=run, question=hard.question, origin=Origin.REGENERATED).exists()
    revisions = list(Response.objects.filter(run=run, path=record.path).order_by("revision"))
    assert [(r.revision, r.current) for r in revisions] == [(1, False), (2, True)]
    old, new = (r.call for r in revisions)
    assert old
    assert new
    assert old.seed != new.seed
    asked = Call.objects.filter(run=run, stage="summarise", item=f"path:{record.path.pk}", status="ok")
    names = dict(PromptVersion.objects.values_list("sha256", "name"))
    assert {names[c.prompt] for c in asked} == {"summarise", "summarise_again"}
    assert check_run(run) == []
    after = build_export(run=run, variants=("reasonmed",), format="jsonl", out_dir=tmp_path / "after")
    assert "stale" not in after["waiting"]
    assert after["questions"]["exported"] == before["questions"]["exported"]


def at_cutoff(run: Run) -> RunQuestion:
    return run.questions.select_related("question").filter(error_count=4, state="ready", records=2).order_by("pk")[0]


def row_of_tier(run: Run, tier: str, *, not_this: RunQuestion) -> RunQuestion:
    rows = run.questions.select_related("question").filter(tier=tier, state="ready", hold=False)
    return rows.exclude(pk=not_this.pk).order_by("pk")[0]


def correct_paths(run: Run, row: RunQuestion) -> list[ReasoningPath]:
    found = ReasoningPath.objects.filter(run=run, question=row.question, origin=Origin.GENERATED, current=True)
    return list(found.filter(labels__run=run, labels__label=Label.CORRECT).order_by("pk"))
