"""A run's configuration: a TOML file or the page's form, checked here and frozen in `Run.config`."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import tomllib
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

SIMULATED = "simulated"  # base_url of endpoints served by the workbench's own simulator, wherever it listens
SERVED = "served"  # base_url of endpoints that `serve_models` serves; workers find the addresses in the ledger
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]


class ConfigError(ValueError):
    """A configuration that cannot be used: one line a problem, each naming its field."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def is_metadata_host(host: str) -> bool:
    """Link-local and cloud metadata addresses, also written as one number, in hex or mapped into IPv6."""
    name = host.rstrip(".").lower()
    if name in ("metadata", "metadata.google.internal"):
        return True
    try:
        address = ipaddress.ip_address(int(name, 0) if re.fullmatch(r"0x[0-9a-f]+|\d+", name) else name.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local or str(address) == "fd00:ec2::254"


def check_base_url(value: str) -> str:
    """http(s) with a host; no credentials, no query, no cloud metadata address in any of its spellings."""
    parts = urlsplit(value)
    usable = parts.scheme in ("http", "https") and parts.hostname and not re.search(r"[\s\\]", value)
    if not usable or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError('use http(s)://host[:port]/v1, without credentials or query, or "simulated" or "served"')
    try:
        parts.port  # noqa: B018 - raises where it is no port
    except ValueError as error:
        raise ValueError(f"the port is not one: {error}") from error
    if is_metadata_host(str(parts.hostname)):
        raise ValueError("a cloud's metadata address is not a model server")
    return value.rstrip("/")


class ServeConfig(Frozen):
    """How `serve_models` starts vLLM for an endpoint. What is left out keeps vLLM's own default."""

    model: str = ""  # path or name of the weights; empty: the endpoint's model
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()  # devices of this host, tensor_parallel of them a replica
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1024, le=65_535)] | None = None  # of the first replica; left out: free ones
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    max_num_seqs: Annotated[int, Field(ge=1)] | None = None
    dtype: Annotated[str, Field(pattern=r"^[a-z0-9]*$")] = ""
    reasoning_parser: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")] = ""
    adapters: dict[Name, str] = {}  # LoRA adapters: name -> path
    rotate: Annotated[str, Field(pattern=r"^[a-z0-9._-]{0,40}$")] = (
        ""  # endpoints of one group take turns on the same devices
    )
    extra: tuple[
        Annotated[str, Field(pattern=r"^--[a-z0-9][a-z0-9.-]*(=\S*)?$")], ...
    ] = ()  # further options of vllm serve

    def __hash__(self) -> int:
        """Endpoints are keys of dictionaries; the adapters, a dictionary themselves, are left out."""
        return hash((self.model, self.replicas, self.gpus, self.host, self.port, self.rotate, self.extra))

    @model_validator(mode="after")
    def check_gpus(self) -> ServeConfig:
        if self.gpus and len(self.gpus) != self.replicas * self.tensor_parallel:
            raise ValueError(
                f"gpus: {self.replicas} × {self.tensor_parallel} devices are needed, {len(self.gpus)} named"
            )
        return self


class EndpointConfig(Frozen):
    """A model behind an OpenAI-compatible URL. The key is named by the environment variable that holds it."""

    name: Name
    base_url: str
    model: Annotated[str, Field(min_length=1)]
    api_key_env: Annotated[str, Field(pattern=r"^([A-Z][A-Z0-9_]*_(API_KEY|TOKEN))?$")] = ""  # never another secret
    transport: Literal["lean", "sdk", "batch", "engine"] = "lean"
    provider: Literal["openai", "azure"] = "openai"  # whose dialect the sdk and batch transports speak
    api_version: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,30}$")] = ""  # Azure's
    style: Literal["auto", "chat", "reasoning"] = "auto"  # reasoning: max_completion_tokens, no temperature, no top_p
    replicas: tuple[str, ...] = ()  # further addresses of the same model
    requests_per_minute: Annotated[int | None, Field(ge=1)] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1)] = None
    limit_group: Annotated[str, Field(pattern=r"^[a-z0-9._-]{0,40}$")] = ""  # endpoints that share one limit
    serve: ServeConfig | None = None
    batch_requests: Annotated[int, Field(ge=1, le=50_000)] = 50_000  # of a Batch API file
    max_in_flight: Annotated[int, Field(ge=1, le=4096)] = 64
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 600
    price_in: Annotated[Decimal, Field(ge=0)] = Decimal(0)  # per million tokens
    price_out: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    price_cached: Annotated[Decimal | None, Field(ge=0)] = None
    terms: str = ""  # licence or terms of the model's output

    @field_validator("base_url")
    @classmethod
    def check_url(cls, value: str) -> str:
        return value if value in (SIMULATED, SERVED) else check_base_url(value)

    @field_validator("replicas")
    @classmethod
    def check_replicas(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_base_url(url) for url in value)

    @model_validator(mode="after")
    def check_transport(self) -> EndpointConfig:
        if self.base_url == SERVED and self.serve is None:
            raise ValueError('base_url "served" needs a [endpoints.serve] table')
        if self.transport == "engine" and self.base_url != SERVED:
            raise ValueError('transport "engine" needs base_url "served" and a [endpoints.serve] table')
        if self.replicas and (self.base_url in (SIMULATED, SERVED) or self.transport in ("batch", "engine")):
            raise ValueError("replicas: only for an endpoint with addresses of its own, lean or sdk")
        if self.base_url == SERVED and self.transport == "batch":
            raise ValueError("vLLM has no Batch API: a served endpoint is lean, sdk or engine")
        if self.provider == "azure" and not (self.api_version and self.transport in ("sdk", "batch")):
            raise ValueError('azure needs api_version, and the transport "sdk" or "batch"')
        return self

    @property
    def simulated(self) -> bool:
        return self.base_url == SIMULATED

    @property
    def served(self) -> bool:
        """`serve_models` serves it. A model in `run_engine`'s own process has no server."""
        return self.base_url == SERVED and self.transport != "engine"

    @property
    def free(self) -> bool:
        """No money is counted: no price is set."""
        return not (self.price_in or self.price_out or self.price_cached)

    @property
    def limit_key(self) -> str:
        """Whose limits it shares: the group's, else those of its host, key and model."""
        host = urlsplit(self.base_url).netloc or self.base_url
        return (f"group:{self.limit_group}" if self.limit_group else f"{host}|{self.api_key_env}|{self.model}")[:200]

    def most_it_costs(self, sent: int, max_tokens: int) -> Decimal:
        """Of a request of `sent` bytes: a byte is at most a token, and no reply is longer than its cap."""
        dearest = max(self.price_in, self.price_cached or Decimal(0))
        return ((sent * dearest + max_tokens * self.price_out) / 1_000_000).quantize(Decimal("1e-8"), ROUND_CEILING)

    def cost(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> Decimal:
        """In the currency of the prices."""
        cached_price = self.price_in if self.price_cached is None else self.price_cached
        total = (tokens_in - tokens_cached) * self.price_in + tokens_cached * cached_price + tokens_out * self.price_out
        return (total / 1_000_000).quantize(Decimal("1e-8"))


class GeneratorConfig(Frozen):
    name: Name
    endpoint: Name
    temperatures: tuple[Annotated[float, Field(ge=0, le=2)], ...] = (0.7, 0.9, 1.0)
    top_p: Annotated[float | None, Field(gt=0, le=1)] = 0.9
    max_tokens: Annotated[int, Field(ge=1)] = 8192


class StageConfig(Frozen):
    endpoint: Name
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None  # none: not sent (o-series)
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    max_tokens: Annotated[int, Field(ge=1)] = 1024


class Cutoffs(Frozen):
    """Easy up to `easy` errors, medium up to `medium`, difficult above."""

    easy: Annotated[int, Field(ge=0)] = 4
    medium: Annotated[int, Field(ge=0)] = 7

    @model_validator(mode="after")
    def check_order(self) -> Cutoffs:
        if self.easy >= self.medium:
            raise ValueError("easy must be below medium")
        return self


class BudgetConfig(Frozen):
    """Money a run may cost, in the currency of the prices. `hard` stops it, `soft` warns."""

    hard: Annotated[Decimal | None, Field(ge=0)] = None
    soft: Annotated[Decimal | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def check_order(self) -> BudgetConfig:
        if self.hard is not None and self.soft is not None and self.soft > self.hard:
            raise ValueError("soft must not be above hard")
        return self


class QuestionFilter(Frozen):
    """Which questions take part. Empty lists mean all."""

    benchmarks: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    limit: Annotated[int | None, Field(ge=1)] = None  # the first so many, in the order of import
    sample: Annotated[int | None, Field(ge=1)] = None  # of what is left, so many drawn by the run's seed
    duplicates: bool = False  # all members of a duplicate group, not the canonical one alone
    flagged: bool = False  # also those that an import flag keeps out


class RunConfig(Frozen):
    """Everything a run depends on. `prompts` maps a prompt's name to its sha256 (apps.pipeline.prompts)."""

    endpoints: tuple[EndpointConfig, ...]
    generators: tuple[GeneratorConfig, ...]
    judge: StageConfig
    ranker: StageConfig
    refiner: StageConfig
    regenerator: StageConfig
    summariser: StageConfig
    cutoffs: Cutoffs = Cutoffs()
    questions: QuestionFilter = QuestionFilter()
    budget: BudgetConfig = BudgetConfig()
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    seed: int = 20260101
    keep: Annotated[int, Field(ge=1, le=3)] = 2  # paths kept of an easy or medium question
    regenerate: Annotated[int, Field(ge=1, le=3)] = 1  # new paths of a difficult question
    label_policy: Literal["single", "two"] = "single"
    unjudged_policy: Literal["wait", "count_as_error", "exclude"] = "wait"
    schema_retries: Annotated[int, Field(ge=0, le=10)] = 2
    sign_off: dict[
        Literal["easy", "medium", "difficult"], Annotated[float, Field(ge=0, le=1)]
    ] = {}  # share of a tier's records that people must accept before an export
    prompts: dict[str, str] = {}
    paths_from: str = ""  # the run whose paths are judged, filled in at creation
    imported: bool = False  # the paths came from a file: no generator is asked, and none needs an endpoint

    @model_validator(mode="after")
    def check_references(self) -> RunConfig:
        names = [e.name for e in self.endpoints]
        if len(set(names)) != len(names):
            raise ValueError("endpoints: two have the same name")
        generators = [g.name for g in self.generators]
        if len(set(generators)) != len(generators):
            raise ValueError("generators: two have the same name")
        used = (
            [] if self.imported or self.paths_from else [(f"generators.{g.name}", g.endpoint) for g in self.generators]
        )
        used += [(stage, getattr(self, stage).endpoint) for stage in STAGES_WITH_ENDPOINT]
        missing = [f"{where}.endpoint: no endpoint is named {name!r}" for where, name in used if name not in names]
        if missing:
            raise ValueError("; ".join(missing))
        if not 1 <= self.paths_per_question <= 30:
            raise ValueError("generators: between 1 and 30 paths a question")
        if self.cutoffs.medium >= self.paths_per_question:
            raise ValueError(f"cutoffs.medium must be below the {self.paths_per_question} paths of a question")
        return self

    @property
    def paths_per_question(self) -> int:
        return sum(len(g.temperatures) for g in self.generators)

    @property
    def slots(self) -> list[tuple[str, int]]:
        """(generator, sample) of each path, in the order of the 3 × 3 grid."""
        return [(g.name, n) for g in self.generators for n in range(1, len(g.temperatures) + 1)]

    def endpoint(self, name: str) -> EndpointConfig:
        return next(e for e in self.endpoints if e.name == name)

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


STAGES_WITH_ENDPOINT = ("judge", "ranker", "refiner", "regenerator", "summariser")


def default_config() -> dict[str, Any]:
    """The published set-up on simulated models: what `create_run --name N` alone uses."""
    models = ("qwen2.5-72b", "r1-distill-70b", "huatuogpt-o1-70b")
    names = (*models, "judge", "writer")
    return {
        "endpoints": [
            {"name": n, "base_url": SIMULATED, "model": f"sim-{n}", "terms": "simulated text"} for n in names
        ],
        "generators": [{"name": n, "endpoint": n} for n in models],
        "judge": {"endpoint": "judge", "temperature": 1.0, "top_p": 0.95, "max_tokens": 1024},
        "ranker": {"endpoint": "judge", "temperature": 0.7, "top_p": 0.95, "max_tokens": 512},
        "refiner": {"endpoint": "writer", "temperature": 0.8, "top_p": 0.9, "max_tokens": 8192},
        "regenerator": {"endpoint": "writer", "max_tokens": 20000},
        "summariser": {"endpoint": "writer", "temperature": 0.5, "top_p": 0.95, "max_tokens": 1000},
    }


def parse_config(data: dict[str, Any]) -> RunConfig:
    """Checked configuration; what is not said comes from `default_config`. Raises ConfigError."""
    try:
        return RunConfig.model_validate({**default_config(), **data})
    except ValidationError as error:
        lines = [f"{'.'.join(str(p) for p in e['loc']) or 'configuration'}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def load_config(path: Path) -> RunConfig:
    """Raises ConfigError naming the file, and the line for a TOML error."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse_config(data)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
