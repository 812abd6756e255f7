from django.db import migrations, models


class Migration(migrations.Migration):
    """An index by type and time for the operators' list and overview."""

    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.AlterModelOptions(
            name="auditlog",
            options={
                "permissions": [("export_auditlog", "Can export the audit log")],
                "verbose_name": "audit log",
                "verbose_name_plural": "audit log",
            },
        ),
        migrations.AddIndex(
            model_name="auditlog",
            index=models.Index(fields=["type", "id"], name="audit_logs_type"),
        ),
    ]
