"""Rewritten paths of a run are few among millions: found without passing the others by."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("reasoning", "0006_reason_words")]

    operations = [
        AddIndexConcurrently(
            model_name="reasoningpath",
            index=models.Index(
                fields=("run", "origin", "id"),
                name="path_rewritten",
                condition=models.Q(origin__in=("refined", "regenerated")),
            ),
        ),
    ]
