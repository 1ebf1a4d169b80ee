"""What a builder has read lies in its journal, so the column is not needed."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("exports", "0008_downloads")]

    operations = [migrations.RemoveField("snapshot", "checkpoint")]
