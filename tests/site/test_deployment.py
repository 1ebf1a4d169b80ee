"""The files that start the workbench elsewhere: they parse, and name only commands, services and settings that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

DOCKER = Path(settings.BASE_DIR) / "docker"
COMPOSE = ("compose.yml", "compose.worker.yml")
UNITS = sorted((DOCKER / "systemd").glob("*.service"))
HOME = "/srv/reasonmed/app"  # where the units expect the checkout


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return found


def documented() -> set[str]:
    return set(re.findall(r"^#? ?([A-Z_]+)=", (DOCKER / "env.example").read_text(), re.MULTILINE))


def read_by_the_code() -> str:
    return "\n".join(
        path.read_text() for folder in ("reasonmed_site", "workers", "apps") for path in Path(folder).rglob("*.py")
    )


def check_command(words: list[str]) -> None:
    if words[0] == "gunicorn" or words[0].endswith("/gunicorn"):
        assert words[1] == "reasonmed_site.wsgi"
        return
    assert words[0].rpartition("/")[2] == "python"
    assert words[1] == "manage.py"
    assert words[2] in get_commands()


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_names_what_there_is(name: str) -> None:
    project = compose(name)
    services = project["services"]
    code = read_by_the_code()
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
            assert all(f'"{variable}"' in code for variable in service["environment"])
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in project["volumes"]
        command = service.get("command", ())
        if "manage.py" in command:
            check_command(command)
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (DOCKER / name).read_text()))
    assert required <= documented()


def test_workers_can_be_scaled_and_wait_for_the_migrations() -> None:
    services = compose("compose.yml")["services"]
    for worker in (services["worker"], compose("compose.worker.yml")["services"]["worker"]):
        assert not {"container_name", "ports", "hostname"} & set(worker)
        assert worker["deploy"]["replicas"] == "${WORKERS:-2}"
    for name in ("web", "worker"):
        waits = services[name]["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}
        assert all(not waits[broker]["required"] for broker in ("redis", "rabbitmq"))
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert {name: service["profiles"] for name, service in services.items() if "profiles" in service} == {
        "redis": ["redis"],
        "rabbitmq": ["rabbitmq"],
        "vllm": ["gpu"],
    }
    assert "/var/lib/reasonmed" in services["web"]["volumes"][0], "exports are built by one and sent by the other"
    assert services["web"]["volumes"] == services["worker"]["volumes"]
    assert "--no-exports" in compose("compose.worker.yml")["services"]["worker"]["command"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_start_what_there_is(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    starts = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    assert starts
    for line in starts:
        check_command(shlex.split(line))
    assert f"WorkingDirectory={HOME}\n" in text
    if shutil.which("systemd-analyze"):
        here = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
        for other in UNITS:  # those it names
            shutil.copy(other, tmp_path / other.name)
        (tmp_path / unit.name).write_text(here.replace(HOME, str(tmp_path)))
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
            capture_output=True,
            text=True,
            check=False,
        ).stderr
        assert unit.name not in said, said


def test_the_procfile_starts_what_there_is() -> None:
    lines = dict(line.split(": ", 1) for line in (DOCKER / "Procfile").read_text().splitlines())
    assert set(lines) == {"web", "worker"}
    for line in lines.values():
        check_command(shlex.split(line))
