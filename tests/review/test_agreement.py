"""What is read from the ledger: first verdicts, blind before open, taken back ones not, practice never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.reasoning.models import Label, PathLabel, ReasoningPath, Run, RunQuestion, Verdict, VerdictSource
from apps.review.agreement import Material, apparent_of, calibration, calibration_of, fetch, judged_rows, ratings
from apps.review.agreement_report import MEASURES, people_report
from apps.review.forest import Axis, Mark, forest
from apps.review.judge_report import judge_report, tier_table
from apps.review.models import Phase
from apps.review.statistics.agreement import CATEGORIES, RatingTable, agreement
from apps.review.statistics.figure import Figure, undefined
from tests.factories import make_finished_run, make_project, make_run, make_user, make_verdict
from tests.review.agreement_world import judge_item, make_judged_ledger, make_queue, put, set_time

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(db: None) -> Run:
    return make_finished_run(4)


def first_paths(run: Run, n: int) -> list[ReasoningPath]:
    return list(ReasoningPath.objects.filter(run=run, origin="generated").order_by("pk")[:n])


def labels(material: Material) -> dict[tuple[int, int], tuple[str, bool]]:
    return {(o.reviewer, o.path): (o.label, o.blind) for o in material.opinions}


def test_the_first_verdict_counts_not_the_revision(run: Run) -> None:
    path, person = first_paths(run, 1)[0], make_user()
    item = put(make_queue(run), path, 0.25)
    judge_item(item, person, Label.ERROR)
    judge_item(item, person, Label.CORRECT, blind=False, phase=Phase.REVISED)
    material = fetch(run.project, run)
    assert labels(material) == {(person.pk, path.pk): ("error", True)}
    assert material.opinions[0].probability == 0.25


def test_a_blind_verdict_goes_before_an_earlier_open_one(run: Run) -> None:
    path, person = first_paths(run, 1)[0], make_user()
    make_verdict(path, reviewer=person, label=Label.CORRECT, current=False)  # an override: the judge's was in view
    judge_item(put(make_queue(run), path), person, Label.ERROR)
    assert labels(fetch(run.project, run)) == {(person.pk, path.pk): ("error", True)}


def test_a_verdict_may_say_itself_that_it_was_blind(run: Run) -> None:
    one, two = first_paths(run, 2)
    person = make_user()
    make_verdict(one, reviewer=person, label=Label.ERROR, details={"blind": True})
    make_verdict(two, reviewer=person, label=Label.ERROR, details={"blind": False})
    assert labels(fetch(run.project, run)) == {
        (person.pk, one.pk): ("error", True),
        (person.pk, two.pk): ("error", False),
    }


def test_what_was_taken_back_was_never_said(run: Run) -> None:
    kept, gone = first_paths(run, 2)
    person, queue = make_user(), make_queue(run)
    first, second = put(queue, kept), put(queue, gone)
    judge_item(first, person, Label.CORRECT)
    judge_item(first, person, Label.UNJUDGED, phase=Phase.UNDONE)
    judge_item(first, person, Label.ERROR)
    judge_item(second, person, Label.ERROR)
    judge_item(second, person, Label.UNJUDGED, phase=Phase.UNDONE)
    assert labels(fetch(run.project, run)) == {(person.pk, kept.pk): ("error", True)}


def test_taking_back_what_measures_leaves_what_counts(run: Run) -> None:
    path, person = first_paths(run, 1)[0], make_user()
    make_verdict(path, reviewer=person, label=Label.ERROR, counts=True)
    item = put(make_queue(run), path)
    for label, phase in ((Label.CORRECT, Phase.FIRST), (Label.UNJUDGED, Phase.UNDONE)):
        judge_item(item, person, label, phase=phase)
    assert labels(fetch(run.project, run)) == {(person.pk, path.pk): ("error", False)}


def test_practice_and_other_projects_never_count(run: Run) -> None:
    path, person = first_paths(run, 1)[0], make_user()
    judge_item(put(make_queue(run, practice=True), path), person, Label.ERROR)
    theirs = make_finished_run(1, project=make_project("elsewhere"))
    judge_item(put(make_queue(theirs), first_paths(theirs, 1)[0]), make_user(), Label.ERROR)
    assert fetch(run.project, run).opinions == ()
    assert fetch(run.project).opinions == ()
    assert len(fetch(theirs.project).opinions) == 1


def test_a_run_that_judges_the_paths_of_another_shares_what_people_said(run: Run) -> None:
    """Its own judge, its own tier; a third run has nothing."""
    path = first_paths(run, 1)[0]
    judge_item(put(make_queue(run), path), make_user(), Label.ERROR)
    again, third = make_run(paths_from=run), make_run()
    make_verdict(path, run=again, label=Label.ERROR)
    RunQuestion.objects.create(
        run=again, question=path.question, benchmark_id=path.question.benchmark_id, tier="difficult", error_count=9
    )
    material = fetch(run.project, again)
    rows, _ = judged_rows(material, "all")
    assert [(r.run, r.truth, r.judge, r.tier) for r in rows] == [(again.pk, True, True, "difficult")]
    assert {said.run for said in fetch(run.project).judged} == {run.pk, again.pk}
    assert fetch(run.project, third).opinions == ()


def test_most_people_decide_and_an_adjudicator_where_they_are_divided(run: Run) -> None:
    paths = first_paths(run, 3)
    people, queue = [make_user() for _ in range(3)], make_queue(run, overlap=3)
    for path, said in zip(paths, ("EEC", "EC", "EC"), strict=True):
        item = put(queue, path)
        for person, letter in zip(people, said, strict=False):
            judge_item(item, person, Label.ERROR if letter == "E" else Label.CORRECT)
    make_verdict(paths[1], reviewer=make_user(), label=Label.ERROR, source=VerdictSource.ADJUDICATION)
    rows, divided = judged_rows(fetch(run.project, run), "blind")
    assert [row.truth for row in rows] == [True, True]
    assert divided == 1


def test_strictest_that_leaves_anything(run: Run) -> None:
    one, two, three = first_paths(run, 3)
    person = make_user()
    make_verdict(one, reviewer=person, label=Label.ERROR)
    assert fetch(run.project, run).strictest == "all"
    judge_item(put(make_queue(run), two), person, Label.ERROR)
    assert fetch(run.project, run).strictest == "blind"
    judge_item(put(make_queue(run), three, 0.5), person, Label.ERROR)
    material = fetch(run.project, run)
    assert material.strictest == "drawn"
    assert material.sizes == {"drawn": 1, "blind": 2, "all": 3}


def test_calibration_of_a_run_by_hand(run: Run) -> None:
    """Two Errors found, one missed, one wrongly blamed, four passed; drawn with different chances."""
    queue, person = make_queue(run), make_user()
    judged = Verdict.objects.filter(run=run, path__origin="generated").select_related("path").order_by("path_id")
    errors, correct = [v for v in judged if v.label == "error"], [v for v in judged if v.label == "correct"]
    plan = [
        (errors[0], "error", 0.5),
        (errors[1], "error", 0.5),
        (correct[0], "error", 0.1),
        (errors[2], "correct", 0.5),
    ]
    for said, label, probability in [*plan, *((c, "correct", 0.1) for c in correct[1:5])]:
        judge_item(put(queue, said.path, probability), person, label)
    found = calibration_of(run)
    assert found.sensitivity.value == pytest.approx(4 / 14)  # 2 / 0.5 found; 1 / 0.1 missed
    assert found.specificity.value == pytest.approx(40 / 42)
    assert (found.sensitivity.n, found.specificity.n) == (3, 5)
    unweighted = calibration(judged_rows(fetch(run.project, run), "blind")[0], "blind")
    assert unweighted.count(truth=True, judge=True) == 2
    assert set(unweighted.weights) == {1.0}


def test_calibration_without_any_verdict_is_explained(run: Run) -> None:
    assert calibration_of(run).sensitivity.undefined


def test_apparent_rate_gives_the_judge_its_word_back(run: Run) -> None:
    """The counters hold effective labels: one that a person turned is counted as the judge said it."""
    before = apparent_of([run])[run.pk]
    said = Verdict.objects.filter(run=run, path__origin="generated")
    assert (before.errors, before.correct) == (said.filter(label="error").count(), said.filter(label="correct").count())
    assert sum(before.by_errors) == 4
    from apps.review.services import override_verdict

    path = said.filter(label="error").order_by("path_id")[0].path
    override_verdict(
        run=run, path=path, reviewer=make_user(), label="correct", correctness=True, coherence=True, factuality=True,
        reason="It is right.",
    )  # fmt: skip
    assert PathLabel.objects.get(run=run, path=path).overridden
    after = apparent_of([run])[run.pk]
    assert (after.errors, after.correct) == (before.errors, before.correct)


def test_fetching_takes_four_statements_whatever_there_is() -> None:
    small = make_judged_ledger(questions=1, name="small")
    for wanted in (small, None):
        with CaptureQueriesContext(connection) as few:
            fetch(small.project, wanted)
        make_judged_ledger(questions=2, name=f"more-{wanted}")
        with CaptureQueriesContext(connection) as many:
            fetch(small.project, wanted)
        assert len(few) == len(many) == 4


@pytest.mark.slow
def test_people_report_by_slice_adds_up() -> None:
    run = make_judged_ledger(questions=8)
    material = fetch(run.project, run)
    names = {o.reviewer: f"Reviewer {o.reviewer}" for o in material.opinions}
    for measure in MEASURES:
        report = people_report(material, "drawn", measure, names=names, curator=True)
        groups = {group.title: group.lines for group in report.slices.groups}
        assert list(groups) == ["Model", "Tier", "Benchmark", "Week a path was first judged", "Pair of reviewers"]
        for title, lines in groups.items():
            assert sum(line.figure.n for line in lines) == report.found.raw.n == 72, title
        assert [line.name for line in groups["Tier"]] == ["Easy", "Medium", "Difficult"]
        pair = groups["Pair of reviewers"][0]
        assert pair.name == " and ".join(names[r] for r in sorted(names))
        assert pair.figure.value == getattr(report.found, measure).value  # two people: the pair is the whole


@pytest.mark.slow
def test_fewer_than_five_people_are_not_shown_to_colleagues() -> None:
    run = make_judged_ledger(questions=4, reviewers=4)
    material = fetch(run.project, run)
    report = people_report(material, "drawn", "ac1", names={}, curator=False)
    assert report.hidden
    assert report.slices.groups == ()
    bigger = make_judged_ledger(questions=8, reviewers=6, name="six")
    report = people_report(fetch(bigger.project, bigger), "drawn", "ac1", names={}, curator=False)
    assert not report.hidden
    titles = [group.title for group in report.slices.groups]
    assert "Pair of reviewers" not in titles
    assert "Model" in titles


@pytest.mark.slow
def test_judge_report_slices_weeks_and_rates() -> None:
    run = make_judged_ledger(questions=8)
    material = fetch(run.project, run)
    report = judge_report(material, "blind", "sensitivity", [run], one_run=True)
    assert report.cells.found + report.cells.missed == report.found.sensitivity.n
    groups = {group.title: group.lines for group in report.slices.groups}
    assert list(groups) == ["Model", "Tier", "Benchmark"]
    for title in ("Model", "Tier", "Benchmark"):
        assert sum(line.figure.n for line in groups[title]) == report.found.sensitivity.n
    assert sum(week.sensitivity.figure.n for week in report.weeks) == report.found.sensitivity.n
    assert len(report.weeks) >= 4
    assert [week.start.weekday() for week in report.weeks] == [0] * len(report.weeks)
    rate = report.rates.whole[0]
    assert rate.name == run.name
    assert rate.figure.value is not None
    assert "Group" not in groups
    whole = judge_report(material, "blind", "sensitivity", [run], one_run=False)
    assert whole.slices.groups[0].title == "Run"


def test_a_judge_that_changes_is_seen(run: Run) -> None:
    """It finds every Error in the first two weeks, hardly any in the last two."""
    queue, person = make_queue(run), make_user()
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    judged = Verdict.objects.filter(run=run, path__origin="generated").select_related("path").order_by("path_id")
    for number, said in enumerate(judged):
        week = number % 4
        set_time(said, start + timedelta(weeks=week))
        missed = week >= 2 and number % 8 < 7
        label = said.label if not missed else "error"
        judge_item(put(queue, said.path), person, label)
    report = judge_report(fetch(run.project, run), "blind", "sensitivity", [run], one_run=True)
    assert [week.start.isoformat() for week in report.weeks] == ["2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"]
    assert report.changes[0].p is not None
    assert report.changes[0].slope is not None
    assert report.changes[0].slope < 0


def test_rewritten_paths_stand_apart(run: Run) -> None:
    refined = ReasoningPath.objects.filter(run=run, origin="refined").order_by("pk")[0]
    base = first_paths(run, 1)[0]
    person, queue = make_user(), make_queue(run)
    for path in (refined, base):
        judge_item(put(queue, path), person, Label.ERROR)
    report = judge_report(fetch(run.project, run), "blind", "specificity", [run], one_run=True)
    assert report.cells.n == 1
    assert [(g.title, g.lines[0].name) for g in report.slices.groups][-1] == (
        "Beyond the first paths",
        "Rewritten paths",
    )


@pytest.mark.slow
def test_tier_table_adds_up() -> None:
    run = make_judged_ledger(questions=8)
    found = calibration_of(run)
    table = tier_table(run, found)
    assert [row.errors for row in table.rows] == list(range(10))
    assert table.questions == 8
    assert [row.tier for row in table.rows] == ["easy"] * 5 + ["medium"] * 3 + ["difficult"] * 2
    for row in table.rows:
        assert row.chances.easy + row.chances.medium + row.chances.difficult == pytest.approx(1)
        assert row.wrong == pytest.approx(1 - getattr(row.chances, row.tier))
    assert 0 < table.wrong < 8
    nothing = tier_table(run, calibration_of(make_run()))
    assert nothing.rows == ()
    assert nothing.why_not


def test_ratings_feed_the_table(run: Run) -> None:
    path, people = first_paths(run, 1)[0], [make_user(), make_user()]
    item = put(make_queue(run, overlap=2), path)
    for person in people:
        judge_item(item, person, Label.ERROR)
    given = ratings(fetch(run.project, run).opinions, "blind")
    columns = (given.items, given.raters, given.labels, given.clusters, given.weights)
    assert {tuple(row) for row in zip(*columns, strict=True)} == {
        (path.pk, person.pk, CATEGORIES.index("Error"), path.question_id, 1.0) for person in people
    }
    assert agreement(RatingTable.of(given)).raw.value == 1.0


def test_axis_and_marks() -> None:
    figure = Figure("PPV", "share", 9, 9.0, 0.9, 0.67, 0.97)
    axis = Axis.of("share", [figure, undefined("PPV", "share", "nothing")])
    assert (axis.low, axis.words) == (0.6, "Scale from 60 to 100 per cent")
    assert [tick.word for tick in axis.ticks] == ["60", "70", "80", "90", "100"]
    assert [tick.anchor for tick in axis.ticks] == ["start", "middle", "middle", "middle", "end"]
    assert Mark.of(figure, axis) == Mark("75.00%", "17.50%", "92.50%")
    assert Mark.of(undefined("PPV", "share", "nothing"), axis) == Mark()
    below = Axis.of("coefficient", [Figure("κ", "coefficient", 4, 4.0, -1.4, -2.0, 0.2)])
    assert (below.low, below.place(-1.4)) == (-1.0, "0.00%")
    assert forest("share", [("PPV", figure)], [("Empty", [])]).groups == ()
