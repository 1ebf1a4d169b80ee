"""The command line and the environment of a vLLM server, from an endpoint's configuration."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping

from apps.pipeline.config import SERVED, EndpointConfig, ServeConfig

PYTHON_ENV = "REASONMED_VLLM_PYTHON"  # the interpreter that has vLLM; without it, our own
TRUST_ENV = "REASONMED_SERVE_TRUST"  # "1": the person at this host's keyboard lets options run foreign code
MARK_ENV = "REASONMED_MODEL_SERVER"  # in every process of a server: whose it is
MODULE = "vllm.entrypoints.openai.api_server"
CACHED = "--enable-prompt-tokens-details"  # each reply tells how much of its prompt came from the prefix cache

OWN_FIELD = {  # option: where it is said instead
    "model": "serve.model",
    "served-model-name": "the endpoint's model",
    "host": "serve.host",
    "port": "serve.port",
    "tensor-parallel-size": "serve.tensor_parallel",
    "max-model-len": "serve.max_model_len",
    "gpu-memory-utilization": "serve.gpu_memory_utilization",
    "max-num-seqs": "serve.max_num_seqs",
    "dtype": "serve.dtype",
    "reasoning-parser": "serve.reasoning_parser",
    "lora-modules": "serve.adapters",
}
BREAKS = {  # option: why it is never passed on
    "api-key": "everyone on the host can read a command line; name a variable in api_key_env",
    "hf-token": "everyone on the host can read a command line; set HF_TOKEN in the environment",
    "config": "a file could set any option",
    "uds": "workers reach the server over TCP",
    "root-path": "workers look for /v1 at the root",
    "ssl-keyfile": "the supervisor asks over plain HTTP; put a proxy in front",
    "ssl-certfile": "the supervisor asks over plain HTTP; put a proxy in front",
    "ssl-ca-certs": "the supervisor asks over plain HTTP; put a proxy in front",
    "ssl-cert-reqs": "the supervisor asks over plain HTTP; put a proxy in front",
    "headless": "nothing would listen",
    "disable-log-stats": "the figures on the run's page come from them",
    "help": "nothing would be served",
    "version": "nothing would be served",
}
RUNS_CODE = frozenset(
    (
        "trust-remote-code", "middleware", "tool-parser-plugin", "reasoning-parser-plugin", "io-processor-plugin",
        "logits-processors", "worker-cls", "worker-extension-cls", "scheduler-cls", "model-class-overrides",
        "kv-transfer-config", "ec-transfer-config", "log-config-file", "allowed-local-media-path", "tool-server",
    )
)  # fmt: skip
SECRET = re.compile(r"(_API_KEY|_TOKEN|PASSWORD|SECRET|CREDENTIAL)|^(DATABASE_URL|DRAMATIQ_|DJANGO_|REASONMED_)")
STAYS = frozenset(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))  # gated models are fetched with them


class ServeError(ValueError):
    """An endpoint that cannot be served as configured: which field, and what to do."""


def serve_of(endpoint: EndpointConfig) -> ServeConfig:
    if endpoint.base_url != SERVED or endpoint.serve is None:
        raise ServeError(
            f'endpoint {endpoint.name}: serve_models serves endpoints with base_url = "served", and none of engines'
        )
    return endpoint.serve


def check_endpoint(endpoint: EndpointConfig, environ: Mapping[str, str]) -> None:
    """Raises ServeError for what vLLM would not take, or must not be given."""
    serve = serve_of(endpoint)
    texts = {"model": endpoint.model, "serve.model": serve.model}
    texts |= {f"serve.adapters.{name}": path for name, path in serve.adapters.items()}
    for where, text in texts.items():
        if text.startswith("-") or "\0" in text or (not text and where.startswith("serve.adapters")):
            raise ServeError(f"endpoint {endpoint.name}: {where}: {text!r} is no name or path of a model")
    if endpoint.model in serve.adapters and not serve.model:
        raise ServeError(f"endpoint {endpoint.name}: serve.model must name what the adapter {endpoint.model} sits on")
    if serve.port is not None and serve.port + serve.replicas - 1 > 65_535:
        raise ServeError(f"endpoint {endpoint.name}: serve.port leaves no room for {serve.replicas} replicas")
    trusted = environ.get(TRUST_ENV) == "1"
    for option in serve.extra:
        if why := refusal(option, trusted=trusted):
            raise ServeError(f"endpoint {endpoint.name}: serve.extra: {option.partition('=')[0]}: {why}")
    if endpoint.api_key_env and not environ.get(endpoint.api_key_env, "").strip():
        raise ServeError(f"endpoint {endpoint.name}: the environment variable {endpoint.api_key_env} holds no key")


def refusal(option: str, *, trusted: bool) -> str:
    """Why an extra option is not passed on, or "". vLLM takes abbreviations, so a beginning counts as the whole."""
    name = re.split(r"[=.]", option.removeprefix("--"), maxsplit=1)[0].replace("_", "-")
    for known, field in OWN_FIELD.items():
        if known.startswith(name):
            return f"say it in {field}"
    for known, why in BREAKS.items():
        if known.startswith(name):
            return why
    if not trusted and any(known.startswith(name) for known in RUNS_CODE):
        return f"it lets the model or a file run code or be read; if you mean it, start serve_models with {TRUST_ENV}=1"
    return ""


def find_python(environ: Mapping[str, str]) -> str:
    """The interpreter that has vLLM. Raises ServeError when the one named is not there."""
    named = environ.get(PYTHON_ENV, "")
    found = shutil.which(named) if named else sys.executable
    if not found:
        raise ServeError(f"{PYTHON_ENV}={named!r}: no such program; name the Python that has vLLM")
    return found


def build_argv(endpoint: EndpointConfig, *, port: int, python: str) -> list[str]:
    """Prefix caching and chunked prefill are on by vLLM's own default, and nothing here turns them off."""
    serve = serve_of(endpoint)
    model = serve.model or endpoint.model
    # An endpoint may be an adapter: then requests name it, and the base model answers to its own name.
    name = model if endpoint.model in serve.adapters else endpoint.model
    argv = [python, "-m", MODULE, "--model", model, "--served-model-name", name]
    argv += ["--host", serve.host, "--port", str(port)]
    argv += ["--tensor-parallel-size", str(serve.tensor_parallel)]
    options = {
        "--max-model-len": serve.max_model_len,
        "--gpu-memory-utilization": serve.gpu_memory_utilization,
        "--max-num-seqs": serve.max_num_seqs,
        "--dtype": serve.dtype or None,
        "--reasoning-parser": serve.reasoning_parser or None,
    }
    for option, value in options.items():
        if value is not None:
            argv += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if serve.adapters:
        if "--enable-lora" not in serve.extra:
            argv.append("--enable-lora")
        argv += ["--lora-modules", *(f"{name}={path}" for name, path in serve.adapters.items())]
    if CACHED not in serve.extra:
        argv.append(CACHED)
    return [*argv, *serve.extra]


def build_env(endpoint: EndpointConfig, replica: int, *, environ: Mapping[str, str], mark: str) -> dict[str, str]:
    """What the server gets of our environment: none of our secrets but its own key. `replica` counts from 0 here."""
    serve = serve_of(endpoint)
    env = {name: value for name, value in environ.items() if name in STAYS or not SECRET.search(name)}
    env |= {"PYTHONUNBUFFERED": "1", MARK_ENV: mark}
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    if devices := devices_of(serve, replica):
        env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices))
    if serve.adapters or "--enable-lora" in serve.extra:
        env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if key := key_of(endpoint, environ):
        env["VLLM_API_KEY"] = key
    return env


def devices_of(serve: ServeConfig, replica: int) -> tuple[int, ...]:
    """The devices of a replica; none named: vLLM sees what we see."""
    return serve.gpus[replica * serve.tensor_parallel : (replica + 1) * serve.tensor_parallel]


def key_of(endpoint: EndpointConfig, environ: Mapping[str, str] = os.environ) -> str:
    return environ.get(endpoint.api_key_env, "").strip() if endpoint.api_key_env else ""
