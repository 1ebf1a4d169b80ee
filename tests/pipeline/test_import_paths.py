"""Paths in the interchange form as an imported run."""

from __future__ import annotations

import gzip
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from apps.pipeline.path_import import PathImportRefused, PathImportReport, import_paths
from apps.questions.fingerprints import fingerprint, stem_fingerprint
from apps.questions.models import Question
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, Run, RunCounter, RunQuestion
from tests.factories import make_project, make_question, make_run

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
OPTIONS = ["Infuse bicarbonate", "Switch fluids", "Start insulin", "Replace potassium"]
NAMES = ("qwen", "r1", "huatuo")

pytestmark = pytest.mark.django_db


def ask(
    stem: str, options: list[str] = OPTIONS, contexts: list[dict[str, str]] | None = None, **fields: Any
) -> Question:
    contexts = contexts or []
    return make_question(
        stem=stem,
        options=options,
        contexts=contexts,
        fingerprint=fingerprint(stem, options, contexts),
        stem_fingerprint=stem_fingerprint(stem),
        **fields,
    )


def row(stem: str, **changes: Any) -> dict[str, Any]:
    cots = {f"model{m}_COT{s}": f"<think>\nModel {m}, {s}.\n</think>\n\nD" for m in (1, 2, 3) for s in (1, 2, 3)}
    whole = {"question": stem, "options": OPTIONS, "answer": "Replace potassium", **cots, **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def write(folder: Path, rows: list[Any], name: str = "paths.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


def bring_in(path: Path, **arguments: Any) -> PathImportReport:
    return import_paths(path=path, project=make_project(), **({"name": "nine", "generators": NAMES} | arguments))


def refused(path: Path, **arguments: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(PathImportRefused) as caught:
        bring_in(path, **arguments)
    assert not Run.objects.filter(name="nine", config__imported=True).exists()
    assert not ReasoningPath.objects.exists()
    return [(p.line, p.field, p.message) for p in caught.value.report.problems]


def test_rows_become_a_finished_run_of_imported_paths(tmp_path: Path) -> None:
    first, second = ask("First?"), ask("Second?", held_out=True)
    letters = dict(zip("ABCD", OPTIONS, strict=True))
    path = write(tmp_path, [row("First?"), row("  SECOND? ", options=letters, answer="D")])

    report = bring_in(path, temperatures=(0.7, 0.9, 1.0), models=("Qwen2.5-72B", "R1-70B", "Huatuo-70B"))

    assert (report.run, report.questions, report.paths, report.skipped, report.problems) == ("nine", 2, 18, 0, [])
    run = Run.objects.get()
    assert (run.state, run.config["imported"], run.paths_from) == ("finished", True, None)
    assert [g["name"] for g in run.config["generators"]] == list(NAMES)
    assert {q.question_id: (q.state, q.reason, q.answers) for q in RunQuestion.objects.all()} == {
        first.pk: ("waiting", "verify", "D" * 9),
        second.pk: ("waiting", "verify", "D" * 9),
    }
    found = ReasoningPath.objects.get(question=first, generator="r1", sample=3)
    assert (found.origin, found.model, found.temperature, found.answer) == ("imported", "R1-70B", 1.0, "D")
    assert (found.raw, found.text) == ("<think>\nModel 2, 3.\n</think>\n\nD", "Model 2, 3.\n\nD")
    counters = dict(RunCounter.objects.values_list("key", "value"))
    assert (counters["questions"], counters["paths:imported"], counters["state:waiting:verify"]) == (2, 18, 2)


def test_json_lines_and_gzip(tmp_path: Path) -> None:
    ask("One?")
    ask("Two?")
    path = tmp_path / "paths.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row(s)) for s in ("One?", "Two?")).encode()))
    assert bring_in(path).questions == 2


def test_more_rows_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.pipeline.path_import._BATCH", 7)
    stems = [f"Question {n}?" for n in range(20)]
    for stem in stems:
        ask(stem)
    path = write(tmp_path, [row(s) for s in stems] + [row(stems[0])])
    assert refused(path) == [(1, "question", f"stands twice in this file, as {Question.objects.earliest('id').uid}")]
    assert bring_in(path, skip_bad_rows=True).questions == 20
    assert check_run(Run.objects.get()) == []


def test_unknown_temperatures_stay_unknown_and_fewer_paths_get_cut_offs(tmp_path: Path) -> None:
    ask("First?")
    path = write(tmp_path, [{k: v for k, v in row("First?").items() if k[:6] not in ("model2", "model3")}])
    bring_in(path, generators=("solo",))
    assert set(ReasoningPath.objects.values_list("temperature", flat=True)) == {None}
    assert Run.objects.get().config["cutoffs"] == {"easy": 1, "medium": 2}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"question": "Unknown?"}, "question", "no such question"),
        ({"question": ...}, "question", "missing"),
        ({"options": [*OPTIONS[1:], OPTIONS[0]]}, "options", "in another order"),
        ({"options": "A"}, "options", "must be a list"),
        ({"options": {"A": "x", "C": "y"}}, "options", "without a gap"),
        ({"answer": "Start insulin"}, "answer", "has the key D"),
        ({"answer": "E"}, "answer", "neither"),
        ({"answer": ...}, "answer", "missing"),
        ({"model4_COT1": "more"}, "model4_COT1", "no generator"),
        ({"model2_COT2": ...}, "model2_COT2", "no path here"),
        ({"model2_COT2": " <think> "}, "model2_COT2", "no path here"),
        ({"model2_COT2": 7}, "model2_COT2", "must be text"),
    ],
)
def test_a_bad_row_refuses_the_file_or_is_left_out(
    tmp_path: Path, changes: dict[str, Any], field: str, says: str
) -> None:
    ask("First?")
    ask("Second?")
    path = tmp_path / "paths.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in (row("First?"), row("Second?", **changes))))

    ((line, at, message),) = refused(path)
    assert (line, at) == (2, field)
    assert says in message

    report = bring_in(path, skip_bad_rows=True)
    partial = says == "no path here"
    assert (report.questions, report.paths, report.skipped) == ((2, 17, 0) if partial else (1, 9, 1))
    assert [p.field for p in report.problems] == [field]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"[{\"question\": \"Fir", "cut short"),
        (b"", "empty"),
        (b"[]", "no rows"),
        (b"id,question\n", "neither JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_file_is_refused_whatever_is_skipped(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "paths.json"
    path.write_bytes(content)
    ((_line, _field, message),) = refused(path, skip_bad_rows=True)
    assert says in message


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    ask("First?")
    path = write(tmp_path, [row("First?")])
    make_run(name="taken")
    assert refused(path, name="taken")[0][1] == "name"
    assert refused(path, generators=("Not a name", "b", "c"))[0][1] == "generators"
    assert refused(path, generators=("a", "a", "b"))[0][1] == "generators"
    assert refused(path, models=("one",))[0][1] == "models"


def test_text_that_postgresql_cannot_hold_is_replaced(tmp_path: Path) -> None:
    ask("First?")
    path = write(tmp_path, [row("First?", model1_COT1="nul \x00 half \ud83d\n\nD")])
    bring_in(path)
    found = ReasoningPath.objects.get(generator="qwen", sample=1)
    assert (found.raw, found.answer) == ("nul \ufffd half \ufffd\n\nD", "D")


def test_of_duplicates_the_canonical_one_with_the_same_key_is_taken(tmp_path: Path) -> None:
    held_out = ask("First?", held_out=True)
    canonical = ask("First?")
    ask("First?", canonical=canonical)
    other_key = ask("First?", key=0, canonical=canonical)
    path = write(tmp_path, [row("First?")])
    bring_in(path)
    bring_in(write(tmp_path, [row("First?", answer="A")], "other.json"), name="other")
    assert held_out.pk < canonical.pk
    assert list(RunQuestion.objects.order_by("run__name").values_list("run__name", "question")) == [
        ("nine", canonical.pk),
        ("other", other_key.pk),
    ]


def test_questions_with_contexts_are_found_by_stem_or_with_their_contexts(tmp_path: Path) -> None:
    options = ["yes", "no", "maybe"]
    contexts = [{"label": "METHODS", "text": "We asked."}, {"label": "RESULTS", "text": "They said."}]
    first = ask("Does it help?", options, contexts, benchmark="pubmedqa", key=0)
    second = ask("Does it help?", options, contexts[:1], benchmark="pubmedqa", key=0)
    third = ask("Does it harm?", options, contexts, benchmark="pubmedqa", key=0)
    yes = {"options": options, "answer": "yes"}
    whole = "METHODS: We asked.\nRESULTS: They said.\n\nDoes it help?"
    bring_in(write(tmp_path, [row(whole, **yes), row("Does it harm?", **yes)]))
    assert set(RunQuestion.objects.values_list("question", flat=True)) == {first.pk, third.pk}
    assert second.pk not in {first.pk, third.pk}
    assert refused_again(write(tmp_path, [row("Does it help?", **yes)]))


def refused_again(path: Path) -> bool:
    with pytest.raises(PathImportRefused):
        bring_in(path, name="again")
    return True


def test_command_prints_one_object_and_its_exit_code(tmp_path: Path) -> None:
    ask("First?")
    path = write(tmp_path, [row("First?", model3_COT3=None)])

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        out = StringIO()
        code = 0
        try:
            call_command(
                "import_paths", str(path), "--name=nine", "--generators=a,b,c", "--json", *arguments, stdout=out
            )
        except SystemExit as stop:
            code = int(str(stop.code))
        return code, json.loads(out.getvalue())

    make_project()
    code, said = run()
    assert (code, said["run"], said["questions"], said["paths"], said["skipped"]) == (2, "", 0, 0, 1)
    assert said["problems"] == [{"file": str(path), "line": 1, "field": "model3_COT3", "message": "no path here"}]
    code, said = run("--skip-bad-rows", "--temperatures=0.7,0.9,1.0")
    assert (code, said["run"], said["questions"], said["paths"], said["skipped"]) == (1, "nine", 1, 8, 0)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.exists(), reason="the public data sets are not beside the checkout")
def test_nine_real_paths_of_a_hundred_held_out_questions() -> None:
    from apps.questions.services import import_questions

    import_questions(benchmark="medqa", path=SHARED / "medqa" / "phrases_no_exclude_test.jsonl", split="test")
    report = bring_in(SHARED / "nine_paths_medqa_hard.json")
    assert (report.questions, report.paths, report.problems) == (100, 900, [])
    assert Question.objects.filter(in_runs__run__name="nine", held_out=True).count() == 100
    assert ReasoningPath.objects.exclude(answer="").count() == 795  # 58 cut replies, 47 that end without saying which
