"""The groups of the roles adjudicator and consumer."""

from django.db import migrations

ROLES = ("adjudicator", "consumer")


def add_groups(apps, schema_editor):
    for name in ROLES:
        apps.get_model("auth", "Group").objects.get_or_create(name=name)


def keep(apps, schema_editor):
    """People may be in them: they stay."""


class Migration(migrations.Migration):
    dependencies = [("questions", "0002_defaults"), ("auth", "0012_alter_user_first_name_max_length")]

    operations = [migrations.RunPython(add_groups, keep)]
