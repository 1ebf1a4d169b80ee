"""The index of failed calls, by endpoint and time too; built beside the writers, since calls are many."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("pipeline", "0004_failure_resolved_by")]

    operations = [
        AddIndexConcurrently(
            model_name="call",
            index=models.Index(
                condition=models.Q(("error_class", ""), _negated=True),
                fields=["run", "stage", "endpoint", "error_class", "created_at", "id"],
                name="call_failed",
            ),
        ),
        RemoveIndexConcurrently(model_name="call", name="call_failures"),
    ]
