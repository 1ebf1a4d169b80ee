"""Tokens of a call to be: of its prompt, by the lengths of what goes into it, and of its reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Avg
from django.db.models.functions import Length

from apps.pipeline.config import RunConfig
from apps.pipeline.figures import PUBLISHED, Errors, Figure
from apps.pipeline.lanes import endpoint_name
from apps.pipeline.prompts import RANK_SCHEMA, VERDICT_SCHEMA, load_prompts
from apps.questions.models import Question
from apps.questions.text import LETTERS, join_question
from apps.reasoning.models import BASE_ORIGINS, ReasoningPath, Run

CHARACTERS = 4  # of English prose to a token
PATHS_READ = 200
SCHEMAS = {"verify": VERDICT_SCHEMA, "reverify": VERDICT_SCHEMA, "rank": RANK_SCHEMA}


@dataclass(frozen=True, slots=True)
class Lane:
    """A stage on an endpoint. `share` of the stage's calls that go there; `cap` on a reply's tokens."""

    stage: str
    endpoint: str
    cap: int
    share: float

    @property
    def key(self) -> tuple[str, str]:
        return self.stage, self.endpoint


@dataclass(frozen=True, slots=True)
class Tokens:
    """Three guesses at the same number: low, expected, at most."""

    low: float
    mean: float
    most: float

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.low + other.low, self.mean + other.mean, self.most + other.most)

    def __mul__(self, factor: float) -> Tokens:
        return Tokens(self.low * factor, self.mean * factor, self.most * factor)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Mean characters of a question, and of the line that gives its key, over the questions read."""

    read: int
    question: float
    key: float


def lanes_with_shares(config: RunConfig, *, generates: bool) -> list[Lane]:
    """In the order of the stages; generators of one endpoint share a lane."""
    lanes: dict[str, Lane] = {}
    for generator in config.generators if generates else ():
        known = lanes.get(generator.endpoint, Lane("generate", generator.endpoint, 0, 0.0))
        share = known.share + len(generator.temperatures) / config.paths_per_question
        lanes[generator.endpoint] = Lane("generate", generator.endpoint, max(known.cap, generator.max_tokens), share)
    roles = {
        "verify": config.judge,
        "rank": config.ranker,
        "refine": config.refiner,
        "regenerate": config.regenerator,
        "reverify": config.judge,
        "summarise": config.summariser,
    }
    return [*lanes.values(), *(Lane(s, endpoint_name(config, s), role.max_tokens, 1.0) for s, role in roles.items())]


def later_outputs(config: RunConfig, errors: int) -> dict[str, int]:
    """Outputs that a question with this error count needs after its verdicts, when no rewriting has to be repeated."""
    correct = config.paths_per_question - errors
    if errors > config.cutoffs.medium:
        new = config.regenerate
        return {"rank": 0, "refine": 0, "regenerate": new, "reverify": new, "summarise": new}
    kept = min(config.keep, correct)
    rewritten = kept if errors > config.cutoffs.easy else 0
    ranked = correct if correct > config.keep else 0  # where all are kept anyway, none is ranked
    return {"rank": ranked, "refine": rewritten, "regenerate": 0, "reverify": rewritten, "summarise": kept}


def measure_questions(ids: Sequence[int]) -> Sizes:
    """As a model sees them."""
    rows = list(Question.objects.filter(pk__in=ids).values_list("contexts", "stem", "options", "key"))
    n = max(len(rows), 1)
    texts = sum(len(join_question(contexts, stem, options)) for contexts, stem, options, _ in rows)
    keys = sum(len(f"{LETTERS[key]}. {options[key]}") for *_, options, key in rows)
    return Sizes(len(rows), texts / n, keys / n)


def path_figure(
    config: RunConfig, figures: Mapping[tuple[str, str], Figure], lanes: Sequence[Lane], paths_run: Run | None
) -> Figure:
    """A path as the judge reads it: as long as those of the run that is judged, else as the generators' replies."""
    if paths_run is not None:
        some = ReasoningPath.objects.filter(run=paths_run, origin__in=BASE_ORIGINS).order_by("pk")[:PATHS_READ]
        mean = ReasoningPath.objects.filter(pk__in=some.values("pk")).aggregate(n=Avg(Length("text")))["n"]
        if mean:
            tokens = round(mean / CHARACTERS)
            return Figure(tokens, tokens, f"the first {PATHS_READ} paths of {paths_run.name}")
    made = [(lane.share, figures[lane.key]) for lane in lanes if lane.stage == "generate"]
    if not made:
        return Figure(*PUBLISHED["generate"])
    low = sum(share * figure.low for share, figure in made)
    mean = sum(share * figure.mean for share, figure in made)
    return Figure(round(low), round(mean), "as long as the replies of the generators")


def tokens_sent(lane: Lane, config: RunConfig, sizes: Sizes, path: Figure, reason: Figure, errors: Errors) -> Tokens:
    """Of one call: the prompt's own words and schema, and each section that stands in it."""
    prompt = load_prompts()["verify" if lane.stage == "reverify" else lane.stage]
    sections = {
        "question": _certain(sizes.question / CHARACTERS),
        "key": _certain(sizes.key / CHARACTERS),
        "path": Tokens(path.low, path.mean, max(path.mean, *(g.max_tokens for g in config.generators))),
        "reasons": Tokens(reason.low, reason.mean, config.judge.max_tokens) * _errors_told(lane.stage, config, errors),
    }
    own = len(prompt.text) + (len(str(SCHEMAS[lane.stage])) if lane.stage in SCHEMAS else 0)
    return sum((sections[name] for name in prompt.sections), _certain(own / CHARACTERS))


def _errors_told(stage: str, config: RunConfig, errors: Errors) -> float:
    """Mean number of reasons in a prompt of this stage."""
    weights = [share * later_outputs(config, n).get(stage, 0) for n, share in enumerate(errors.shares)]
    total = sum(weights)
    return sum(n * w for n, w in enumerate(weights)) / total if total else 0.0


def _certain(tokens: float) -> Tokens:
    return Tokens(tokens, tokens, tokens)
