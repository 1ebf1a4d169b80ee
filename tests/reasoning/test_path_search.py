"""What the filters of the Paths page find is what reading every path would find; conditions said for indexes leave nothing out."""

from __future__ import annotations

import pytest

from apps.reasoning.models import PathLabel, Run, Verdict
from apps.reasoning.paging import read_page
from apps.reasoning.path_selectors import PathFilter, search_paths, twins_of
from tests.factories import make_finished_run

pytestmark = pytest.mark.django_db


def found(run: Run, **params: str) -> set[int]:
    return set(search_paths(run, PathFilter.read(params)).values_list("path_id", flat=True))


def read(run: Run, matches: object) -> set[int]:
    rows = PathLabel.objects.filter(run=run).select_related("path__question")
    return {row.path_id for row in rows if matches(row)}  # type: ignore[operator]


def off_key(row: PathLabel) -> bool:
    return row.path.answer not in ("", row.path.question.key_letter)


def test_rewritten_paths_are_those_of_the_run_itself() -> None:
    run, _other = make_finished_run(8), make_finished_run(8)
    for origin in ("refined", "regenerated"):
        expected = read(run, lambda row, o=origin: row.path.origin == o)
        assert found(run, origin=origin) == expected != set()
    judging = Run.objects.create(project=run.project, name="judging", config=run.config, paths_from=run)
    assert found(judging, origin="refined") == set()


def test_an_answer_that_is_not_the_key_however_the_path_became_correct() -> None:
    run = make_finished_run(8)
    by_person = PathLabel.objects.filter(run=run, label="error").exclude(path__answer="")[0]
    PathLabel.objects.filter(pk=by_person.pk).update(label="correct", source="person", overridden=True)
    expected = read(run, lambda row: off_key(row) and row.label == "correct")
    assert by_person.path_id in expected
    assert len(expected) > 1
    assert found(run, off_key="1", label="correct") == expected
    assert found(run, off_key="1") == read(run, off_key)


def test_the_judges_reasons_are_searched_by_their_words() -> None:
    run = make_finished_run(2)
    said = Verdict.objects.filter(run=run, label="correct")[0]
    Verdict.objects.filter(pk=said.pk).update(reason="Overlooks the thyroid nodules, not the pulse.")
    assert found(run, reason="thyroid nodule") == {said.path_id}
    assert found(run, reason="thyroid -pulse") == set()
    Verdict.objects.filter(pk=said.pk).update(current=False)
    assert found(run, reason="thyroid nodule") == set()


@pytest.mark.parametrize("params", [{}, {"reason": "key"}, {"origin": "refined"}, {"off_key": "1"}])
def test_pages_leave_nothing_out_and_repeat_nothing(params: dict[str, str]) -> None:
    run = make_finished_run(8)
    wanted = PathFilter.read(params)
    rows, twins = search_paths(run, wanted), twins_of(wanted)
    expected = sorted(rows.values_list("path_id", flat=True))
    seen, cursor = [], {}
    while True:
        page = read_page(rows, cursor, field="path_id", size=3, twins=twins)
        seen += [row.path_id for row in page.rows]
        if page.after is None:
            break
        cursor = {"after": str(page.after)}
    assert seen == expected
    assert expected
    back = read_page(rows, {"before": str(expected[-1])}, field="path_id", size=3, twins=twins)
    assert [row.path_id for row in back.rows] == expected[-4:-1]
