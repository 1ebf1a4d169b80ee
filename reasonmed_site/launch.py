"""What happens before any management command: the private PostgreSQL is started when none is configured."""


def prepare(argv: list[str]) -> None:
    pass
