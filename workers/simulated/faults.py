"""What can be made to go wrong, how often, and in which stage."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workers.simulated.dice import Dice, digest

Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0, le=600_000)]
Kind = Literal[
    "rate_429",  # too many requests, with Retry-After
    "error_500",
    "hang",  # no answer for `hang_s` seconds
    "cut",  # the connection breaks in the middle of the reply
    "garbled",  # an HTTP reply whose body is not JSON
    "malformed_json",  # the model's JSON text breaks off (stages that reply in JSON)
    "bad_schema",  # JSON, but not of the form asked for: verdict against its axes, field missing, value out of range
    "empty",  # a reply without text
    "length",  # finish_reason=length, the text cut in the middle
    "refuse_400",  # sticks to a request: repeating it never helps
]
KINDS: tuple[Kind, ...] = get_args(Kind)
PASSING = KINDS[:-1]


class FaultError(ValueError):
    """A set of faults that cannot be used, in one line."""


class Rates(BaseModel):
    """How often each fault strikes: probabilities of one attempt, drawn anew for each repetition of a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_429: Probability = 0
    error_500: Probability = 0
    hang: Probability = 0
    cut: Probability = 0
    garbled: Probability = 0
    malformed_json: Probability = 0
    bad_schema: Probability = 0
    empty: Probability = 0
    length: Probability = 0
    refuse_400: Probability = 0

    @model_validator(mode="after")
    def check_sum(self) -> Rates:
        if sum(self._row) > 1 + 1e-9:
            raise ValueError("the probabilities add up to more than 1")
        return self

    def draw(self, identity: int, attempt: int) -> Kind | None:
        """The fault that strikes this attempt at a request; the same every time."""
        if self.refuse_400 and Dice(digest("refuse", identity)).chance(self.refuse_400):
            return "refuse_400"
        at = Dice(digest("fault", identity, attempt)).unit()
        for kind, probability in zip(PASSING, self._row, strict=True):
            if at < probability:
                return kind
            at -= probability
        return None

    @property
    def _row(self) -> tuple[float, ...]:
        return tuple(getattr(self, kind) for kind in PASSING)


class BatchFaults(BaseModel):
    """How the Batch API goes: its speed, and what may be odd about its files. Lines also meet the faults of calls."""

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(ge=0)] = 0.2  # that a batch takes
    upload_s: Annotated[float, Field(ge=0)] = 0  # between the deed and the answer that tells of it
    create_s: Annotated[float, Field(ge=0)] = 0
    pending_s: Annotated[float, Field(ge=0)] = 0  # a file is looked through before it can be used, as with Azure
    refuse_file: bool = False  # and found to be of no use
    refuse_create: bool = False  # 503, and nothing is made
    content_s: Annotated[float, Field(ge=0)] = 0
    expire_after: Probability | None = None  # the share of a batch's lines that are answered before it expires
    fail_lines: Probability = 0  # answered 500, in the error file
    shuffle: bool = True  # files are in no order
    odd_lines: bool = False  # a line twice, somebody else's, one that is cut, one that is no object
    fail_validation: Annotated[int, Field(ge=0)] = 0  # so many batches are refused at their validation
    validation_code: str = "invalid_request"
    file_limit: Annotated[int, Field(ge=1)] = 200_000_000  # bytes; a larger upload is answered 413


class Faults(Rates):
    """The rates for all stages, other rates for single ones, and how slow the server is."""

    latency_ms: Milliseconds = 0  # mean
    jitter_ms: Milliseconds = 0  # at most this much less or more
    retry_after_s: Annotated[float, Field(ge=0, le=86_400)] = 1
    hang_s: Annotated[float, Field(gt=0)] = 3600
    stages: dict[str, Rates] = {}
    batch: BatchFaults = Field(default_factory=BatchFaults)

    @property
    def quiet(self) -> bool:
        """Nothing can go wrong; the fast path of the server."""
        return not self.stages and not any(self._row) and not self.refuse_400

    def rates(self, stage: str) -> Rates:
        return self.stages.get(stage, self)

    def delay_s(self, identity: int) -> float:
        if not self.jitter_ms:
            return self.latency_ms / 1000
        return max(0.0, self.latency_ms + self.jitter_ms * (2 * Dice(digest("delay", identity)).unit() - 1)) / 1000


def parse_faults(data: object) -> Faults:
    """Raises FaultError."""
    try:
        return Faults.model_validate(data)
    except ValidationError as error:
        raise FaultError(
            "; ".join(f"{'.'.join(map(str, e['loc'])) or 'faults'}: {e['msg']}" for e in error.errors())
        ) from error
