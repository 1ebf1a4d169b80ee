"""The published files themselves: the counts everyone knows them by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.questions.importers.pubmedqa import read_held_out_ids
from apps.questions.models import Question
from apps.questions.selectors import composition, contamination, key_conflicts
from apps.questions.services import import_questions

SHARED = Path(os.environ.get("REASONMED_SHARED") or Path(__file__).resolve().parents[3] / "shared")
DATA = SHARED / "data"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.django_db,
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"the public data sets are not at {DATA} (REASONMED_SHARED says where)"
    ),
]


def load(benchmark, *names, **options):
    """Twice: the second time nothing is new. Returns the first reports' counts together."""
    paths = [path for name in names for path in sorted(DATA.glob(name))]
    assert paths
    reports = [import_questions(benchmark=benchmark, path=path, **options) for path in paths]
    again = [import_questions(benchmark=benchmark, path=path, **options) for path in paths]
    assert sum(report.created for report in again) == 0
    assert [report.existing for report in again] == [report.read for report in reports]
    assert not any(report.problems for report in (*reports, *again))
    return sum(report.created for report in reports), sum(report.duplicates for report in reports)


def test_medqa():
    assert load("medqa", "medqa/*.jsonl", split="test") == (1_273, 0)
    assert Question.objects.filter(held_out=True, options__3__isnull=False).count() == 1_273
    assert Question.objects.filter(stem__contains="\n").count() == 203  # 3 more only end with one


def test_medmcqa():
    assert load("medmcqa", "medmcqa/dev.json", split="validation") == (4_183, 10)
    assert Question.objects.filter(blocked=True).count() == 4
    assert Question.objects.filter(flags=["key_text_repeated"]).count() == 4
    assert Question.objects.filter(flags=["equal_options"]).count() == 17
    (conflict,) = key_conflicts()
    assert conflict.held_out
    assert {question.key_text for question in conflict.questions}
    assert len({question.key_text for question in conflict.questions}) == 2


def test_pubmedqa():
    key = read_held_out_ids(DATA / "pubmedqa" / "test_ground_truth.json")
    assert load("pubmedqa", "pubmedqa/ori_pqal.json", split="labelled") == (1_000, 0)
    assert Question.objects.filter(held_out=False).count() == 0
    load("pubmedqa", "pubmedqa/ori_pqal.json", split="labelled", held_out_ids=key)
    assert Question.objects.filter(held_out=True, split="test").count() == 500
    assert load("pubmedqa", "pubmedqa/pqal_fold0/train_set.json", split="train") == (0, 0)
    assert load("pubmedqa", "pubmedqa/pqal_fold0/dev_set.json", split="val") == (0, 0)
    found = {(row.split): row.imported for row in composition().rows if row.benchmark == "pubmedqa"}
    assert found == {"train": 450, "val": 50}


def test_mmlu():
    assert load("mmlu", "mmlu/test/*.csv") == (1_099, 78)
    assert load("mmlu", "mmlu/dev/*.csv")[0] == 30
    assert load("mmlu", "mmlu/val/*.csv")[0] == 123
    found = composition()
    assert all(row.imported == row.published for row in found.rows if row.benchmark == "mmlu")
    links = contamination(limit=100)
    assert len({question.pk for link in links for question in link.trainable}) == 19
    shared = Question.objects.filter(held_out=True, canonical__isnull=False)
    assert set(shared.values_list("subject", "canonical__subject")) == {("college_medicine", "clinical_knowledge")}


def test_the_command_on_all_files_of_a_folder(capsys):
    with pytest.raises(SystemExit) as stop:
        call_command(
            "import_questions", "medmcqa", str(DATA / "medqa" / "phrases_no_exclude_test.jsonl"), "--split", "train"
        )
    assert stop.value.code == 2
    assert "looks like a MedQA file" in capsys.readouterr().out
