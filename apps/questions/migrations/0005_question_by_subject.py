"""Questions of a subject, in whatever case it is asked for, without reading all."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Upper


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("questions", "0004_question_held_out")]

    operations = [
        AddIndexConcurrently(
            model_name="question", index=models.Index(Upper("subject"), "id", name="question_by_subject")
        ),
    ]
