"""The shipped sample: in the published formats, with sound keys, nothing twice."""

from __future__ import annotations

import csv
import json
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "apps" / "questions" / "sample"
SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
)
LETTERS = "ABCD"
DECISIONS = ["yes", "no", "maybe"]


@dataclass(frozen=True)
class Row:
    """A sample question, whatever its file: `key` indexes `options`."""

    file: str
    number: int
    stem: str
    options: tuple[str, ...]
    key: int


def json_lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines()]


def medqa() -> list[dict]:
    return json_lines("medqa_train.jsonl")


def medmcqa() -> list[dict]:
    return json_lines("medmcqa_train.jsonl")


def pubmedqa() -> dict[str, dict]:
    return json.loads((SAMPLE / "pubmedqa_train.json").read_text(encoding="utf-8"))


def mmlu(subject: str, split: str) -> list[list[str]]:
    with (SAMPLE / "mmlu" / f"{subject}_{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def all_rows() -> list[Row]:
    rows = [
        Row("medqa_train.jsonl", n, r["question"], tuple(r["options"].values()), LETTERS.index(r["answer_idx"]))
        for n, r in enumerate(medqa(), 1)
    ]
    rows += [
        Row("medmcqa_train.jsonl", n, r["question"], (r["opa"], r["opb"], r["opc"], r["opd"]), r["cop"] - 1)
        for n, r in enumerate(medmcqa(), 1)
    ]
    rows += [
        Row("pubmedqa_train.json", n, r["QUESTION"], tuple(DECISIONS), DECISIONS.index(r["final_decision"]))
        for n, r in enumerate(pubmedqa().values(), 1)
    ]
    for subject in SUBJECTS:
        for split in ("dev", "val"):
            rows += [
                Row(f"mmlu/{subject}_{split}.csv", n, r[0], tuple(r[1:5]), LETTERS.index(r[5]))
                for n, r in enumerate(mmlu(subject, split), 1)
            ]
    return rows


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


def test_counts_over_the_four_forms():
    by_form = Counter(row.file.split("/")[0].split("_")[0] for row in all_rows())

    assert by_form["medqa"] >= 24
    assert by_form["medmcqa"] >= 24
    assert by_form["pubmedqa"] >= 14
    assert by_form["mmlu"] >= 24
    assert by_form.total() == 103, "the README states the count"


def test_medqa_has_the_published_keys():
    for row in medqa():
        assert list(row) == ["question", "answer", "options", "meta_info", "answer_idx", "metamap_phrases"]
        assert list(row["options"]) == list(LETTERS)
        assert row["answer"] == row["options"][row["answer_idx"]]
        assert row["meta_info"] in {"step1", "step2&3"}
        assert row["metamap_phrases"]
        assert all(phrase in row["question"] for phrase in row["metamap_phrases"])


def test_medqa_has_lab_tables_over_newlines():
    assert sum(row["question"].count("\n") >= 4 for row in medqa()) >= 8


def test_medmcqa_has_the_published_keys():
    published = {
        *("id", "question", "opa", "opb", "opc", "opd", "cop", "choice_type", "exp", "subject_name", "topic_name"),
    }
    for row in medmcqa():
        assert set(row) == published
        assert str(uuid.UUID(row["id"])) == row["id"]
        assert row["choice_type"] in {"single", "multi"}
        assert row["exp"]
        assert row["subject_name"]


def test_medmcqa_keys_decide_the_convention():
    """A 4 and no 0 over the file: `cop` counts from 1."""
    keys = {row["cop"] for row in medmcqa()}

    assert keys == {1, 2, 3, 4}


def test_pubmedqa_has_the_published_keys():
    published = [
        "QUESTION",
        "CONTEXTS",
        "LABELS",
        "MESHES",
        "YEAR",
        "reasoning_required_pred",
        "reasoning_free_pred",
        "final_decision",
        "LONG_ANSWER",
    ]
    for pmid, row in pubmedqa().items():
        assert pmid.isascii()
        assert pmid.isdigit()
        assert len(pmid) == 8
        assert pmid.startswith("99"), "invented studies stay beyond the range of real PMIDs"
        assert list(row) == published
        assert len(row["CONTEXTS"]) == len(row["LABELS"]) >= 2
        assert all(row["CONTEXTS"])
        assert row["LONG_ANSWER"]
        assert {row["reasoning_required_pred"], row["reasoning_free_pred"], row["final_decision"]} <= set(DECISIONS)


@pytest.mark.parametrize("split", ["dev", "val"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_mmlu_rows_have_six_cells_and_no_header(subject, split):
    rows = mmlu(subject, split)

    assert len(rows) >= 2
    for row in rows:
        assert len(row) == 6
        assert row[5] in LETTERS
    assert rows[0][0] != "question"


def test_options_are_distinct_and_clean():
    for row in all_rows():
        assert len({folded(option) for option in row.options}) == len(row.options), row
        for text in (row.stem, *row.options):
            assert text
            assert text == text.strip()
            assert "\u00a0" not in text


def test_no_question_stands_twice():
    stems = Counter(folded(row.stem) for row in all_rows())

    assert [stem for stem, count in stems.items() if count > 1] == []


def test_keys_are_spread_over_the_letters():
    """No letter holds more than 35 % of a form's keys; a model that always says B gains nothing."""
    for form in ("medqa", "medmcqa", "mmlu"):
        keys = Counter(row.key for row in all_rows() if row.file.startswith(form))
        assert len(keys) == 4
        assert max(keys.values()) <= 0.35 * keys.total()
    decisions = Counter(row.key for row in all_rows() if row.file.startswith("pubmedqa"))
    assert min(decisions[key] for key in range(3)) >= 3


def test_the_longest_option_does_not_give_the_key_away():
    """Chance is one in four; more than half would be a tell."""
    lettered = [row for row in all_rows() if len(row.options) == 4]
    longest_is_key = [row for row in lettered if max(row.options, key=len) == row.options[row.key]]

    assert len(longest_is_key) <= 0.5 * len(lettered)


def test_every_medqa_and_mmlu_question_has_its_explanation_aside():
    expected = {
        (row.file, row.number): row.options[row.key] for row in all_rows() if row.file.startswith(("medqa", "mmlu"))
    }
    aside = json_lines("explanations.jsonl")

    assert {(e["file"], e["row"]): e["answer"] for e in aside} == expected
    assert len(aside) == len(expected)
    assert all(len(e["explanation"]) > 40 for e in aside)


def test_mmlu_has_no_file_beside_the_six_subjects():
    found = {path.name for path in (SAMPLE / "mmlu").iterdir()}

    assert found == {f"{subject}_{split}.csv" for subject in SUBJECTS for split in ("dev", "val")}
