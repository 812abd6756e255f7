import django.db.models.functions.datetime
import uuid_utils.compat
from django.db import migrations, models

import audit.models
import audit.partitions
import tenancy.constraints


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        audit.partitions.CreatePartitionedModel(
            name="AuditLog",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("creator_id", models.UUIDField()),
                ("at", models.DateTimeField()),
                ("type", models.CharField(max_length=64)),
                ("request_id", models.CharField(max_length=64)),
                ("detail", models.JSONField()),
                ("personal_digest", models.BinaryField(null=True)),
                (
                    "written_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "written_xid",
                    models.BigIntegerField(db_default=audit.models.CurrentTransaction(), editable=False),
                ),
            ],
            options={
                "verbose_name": "audit log",
                "verbose_name_plural": "audit log",
                "db_table": "audit_logs",
                "permissions": [("export_auditlog", "Can export the audit log")],
                "indexes": [
                    models.Index(fields=["type", "id"], name="audit_logs_type"),
                    models.Index(fields=["written_xid", "id"], name="audit_logs_sealing"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("creator_id", "id"), name="audit_logs_tenant_key"),
                    tenancy.constraints.RowLevelSecurity(name="audit_logs_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator_id", name="audit_logs_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="audit_logs_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(name="audit_logs_app_grant", privileges=["SELECT"], role="app"),
                    tenancy.constraints.Grant(
                        name="audit_logs_operator_grant", privileges=["SELECT"], role="operator"
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="audit_logs_lookup", restrictive=False, role="lookup"
                    ),
                    tenancy.constraints.Grant(
                        name="audit_logs_lookup_grant",
                        privileges=[
                            "SELECT",
                            "INSERT (id, creator_id, at, type, request_id, detail, personal_digest)",
                        ],
                        role="lookup",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PersonalData",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("creator_id", models.UUIDField()),
                ("salt", models.BinaryField()),
                ("ip_address", models.GenericIPAddressField(null=True)),
                ("user_agent", models.TextField()),
                ("email", models.TextField()),
            ],
            options={
                "db_table": "audit_personal_data",
                "indexes": [
                    models.Index(fields=["ip_address", "id"], name="audit_personal_data_address"),
                    models.Index(
                        condition=models.Q(("email", ""), _negated=True),
                        fields=["email"],
                        name="audit_personal_data_email",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("creator_id", "id"), name="audit_personal_data_tenant_key"
                    ),
                    tenancy.constraints.RowLevelSecurity(name="audit_personal_data_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator_id", name="audit_personal_data_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true",
                        name="audit_personal_data_operator",
                        restrictive=False,
                        role="operator",
                    ),
                    tenancy.constraints.Grant(
                        name="audit_personal_data_app_grant", privileges=["SELECT"], role="app"
                    ),
                    tenancy.constraints.Grant(
                        name="audit_personal_data_operator_grant",
                        privileges=["SELECT", "DELETE"],
                        role="operator",
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="audit_personal_data_lookup", restrictive=False, role="lookup"
                    ),
                    tenancy.constraints.Grant(
                        name="audit_personal_data_lookup_grant",
                        privileges=["SELECT", "INSERT", "DELETE"],
                        role="lookup",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("statement", models.TextField()),
                ("signature", models.BinaryField()),
                ("leaves", models.BinaryField()),
            ],
            options={
                "db_table": "audit_seals",
                "constraints": [
                    tenancy.constraints.Grant(
                        name="audit_seals_operator_grant", privileges=["SELECT", "INSERT"], role="operator"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SealKey",
            fields=[
                ("public_key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("private_key", models.BinaryField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "audit_seal_keys",
                "constraints": [
                    tenancy.constraints.Grant(
                        name="audit_seal_keys_operator_grant",
                        privileges=["SELECT", "INSERT"],
                        role="operator",
                    )
                ],
            },
        ),
    ]
