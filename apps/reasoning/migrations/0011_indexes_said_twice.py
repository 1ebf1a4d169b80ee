"""Four indexes of a foreign key alone are the beginning of another one: each write of a path, a label and a question was
entered twice. Dropped by name, since altering the fields would check 1.75 M foreign keys anew under a lock."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

TWICE = {
    "reasoning_pathlabel_run_id_e4f6d2ce": "reasoning_pathlabel (run_id)",
    "reasoning_reasoningpath_question_id_1c8dceb8": "reasoning_reasoningpath (question_id)",
    "reasoning_reasoningpath_run_id_c025b56b": "reasoning_reasoningpath (run_id)",
    "reasoning_runquestion_run_id_4c71e049": "reasoning_runquestion (run_id)",
}


def foreign_key(to: str, on_delete: Any, related_name: str) -> Any:
    return models.ForeignKey(to, on_delete=on_delete, related_name=related_name, db_index=False)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("questions", "0005_question_by_subject"), ("reasoning", "0010_rare_rows")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "pathlabel", "run", foreign_key("reasoning.run", django.db.models.deletion.CASCADE, "labels")
                ),
                migrations.AlterField(
                    "reasoningpath",
                    "question",
                    foreign_key("questions.question", django.db.models.deletion.PROTECT, "paths"),
                ),
                migrations.AlterField(
                    "reasoningpath", "run", foreign_key("reasoning.run", django.db.models.deletion.PROTECT, "paths")
                ),
                migrations.AlterField(
                    "runquestion", "run", foreign_key("reasoning.run", django.db.models.deletion.CASCADE, "questions")
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
                    f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}",
                )
                for name, on in TWICE.items()
            ],
        )
    ]
