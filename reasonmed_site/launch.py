"""What happens before any management command: the configuration is read, the database is there or the command ends.

Anything wrong here is one line on standard error and exit code 2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured

NO_DATABASE = frozenset(
    ("help", "version", "check", "collectstatic", "diffsettings", "findstatic", "stop_postgres", "demo")
)
OPTIONS_WITH_VALUE = frozenset(("--settings", "--pythonpath"))


def prepare(argv: list[str]) -> None:
    """Start the private PostgreSQL if none is configured, or see that the configured one answers."""
    try:
        from reasonmed_site import settings
    except ImproperlyConfigured as error:
        refuse(f"Wrong configuration: {error}")
    except OSError as error:
        refuse(f"{error.filename} cannot be used: {error.strerror}. Set REASONMED_VAR to a folder of your own.")
    if not needs_database(argv):
        return
    try:
        ensure_database(settings.VAR_DIR, settings.DATABASE_URL)
    except Unavailable as error:
        refuse(str(error))


class Unavailable(Exception):  # noqa: N818
    """There is no database to work with; the message is one line."""


def ensure_database(var: Path, database_url: str) -> bool:
    """True if this call started the private server. Raises Unavailable."""
    from reasonmed_site import postgres

    if database_url:
        check_reachable()
        return False
    try:
        return postgres.start(var)
    except postgres.PostgresError as error:
        raise Unavailable(str(error)) from error


def check_reachable() -> None:
    """Connect once to the configured database. The message never holds the password."""
    import psycopg

    from reasonmed_site import settings

    where = settings.DATABASES["default"]
    try:
        psycopg.connect(
            host=where["HOST"], port=where["PORT"], user=where["USER"], password=where["PASSWORD"],
            dbname=where["NAME"], **{**where["OPTIONS"], "connect_timeout": 5},
        ).close()  # fmt: skip
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise Unavailable(f"The database in DATABASE_URL cannot be reached: {said}") from error


def needs_database(argv: list[str]) -> bool:
    """Whether the command line names a command that reads or writes the ledger."""
    if {"-h", "--help", "--version"} & set(argv[1:]):
        return False
    words = iter(argv[1:])
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word not in NO_DATABASE or (word == "check" and "--database" in argv)
    return argv[:1] == ["pytest"]


def refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)
