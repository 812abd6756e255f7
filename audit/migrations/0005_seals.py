"""Seals: what a row needs for them, the chain and its keys, and how an old page may go."""

import django.db.models.functions.datetime
from django.db import migrations, models

import audit.models
import tenancy.constraints
from tenancy.operations import RunRoleSQL

APPEND_ONLY = """
CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
""" + "".join(
    f"""
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only, ENABLE ALWAYS TRIGGER {table}_no_truncate;
"""
    for table in ("audit_seals", "audit_seal_keys")
)

DROP_APPEND_ONLY = """
DROP TRIGGER audit_seals_append_only ON audit_seals;
DROP TRIGGER audit_seals_no_truncate ON audit_seals;
DROP TRIGGER audit_seal_keys_append_only ON audit_seal_keys;
DROP TRIGGER audit_seal_keys_no_truncate ON audit_seal_keys;
"""

# The owner's, so that the operator can let an old page go, and none of the last three months.
DROP_PARTITION = """
CREATE FUNCTION audit_drop_partition(month date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF month >= date_trunc('month', now() AT TIME ZONE 'UTC') - interval '3 months' THEN
        RAISE EXCEPTION 'the pages of the last three months stay' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('DROP TABLE public.%I', 'audit_logs_' || to_char(month, 'YYYYMM'));
END $$;
REVOKE ALL ON FUNCTION audit_drop_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_drop_partition(date) TO {operator};
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0004_admin"),
    ]

    operations = [
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
            },
        ),
        migrations.RemoveConstraint(
            model_name="auditlog",
            name="audit_logs_app_grant",
        ),
        migrations.RemoveConstraint(
            model_name="auditlog",
            name="audit_logs_operator_grant",
        ),
        migrations.AddField(
            model_name="auditlog",
            name="written_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        migrations.AddField(
            model_name="auditlog",
            name="written_xid",
            field=models.BigIntegerField(db_default=audit.models.CurrentTransaction(), editable=False),
        ),
        migrations.AddIndex(
            model_name="auditlog",
            index=models.Index(fields=["written_xid", "id"], name="audit_logs_sealing"),
        ),
        migrations.AddConstraint(
            model_name="auditlog",
            constraint=tenancy.constraints.Grant(
                name="audit_logs_app_grant",
                privileges=[
                    "SELECT",
                    "INSERT (id, creator_id, at, type, request_id, detail, personal_digest)",
                ],
                role="app",
            ),
        ),
        migrations.AddConstraint(
            model_name="auditlog",
            constraint=tenancy.constraints.Grant(
                name="audit_logs_operator_grant",
                privileges=[
                    "SELECT",
                    "INSERT (id, creator_id, at, type, request_id, detail, personal_digest)",
                ],
                role="operator",
            ),
        ),
        migrations.AddConstraint(
            model_name="seal",
            constraint=tenancy.constraints.Grant(
                name="audit_seals_operator_grant", privileges=["SELECT", "INSERT"], role="operator"
            ),
        ),
        migrations.AddConstraint(
            model_name="sealkey",
            constraint=tenancy.constraints.Grant(
                name="audit_seal_keys_operator_grant", privileges=["SELECT", "INSERT"], role="operator"
            ),
        ),
        RunRoleSQL(APPEND_ONLY, DROP_APPEND_ONLY),
        RunRoleSQL(DROP_PARTITION, "DROP FUNCTION audit_drop_partition(date)"),
    ]
