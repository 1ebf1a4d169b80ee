"""`python -m tests.bench.bench_contamination`: the published number of questions against the evaluation sets.

In a database of its own: trainable questions of made-up words, the real evaluation sets where the shared
data is there, and evaluation questions that are trainable ones with a word changed, so that it is known what has to be
found. Measured in a process of its own; writes the section "Contamination" of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

QUESTIONS, PLANTED = 194_925, 6_000
HEADING = "## Contamination"
DATA = Path(os.environ.get("REASONMED_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "data"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_contamination", description=__doc__)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--planted", type=int, default=PLANTED)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    from tests.bench.__main__ import prepare_django

    prepare_django()
    from tests.bench.full.database import use_database

    name = f"bench_contamination_{given.questions}_{given.planted}"
    if given.measure:
        use_database(name)
        print(json.dumps(measure()))
        return
    prepare(name, given.questions, given.planted)
    words = [sys.executable, "-m", "tests.bench.bench_contamination", "--measure"]
    words += ["--questions", str(given.questions), "--planted", str(given.planted)]
    found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(json.dumps(found, indent=1))
    if given.questions == QUESTIONS:
        write(found)


def prepare(name: str, questions: int, planted: int) -> None:
    """Once: the database is kept."""
    from django.core.management import call_command
    from django.db import connection
    from psycopg import sql

    from tests.bench.full.database import use_database

    use_database("postgres")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        there = cursor.fetchone() is not None
        if not there:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    use_database(name)
    call_command("migrate", verbosity=0)
    if there:
        return
    make_questions(questions, planted)
    import_evaluation_sets()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")


def make_questions(questions: int, planted: int) -> None:
    """Trainable ones in a run; every nth of them once more as an evaluation question, with one word of its stem changed."""
    from django.db import connection

    from apps.questions.access import default_project
    from apps.reasoning.models import Run
    from tests.bench.full import fill

    run = Run.objects.create(project=default_project(), name=fill.RUN, state="finished", config={}, config_hash="")
    values = {"run": run.pk, "every": questions // planted}
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE made (id int, stem text, options jsonb)")
        with cursor.copy("COPY made FROM STDIN") as copy:
            for row in texts(questions):
                copy.write_row(row)
        fill._load_splits(cursor, questions)
        cursor.execute(_QUESTIONS)
        cursor.execute(_RUN_QUESTIONS, values)
        cursor.execute(_PLANTED, values)


def texts(questions: int) -> Iterator[tuple[int, str, str]]:
    """Stems and options of their own for each question, of the words that `full/texts.py` draws from."""
    from tests.bench.full.texts import vocabulary

    rng = random.Random(23)
    words = vocabulary(rng)
    weights = list(itertools.accumulate(1 / (rank + 6) for rank in range(len(words))))
    for number in range(1, questions + 1):
        drawn = rng.choices(words, cum_weights=weights, k=rng.randint(66, 96))
        options = [" ".join(rng.choices(words, cum_weights=weights, k=rng.randint(2, 6))) for _ in range(4)]
        yield number, f"Case {number}. {' '.join(drawn)}?", json.dumps(options)


_QUESTIONS = """
    INSERT INTO questions_question (id, uid, benchmark_id, split, subject, topic, source_id, occurrence, contexts, stem, options,
      key, explanation, meta, fingerprint, stem_fingerprint, held_out, flags, blocked, created_at)
    SELECT m.id, s.slug || '-' || m.id, b.id, s.split, s.subject, '', '', 0, '[]', m.stem, m.options, 0, '', '{}',
      md5('f' || m.id), md5('s' || m.id), false, '[]', false, now()
    FROM made m JOIN split s ON m.id BETWEEN s.first AND s.last JOIN questions_benchmark b ON b.slug = s.slug ORDER BY m.id;
    SELECT setval('questions_question_id_seq', max(id)) FROM questions_question
"""
_RUN_QUESTIONS = """
    INSERT INTO reasoning_runquestion (run_id, question_id, benchmark_id, state, reason, pattern, answers, tier, hold,
      contradictions, overridden, disputed, records, cost, version, changed_at)
    SELECT %(run)s, id, benchmark_id, 'waiting', 'generate', '', '', '', false, 0, false, false, 0, 0, 0, now()
    FROM questions_question
"""
_PLANTED = """
    INSERT INTO questions_question (uid, benchmark_id, split, subject, topic, source_id, occurrence, contexts, stem, options,
      key, explanation, meta, fingerprint, stem_fingerprint, held_out, flags, blocked, created_at)
    SELECT 'planted-' || id, benchmark_id, 'test', 'planted', '', '', 0, contexts,
      array_to_string(words[:30] || ARRAY['changed'] || words[32:], ' '), options, key, '', '{}', md5('p' || id), md5('q' || id),
      true, '[]', false, now()
    FROM (SELECT *, string_to_array(stem, ' ') AS words FROM questions_question WHERE mod(id, %(every)s) = 0) q
"""


def import_evaluation_sets() -> None:
    from apps.questions.importers.pubmedqa import read_held_out_ids
    from apps.questions.services import import_questions

    if not DATA.is_dir():
        print("the shared data is not there: measured without the real evaluation sets", file=sys.stderr)
        return
    import_questions(
        benchmark="medqa", path=DATA / "medqa" / "phrases_no_exclude_test.jsonl", split="test", skip_bad_rows=True
    )
    import_questions(benchmark="medmcqa", path=DATA / "medmcqa" / "dev.json", split="validation", skip_bad_rows=True)
    ids = read_held_out_ids(DATA / "pubmedqa" / "test_ground_truth.json")
    import_questions(
        benchmark="pubmedqa",
        path=DATA / "pubmedqa" / "ori_pqal.json",
        split="labelled",
        held_out_ids=ids,
        skip_bad_rows=True,
    )
    for path in sorted((DATA / "mmlu" / "test").glob("*.csv")):
        import_questions(benchmark="mmlu", path=path)


def measure() -> dict[str, Any]:
    """Seconds on the clock and on a CPU (of this process and of its PostgreSQL backend), and the most memory ever held."""
    from apps.exports.contamination.stored import basis_of
    from apps.exports.inspections.services import contamination_of, make_now, order_inspection
    from apps.exports.models_checks import Inspection
    from apps.questions.models import Question
    from apps.reasoning.models import Run
    from tests.bench.full.fill import RUN
    from tests.bench.full.measure import on_cpu

    run = Run.objects.select_related("project").get(name=RUN)
    Inspection.objects.filter(state__in=("queued", "running")).delete()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, worked = time.perf_counter(), on_cpu()
    made = make_now(order_inspection(project=run.project, kind="contamination", run=run))
    spent, cpu = time.perf_counter() - begun, on_cpu() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    basis_of(run.project, run)
    digest = time.perf_counter() - begun
    begun = time.perf_counter()
    assert contamination_of(run, threshold=0.8) == made
    kept = time.perf_counter() - begun
    planted = made.pairs.filter(scope="evaluation", right__uid__startswith="planted-")
    result = made.result
    return {
        "questions": result["questions"], "evaluation": result["evaluation_questions"], "s": round(spent, 1),
        "cpu_s": round(cpu, 1), "mib": peak // 1024, "mib_before": base // 1024, "pairs": result["pairs"],
        "planted_found": planted.values("right").distinct().count(),
        "planted": Question.objects.filter(subject="planted").count(),
        "load": round(os.getloadavg()[2], 1), "basis_s": round(digest, 2), "kept_s": round(kept, 2), "page": measure_pages(made),
    }  # fmt: skip


def measure_pages(made: Any) -> dict[str, Any]:
    """The page with its pairs, from the first to the last."""
    from django.contrib.auth.models import User

    from apps.questions.access import CURATOR
    from tests.bench.full import fill
    from tests.bench.full.measure import client_of, measure_page

    if not User.objects.filter(username="carla").exists():
        fill._person("carla", CURATOR)
    ids = list(made.pairs.filter(scope="evaluation").order_by("id").values_list("pk", flat=True))
    address = f"/exports/contamination/{made.run_id}/?scope=evaluation&after="
    addresses = [f"{address}{pk}" for pk in (0, *ids[:: max(1, len(ids) // 30)])]
    return measure_page("contamination", client_of("carla"), addresses).as_json()


def write(found: dict[str, Any]) -> None:
    from tests.bench.__main__ import PAGE

    page = PAGE.read_text(encoding="utf-8")
    before, _, section = page.partition(f"\n{HEADING}\n")
    after = section.partition("\n## ")
    pairs = found["pairs"]
    text = f"""
{HEADING}

Measured by `python -m tests.bench.bench_contamination`: {found["questions"]:,} made-up questions of 600–900 characters against
{found["evaluation"]:,} evaluation questions (the real sets, and {found["planted"]:,} trainable questions with one word changed), at a
similarity of 0.8, in a process of its own; the result stored with its pairs. Load average over its last 15 minutes on two CPUs:
{found["load"]}; other work slows the clock, not what is counted on a CPU.

| | Value | Unit |
|---|---:|---|
| **whole search, stored: CPU, PostgreSQL's backend included** | {found["cpu_s"]:,} | s |
| the same by the clock | {found["s"]:,} | s |
| most memory ever held | {found["mib"]:,} | MiB ({found["mib_before"]} before) |
| planted questions found | {found["planted_found"]:,} | of {found["planted"]:,} |
| pairs with evaluation questions | {sum(pairs["evaluation"].values()):,} | |
| pairs among themselves | {sum(pairs["within"].values()):,} | |
| an export that finds the result kept | {found["kept_s"]} | s |
| its page, ten pairs: p50, p95 | {found["page"]["p50"]}, {found["page"]["p95"]} | ms |
| the same, on a CPU: p50, p95 | {found["page"]["cpu50"]}, {found["page"]["cpu95"]} | ms |
"""
    PAGE.write_text(before.rstrip() + "\n" + text + (f"\n## {after[2]}" if after[1] else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
