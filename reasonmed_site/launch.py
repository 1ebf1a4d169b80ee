"""What happens before any management command: the private PostgreSQL is started when none is configured."""


def prepare(argv: list[str]) -> None:
    from reasonmed_site import settings

    if settings.EMBEDDED_POSTGRES:
        from reasonmed_site import postgres

        postgres.start(settings.VAR_DIR)
