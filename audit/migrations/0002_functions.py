"""The SQL functions of `audit/sql/`, the append-only triggers and the first partitions."""

from django.db import migrations

from tenancy.operations import RunRoleSQL, SQLFunction


def append_only(table: str) -> RunRoleSQL:
    return RunRoleSQL(
        f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
        CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
        ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only, ENABLE ALWAYS TRIGGER {table}_no_truncate;
        """,
        f"DROP TRIGGER {table}_append_only ON {table}; DROP TRIGGER {table}_no_truncate ON {table};",
    )


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        SQLFunction("audit", "audit_refuse_change"),
        append_only("audit_logs"),
        append_only("audit_seals"),
        append_only("audit_seal_keys"),
        SQLFunction("audit", "audit_lowest_id"),
        SQLFunction("audit", "audit_protect_partition"),
        SQLFunction("audit", "audit_ensure_partitions", roles=["operator"]),
        SQLFunction("audit", "audit_drop_partition", roles=["operator"]),
        SQLFunction("audit", "record_event", owner="lookup", roles=["app", "operator"]),
        # the default partition takes the events of a month whose partition was not created in time
        RunRoleSQL(
            """
            CREATE TABLE audit_logs_other PARTITION OF audit_logs DEFAULT;
            SELECT audit_protect_partition('audit_logs_other');
            SELECT audit_ensure_partitions(3);
            """,
            "DROP TABLE audit_logs_other",
        ),
    ]
