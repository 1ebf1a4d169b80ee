"""What an estimate rests on before a run has figures of its own: earlier runs of the project, else published ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Sum

from apps.pipeline.config import RunConfig
from apps.questions.models import Project
from apps.reasoning.models import Run, RunCounter

ENOUGH = 20  # outputs, or questions with a tier, from which on a mean is used
EARLIER_RUNS = 4  # looked at, newest first
PICKED = 40  # questions of each tier looked at in an earlier run

ERROR_SHARE = 0.264  # of 1.754 M paths, 1.291 M were judged Correct
CONCENTRATION = 1.0  # how far questions differ: about 370,000 records of 194,925 questions leave a tenth difficult
PUBLISHED_TIERS = (
    "published: 73.6 % of paths Correct, and 370,000 records of 194,925 questions (a beta-binomial through both)"
)
_PATH = "published: 555 to 626 tokens a path; 450 from a short-spoken reasoning model"
_VERDICT = "assumed: about 80 tokens for the published form, three axes and one or two sentences of reason"
# stage -> tokens of a reply: low, mean, source. Published ones are of ReasonMed's dataset card (its table of models).
PUBLISHED = {
    "generate": (450, 590, _PATH),
    "verify": (60, 80, _VERDICT),
    "rank": (45, 60, "assumed: about 60 tokens for the published form, a score and one sentence"),
    "refine": (450, 590, f"as long as a path; {_PATH}"),
    "regenerate": (1_500, 3_000, "assumed: a strong model's hidden reasoning and a path, several thousand tokens"),
    "reverify": (60, 80, _VERDICT),
    "summarise": (170, 225, "published: 225 tokens a response"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Tokens of one reply: a mean, and the low end of what the mean may be."""

    low: int
    mean: int
    source: str


@dataclass(frozen=True, slots=True)
class Errors:
    """How questions spread over error counts 0 … paths: shares that add up to 1."""

    shares: tuple[float, ...]
    source: str


def reply_figures(
    project: Project, config: RunConfig, lanes: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Figure]:
    """{(stage, endpoint): tokens of a reply}: from earlier runs of the same model and stage where they made enough."""
    model_of = {e.name: e.model for e in config.endpoints}
    wanted = list(lanes)
    seen = _replies_of(_earlier_runs(project, {model_of[endpoint] for _, endpoint in wanted}))
    found: dict[tuple[str, str], Figure] = {}
    for stage, endpoint in wanted:
        low, mean, source = PUBLISHED[stage]
        found[stage, endpoint] = seen.get((stage, model_of[endpoint])) or Figure(low, mean, source)
    return found


def error_shares(project: Project, config: RunConfig) -> Errors:
    """From earlier runs with the same generators and judge, else the published shares."""
    told = _setup(config.model_dump(mode="json"))
    runs = [run for run in _recent(project) if _setup(run.config) == told][:EARLIER_RUNS]
    paths = config.paths_per_question
    counts = dict.fromkeys(range(paths + 1), 0)
    rows = (
        RunCounter.objects.filter(run__in=runs, key__startswith="errors:").values_list("key").annotate(n=Sum("value"))
    )
    for key, n in rows:
        errors = int(key.partition(":")[2])
        if errors in counts:
            counts[errors] += n
    total = sum(counts.values())
    if total < ENOUGH:
        return Errors(beta_binomial(paths, ERROR_SHARE, CONCENTRATION), PUBLISHED_TIERS)
    names = ", ".join(run.name for run in runs)
    return Errors(tuple(n / total for n in counts.values()), f"{total:,} questions with a tier in {names}")


def beta_binomial(paths: int, mean: float, concentration: float) -> tuple[float, ...]:
    """Shares of questions with 0 … `paths` errors, when each question has an error share of its own around `mean`."""
    a, b = mean * concentration, (1 - mean) * concentration
    return tuple(
        math.comb(paths, k) * math.exp(_log_beta(k + a, paths - k + b) - _log_beta(a, b)) for k in range(paths + 1)
    )


def _log_beta(x: float, y: float) -> float:
    return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)


def _recent(project: Project) -> list[Run]:
    runs = Run.objects.filter(project=project, started_at__isnull=False).only("id", "name", "config")
    return [run for run in runs.order_by("-pk")[:20] if not run.config.get("imported")]


def _earlier_runs(project: Project, models: set[str]) -> list[Run]:
    return [r for r in _recent(project) if models & {e["model"] for e in r.config["endpoints"]}][:EARLIER_RUNS]


def _setup(config: Mapping[str, object]) -> tuple[object, ...]:
    """Which models write the paths, how often, and which one judges them."""
    endpoints: Sequence[dict[str, str]] = config["endpoints"]  # type: ignore[assignment]
    model_of = {e["name"]: e["model"] for e in endpoints}
    generators: Sequence[dict[str, object]] = config["generators"]  # type: ignore[assignment]
    judge: Mapping[str, str] = config["judge"]  # type: ignore[assignment]
    written = [(model_of.get(str(g["endpoint"])), len(g["temperatures"])) for g in generators]  # type: ignore[arg-type]
    return (*written, model_of.get(judge["endpoint"]))


_REPLIES = """
SELECT c.run_id, c.stage, c.endpoint, count(*), avg(c.tokens_out)::float8, coalesce(var_samp(c.tokens_out), 0)::float8
FROM unnest(%s::bigint[]) AS r(id)
CROSS JOIN unnest(ARRAY['easy', 'medium', 'difficult']) AS t(tier)
CROSS JOIN LATERAL (SELECT question_id FROM reasoning_runquestion
                    WHERE run_id = r.id AND tier = t.tier ORDER BY question_id LIMIT %s) q
JOIN pipeline_call c ON c.run_id = r.id AND c.question_id = q.question_id
WHERE c.status = 'ok' AND c.tokens_out IS NOT NULL
GROUP BY 1, 2, 3"""


def _replies_of(runs: Sequence[Run]) -> dict[tuple[str, str], Figure]:
    """{(stage, model): …} of a bounded number of questions of each run."""
    if not runs:
        return {}
    names = {run.pk: run.name for run in runs}
    models = {(run.pk, e["name"]): e["model"] for run in runs for e in run.config["endpoints"]}
    with connection.cursor() as cursor:
        cursor.execute(_REPLIES, [list(names), PICKED])
        rows = cursor.fetchall()
    pooled: dict[tuple[str, str], list[tuple[str, int, float, float]]] = {}
    for run, stage, endpoint, n, mean, variance in rows:
        pooled.setdefault((stage, models[run, endpoint]), []).append((names[run], n, mean, variance))
    return {key: figure for key, parts in pooled.items() if (figure := pool(parts)) is not None}


def pool(parts: Sequence[tuple[str, int, float, float]]) -> Figure | None:
    """(run, replies, mean, variance) of some runs as one figure; too few replies give none."""
    n = sum(part[1] for part in parts)
    if n < ENOUGH:
        return None
    mean = sum(part[1] * part[2] for part in parts) / n
    variance = sum(part[1] * (part[3] + (part[2] - mean) ** 2) for part in parts) / n
    low = max(1.0, mean - 1.96 * math.sqrt(variance / n))
    return Figure(math.floor(low), round(mean), f"{n:,} replies in {', '.join(sorted(part[0] for part in parts))}")
