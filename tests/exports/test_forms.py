"""Further sets of an export: chat messages, pairs, labelled steps, and the table for people."""

from __future__ import annotations

import csv
import json
import tracemalloc
from contextlib import closing

import pytest
from django.core.management import call_command
from django.urls import reverse

from apps.exports.build import Limits, build_export
from apps.exports.config import ExportConfig, read_config
from apps.exports.errors import ExportRefusedError
from apps.exports.forms.build import FormWriters
from apps.exports.forms.make import FormMaker
from apps.exports.forms.names import FORMS
from apps.exports.forms.table import COLUMNS, neutral
from apps.exports.forms.texts import Marked, make_chat, make_pair, make_steps
from apps.exports.lineage import read_pages
from apps.exports.models import Snapshot
from apps.exports.records import VARIANTS
from apps.reasoning.models import Label, PathLabel, ReasoningPath, VerdictSource
from apps.reasoning.sentences import SPLITTER_VERSION, split_sentences
from reasonmed_verify.checks import check_folder
from tests.factories import make_finished_run, make_user, make_verdict

SMALL = Limits(page=3)
ALL = ("csv", "messages", "preferences", "steps")


def export(run, out, *, forms=ALL, format="jsonl", variants=VARIANTS, limits=SMALL, **choices):
    config = ExportConfig(forms=forms, **choices)
    return build_export(run=run, variants=variants, format=format, out_dir=out, config=config, limits=limits)


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged_by_person(run, path, label, *, sentences=(), splitter=SPLITTER_VERSION, source=VerdictSource.PERSON):
    """A clinician's verdict that counts, with the sentences marked."""
    details = {"sentences": list(sentences), "splitter": splitter} if sentences else {}
    verdict = make_verdict(
        path, label=label, reviewer=make_user("clinician"), project=run.project, details=details, source=source
    )
    PathLabel.objects.filter(run=run, path=path).update(label=label, source=source, overridden=True)
    return verdict


def records_of(page):
    return [(asked, kept) for asked in page for kept in asked.kept]


def errors_of(run):
    labels = PathLabel.objects.filter(run=run, label=Label.ERROR).order_by("path_id")
    return list(ReasoningPath.objects.filter(pk__in=labels.values("path_id")).order_by("id"))


# --- texts, pure


def test_a_chat_has_the_record_as_its_turns():
    record = {"instruction": "Q?", "input": "", "output": "A."}

    assert make_chat(record) == {
        "messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]
    }
    assert make_chat(record, system="Be careful.")["messages"][0] == {"role": "system", "content": "Be careful."}


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("", "b"), ("a", " "), ("a", "a"), ("<think>a</think>", " a\n"), ("a", "<think></think>")]
)
def test_no_pair_of_equals_or_of_nothing(chosen, rejected):
    assert make_pair(prompt="Q?", chosen=chosen, rejected=rejected) is None


def test_steps_are_the_sentences_with_a_label_each():
    text = "Potassium is low. Start insulin at once.\n\nFinal answer: B."

    made = make_steps(prompt="Q?", text=text, marked=Marked(correct=False, wrong={2}))

    assert made == {
        "prompt": "Q?",
        "completions": ["Potassium is low.", "Start insulin at once.", "Final answer: B."],
        "labels": [True, False, True],
    }
    assert make_steps(prompt="Q?", text=text, marked=Marked(correct=True, wrong={2}))["labels"] == [True] * 3


@pytest.mark.parametrize(("text", "wrong"), [("One. Two.", set()), ("One. Two.", {9}), ("", {1})])
def test_an_error_without_a_mark_on_its_sentences_gives_no_steps(text, wrong):
    assert make_steps(prompt="Q?", text=text, marked=Marked(correct=False, wrong=wrong)) is None


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "  =1", "＝1", '=HYPERLINK("x")'])
def test_formulas_are_neutralised(text):
    assert neutral(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "1-2", "Insulin, 5 %", "'=1"])
def test_other_cells_stay_as_they_are(text):
    assert neutral(text) == text


def test_a_form_that_is_none_is_refused():
    with pytest.raises(ExportRefusedError, match="forms"):
        read_config({"forms": ["parchment"]})


# --- sets of a run


@pytest.mark.django_db
@pytest.mark.parametrize("format", ["jsonl", "jsonl.zst", "parquet"])
def test_each_form_is_a_set_that_is_checked_counted_and_the_same_again(tmp_path, format):
    run = make_finished_run(8)
    first, second = errors_of(run)[:2]
    judged_by_person(run, first, Label.ERROR, sentences=[2, 3])
    judged_by_person(run, second, Label.ERROR, sentences=[4])

    made, again = (export(run, tmp_path / name, format=format) for name in "ab")

    assert made == again
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "ab")
    assert a == b
    assert [f.text for f in check_folder(tmp_path / "a") if f.kind == "problem"] == []
    roots = {s["set"]: s["records"] for s in made["merkle"]["sets"]}
    assert list(roots) == [
        *VARIANTS, "messages", "provenance", "preferences", "provenance_preferences", "steps", "provenance_steps",
    ]  # fmt: skip
    assert {name: counts["records"] for name, counts in made["forms"].items() if name != "csv"} == {
        name: roots[name] for name in ("messages", "preferences", "steps")
    }
    assert roots["messages"] == made["records"] == made["forms"]["csv"]["records"]
    assert made["forms"]["steps"] == {"records": 2, "questions": 2 if first.question_id != second.question_id else 1,
                                      "steps": made["forms"]["steps"]["steps"], "wrong_steps": 3}  # fmt: skip
    assert [f["path"] for f in made["extras"]][:1] == ["records.csv"]


@pytest.mark.django_db
def test_roots_of_forms_do_not_depend_on_the_format(tmp_path):
    run = make_finished_run(6)
    judged_by_person(run, errors_of(run)[0], Label.ERROR, sentences=[1])

    roots = [export(run, tmp_path / f, format=f)["merkle"]["root"] for f in ("jsonl", "jsonl.gz", "parquet")]

    assert len(set(roots)) == 1


@pytest.mark.django_db
def test_messages_are_the_first_set_turn_by_turn(tmp_path):
    run = make_finished_run(3)

    export(run, tmp_path / "x", forms=("messages",), variants=("cotmed",), system_prompt="Be careful.")

    records, chats = (lines_of(tmp_path / "x" / f"{n}.jsonl") for n in ("cotmed", "messages"))
    assert [[turn["content"] for turn in chat["messages"]] for chat in chats] == [
        ["Be careful.", r["instruction"], r["output"]] for r in records
    ]


@pytest.mark.django_db
def test_a_pair_is_a_kept_path_against_an_error_of_its_question(tmp_path):
    run = make_finished_run(8)

    made = export(run, tmp_path / "x", forms=("preferences",))

    pairs, trail = (lines_of(tmp_path / "x" / f"{n}.jsonl") for n in ("preferences", "provenance_preferences"))
    assert len(pairs) == len(trail) == made["forms"]["preferences"]["records"] > 5
    errors = {p.pk: p for p in errors_of(run)}
    for pair, line in zip(pairs, trail, strict=True):
        rejected = errors[line["rejected"]["id"]]
        assert pair["rejected"] == rejected.text
        assert pair["chosen"] == ReasoningPath.objects.get(pk=line["chosen"]["id"]).text
        assert rejected.question.uid == line["question"]
        assert [v["label"] for v in line["verdicts"]] == ["error"]
        assert line["chosen"]["prompt"]
        assert line["rejected"]["prompt"]
    by_question = [(line["question"], line["rejected"]["id"]) for line in trail]
    assert len(set(by_question)) == len(by_question)
    kept = [(line["question"], line["slot"]) for line in lines_of(tmp_path / "x" / "provenance.jsonl")]
    assert {(line["question"], line["slot"]) for line in trail} <= set(kept)


@pytest.mark.django_db
def test_the_rejected_path_is_of_the_same_generator_where_there_is_one(tmp_path):
    run = make_finished_run(8)

    export(run, tmp_path / "x", forms=("preferences",))

    errors = {(p.question.uid, p.generator) for p in errors_of(run)}
    for line in lines_of(tmp_path / "x" / "provenance_preferences.jsonl"):
        if line["slot"] == 1 and (line["question"], line["chosen"]["generator"]) in errors:
            assert line["rejected"]["generator"] == line["chosen"]["generator"]


@pytest.mark.django_db
def test_errors_that_are_cut_off_disputed_or_replaced_make_no_pair(tmp_path):
    run = make_finished_run(2)  # no Error in the first question, two in the second
    cut, disputed = errors_of(run)
    ReasoningPath.objects.filter(pk=cut.pk).update(finish_reason="length")
    PathLabel.objects.filter(path=disputed).update(disputed=True)

    assert export(run, tmp_path / "x", forms=("preferences",))["forms"]["preferences"]["records"] == 0


@pytest.mark.django_db
def test_by_clinicians_alone_a_rejected_path_is_one_that_a_clinician_rejected(tmp_path):
    run = make_finished_run(3)
    judged = errors_of(run)[-1]
    for kept in run.selections.filter(question=judged.question):
        judged_by_person(run, kept.path, Label.CORRECT)
    judged_by_person(run, judged, Label.ERROR)

    export(run, tmp_path / "x", forms=("preferences",), labels="clinician")

    [line] = lines_of(tmp_path / "x" / "provenance_preferences.jsonl")
    assert (line["rejected"]["id"], line["rejected_by"]) == (judged.pk, "person")
    assert line["verdicts"][-1]["by"].startswith("reviewer-")


@pytest.mark.django_db
def test_steps_come_from_the_marks_of_those_who_call_the_path_an_error(tmp_path):
    run = make_finished_run(5)
    error, settled, unmarked, older = errors_of(run)[:4]
    judged_by_person(run, error, Label.ERROR, sentences=[1])
    judged_by_person(run, error, Label.ERROR, sentences=[3])
    judged_by_person(run, settled, Label.ERROR, sentences=[1])
    judged_by_person(run, settled, Label.ERROR, sentences=[2], source=VerdictSource.ADJUDICATION)
    judged_by_person(run, unmarked, Label.ERROR)
    judged_by_person(run, older, Label.ERROR, sentences=[1], splitter=SPLITTER_VERSION + 1)
    correct = run.selections.first().path
    judged_by_person(run, correct, Label.CORRECT)

    made = export(run, tmp_path / "x", forms=("steps",))

    steps, trail = (lines_of(tmp_path / "x" / f"{n}.jsonl") for n in ("steps", "provenance_steps"))
    wrong = {line["path"]["id"]: line["wrong"] for line in trail}
    assert wrong == {error.pk: [1, 3], settled.pk: [2], correct.pk: []}
    assert made["forms"]["steps"]["wrong_steps"] == 3
    for row, line in zip(steps, trail, strict=True):
        path = ReasoningPath.objects.get(pk=line["path"]["id"])
        assert row["completions"] == [s.text for s in split_sentences(path.text)]
        assert [n for n, sound in enumerate(row["labels"], 1) if not sound] == line["wrong"]
        assert {v["by"] is None for v in line["verdicts"]} == {True, False}


@pytest.mark.django_db
def test_what_only_measures_marks_no_step(tmp_path):
    run = make_finished_run(3)
    path = errors_of(run)[0]
    verdict = judged_by_person(run, path, Label.ERROR, sentences=[1])
    type(verdict).objects.filter(pk=verdict.pk).update(counts=False)

    assert export(run, tmp_path / "x", forms=("steps",))["forms"]["steps"]["records"] == 0


@pytest.mark.django_db
def test_the_table_has_a_row_for_each_record_and_runs_nothing(tmp_path):
    run = make_finished_run(3)
    path = run.selections.first().path
    ReasoningPath.objects.filter(pk=path.pk).update(text='=cmd|" /C calc"!A0')

    made = export(run, tmp_path / "x", forms=("csv",))

    with (tmp_path / "x" / "records.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (tmp_path / "x" / "records.csv").read_bytes()[:3] == b"\xef\xbb\xbf"
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == made["records"]
    assert [int(row["record"]) for row in rows] == list(range(len(rows)))
    assert "'=cmd" in {row["reasoning"][:5] for row in rows}
    plain = lines_of(tmp_path / "x" / "cotmed.jsonl")
    assert '=cmd|" /C calc"!A0' in {record["output"] for record in plain}  # to the byte


@pytest.mark.django_db
def test_without_forms_nothing_further_is_written(tmp_path):
    made = export(make_finished_run(1), tmp_path / "x", forms=())

    assert made["forms"] == {}
    assert not any(p.name.startswith(("messages", "preferences", "steps")) for p in (tmp_path / "x").iterdir())


@pytest.mark.django_db
def test_a_page_takes_a_fixed_number_of_queries(tmp_path, django_assert_num_queries):
    run = make_finished_run(8)
    for path in errors_of(run)[:6]:
        judged_by_person(run, path, Label.ERROR, sentences=[1])
    [page] = read_pages(run, page=50)

    config = ExportConfig(forms=ALL)
    maker = FormMaker(run, config, "jsonl")
    with closing(FormWriters(tmp_path, config, format="jsonl")) as forms:
        for number, (asked, kept) in enumerate(records_of(page)):
            maker.record(asked, kept, {"instruction": "Q?", "input": "", "output": "A."}, number=number)
        with django_assert_num_queries(10):
            forms.write(maker.page(page, start=0))
        assert forms.finish(records=number + 1).counts["steps"]["records"] == 6


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_records(tmp_path, format, monkeypatch):
    monkeypatch.setattr("apps.exports.writers.ROW_GROUP_BYTES", 50_000)
    monkeypatch.setattr("apps.exports.writers.BATCH_BYTES", 20_000)
    run = make_finished_run(8)
    for path in errors_of(run)[:6]:
        judged_by_person(run, path, Label.ERROR, sentences=[1])
    [page] = read_pages(run, page=50)

    config = ExportConfig(forms=ALL)

    def peak(times: int) -> int:
        folder = tmp_path / f"{times}"
        folder.mkdir()
        tracemalloc.start()
        try:
            maker, records = FormMaker(run, config, format), 0
            with closing(FormWriters(folder, config, format=format)) as forms:
                for _ in range(times):
                    start = records
                    for asked, kept in records_of(page):
                        record = {"instruction": "Q?", "input": "", "output": "A." * 500}
                        maker.record(asked, kept, record, number=records)
                        records += 1
                    forms.write(maker.page(page, start=start))
                assert forms.finish(records=records).counts["steps"]["records"] == 6 * times
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(140)  # files larger than the buffers before them
    assert peak(450) < peak(150) + 2_000_000  # batches in flight; each set writes several MB more


# --- ordered


@pytest.mark.django_db
def test_forms_are_ordered_on_the_page(client):
    run = make_finished_run(1)
    client.force_login(make_user("curator"))

    page = client.get(reverse("export_new")).content.decode()
    sent = {"run": run.name, "variant": ["cotmed"], "format": "jsonl", "form": ["steps", "messages"]}
    client.post(reverse("export_new"), sent | {"system_prompt": " Be careful. "})

    assert all(f'name="form" value="{name}"' in page for name in FORMS)
    config = Snapshot.objects.get().config
    assert (config["forms"], config["system_prompt"]) == (["messages", "steps"], "Be careful.")


@pytest.mark.django_db
def test_a_form_that_is_none_is_refused_in_words_on_the_page(client):
    run = make_finished_run(1)
    client.force_login(make_user("curator"))

    sent = {"run": run.name, "variant": ["cotmed"], "format": "jsonl", "form": ["parchment"]}
    response = client.post(reverse("export_new"), sent)

    assert (response.status_code, Snapshot.objects.count()) == (422, 0)


@pytest.mark.django_db
def test_forms_are_ordered_by_the_command(tmp_path, capsys):
    run = make_finished_run(3)

    call_command(
        "export_dataset", run.name, "--form", "messages", "--form", "csv", "--system-prompt", "Be careful.",
        "--out", str(tmp_path / "x"),
    )  # fmt: skip

    assert lines_of(tmp_path / "x" / "messages.jsonl")[0]["messages"][0]["content"] == "Be careful."
    assert (tmp_path / "x" / "records.csv").exists()
