from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "workers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from reasonmed_site import checks  # noqa: F401  (registers the checks of the configuration)
