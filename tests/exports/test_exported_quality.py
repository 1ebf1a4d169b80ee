"""Gates and contamination in an export: what is left out has a reason in sums that add up, what warns is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.build import Limits, build_export
from apps.exports.config import ExportConfig, read_config
from apps.exports.errors import ExportRefusedError
from apps.exports.gates import keeper, memory
from apps.exports.gates.checks import find_hits
from apps.exports.gates.texts import GATES, Gate, Texts
from apps.exports.inspections.services import make_now, order_inspection
from apps.exports.models import Snapshot
from apps.exports.models_checks import GateCheck, Inspection
from apps.questions.models import Question
from apps.reasoning.models import ReasoningPath, Response, Run, RunQuestion, Selection
from tests.factories import make_finished_run, make_question, make_user

pytestmark = pytest.mark.django_db
Export = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Run:
    """Every record with reasoning of its own."""
    run = make_finished_run(6)
    for path in ReasoningPath.objects.filter(run=run):
        ReasoningPath.objects.filter(pk=path.pk).update(text=f"{path.text}\n\nThis is path {path.pk}.")
    return run


@pytest.fixture
def export(run: Run, tmp_path: Path) -> Export:
    def make(page: int = 2, **choices: Any) -> dict[str, Any]:
        config = read_config(choices)
        return build_export(
            run=run, variants=["cotmed"], format="jsonl", out_dir=tmp_path / "out", config=config, limits=Limits(page)
        )

    return make


def records(run: Run) -> list[Selection]:
    kept = Selection.objects.filter(run=run, current=True, path__isnull=False)
    return list(kept.select_related("path", "question").order_by("question_id", "slot"))


def spoil(selection: Selection, text: str = "<think> left over") -> None:
    """The response gets a tag that stays; `make_record` takes whole ones out."""
    response = Response.objects.filter(path=selection.path, current=True)
    response.update(text=f"{text} {response.get().text}")


def adds_up(run: Run, manifest: dict[str, Any]) -> bool:
    """Every record of a ready question leaves, or has a reason: its own, or that of its question."""
    questions = manifest["questions"]
    ready = RunQuestion.objects.filter(run=run, state="ready")
    whole = questions["total"] == questions["exported"] + questions["excluded"] + questions["waiting"]
    gates = manifest["gates"]
    return (
        whole
        and ready.count() == questions["exported"] + questions["excluded"]
        and gates["records"] - gates["left_out"] == manifest["records"]
        and gates["left_out"] == sum(one["left_out"] for one in gates["by_gate"].values())
    )


def test_by_default_every_gate_warns_and_nothing_is_left_out(run: Run, export: Export) -> None:
    spoil(records(run)[0])
    manifest = export()
    assert manifest["records"] == len(records(run))
    assert {one["switch"] for one in manifest["gates"]["by_gate"].values()} == {"warn"}
    assert tuple(manifest["gates"]["by_gate"]) == GATES
    assert manifest["gates"]["by_gate"]["think_tag"] == {"switch": "warn", "records": 1, "left_out": 0}
    assert "quality gate think_tag: 1 records (thinking tags left over)" in manifest["warnings"]
    assert adds_up(run, manifest)


def test_a_gate_that_is_off_is_not_asked(run: Run, export: Export) -> None:
    spoil(records(run)[0])
    manifest = export(gates={"think_tag": "off"})
    assert manifest["gates"]["by_gate"]["think_tag"] == {"switch": "off", "records": 0, "left_out": 0}
    assert not any("think_tag" in warning for warning in manifest["warnings"])
    assert "gates" not in export(gates=dict.fromkeys(GATES, "off"))


def test_one_record_of_a_question_is_left_out(run: Run, export: Export, tmp_path: Path) -> None:
    two = next(s for s in records(run) if s.slot == 2)
    spoil(two)
    manifest = export(gates={"think_tag": "exclude"})
    assert manifest["records"] == len(records(run)) - 1
    assert manifest["records_left_out"] == {"gate_think_tag": 1}
    assert manifest["gates"]["by_gate"]["think_tag"] == {"switch": "exclude", "records": 1, "left_out": 1}
    assert not any("think_tag" in warning for warning in manifest["warnings"])
    assert adds_up(run, manifest)
    trail = [json.loads(line) for line in (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()]
    assert (two.question.uid, 2) not in {(line["question"], line["slot"]) for line in trail}
    assert (two.question.uid, 1) in {(line["question"], line["slot"]) for line in trail}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| `think_tag` | thinking tags left over | 1 | left out |" in card
    assert "Near-duplicates in evaluation sets were not looked for" in card


def test_a_question_whose_records_all_stay_behind_stays_behind(run: Run, export: Export) -> None:
    two = next(s for s in records(run) if s.slot == 2)
    for selection in records(run):
        if selection.question_id == two.question_id:
            spoil(selection)
    manifest = export(gates={"think_tag": "exclude"})
    assert manifest["excluded"] == {"gate_think_tag": 1}
    assert manifest["records_left_out"] == {}
    assert adds_up(run, manifest)


@pytest.mark.parametrize("page", [1, 2, 100])
def test_twins_are_found_over_the_whole_run_and_the_first_stays(run: Run, export: Export, page: int) -> None:
    first, *others = [s.path for s in records(run)]
    same = others[-1]
    assert first
    assert same
    assert first.question_id != same.question_id
    ReasoningPath.objects.filter(pk=same.pk).update(text=first.text.upper())
    manifest = export(page=page, gates={"twin": "exclude"})
    assert manifest["gates"]["by_gate"]["twin"] == {"switch": "exclude", "records": 1, "left_out": 1}
    assert manifest["records"] == len(others)
    assert adds_up(run, manifest)


def test_the_twin_of_a_record_that_stays_behind_leaves(run: Run, export: Export) -> None:
    """Else neither would."""
    first, *others = records(run)
    assert first.path
    ReasoningPath.objects.filter(pk=others[-1].path_id).update(text=first.path.text)
    spoil(first)
    manifest = export(gates={"twin": "exclude", "think_tag": "exclude"})
    assert manifest["gates"]["by_gate"]["twin"]["records"] == 0
    assert manifest["records"] == len(others)


def test_what_another_choice_keeps_out_is_not_counted_by_the_gates(run: Run, export: Export) -> None:
    spoil(records(run)[0])
    tier = RunQuestion.objects.get(run=run, question=records(run)[0].question).tier
    manifest = export(tiers=[t for t in ("easy", "medium", "difficult") if t != tier])
    assert manifest["gates"]["by_gate"]["think_tag"]["records"] == 0
    assert manifest["gates"]["records"] == manifest["records"]


def test_what_was_found_before_is_not_looked_for_again(
    run: Run, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(records(run)[0])
    looked: list[Texts] = []
    monkeypatch.setattr(keeper, "find_hits", lambda texts: looked.append(texts) or find_hits(texts))
    first = export(gates={"loop": "off"})
    assert len(looked) == len(records(run)) == GateCheck.objects.count()
    looked.clear()
    again = export(gates={"loop": "exclude", "think_tag": "exclude"})
    assert looked == []
    assert again["gates"]["by_gate"]["think_tag"]["left_out"] == 1
    assert again["gates"]["by_gate"]["twin"] == first["gates"]["by_gate"]["twin"]


def test_a_text_that_changed_is_looked_through_again(run: Run, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export()["gates"]["by_gate"]["think_tag"]["records"] == 0
    spoil(records(run)[1])
    assert export()["gates"]["by_gate"]["think_tag"]["records"] == 1
    assert GateCheck.objects.count() == len(records(run))
    looked: list[Texts] = []
    monkeypatch.setattr(keeper, "find_hits", lambda texts: looked.append(texts) or find_hits(texts))
    monkeypatch.setattr(memory, "_code", lambda: b"other gates")
    export()
    assert len(looked) == len(records(run))


@given(st.sets(st.sampled_from(GATES)))
def test_gates_are_kept_as_bits(gates: set[Gate]) -> None:
    assert memory.gates_of(memory.bits_of(gates)) == gates


def test_what_is_kept_names_every_part_of_what_was_looked_at() -> None:
    """Nothing that changes a finding leaves the digest as it was."""
    texts = Texts("cot", "response", "A", "B", "C", "stop")
    others = [replace(texts, **{field: "other"}) for field in Texts.__dataclass_fields__ if field != "twin"]
    assert len({memory.content_of(one) for one in (texts, *others)}) == 7


def test_only_what_differs_from_warning_is_kept_of_the_choices() -> None:
    config = ExportConfig(gates={"twin": "exclude", "loop": "warn", "answer": "off"})
    assert config.as_json()["gates"] == {"answer": "off", "twin": "exclude"}
    with pytest.raises(ExportRefusedError, match="gates"):
        read_config({"gates": {"nonsense": "off"}})
    with pytest.raises(ExportRefusedError, match=r"gates\.loop"):
        read_config({"gates": {"loop": "sometimes"}})


def test_the_page_shows_the_choices_and_sends_them(run: Run, client: Client) -> None:
    client.force_login(make_user("curator"))
    spoil(records(run)[0])
    address = reverse("export_new")
    first = client.get(address).content.decode()
    assert 'name="gate-think_tag"' in first
    assert '<details class="choices">' in first
    make_now(order_inspection(project=run.project, kind="gates", run=run))
    looked = client.get(address, {"run": run.name, "gate-loop": "exclude", "format": "jsonl"}).content.decode()
    assert reverse("quality", args=(run.pk,)) in looked
    assert '<details class="choices" open>' in looked
    chosen = {"gate-think_tag": "exclude", "gate-loop": "off", "gate-twin": "warn", "contamination": "warn"}
    sent = {"run": run.name, "variant": ["cotmed"], "format": "jsonl", "similarity": "0.9", **chosen}
    assert client.post(address, sent).status_code == 302
    made = Snapshot.objects.get()
    assert made.config["gates"] == {"loop": "off", "think_tag": "exclude"}
    assert made.config["contamination"] == {"policy": "warn", "within": "keep", "threshold": 0.9}
    refused = client.post(address, sent | {"gate-loop": "<b>sometimes"})
    assert refused.status_code == 422
    assert "<b>sometimes" not in refused.content.decode()
    assert client.post(address, sent | {"similarity": "0.2"}).status_code == 422
    assert Snapshot.objects.count() == 1


def test_the_api_takes_the_choices(run: Run, client: Client) -> None:
    client.force_login(make_user("curator"))
    body: dict[str, Any] = {"run": run.name, "variants": ["cotmed"], "config": {"gates": {"loop": "exclude"}}}
    made = client.post("/api/v1/exports", body, content_type="application/json")
    assert made.status_code == 201
    assert Snapshot.objects.get().config["gates"] == {"loop": "exclude"}
    body["config"] = {"gates": {"nonsense": "off"}}
    assert client.post("/api/v1/exports", body, content_type="application/json").status_code == 422


def test_the_command_takes_the_choices(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(records(run)[0])
    given = [run.name, "--variant", "cotmed", "--json", "--out", str(tmp_path / "made")]
    call_command("export_dataset", *given, "--gate", "think_tag=exclude", "--near-duplicates", "warn")
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["gates"]["left_out"] == 1
    assert manifest["contamination"]["within"] == "warn"
    with pytest.raises(CommandError, match=r"gates\.loop") as refused:
        call_command("export_dataset", *given, "--gate", "loop")
    assert refused.value.returncode == 2


@pytest.fixture
def held_out(run: Run) -> list[Question]:
    """The first two of the run's questions stand in evaluation sets: one word for word, one nearly."""
    words = [f"word{n}" for n in range(40)]
    first, second = Question.objects.filter(in_runs__run=run).order_by("pk")[:2]
    Question.objects.filter(pk=second.pk).update(stem=" ".join(words))
    copy = {"held_out": True, "split": "test", "options": first.options}
    return [
        make_question(**copy, stem=first.stem, fingerprint=first.fingerprint),
        make_question(**copy, stem=" ".join(["another" if word == "word20" else word for word in words])),
    ]


def own_stems(run: Run, *but: Question) -> None:
    """The factories' stems repeat themselves."""
    for question in Question.objects.filter(in_runs__run=run).exclude(pk__in=[q.pk for q in but]):
        Question.objects.filter(pk=question.pk).update(
            stem=f"{question.pk} " * 20, options=[f"{question.pk} {n}" for n in "abcd"]
        )


def test_questions_in_evaluation_sets_are_kept_told_of_or_left_out(
    run: Run, export: Export, held_out: list[Question]
) -> None:
    mine = Question.objects.filter(in_runs__run=run).order_by("pk")
    own_stems(run, *mine[:2])
    assert "contamination" not in export()
    assert not Inspection.objects.exists()

    warned = export(contamination={"policy": "warn"})
    assert warned["contamination"]["questions"] == {"itself": 0, "exact": 1, "near": 1, "within": 0}
    assert warned["contamination"]["left_out"] == {"contaminated": 0, "near_duplicate": 0}
    assert warned["questions"]["exported"] == len(mine)
    assert "2 exported questions stand in an evaluation set, or come close to one in it" in warned["warnings"]

    left_out = export(contamination={"policy": "exclude", "threshold": 0.8})
    assert left_out["excluded"] == {"contaminated": 2}
    assert left_out["contamination"]["left_out"] == {"contaminated": 2, "near_duplicate": 0}
    assert left_out["questions"]["exported"] == len(mine) - 2
    assert adds_up(run, left_out)
    assert Inspection.objects.count() == 1  # the second export found it made

    closer = export(contamination={"policy": "exclude", "threshold": 0.95})
    assert closer["excluded"] == {"contaminated": 1}


def test_sets_that_are_not_in_the_database_are_told_of(run: Run, export: Export, tmp_path: Path) -> None:
    """Else nothing found would read as clean."""
    own_stems(run)
    manifest = export(contamination={"policy": "exclude"})
    assert manifest["contamination"]["not_compared"][:2] == ["MedQA test", "MedMCQA validation"]
    assert len(manifest["contamination"]["not_compared"]) == 9
    assert any(warning.startswith("contamination is not known for MedQA test, ") for warning in manifest["warnings"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**Not known** for MedQA test, MedMCQA validation" in card
    assert "Compared with none of the nine evaluation sets" in card


def test_an_imported_evaluation_set_makes_a_kept_inspection_stale(
    run: Run, export: Export, held_out: list[Question]
) -> None:
    mine = Question.objects.filter(in_runs__run=run).order_by("pk")
    own_stems(run, *mine[:2])
    Question.objects.filter(pk=held_out[1].pk).update(held_out=False, split="train")
    assert export(contamination={"policy": "exclude"})["excluded"] == {"contaminated": 1}
    Question.objects.filter(pk=held_out[1].pk).update(held_out=True, split="test")
    assert export(contamination={"policy": "exclude"})["excluded"] == {"contaminated": 2}
    assert Inspection.objects.count() == 2


def test_a_held_out_question_of_the_run_is_contamination_itself(run: Run, export: Export) -> None:
    own_stems(run)
    Run.objects.filter(pk=run.pk).update(allow_held_out=True)
    run.refresh_from_db()
    question = Question.objects.filter(in_runs__run=run)[0]
    Question.objects.filter(pk=question.pk).update(held_out=True)
    assert export(contamination={"policy": "warn"})["contamination"]["questions"]["itself"] == 1
    assert export(contamination={"policy": "exclude"})["excluded"] == {"contaminated": 1}


@pytest.mark.parametrize("page", [1, 100])
def test_of_questions_that_are_alike_the_first_that_leaves_stays(run: Run, export: Export, page: int) -> None:
    mine = list(Question.objects.filter(in_runs__run=run).order_by("pk"))
    own_stems(run, *mine[:3])
    same = " ".join(f"word{n}" for n in range(40))
    for question in mine[:3]:
        Question.objects.filter(pk=question.pk).update(stem=same)
    RunQuestion.objects.filter(run=run, question=mine[0]).update(state="waiting", reason="disputed")

    manifest = export(page=page, contamination={"within": "exclude"})

    assert manifest["excluded"] == {"near_duplicate": 1}
    assert manifest["contamination"]["left_out"] == {"contaminated": 0, "near_duplicate": 1}
    assert manifest["questions"]["exported"] == len(mine) - 2
    warned = export(page=page, contamination={"within": "warn"})
    assert "1 exported questions are nearly the same as an earlier one" in warned["warnings"]
