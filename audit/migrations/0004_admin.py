from django.db import migrations, models


class Migration(migrations.Migration):
    """Indexes for the operators' list and overview: by type and time, by address and time."""

    dependencies = [("audit", "0003_operators")]

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
        migrations.AddIndex(
            model_name="personaldata",
            index=models.Index(fields=["ip_address", "id"], name="audit_personal_data_address"),
        ),
    ]
