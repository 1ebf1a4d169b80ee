"""Items that someone judged or set aside: what the progress of a queue of millions reads."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("review", "0006_path_by_a_person")]

    operations = [
        AddIndexConcurrently(
            model_name="queueitem",
            index=models.Index(fields=("queue",), name="queue_item_touched", condition=Q(done__gt=0) | Q(open=False)),
        ),
    ]
