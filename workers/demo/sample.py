"""The shipped sample and the run over it."""

from __future__ import annotations

import io
import json
from pathlib import Path

from django.core.management import call_command

from apps.questions.access import default_project
from apps.reasoning.models import Run

FOLDER = Path(__file__).resolve().parents[2] / "apps" / "questions" / "sample"
RUN_NAME = "demo"


def import_sample() -> tuple[int, int]:
    """(questions in the sample, created by this call). Importing again creates none."""
    read = created = 0
    for benchmark, path, options in sample_files():
        out = io.StringIO()
        call_command("import_questions", benchmark, str(path), *options, "--json", stdout=out, stderr=io.StringIO())
        report = json.loads(out.getvalue())
        read += report["read"]
        created += report["created"]
    return read, created


def sample_files() -> list[tuple[str, Path, list[str]]]:
    files = [
        ("medqa", FOLDER / "medqa_train.jsonl", ["--split", "train"]),
        ("medmcqa", FOLDER / "medmcqa_train.jsonl", ["--split", "train"]),
        ("pubmedqa", FOLDER / "pubmedqa_train.json", ["--split", "train"]),
    ]
    for path in sorted((FOLDER / "mmlu").glob("*.csv")):
        subject, split = path.stem.rsplit("_", 1)
        files.append(("mmlu", path, ["--split", split, "--subject", subject]))
    return files


def ensure_run(sample_size: int) -> Run:
    """The run over the sample; made the first time, over no more questions than the sample has."""
    found = Run.objects.filter(project=default_project(), name=RUN_NAME).first()
    if found is None:
        call_command("create_run", "--name", RUN_NAME, "--limit", str(sample_size), "--json", stdout=io.StringIO())
        found = Run.objects.get(project=default_project(), name=RUN_NAME)
    return found
