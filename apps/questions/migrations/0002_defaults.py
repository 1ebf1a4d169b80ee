"""The default project, the four benchmarks and the first two roles."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

BENCHMARKS = (
    ("medqa", "MedQA", "MIT"),
    ("medmcqa", "MedMCQA", "MIT"),
    ("pubmedqa", "PubMedQA", "MIT"),
    ("mmlu", "MMLU", "MIT"),
)


def create(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("questions", "Project").objects.get_or_create(slug="default", defaults={"name": "Default project"})
    for slug, name, licence in BENCHMARKS:
        apps.get_model("questions", "Benchmark").objects.get_or_create(
            slug=slug, defaults={"name": name, "licence": licence}
        )
    for role in ("curator", "clinician"):
        apps.get_model("auth", "Group").objects.get_or_create(name=role)


class Migration(migrations.Migration):
    dependencies = [("questions", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
