from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reasoning", "0001_initial")]
    operations = [
        migrations.AddField(model_name="runquestion", name="hold", field=models.BooleanField(default=False)),
    ]
