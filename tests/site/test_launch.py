"""What a command says and how it ends when its surroundings are wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reasonmed_site import launch, settings
from workers.demo import preflight


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("manage.py", False),
        ("manage.py help migrate", False),
        ("manage.py migrate --help", False),
        ("manage.py --version", False),
        ("manage.py check", False),
        ("manage.py check --database default", True),
        ("manage.py collectstatic --noinput", False),
        ("manage.py stop_postgres", False),
        ("manage.py demo", False),  # looks at its port first, then starts it itself
        ("manage.py migrate", True),
        ("manage.py --settings reasonmed_site.settings migrate", True),
        ("manage.py run_status 1 --json", True),
        ("pytest", True),
    ],
)
def test_only_commands_that_need_the_database_start_it(line: str, needed: bool) -> None:
    assert launch.needs_database(line.split()) is needed


@pytest.mark.slow
@pytest.mark.parametrize("command", ["migrate", "demo"])
def test_an_unreachable_database_is_one_line_without_the_password(command: str, tmp_path: Path) -> None:
    url = "postgresql://someone:hush-hush@127.0.0.1:1/x"
    done = manage(command, DATABASE_URL=url, REASONMED_VAR=str(tmp_path), PORT=str(preflight.free_port()))
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "hush-hush" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must start with postgresql://"),
        ({"REASONMED_VAR": "/dev/null/var"}, "/dev/null/var cannot be used"),
        ({"DJANGO_DEBUG": "perhaps"}, "DJANGO_DEBUG='perhaps'"),
        ({"REASONMED_PUBLIC": "1", "DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY is required"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(environment: dict[str, str], said: str) -> None:
    done = manage("migrate", **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_demo_refuses_a_taken_port_before_it_does_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = manage("demo", REASONMED_VAR=str(tmp_path / "var"), PORT=str(port))
    assert done.returncode == 2
    assert f"Port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert not (tmp_path / "var" / "pgdata").exists()


@pytest.mark.parametrize("raw", ["", "0", "65536", "http", "-1", "８000x"])
def test_a_port_that_is_none_is_refused(raw: str) -> None:
    with pytest.raises(preflight.Refused, match="is not a port"):
        preflight.wanted_port(raw)


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FREE_BYTES_NEEDED", 2**62)
    with pytest.raises(preflight.Refused, match="No disk space"):
        preflight.check_folder(tmp_path)


@pytest.mark.slow
def test_a_demo_does_not_run_on_a_public_instance(tmp_path: Path) -> None:
    done = manage("demo", REASONMED_PUBLIC="1", DJANGO_SECRET_KEY="x" * 50, REASONMED_VAR=str(tmp_path))
    assert done.returncode == 2
    assert "REASONMED_PUBLIC" in done.stderr
