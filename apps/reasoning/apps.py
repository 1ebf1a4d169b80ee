from django.apps import AppConfig


class ReasoningConfig(AppConfig):
    name = "apps.reasoning"
    default_auto_field = "django.db.models.BigAutoField"
