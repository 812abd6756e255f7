"""Mails that were refused for good, addresses that take none, and the caller with what is known of the address."""

import django.db.models.deletion
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

import tenancy.constraints
from tenancy.operations import RunRoleSQL

# caller_of (0006) with one more column. It stays beside it for the release before, which counts the columns.
CREATE = """
CREATE FUNCTION identify_caller(creator uuid, session uuid, token uuid, idle interval)
RETURNS TABLE (
    id uuid, email text, display_name text, email_verified boolean,
    created_at timestamptz, last_login_at timestamptz, session_id uuid, email_undeliverable boolean
)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    RETURN QUERY
    SELECT c.id, c.email::text, c.display_name::text, c.email_verified_at IS NOT NULL,
           c.created_at, c.last_login, s.id,
           coalesce(c.email_undeliverable_at > coalesce(c.email_verified_at, '-infinity'), false)
    FROM sessions s JOIN creators c ON c.id = s.creator_id
    WHERE s.creator_id = creator AND s.id = session AND s.ended_at IS NULL AND s.expires_at > now()
      AND (idle IS NULL OR s.last_used_at > now() - idle)
      AND c.is_active AND c.holds_email
      AND NOT EXISTS (SELECT FROM jwt_blacklist b WHERE b.creator_id = creator AND b.id = token);
END $$;
REVOKE ALL ON FUNCTION identify_caller(uuid, uuid, uuid, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identify_caller(uuid, uuid, uuid, interval) TO {app}, {operator};
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0013_fill_one_time_links")]

    operations = [
        migrations.AddField(
            model_name="creator",
            name="email_undeliverable_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.CreateModel(
            name="RefusedMail",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("email", models.CharField(max_length=254)),
                ("kind", models.CharField(max_length=32)),
                ("stage", models.CharField(max_length=16)),
                ("code", models.PositiveSmallIntegerField()),
                ("words", models.CharField(max_length=200)),
                ("at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "refused mail",
                "verbose_name_plural": "refused mails",
                "db_table": "refused_mails",
                "indexes": [models.Index(fields=["at"], name="refused_mails_at")],
                "constraints": [
                    tenancy.constraints.Reference(
                        fields=["account"],
                        name="refused_mails_account",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.Grant(
                        name="refused_mails_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        RunRoleSQL(CREATE, "DROP FUNCTION identify_caller(uuid, uuid, uuid, interval)"),
    ]
