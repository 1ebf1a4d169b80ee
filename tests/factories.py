"""Rows for tests, consistent with each other. Every factory takes what matters to the test and fills in the rest.

`make_finished_run(n)` is a small run with all tiers, its counters, kept paths, responses and calls.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group, User
from django.utils import timezone

from apps.pipeline.config import parse_config
from apps.pipeline.lanes import STAGES
from apps.pipeline.models import Call, CallStatus, PromptVersion, RunBudget
from apps.questions.access import DEFAULT_PROJECT
from apps.questions.models import LETTERS, Benchmark, Project, Question
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import (
    Label,
    Origin,
    PathLabel,
    RankScore,
    ReasoningPath,
    Response,
    Run,
    RunCounter,
    RunQuestion,
    RunState,
    Selection,
    Verdict,
    VerdictSource,
)
from apps.reasoning.policy.assess import Assessment, Item, assess
from apps.reasoning.services import COLUMNS, cost_key, counts_of, in_e8, row_of

_numbers = itertools.count(1)
PASSWORD = "correct horse battery staple"
QUICK_HASH = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)  # a full hash takes longer than most tests
STEMS = (
    "A 24-year-old woman with diabetes is found unconscious at work. Potassium is 3.1 mEq/L and pH is 7.1. "
    "Which of the following is the next best step in management?",
    "A 61-year-old man has crushing chest pain and ST elevation in II, III and aVF. Which artery is most likely occluded?",
    "A newborn boy is cyanotic six hours after birth. Which of the following is the most likely cause?",
    "A 45-year-old woman has fatigue, weight gain and a raised TSH. Which drug treats the underlying condition?",
)
OPTIONS = ("Infuse bicarbonate slowly", "Switch fluids to 0.45% saline", "Start insulin", "Replace potassium")


def make_project(slug: str = DEFAULT_PROJECT) -> Project:
    return Project.objects.get_or_create(slug=slug, defaults={"name": f"{slug.capitalize()} project"})[0]


def make_user(role: str | None = "clinician", *, member_of: Project | None = None, **fields: Any) -> User:
    """A member of the default project (or of `member_of`) with one role, or with none; PASSWORD signs them in."""
    fields.setdefault("username", f"user{next(_numbers)}")
    user = User.objects.create(password=QUICK_HASH, **fields)
    if role:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    (member_of or make_project()).members.add(user)
    return user


def make_benchmark(slug: str = "medqa") -> Benchmark:
    names = {"medqa": "MedQA", "medmcqa": "MedMCQA", "pubmedqa": "PubMedQA", "mmlu": "MMLU"}
    return Benchmark.objects.get_or_create(slug=slug, defaults={"name": names.get(slug, slug), "licence": "MIT"})[0]


def make_question(*, benchmark: str = "medqa", **fields: Any) -> Question:
    n = next(_numbers)
    fields.setdefault("stem", f"{STEMS[n % len(STEMS)]}")
    fields.setdefault("options", list(OPTIONS))
    content = hashlib.blake2s(f"{n} {fields['stem']} {fields['options']}".encode(), digest_size=16).hexdigest()
    defaults: dict[str, Any] = {
        "uid": f"{benchmark}-train-{n:06d}",
        "split": "train",
        "subject": "Endocrinology",
        "key": 3,
        "fingerprint": content,
        "stem_fingerprint": content,
        "explanation": "Insulin drives potassium into cells.",
    }
    return Question.objects.create(benchmark=make_benchmark(benchmark), **(defaults | fields))


def make_run(
    *, name: str = "", state: str = RunState.RUNNING, config: dict[str, Any] | None = None, **fields: Any
) -> Run:
    parsed = parse_config(config or {})
    fields.setdefault("project", make_project())
    fields.setdefault("started_at", timezone.now() if state != RunState.READY else None)
    fields.setdefault("finished_at", timezone.now() if state == RunState.FINISHED else None)
    run = Run.objects.create(
        name=name or f"run-{next(_numbers)}",
        state=state,
        config=parsed.model_dump(mode="json"),
        config_hash=parsed.digest(),
        **fields,
    )
    RunBudget.objects.create(run=run, hard=parsed.budget.hard, soft=parsed.budget.soft)
    PromptVersion.objects.bulk_create([new_prompt(stage) for stage in STAGES], ignore_conflicts=True)
    return run


def make_run_question(run: Run, question: Question, **fields: Any) -> RunQuestion:
    return RunQuestion.objects.create(run=run, question=question, benchmark_id=question.benchmark_id, **fields)


def make_call(run: Run, question: Question, stage: str = "generate", item: str = "", **fields: Any) -> Call:
    call = new_call(run, question, stage, item, **fields)
    call.save(force_insert=True)
    return call


def new_call(run: Run, question: Question, stage: str, item: str, **fields: Any) -> Call:
    """Not saved yet; so are all that `new_…` makes."""
    defaults: dict[str, Any] = {
        "endpoint": "judge" if stage in ("verify", "rank", "reverify") else "qwen2.5-72b",
        "model": "sim-judge",
        "prompt": new_prompt(stage).sha256,
        "status": CallStatus.OK,
        "finish_reason": "stop",
        "tokens_in": 812,
        "tokens_out": 240,
        "tokens_cached": 512,
        "latency_ms": 1200,
        "simulated": True,
        "fingerprint": "reasonmed-simulated",
        "created_at": timezone.now(),
    }
    return Call(run=run, question=question, stage=stage, item=item or "x", **(defaults | fields))


@cache
def new_prompt(name: str) -> PromptVersion:
    """That of a stage; `make_run` saves all of them."""
    text = f"Stage: {name}\nDo what the stage asks."
    return PromptVersion(sha256=hashlib.sha256(text.encode()).hexdigest(), name=name, text=text)


def make_path(
    run: Run, question: Question, *, generator: str = "qwen2.5-72b", sample: int = 1, **fields: Any
) -> ReasoningPath:
    path = new_path(run, question, generator=generator, sample=sample, **fields)
    path.save()
    return path


def new_path(run: Run, question: Question, *, generator: str, sample: int, **fields: Any) -> ReasoningPath:
    answer = fields.get("answer", question.key_letter)
    text = fields.setdefault("text", path_text(question, answer))
    defaults: dict[str, Any] = {
        "origin": Origin.GENERATED,
        "answer": answer,
        "answer_how": "final line" if answer else "",
        "finish_reason": "stop",
        "model": f"sim-{generator}" if generator else "sim-writer",
        "temperature": (0.7, 0.9, 1.0)[(sample - 1) % 3],
        "raw": text,
    }
    return ReasoningPath(run=run, question=question, generator=generator, sample=sample, **(defaults | fields))


def path_text(question: Question, answer: str) -> str:
    """A path of two paragraphs and a conclusion; without an answer it stops in mid-sentence."""
    opening = "Okay, let's look at this question. The patient's findings have to be explained together."
    body = "Potassium is 3.1 mEq/L, which is low. Insulin would drive it into cells. So each option is weighed in turn."
    if not answer:
        return f"{opening}\n\n{body} The next thing to"
    return f"{opening}\n\n{body}\n\nFinal answer: {answer}. {question.options[LETTERS.index(answer)]}"


def make_verdict(path: ReasoningPath, *, run: Run | None = None, label: str = Label.CORRECT, **fields: Any) -> Verdict:
    """A judge's verdict; with `reviewer`, a person's."""
    verdict = new_verdict(path, run=run, label=label, **fields)
    verdict.save()
    return verdict


def new_verdict(path: ReasoningPath, *, run: Run | None = None, label: str, **fields: Any) -> Verdict:
    passed = {Label.CORRECT: (True, True, True), Label.ERROR: (False, True, True), Label.UNJUDGED: (None, None, None)}
    axes = dict(zip(("correctness", "coherence", "factuality"), passed[Label(label)], strict=True))
    fields.setdefault(
        "reason",
        "Weighs every option and ends at the key."
        if label == Label.CORRECT
        else "Starts insulin at a potassium of 3.1.",
    )
    if "reviewer" in fields:
        fields.setdefault("source", VerdictSource.PERSON)
        fields.setdefault("project", path.run.project)
        return Verdict(path=path, label=label, **(axes | fields))
    return Verdict(path=path, run=run or path.run, source=VerdictSource.JUDGE, label=label, **(axes | fields))


def make_path_label(
    path: ReasoningPath, *, run: Run | None = None, label: str = Label.CORRECT, **fields: Any
) -> PathLabel:
    made = new_path_label(path, run=run, label=label, **fields)
    made.save()
    return made


def new_path_label(path: ReasoningPath, *, run: Run | None = None, label: str, **fields: Any) -> PathLabel:
    contradiction = label == Label.CORRECT and path.answer not in ("", path.question.key_letter)
    defaults: dict[str, Any] = {"judge_label": label, "source": VerdictSource.JUDGE, "contradiction": contradiction}
    return PathLabel(run=run or path.run, path=path, question_id=path.question_id, label=label, **(defaults | fields))


def make_judged_question(run: Run, question: Question, *, errors: int, **fields: Any) -> list[ReasoningPath]:
    """Nine paths with the judge's verdicts, the last `errors` of them Error, and the question's row in the run.

    The first path of a question with an odd error count is a contradiction: judged Correct, answer not the key.
    """
    paths = make_judged_questions(run, {question: errors})
    if fields:
        RunQuestion.objects.filter(run=run, question=question).update(**fields)
    return paths


def make_judged_questions(run: Run, errors: Mapping[Question, int]) -> list[ReasoningPath]:
    """The same for many, in a few statements."""
    slots = [(g["name"], n) for g in run.config["generators"] for n in range(1, len(g["temperatures"]) + 1)]
    paths, labels = [], []
    for question, most in errors.items():
        wrong = LETTERS[(question.key + 1) % len(question.options)]
        for place, (generator, sample) in enumerate(slots):
            error = place >= len(slots) - most
            contradicts = place == 0 and not error and most % 2 == 1
            call = new_call(run, question, "generate", f"{generator}/{sample}", endpoint=generator)
            answer = wrong if error or contradicts else question.key_letter
            paths.append(new_path(run, question, generator=generator, sample=sample, call=call, answer=answer))
            labels.append(Label.ERROR if error else Label.CORRECT)
    Call.objects.bulk_create(path.call for path in paths)
    ReasoningPath.objects.bulk_create(paths)
    judge_paths(paths, labels, "verify")
    RunQuestion.objects.bulk_create(RunQuestion(run=run, question=q, benchmark_id=q.benchmark_id) for q in errors)
    write_down(run, assess_now(run, errors))
    return paths


def judge_paths(paths: Sequence[ReasoningPath], labels: Sequence[Label], stage: str) -> None:
    calls = Call.objects.bulk_create(new_call(path.run, path.question, stage, f"path:{path.pk}") for path in paths)
    judged = list(zip(paths, labels, calls, strict=True))
    Verdict.objects.bulk_create(new_verdict(path, label=label, call=call) for path, label, call in judged)
    PathLabel.objects.bulk_create(new_path_label(path, label=label) for path, label, _ in judged)


def keep_paths(run: Run, *questions: Question) -> None:
    """What the later stages leave for judged questions: scores, rewritings, responses, and the paths kept."""
    by_id = {question.pk: question for question in questions}
    found = assess_now(run, questions)
    while items := [(by_id[pk], item) for pk, assessment in found.items() for item in assessment.items]:
        make_outputs(run, items)
        found = assess_now(run, questions)
    write_down(run, found)


def assess_now(run: Run, questions: Iterable[Question]) -> dict[int, Assessment]:
    policy = policy_of(run)
    return {pk: assess(facts, policy) for pk, facts in load_facts(run, [q.pk for q in questions]).items()}


def make_outputs(run: Run, items: Sequence[tuple[Question, Item]]) -> None:
    """Those of one round: none rests on another."""
    paths = ReasoningPath.objects.in_bulk([item.path for _, item in items if item.path])
    calls: list[Call] = []
    scores, responses, rewritten = [], [], []

    def call(question: Question, stage: str, item: str, **fields: Any) -> Call:
        calls.append(new_call(run, question, stage, item, **fields))
        return calls[-1]

    for question, item in items:
        path = paths.get(item.path or 0)
        if item.stage == "rank":
            asked = call(question, "rank", item.key)
            scores.append(RankScore(run=run, path=path, score=5, justification="Weighs every option.", call=asked))
        elif item.stage == "summarise":
            text = f"Potassium comes before insulin.\n\nAnswer: {question.key_letter}. {question.key_text}"
            asked = call(question, "summarise", item.key, endpoint="writer")
            responses.append(Response(run=run, path=path, text=text, answer=question.key_letter, call=asked))
        else:
            asked = call(question, "refine" if path else "regenerate", "1", endpoint="writer")
            rewritten.append(new_rewritten(run, question, path, item.sample, asked))
    Call.objects.bulk_create(calls)
    RankScore.objects.bulk_create(scores)
    Response.objects.bulk_create(responses)
    ReasoningPath.objects.bulk_create(rewritten)
    judge_paths(rewritten, [Label.CORRECT] * len(rewritten), "reverify")


def new_rewritten(run: Run, question: Question, parent: ReasoningPath | None, sample: int, call: Call) -> ReasoningPath:
    text = path_text(question, question.key_letter).replace(
        "Insulin would drive it into cells.", "Insulin is held below 3.3, because it drives potassium into cells."
    )
    return new_path(
        run, question, origin=Origin.REFINED if parent else Origin.REGENERATED, parent=parent, text=text,
        temperature=0.8 if parent else None, generator=parent.generator if parent else "",
        sample=parent.sample if parent else sample, call=call,
    )  # fmt: skip


def write_down(run: Run, found: Mapping[int, Assessment]) -> None:
    """The questions' rows and kept paths as they were assessed; counters are left alone (`count_again`)."""
    rows = list(RunQuestion.objects.filter(run=run, question__in=found))
    for row in rows:
        for column, value in zip(COLUMNS, row_of(found[row.question_id]), strict=True):
            setattr(row, column, value)
    RunQuestion.objects.bulk_update(rows, COLUMNS)
    Selection.objects.filter(run=run, question__in=found).delete()
    Selection.objects.bulk_create(
        Selection(run=run, question_id=pk, slot=c.slot, source_id=c.source, path_id=c.path, why=c.why)
        for pk, assessment in found.items()
        for c in assessment.choices
    )


def make_finished_run(n: int = 5, **fields: Any) -> Run:
    """A finished run over n new questions with error counts 0, 2, 4, 5, 7, 8, 9, 3, …"""
    fields.setdefault("state", RunState.FINISHED)
    run = make_run(**fields)
    benchmarks = itertools.cycle(("medqa", "medmcqa", "pubmedqa", "mmlu"))
    counts = itertools.islice(itertools.cycle((0, 2, 4, 5, 7, 8, 9, 3)), n)
    errors = {make_question(benchmark=next(benchmarks)): count for count in counts}
    make_judged_questions(run, errors)
    keep_paths(run, *errors)
    count_again(run)
    return run


def count_again(run: Run) -> None:
    """Set the run's counters to what its rows say."""
    totals: dict[str, int] = {"questions": 0, "calls": 0}

    def add(key: str) -> None:
        totals[key] = totals.get(key, 0) + 1

    for row in RunQuestion.objects.filter(run=run):
        add("questions")
        values = [getattr(row, column) for column in COLUMNS]
        for key, value in counts_of(values, row.benchmark_id).items():
            totals[key] = totals.get(key, 0) + value
    for origin in ReasoningPath.objects.filter(run=run).values_list("origin", flat=True):
        add(f"paths:{origin}")
    for label in PathLabel.objects.filter(run=run, path__origin__in=("generated", "imported")).values_list(
        "label", flat=True
    ):
        add(f"labels:{label}")
    for stage, error_class in Call.objects.filter(run=run).values_list("stage", "error_class"):
        add("calls")
        add(f"calls:{stage}")
        if error_class:
            add(f"failed:{error_class}")
        else:
            add(f"stage:{stage}")
    count_money_again(run, totals)
    RunCounter.objects.filter(run=run).delete()
    RunCounter.objects.bulk_create(RunCounter(run=run, key=key, value=value) for key, value in totals.items())


def count_money_again(run: Run, totals: dict[str, int]) -> None:
    """Costs and tokens of the run's calls: into its questions, its budget and `totals`."""
    calls = Call.objects.filter(run=run)
    totals.update(money_counts(calls))
    rows = list(RunQuestion.objects.filter(run=run))
    for row in rows:
        row.cost = sum((c.cost for c in calls if c.question_id == row.question_id), Decimal(0))
        totals[cost_key(row.tier)] = totals.get(cost_key(row.tier), 0) + in_e8(row.cost)
    RunQuestion.objects.bulk_update(rows, ["cost"])
    RunBudget.objects.filter(run=run).update(spent=sum((c.cost for c in calls), Decimal(0)))


def money_counts(calls: Iterable[Call]) -> dict[str, int]:
    """What calls add to a run's counters of money and tokens, but for the tiers."""
    totals: Counter[str] = Counter()
    for call in calls:
        kinds = ["cost_e8", f"cost_e8:stage:{call.stage}", f"cost_e8:endpoint:{call.endpoint}"]
        kinds += ["cost_e8:wasted"] * (call.status != CallStatus.OK)
        kinds += ["cost_e8:unknown"] * (call.status == CallStatus.UNKNOWN)
        totals.update(dict.fromkeys(kinds, in_e8(call.cost)))
        for kind in ("tokens_in", "tokens_out", "tokens_cached"):
            totals[f"{kind}:{call.endpoint}"] += getattr(call, kind) or 0
    return dict(totals)
