"""Held-out questions are few: found without reading all the others."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("questions", "0003_more_roles")]

    operations = [
        AddIndexConcurrently(
            model_name="question",
            index=models.Index(fields=("id",), name="question_held_out", condition=models.Q(held_out=True)),
        ),
    ]
