"""What an import writes: whole files only, nothing twice, duplicates linked whatever came first."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.questions import services as import_services
from apps.questions.importers.base import CONFLICTING_KEY
from apps.questions.models import ImportBatch, Question
from apps.questions.selectors import composition, contamination, key_conflicts
from apps.questions.services import MAX_PROBLEMS, ImportRefused, import_questions
from tests.questions import published as form

pytestmark = pytest.mark.django_db


def load(folder, benchmark, content, split="train", name="rows.json", **options):
    return import_questions(benchmark=benchmark, path=form.write(folder, name, content), split=split, **options)


def counts(report):
    return (report.read, report.created, report.existing, report.skipped)


class TestIdentity:
    def test_a_second_import_creates_nothing(self, tmp_path):
        content = form.lines(*(form.medmcqa(n) for n in range(4)))
        assert counts(load(tmp_path, "medmcqa", content)) == (4, 4, 0, 0)
        assert counts(load(tmp_path, "medmcqa", content)) == (4, 0, 4, 0)
        assert Question.objects.count() == 4

    def test_stable_ids(self, tmp_path):
        load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)))
        load(tmp_path, "pubmedqa", json.dumps({"123": form.pubmedqa()}))
        load(tmp_path, "mmlu", form.table(form.mmlu()), split="", name="anatomy_dev.csv")
        mmlu = Question.objects.get(benchmark__slug="mmlu")
        assert mmlu.uid == f"mmlu-dev-anatomy-{mmlu.fingerprint}-0"
        assert set(Question.objects.values_list("uid", flat=True)) == {
            "medmcqa-00000000-0000-0000-0000-000000000003",
            "pubmedqa-123",
            mmlu.uid,
        }

    def test_the_same_row_twice_without_an_id_is_two_occurrences(self, tmp_path):
        content = form.lines(form.medqa(1), form.medqa(2), form.medqa(1), form.medqa(1))
        report = load(tmp_path, "medqa", content)
        assert (report.created, report.duplicates) == (4, 2)
        assert list(Question.objects.order_by("uid").values_list("occurrence", flat=True)) in (
            [0, 1, 2, 0],
            [0, 0, 1, 2],
        )
        assert counts(load(tmp_path, "medqa", content)) == (4, 0, 4, 0)

    def test_the_same_id_twice_is_one_question(self, tmp_path):
        assert counts(load(tmp_path, "medmcqa", form.lines(form.medmcqa(3), form.medmcqa(3)))) == (2, 1, 1, 0)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [({"question": "Quite another"}, "another question"), ({"cop": 1}, "another key")],
    )
    def test_an_id_with_other_content_is_not_swallowed(self, tmp_path, changed, said):
        load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)))
        content = form.lines(form.medmcqa(7), form.medmcqa(3, **changed))
        with pytest.raises(ImportRefused):
            load(tmp_path, "medmcqa", content)
        report = load(tmp_path, "medmcqa", content, skip_bad_rows=True)
        assert counts(report) == (2, 1, 0, 1)
        assert (report.problems[0].line, report.problems[0].field) == (2, "id")
        assert said in report.problems[0].message

    def test_an_id_with_other_content_in_one_file(self, tmp_path):
        content = form.lines(form.medmcqa(3), form.medmcqa(3, question="Quite another"))
        report = load(tmp_path, "medmcqa", content, skip_bad_rows=True)
        assert counts(report) == (2, 1, 0, 1)
        assert "line 1" in report.problems[0].message

    def test_the_way_of_writing_is_no_other_content(self, tmp_path):
        load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)))
        again = form.medmcqa(3, opd="saline\u00a0", question=" " + form.medmcqa(3)["question"] + ":")
        assert counts(load(tmp_path, "medmcqa", form.lines(again))) == (1, 0, 1, 0)


class TestWholeFiles:
    def test_a_bad_row_refuses_its_file(self, tmp_path):
        content = form.lines(form.medqa(1), form.medqa(2, answer_idx="Z"), form.medqa(3), form.medqa(4, question=""))
        with pytest.raises(ImportRefused) as refusal:
            load(tmp_path, "medqa", content)
        report = refusal.value.report
        assert counts(report) == (4, 0, 0, 4)
        assert [problem.line for problem in report.problems] == [2, 4]
        assert not Question.objects.exists()
        assert not ImportBatch.objects.exists()

    def test_unless_asked_to_skip(self, tmp_path):
        content = form.lines(form.medqa(1), form.medqa(2, answer_idx="Z"), form.medqa(3))
        report = load(tmp_path, "medqa", content, skip_bad_rows=True)
        assert counts(report) == (3, 2, 0, 1)
        assert ImportBatch.objects.get().report["problems"][0]["line"] == 2

    def test_a_row_published_without_a_key_is_left_out(self, tmp_path):
        content = form.lines(form.medmcqa(3), form.medmcqa(2, cop=-1))
        assert counts(load(tmp_path, "medmcqa", content)) == (2, 1, 0, 1)

    def test_damage_refuses_even_when_skipping(self, tmp_path):
        content = json.dumps([form.medqa(1), form.medqa(2)])[:-20]
        with pytest.raises(ImportRefused) as refusal:
            load(tmp_path, "medqa", content, skip_bad_rows=True)
        assert counts(refusal.value.report) == (1, 0, 0, 1)
        assert not Question.objects.exists()

    def test_problems_are_capped_and_counted(self, tmp_path):
        content = form.lines(*(form.medqa(n, question="") for n in range(MAX_PROBLEMS + 5)))
        with pytest.raises(ImportRefused) as refusal:
            load(tmp_path, "medqa", content)
        report = refusal.value.report
        assert (len(report.problems), report.problems_left_out) == (MAX_PROBLEMS, 5)

    @pytest.mark.parametrize(
        ("benchmark", "name", "options", "field"),
        [
            ("medqa", "a.jsonl", {"split": ""}, "split"),
            ("medqa", "a.jsonl", {"split": "labelled"}, "split"),
            ("medqa", "a.jsonl", {"held_out_ids": frozenset()}, "held_out_ids"),
            ("medqa", "a.jsonl", {"cop_base": 1}, "cop_base"),
            ("mmlu", "anatomy_test.csv", {"split": "dev"}, "split"),
            ("mmlu", "other.csv", {"split": "dev"}, "subject"),
        ],
    )
    def test_what_was_said_must_fit(self, tmp_path, benchmark, name, options, field):
        with pytest.raises(ImportRefused) as refusal:
            load(tmp_path, benchmark, "x", name=name, **options)
        assert refusal.value.report.problems[0].field == field

    def test_progress_ends_at_the_file_size(self, tmp_path):
        seen = []
        content = form.lines(*(form.medqa(n) for n in range(1_200)))
        load(tmp_path, "medqa", content, on_progress=lambda *step: seen.append(step))
        assert [rows for _done, _size, rows in seen] == [500, 1_000, 1_200]
        assert seen[-1][0] == seen[-1][1] == len(content.encode())


class TestDuplicates:
    FILES = (
        ("medqa", "train", "rows.json", form.lines(form.medqa(1, question="Same?"))),
        ("medqa", "dev", "rows.json", form.lines(form.medqa(1, question="same ?"))),
        ("medmcqa", "train", "rows.json", form.lines(form.medmcqa(3, question="Same:", cop=1), form.medmcqa(7, cop=4))),
        ("mmlu", "val", "anatomy_val.csv", form.table(("Same", *reversed(form.OPTIONS), "D"))),
    )

    @pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
    def test_the_canonical_one_does_not_depend_on_the_order(self, tmp_path, order):
        linked = 0
        for index in order:
            benchmark, split, name, content = self.FILES[index]
            linked += load(tmp_path, benchmark, content, split, name).duplicates
        best = Question.objects.get(benchmark__slug="medqa", split="train")
        others = Question.objects.exclude(pk=best.pk).exclude(source_id__endswith="7")
        assert best.canonical_id is None
        assert set(others.values_list("canonical_id", flat=True)) == {best.pk}
        assert linked == others.count() == 3

    def test_held_out_rows_have_their_own_canonical(self, tmp_path):
        row = form.mmlu()
        for name in ("clinical_knowledge_test.csv", "college_medicine_test.csv", "anatomy_val.csv"):
            load(tmp_path, "mmlu", form.table(row), "", name)
        by_subject = {question.subject: question for question in Question.objects.all()}
        assert by_subject["anatomy"].canonical is None
        assert by_subject["clinical_knowledge"].canonical is None
        assert by_subject["college_medicine"].canonical == by_subject["clinical_knowledge"]
        (link, second) = contamination()
        assert link.held_out == by_subject["clinical_knowledge"]
        assert second.trainable == link.trainable == [by_subject["anatomy"]]
        assert contamination(after=link.held_out.pk, limit=1) == [second]

    def test_the_published_tables_order_goes_by_subject_before_split(self, tmp_path):
        load(tmp_path, "mmlu", form.table(form.mmlu()), "", "clinical_knowledge_dev.csv")
        load(tmp_path, "mmlu", form.table(form.mmlu()), "", "anatomy_val.csv")
        assert Question.objects.get(canonical=None).subject == "anatomy"

    def test_the_same_stem_with_other_options_is_no_duplicate(self, tmp_path):
        load(tmp_path, "mmlu", form.table(form.mmlu()), "", "anatomy_val.csv")
        load(
            tmp_path,
            "mmlu",
            form.table(("Where is organ 0?", "Arm", "Foot", "Neck", "Hand", "A")),
            "",
            "anatomy_test.csv",
        )
        assert not Question.objects.filter(canonical__isnull=False).exists()
        assert contamination() == []
        (link,) = contamination(same_stem=True)
        assert (link.held_out.split, link.trainable[0].split) == ("test", "val")

    def test_conflicting_keys_are_flagged_and_listed(self, tmp_path):
        first = load(tmp_path, "medmcqa", form.lines(form.medmcqa(1, question="Same", cop=4)))
        assert first.flagged == 0
        again = load(tmp_path, "medmcqa", form.lines(form.medmcqa(2, question="Same:", cop=1), form.medmcqa(3)))
        assert (again.flagged, again.flags, again.duplicates) == (1, {CONFLICTING_KEY: 1}, 1)
        flagged = Question.objects.filter(flags=[CONFLICTING_KEY])
        assert flagged.count() == 2
        assert not flagged.filter(blocked=True).exists()
        (conflict,) = key_conflicts()
        assert {question.key_text for question in conflict.questions} == {"Insulin", "Saline"}
        assert not conflict.held_out
        assert key_conflicts(after=conflict.fingerprint) == []

    def test_the_same_key_in_another_place_is_no_conflict(self, tmp_path):
        turned = dict(zip(("opa", "opb", "opc", "opd"), reversed(form.OPTIONS), strict=True))
        load(
            tmp_path,
            "medmcqa",
            form.lines(form.medmcqa(3, question="Same"), form.medmcqa(4, question="Same", **turned)),
        )
        assert Question.objects.filter(canonical__isnull=False).count() == 1
        assert key_conflicts() == []

    def test_repeated_key_text_blocks_other_equal_options_do_not(self, tmp_path):
        rows = (form.medmcqa(0, opb="Insulin"), form.medmcqa(3, opb="Insulin"))
        report = load(tmp_path, "medmcqa", form.lines(*rows))
        assert report.flags == {"equal_options": 1, "key_text_repeated": 1}
        assert Question.objects.get(blocked=True).flags == ["key_text_repeated"]


class TestHeldOut:
    def test_by_benchmark_and_split(self, tmp_path):
        load(tmp_path, "medqa", form.lines(form.medqa(1)), "test")
        load(tmp_path, "medqa", form.lines(form.medqa(2)), "dev")
        load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)), "dev")  # the validation set's file name
        load(tmp_path, "medmcqa", form.lines(form.medmcqa(7)), "train")
        load(tmp_path, "mmlu", form.table(form.mmlu()), "", "anatomy_test.csv")
        found = {(q.benchmark.slug, q.split): q.held_out for q in Question.objects.select_related("benchmark")}
        assert found == {
            ("medqa", "test"): True,
            ("medqa", "dev"): False,
            ("medmcqa", "validation"): True,
            ("medmcqa", "train"): False,
            ("mmlu", "test"): True,
        }

    def test_a_medmcqa_row_found_in_validation_leaves_train(self, tmp_path):
        load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)), "train")
        report = load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)), "validation")
        assert (report.existing, report.moved) == (1, 1)
        assert Question.objects.get().held_out
        with pytest.raises(ImportRefused):
            load(tmp_path, "medmcqa", form.lines(form.medmcqa(3)), "train")


class TestPubMedQASplits:
    ROWS = json.dumps({"11": form.pubmedqa(1), "12": form.pubmedqa(2)})

    def state(self):
        return {q.source_id: (q.split, q.held_out) for q in Question.objects.all()}

    def test_labelled_first_then_the_test_key(self, tmp_path):
        load(tmp_path, "pubmedqa", self.ROWS, "labelled")
        assert self.state() == {"11": ("labelled", True), "12": ("labelled", True)}
        report = load(tmp_path, "pubmedqa", self.ROWS, "labelled", held_out_ids=frozenset({"12"}))
        assert (report.created, report.existing, report.moved) == (0, 2, 2)
        assert self.state() == {"11": ("labelled", False), "12": ("test", True)}
        assert load(tmp_path, "pubmedqa", self.ROWS, "labelled").moved == 0

    def test_train_and_val_take_labelled_rows(self, tmp_path):
        load(tmp_path, "pubmedqa", self.ROWS, "labelled")
        load(tmp_path, "pubmedqa", json.dumps({"11": form.pubmedqa(1)}), "train")
        load(tmp_path, "pubmedqa", json.dumps({"12": form.pubmedqa(2)}), "val")
        assert self.state() == {"11": ("train", False), "12": ("val", False)}
        load(tmp_path, "pubmedqa", self.ROWS, "labelled")
        assert self.state() == {"11": ("train", False), "12": ("val", False)}

    def test_a_train_row_that_the_key_names_becomes_held_out(self, tmp_path):
        load(tmp_path, "pubmedqa", self.ROWS, "train")
        load(tmp_path, "pubmedqa", self.ROWS, "labelled", held_out_ids=frozenset({"12"}))
        assert self.state() == {"11": ("train", False), "12": ("test", True)}

    def test_what_is_test_never_becomes_train(self, tmp_path):
        load(tmp_path, "pubmedqa", self.ROWS, "train", held_out_ids=frozenset({"12"}))
        with pytest.raises(ImportRefused) as refusal:
            load(tmp_path, "pubmedqa", self.ROWS, "train")
        assert "held out" in refusal.value.report.problems[0].message
        assert self.state()["12"] == ("test", True)

    def test_duplicates_are_linked_anew_when_a_row_becomes_held_out(self, tmp_path):
        rows = json.dumps({"11": form.pubmedqa(1), "12": form.pubmedqa(1)})
        load(tmp_path, "pubmedqa", rows, "train")
        assert Question.objects.get(source_id="12").canonical.source_id == "11"
        load(tmp_path, "pubmedqa", rows, "labelled", held_out_ids=frozenset({"11"}))
        assert not Question.objects.filter(canonical__isnull=False).exists()
        assert len(contamination()) == 1


class TestCommands:
    def run(self, capsys, *arguments):
        code = 0
        try:
            call_command(*map(str, arguments))
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr().out
        return code, out

    def test_one_json_object_and_exit_code_0(self, tmp_path, capsys):
        path = form.write(tmp_path, "t.jsonl", form.lines(form.medqa(1), form.medqa(1)))
        code, out = self.run(capsys, "import_questions", "medqa", path, "--split", "train", "--json")
        found = json.loads(out)
        assert code == 0
        assert {name: found[name] for name in ("read", "created", "existing", "duplicates", "flagged", "skipped")} == {
            "read": 2,
            "created": 2,
            "existing": 0,
            "duplicates": 1,
            "flagged": 0,
            "skipped": 0,
        }
        assert found["problems"] == []

    def test_skipped_rows_are_1_and_refused_files_2(self, tmp_path, capsys):
        good = form.write(tmp_path, "good.jsonl", form.lines(form.medqa(1)))
        bad = form.write(tmp_path, "bad.jsonl", form.lines(form.medqa(2), form.medqa(3, answer_idx="Z")))
        arguments = ("import_questions", "medqa", good, bad, "--split", "train", "--json")
        code, out = self.run(capsys, *arguments)
        found = json.loads(out)
        assert (code, found["created"], found["skipped"], found["read"]) == (2, 1, 2, 3)
        assert found["problems"] == [
            {"file": str(bad), "line": 2, "field": "answer_idx", "message": "must be one of A–D, not 'Z'"}
        ]
        code, out = self.run(capsys, *arguments, "--skip-bad-rows")
        assert (code, json.loads(out)["created"], json.loads(out)["existing"]) == (1, 1, 1)

    def test_a_report_for_people(self, tmp_path, capsys):
        bad = form.write(tmp_path, "bad.jsonl", form.lines(form.medqa(2), form.medqa(3, answer_idx="Z")))
        code, out = self.run(capsys, "import_questions", "medqa", bad, "--split", "train")
        assert code == 2
        assert "refused, nothing imported" in out
        assert "line 2, answer_idx: must be one of A–D" in out
        assert "--skip-bad-rows" in out

    def test_a_bad_test_key_refuses_all(self, tmp_path, capsys):
        path = form.write(tmp_path, "p.json", TestPubMedQASplits.ROWS)
        key = form.write(tmp_path, "key.json", "{}")
        arguments = ("import_questions", "pubmedqa", path, "--split", "labelled", "--held-out-ids", key, "--json")
        code, out = self.run(capsys, *arguments)
        assert (code, json.loads(out)["problems"][0]["file"]) == (2, str(key))
        assert not Question.objects.exists()

    def test_composition(self, tmp_path, capsys):
        load(tmp_path, "medqa", form.lines(form.medqa(1), form.medqa(1), form.medqa(2)))
        five = dict(zip("ABCDE", (*form.OPTIONS, "Water"), strict=True))
        load(tmp_path, "medqa", form.lines(form.medqa(3, options=five)))
        load(tmp_path, "medqa", form.lines(form.medqa(4)), "test")
        load(tmp_path, "pubmedqa", TestPubMedQASplits.ROWS, "labelled")
        code, out = self.run(capsys, "composition", "--json")
        found = json.loads(out)
        assert code == 0
        assert found["rows"][0] == {
            "benchmark": "medqa",
            "split": "train",
            "subject": "",
            "published": 10_178,
            "imported": 3,
            "canonical": 2,
            "note": "",
        }
        assert (len(found["rows"]), found["total"], found["total_published"]) == (17, 3, 194_925)
        assert next(row for row in found["held_out"] if row["benchmark"] == "medqa")["imported"] == 1
        assert [(row["benchmark"], row["imported"], row["note"]) for row in found["other"]] == [
            ("medqa", 1, "5 options"),
            ("pubmedqa", 2, "held out"),
        ]
        every = composition()
        assert sum(row.imported for row in (*every.rows, *every.held_out, *every.other)) == Question.objects.count()
        _code, text = self.run(capsys, "composition")
        assert "194,925" in text
        assert "professional_medicine" in text


def test_the_shipped_sample_comes_in_whole():
    sample = Path(import_services.__file__).parent / "sample"
    reports = [
        import_questions(benchmark=benchmark, path=path, split=split)
        for benchmark, split, pattern in (
            ("medqa", "train", "medqa_train.jsonl"),
            ("medmcqa", "train", "medmcqa_train.jsonl"),
            ("pubmedqa", "train", "pubmedqa_train.json"),
            ("mmlu", "", "mmlu/*.csv"),
        )
        for path in sorted(sample.glob(pattern))
    ]
    assert (
        sum(report.created for report in reports) == Question.objects.trainable().canonical().unflagged().count() == 103
    )
    assert not any(report.problems for report in reports)
