"""A database of its own for each size, on the instance's PostgreSQL; kept between runs, because filling takes minutes."""

from __future__ import annotations

import time

from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from psycopg import sql

FILLED = "filled"  # the comment on a database that was filled to the end


def open_database(questions: int, *, fresh: bool = False) -> float:
    """Make the database of this size the one that Django speaks to, filled if it was not. Seconds spent on filling."""
    from tests.bench.full.fill import fill

    name = f"bench_full_{questions}"
    if fresh or _comment(name) != FILLED:
        drop_database(questions)
        _on_server(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    use_database(name)
    call_command("migrate", verbosity=0)
    if _comment(name) == FILLED:
        return 0.0
    begun = time.perf_counter()
    fill(questions)
    _on_server(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(FILLED)))
    return time.perf_counter() - begun


def use_database(name: str) -> None:
    connections["default"].close()
    settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name


def drop_database(questions: int) -> None:
    use_database("postgres")
    _on_server(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(f"bench_full_{questions}")))


def _comment(name: str) -> str:
    before = connection.settings_dict["NAME"]
    use_database("postgres")
    with connection.cursor() as cursor:
        cursor.execute("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name])
        row = cursor.fetchone()
    use_database(before)
    return str(row[0]) if row else ""


def _on_server(statement: sql.Composed) -> None:
    before = connection.settings_dict["NAME"]
    use_database("postgres")
    with connection.cursor() as cursor:
        cursor.execute(statement)
    use_database(before)
