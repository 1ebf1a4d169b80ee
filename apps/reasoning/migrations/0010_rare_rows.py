"""Paths cut off or without an answer, and disputed questions, are few among many: found without passing the others by."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("reasoning", "0009_path_by_a_person")]

    operations = [
        AddIndexConcurrently(
            model_name="reasoningpath",
            index=models.Index(fields=("run", "id"), name="path_cut_off", condition=Q(finish_reason="length")),
        ),
        AddIndexConcurrently(
            model_name="reasoningpath",
            index=models.Index(fields=("run", "id"), name="path_no_answer", condition=Q(answer="")),
        ),
        AddIndexConcurrently(
            model_name="runquestion",
            index=models.Index(fields=("run", "question"), name="rq_disputed", condition=Q(disputed=True)),
        ),
    ]
