"""The command line and environment of a vLLM server: what is passed on, what is refused, what stays secret."""

from __future__ import annotations

from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from apps.pipeline.config import EndpointConfig, parse_config
from tests.factories import make_project
from tests.workers.serving import served, served_config, served_endpoint
from workers.management.commands.serve_models import choose_endpoints
from workers.serving.command import (
    BREAKS,
    MARK_ENV,
    OWN_FIELD,
    RUNS_CODE,
    ServeError,
    build_argv,
    build_env,
    check_endpoint,
    find_python,
    refusal,
)


def pairs(argv: list[str]) -> dict[str, str]:
    """Options followed by a value."""
    return {a: b for a, b in pairwise(argv) if a.startswith("--") and not b.startswith("--")}


def argv_of(**serve: Any) -> list[str]:
    return build_argv(served_endpoint(**serve), port=8123, python="/opt/vllm/bin/python")


def test_a_plain_endpoint() -> None:
    argv = argv_of(model="m-judge")
    assert argv[:3] == ["/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert pairs(argv[3:]) == {
        "--model": "m-judge",
        "--served-model-name": "m-judge",
        "--host": "127.0.0.1",
        "--port": "8123",
        "--tensor-parallel-size": "1",
    }


def test_everything_said_is_passed_on() -> None:
    argv = build_argv(
        served_endpoint(
            model="qwen",
            tensor_parallel=8,
            max_model_len=16384,
            gpu_memory_utilization=0.92,
            max_num_seqs=256,
            dtype="bfloat16",
            reasoning_parser="deepseek_r1",
            host="0.0.0.0",
            extra=["--kv-cache-dtype=fp8", "--enforce-eager"],
        ),
        port=8000,
        python="python",
    )
    found = pairs(argv)
    assert found["--tensor-parallel-size"] == "8"
    assert found["--max-model-len"] == "16384"
    assert found["--gpu-memory-utilization"] == "0.92"
    assert found["--max-num-seqs"] == "256"
    assert found["--dtype"] == "bfloat16"
    assert found["--reasoning-parser"] == "deepseek_r1"
    assert found["--host"] == "0.0.0.0"
    assert argv[-2:] == ["--kv-cache-dtype=fp8", "--enforce-eager"]
    assert not [word for word in argv if word.startswith("--no-") or "prefix-caching" in word]


@pytest.mark.parametrize("extra", [[], ["--enable-prompt-tokens-details"]])
def test_cached_tokens_are_asked_for_once(extra):
    argv = build_argv(served_endpoint(extra=extra), port=1, python="p")
    assert argv.count("--enable-prompt-tokens-details") == 1


@pytest.mark.parametrize("extra", [[], ["--enable-lora"]])
def test_adapters_beside_their_base(extra: list[str]) -> None:
    argv = argv_of(model="base", adapters={"med": "/lora/med", "law": "/lora/law"}, extra=extra)
    at = argv.index("--lora-modules")
    assert argv[at : at + 3] == ["--lora-modules", "med=/lora/med", "law=/lora/law"]
    assert argv.count("--enable-lora") == 1
    assert pairs(argv)["--served-model-name"] == "base"


def test_an_endpoint_that_is_an_adapter_leaves_its_name_to_the_adapter() -> None:
    serve = {"model": "/models/base", "adapters": {"med": "/lora/med"}}
    endpoint = EndpointConfig.model_validate({"name": "e", "base_url": "served", "model": "med", "serve": serve})
    found = pairs(build_argv(endpoint, port=1, python="p"))
    assert found["--model"] == "/models/base"
    assert found["--served-model-name"] == "/models/base"


@pytest.mark.parametrize("name", sorted({*OWN_FIELD, *BREAKS, *RUNS_CODE}))
def test_refused_options_are_refused_however_they_are_written(name: str) -> None:
    for option in (f"--{name}", f"--{name}=x", f"--{name[:-1]}", f"--{name}.deeper=1", f"--{name.replace('-', '_')}"):
        assert refusal(option, trusted=False), option


@given(st.sampled_from(sorted({*OWN_FIELD, *BREAKS})), st.data())
def test_an_abbreviation_is_the_option(name: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(name)))
    assert refusal(f"--{name[:length]}=1", trusted=True)


@pytest.mark.parametrize(
    "option",
    ["--enforce-eager", "--kv-cache-dtype=fp8", "--load-format=dummy", "--enable-lora", "--max-lora-rank=64",
     "--max-num-batched-tokens=8192", "--config-format=hf", "--tokenizer=/t", "--quantization=awq", "--seed=1",
     "--data-parallel-size=2", "--max-num-queued-reqs=512", "--no-enable-prefix-caching"],
)  # fmt: skip
def test_usual_options_pass(option: str) -> None:
    assert refusal(option, trusted=False) == ""


def test_code_runs_only_where_the_host_says_so() -> None:
    endpoint = served_endpoint(extra=["--trust-remote-code"])
    with pytest.raises(ServeError, match="REASONMED_SERVE_TRUST=1"):
        check_endpoint(endpoint, {})
    check_endpoint(endpoint, {"REASONMED_SERVE_TRUST": "1"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "--trust-remote-code"}, "no name or path"),
        ({"extra": ["--api-key=s3cret"]}, "--api-key: everyone on the host"),
        ({"extra": ["--port=80"]}, "say it in serve.port"),
        ({"port": 65_535, "replicas": 2}, "no room"),
        ({"api_key_env": "JUDGE_API_KEY"}, "JUDGE_API_KEY holds no key"),
        ({"adapters": {"a": ""}}, "no name or path"),
    ],
)
def test_what_cannot_be_served_is_said(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ServeError, match=words) as caught:
        check_endpoint(served_endpoint(**fields), {})
    assert "s3cret" not in str(caught.value)


def test_an_adapter_needs_a_base() -> None:
    with pytest.raises(ServeError, match=r"serve\.model must name"):
        check_endpoint(served_endpoint("med", model="", **{"adapters": {"m-med": "/lora"}}), {})


def test_only_served_endpoints() -> None:
    with pytest.raises(ServeError, match='base_url = "served"'):
        check_endpoint(EndpointConfig(name="api", base_url="http://x/v1", model="m"), {})


ENVIRON = {
    "PATH": "/bin",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_TOKEN": "hf",
    "DATABASE_URL": "postgresql://u:secret@h/d",
    "DJANGO_SECRET_KEY": "secret",
    "REASONMED_PUBLIC": "1",
    "OPENAI_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "JUDGE_API_KEY": "the-key",
}


def test_the_key_goes_by_environment_and_no_other_secret_does() -> None:
    endpoint = served_endpoint(api_key_env="JUDGE_API_KEY")
    env = build_env(endpoint, 0, environ=ENVIRON, mark="m")
    assert env["VLLM_API_KEY"] == "the-key"
    assert env[MARK_ENV] == "m"
    assert env["HF_TOKEN"] == "hf"
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert not [name for name, value in env.items() if "secret" in value]
    assert {"JUDGE_API_KEY", "REASONMED_PUBLIC"}.isdisjoint(env)
    assert "the-key" not in " ".join(build_argv(endpoint, port=1, python="p"))


def test_each_replica_has_its_devices() -> None:
    endpoint = served_endpoint(replicas=2, tensor_parallel=2, gpus=[4, 5, 6, 7])
    seen = [build_env(endpoint, n, environ={}, mark="")["CUDA_VISIBLE_DEVICES"] for n in range(2)]
    assert seen == ["4,5", "6,7"]
    assert "CUDA_VISIBLE_DEVICES" not in build_env(served_endpoint(), 0, environ={}, mark="")


def test_adapters_may_be_loaded_at_run_time_where_lora_is_on() -> None:
    def setting(**serve: Any) -> str | None:
        return build_env(served_endpoint(**serve), 0, environ={}, mark="").get("VLLM_ALLOW_RUNTIME_LORA_UPDATING")

    assert setting() is None
    assert setting(adapters={"a": "/x"}) == setting(extra=["--enable-lora"]) == "True"


def test_the_python_named_must_exist() -> None:
    assert find_python({})
    with pytest.raises(ServeError, match="no such program"):
        find_python({"REASONMED_VLLM_PYTHON": "/nowhere/python"})


def test_served_endpoints_can_be_keys() -> None:
    one, same = (served_endpoint(adapters={"a": "/x", "b": "/y"}, replicas=2) for _ in range(2))
    assert {one: 1}[same] == 1


def test_the_command_serves_served_endpoints_but_no_engine() -> None:
    config = served_config(served("writer"), {**served("offline"), "transport": "engine"}, served("judge"))
    assert [endpoint.name for endpoint in choose_endpoints(config, [])] == ["writer", "judge"]
    assert [endpoint.name for endpoint in choose_endpoints(config, ["judge"])] == ["judge"]
    with pytest.raises(ServeError, match="no served endpoint is named offline; there are writer, judge"):
        choose_endpoints(config, ["offline"])
    with pytest.raises(ServeError, match="nothing to serve"):
        choose_endpoints(parse_config({}), [])


CONFIG = """
[[endpoints]]
name = "judge"
base_url = "served"
model = "m"
[endpoints.serve]
replicas = 2
gpus = [2, 3]
port = 8100
{more}
[[generators]]
name = "judge"
endpoint = "judge"
""" + "".join(f'[{s}]\nendpoint = "judge"\n' for s in ("judge", "ranker", "refiner", "regenerator", "summariser"))


def run_command(folder: Path, more: str = "", *options: str) -> str:
    (folder / "run.toml").write_text(CONFIG.replace("{more}", more) + "[cutoffs]\neasy = 0\nmedium = 1\n")
    said = StringIO()
    call_command("serve_models", str(folder / "run.toml"), *options, stdout=said)
    return said.getvalue()


def test_show_prints_a_line_for_each_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONMED_VLLM_PYTHON", "/bin/sh")
    lines = run_command(tmp_path, "", "--show").splitlines()
    assert [line.split(" --tensor")[0] for line in lines] == [
        f"CUDA_VISIBLE_DEVICES={device} /bin/sh -m vllm.entrypoints.openai.api_server"
        f" --model m --served-model-name m --host 127.0.0.1 --port {port}"
        for device, port in ((2, 8100), (3, 8101))
    ]


@pytest.mark.parametrize(
    ("more", "options", "words"),
    [
        ('extra = ["--port=1"]', ["--show"], "endpoint judge: serve.extra: --port: say it in serve.port"),
        ("", ["--endpoint", "other"], "no served endpoint is named other; there are judge"),
        ("", ["--poll", "0"], "--poll: more than 0"),
        ("", ["--first-replica", "-1"], "--first-replica: 0 or more"),
        ("nonsense = 1", [], "run.toml: endpoints.0.serve.nonsense: Extra inputs are not permitted"),
    ],
)
@pytest.mark.django_db
def test_what_is_wrong_ends_the_command_with_2(tmp_path: Path, more: str, options: list[str], words: str) -> None:
    make_project()
    with pytest.raises(CommandError) as caught:
        run_command(tmp_path, more, *options)
    assert caught.value.returncode == 2
    assert words in str(caught.value)
