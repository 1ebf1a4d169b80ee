"""The private PostgreSQL: one server a data folder, whoever asks and whatever was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from reasonmed_site import postgres, settings

START = "import sys; from pathlib import Path; from reasonmed_site import postgres; print(postgres.start(Path(sys.argv[1])))"


@pytest.fixture
def var(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "var"
    yield folder
    postgres.stop(folder)


def connect(var: Path) -> psycopg.Connection:
    database = settings.database_from_url(postgres.url(var))
    return psycopg.connect(host=database["HOST"], user=database["USER"], dbname=database["NAME"], autocommit=True)


def start_in_child(var: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, str(var)],
        cwd=settings.BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_several_processes_that_start_at_once_get_one_server(var: Path) -> None:
    children = [start_in_child(var) for _ in range(4)]
    answers = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert answers == ["False", "False", "False", "True"]
    with connect(var) as connection:
        durable = {name: connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")}
        assert durable == {"fsync": ("on",), "synchronous_commit": ("on",)}
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


@pytest.mark.faults
def test_after_kill_9_of_server_and_parent_the_next_start_recovers_what_was_committed(var: Path) -> None:
    assert start_in_child(var).communicate(timeout=60)[0].strip() == "True"  # the parent is gone afterwards
    with connect(var) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        for number in range(3):
            connection.execute("INSERT INTO kept VALUES (%s)", [number])
            kill_server(var)
            assert postgres.start(var)
            connection.close()
            connection = connect(var)
        assert connection.execute("SELECT array_agg(n ORDER BY n) FROM kept").fetchone() == ([0, 1, 2],)
        connection.close()


@pytest.mark.faults
def test_a_session_in_a_long_query_does_not_keep_a_killed_server_from_coming_back(var: Path) -> None:
    postgres.start(var)
    connection = connect(var)
    backend = connection.info.backend_pid
    connection.pgconn.send_query(b"SELECT sum(i) FROM generate_series(1, 100000000000) i")
    kill_server(var)
    assert psutil.pid_exists(backend)
    assert postgres.start(var)
    connection.close()
    connect(var).close()


@pytest.mark.faults
def test_a_pid_file_that_names_a_foreign_process_is_stale(var: Path) -> None:
    postgres.start(var)
    server = kill_server(var)
    pid_file = var / "pgdata" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(server), str(os.getpid()), 1))
    assert postgres.running(var) is None
    assert postgres.start(var)


@pytest.mark.slow
def test_a_path_too_long_for_a_socket_uses_a_private_folder(tmp_path: Path) -> None:
    var = tmp_path / ("long" * 30)
    try:
        assert postgres.start(var)
        folder = postgres.socket_dir(var)
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o077 == 0
        connect(var).close()
        assert not postgres.start(var)
    finally:
        assert postgres.stop(var)
        assert not postgres.stop(var)
        folder.rmdir()


@pytest.mark.parametrize("name", ["a" * 90, "comma,here", "per%cent", "ü"])
def test_a_var_that_libpq_would_not_take_gets_another_socket_folder(tmp_path: Path, name: str) -> None:
    database = settings.database_from_url(postgres.url(tmp_path / name))
    assert database["HOST"].startswith("/tmp/reasonmed-")


def test_the_url_keeps_spaces_in_the_path() -> None:
    database = settings.database_from_url(postgres.url(Path("/a b/var")))
    assert database["HOST"] == "/a b/var/pgdata"


def test_no_disk_space_is_one_line_and_leaves_nothing(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "FREE_BYTES_NEEDED", 2**62)
    with pytest.raises(postgres.PostgresError, match="No disk space") as refused:
        postgres.start(var)
    assert "\n" not in str(refused.value)
    assert not (var / "pgdata").exists()


def test_a_data_folder_of_another_version_is_refused(var: Path) -> None:
    (var / "pgdata").mkdir(parents=True)
    (var / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(postgres.PostgresError, match="made by PostgreSQL 16"):
        postgres.start(var)


def test_a_folder_of_something_else_is_not_taken_over(var: Path) -> None:
    (var / "pgdata").mkdir(parents=True)
    (var / "pgdata" / "thesis.txt").write_text("mine")
    with pytest.raises(postgres.PostgresError, match="not a PostgreSQL data folder"):
        postgres.start(var)


def test_a_socket_folder_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o777)
    trap.chmod(0o777)
    with pytest.raises(postgres.PostgresError, match="not its own"):
        postgres._make_private(trap, None)


def kill_server(var: Path) -> int:
    server = postgres.running(var)
    assert server is not None
    server.send_signal(signal.SIGKILL)
    assert not postgres._still_running([server], 10)
    assert not answers(var)
    return server.pid


def answers(var: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(postgres.socket_dir(var) / ".s.PGSQL.5432")) == 0


def test_what_went_wrong_is_not_what_waiting_clients_were_told() -> None:
    said = (
        "12:00 [1] FATAL:  the database system is starting up\n"
        "12:00 [2] FATAL:  the database system is not yet accepting connections\n"
        '12:00 [3] PANIC:  could not open file "global/pg_control": Permission denied\n'
        "12:00 [4] FATAL:  could not stat data directory\n"
    )
    assert "pg_control" in postgres._why(said)
    assert "starting up" in postgres._why(said.splitlines()[0])
