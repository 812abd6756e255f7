"""One-time links are bound to the address and the recovery generation of their account."""

import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models
from django.db.models.deletion import DO_NOTHING

from tenancy.constraints import Grant, Policy, Reference, RowLevelSecurity, TenantPolicy
from tenancy.operations import RunRoleSQL

# A unique violation like that of the index beside it. AFTER, so that it sees what the transaction for
# which the index made it wait has written. Owned by the lookup role, which sees the changes of all tenants.
RESERVE = """
CREATE FUNCTION creators_refuse_reserved_email() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.email_changes c
        WHERE c.old_email = NEW.email AND c.creator_id <> NEW.id
          AND c.confirmed_at IS NOT NULL AND c.undone_at IS NULL AND c.undo_expires_at > now()
    ) THEN
        RAISE unique_violation USING
            MESSAGE = 'the address is reserved while its change can be undone',
            TABLE = 'creators', CONSTRAINT = 'creators_email_reserved';
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION creators_refuse_reserved_email() FROM PUBLIC;
CREATE TRIGGER creators_email_reserved AFTER INSERT OR UPDATE OF email, holds_email ON creators
    FOR EACH ROW WHEN (NEW.holds_email) EXECUTE FUNCTION creators_refuse_reserved_email();
GRANT CREATE ON SCHEMA public TO {lookup};
ALTER FUNCTION creators_refuse_reserved_email() OWNER TO {lookup};
REVOKE CREATE ON SCHEMA public FROM {lookup};
"""
UNRESERVE = """
DROP TRIGGER creators_email_reserved ON creators;
DROP FUNCTION creators_refuse_reserved_email();
"""


def _bound(table: str) -> list[migrations.AddField]:
    """The two columns that bind a link to a state of its account."""
    return [
        migrations.AddField(
            table, "email", models.CharField(default="", max_length=254), preserve_default=False
        ),
        migrations.AddField(
            table, "recovery_generation", models.PositiveIntegerField(default=0), preserve_default=False
        ),
    ]


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_refresh_and_deletion")]

    operations = [
        migrations.RemoveConstraint("creator", "creators_app_grant"),
        migrations.AddField(
            "creator", "recovery_generation", models.PositiveIntegerField(db_default=0, default=0)
        ),
        migrations.AddField(
            "creator", "must_reset_password", models.BooleanField(db_default=False, default=False)
        ),
        migrations.AddConstraint(
            "creator",
            Grant(
                name="creators_app_grant",
                role="app",
                privileges=[
                    "SELECT",
                    "INSERT",
                    "UPDATE (password, last_login, email, holds_email, email_verified_at, display_name, "
                    "recovery_generation, must_reset_password)",
                    "DELETE",
                ],
            ),
        ),
        *_bound("emailverificationtoken"),
        *_bound("passwordresettoken"),
        migrations.AddField(
            "securitynotice", "email", models.CharField(default="", max_length=254), preserve_default=False
        ),
        migrations.AlterField(
            "securitynotice",
            "kind",
            models.CharField(
                choices=[
                    ("password_changed", "Password Changed"),
                    ("password_reset", "Password Reset"),
                    ("account_locked", "Account Locked"),
                    ("new_device", "New Device"),
                    ("token_reused", "Token Reused"),
                    ("email_changed", "Email Changed"),
                    ("email_change_undone", "Email Change Undone"),
                    ("support_ended_sessions", "Support Ended Sessions"),
                    ("support_deactivated", "Support Deactivated"),
                    ("support_reactivated", "Support Reactivated"),
                    ("support_verified", "Support Verified"),
                    ("second_factor_set_up", "Second Factor Set Up"),
                    ("second_factor_reset", "Second Factor Reset"),
                    ("second_factor_locked", "Second Factor Locked"),
                    ("recovery_code_used", "Recovery Code Used"),
                    ("recovery_codes_renewed", "Recovery Codes Renewed"),
                    ("rights_changed", "Rights Changed"),
                ],
                max_length=32,
            ),
        ),
        migrations.RemoveConstraint("emailchange", "email_changes_app_grant"),
        migrations.AddField(
            "emailchange", "number", models.PositiveIntegerField(default=0), preserve_default=False
        ),
        migrations.AddField(
            "emailchange",
            "recovery_generation",
            models.PositiveIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.AddField("emailchange", "superseded_at", models.DateTimeField(null=True)),
        migrations.AddConstraint(
            "emailchange",
            Grant(
                name="email_changes_app_grant",
                role="app",
                privileges=["SELECT", "INSERT", "UPDATE (confirmed_at, superseded_at, undone_at)"],
            ),
        ),
        migrations.CreateModel(
            name="EmailChangeToken",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("digest", models.BinaryField(max_length=32)),
                ("email", models.CharField(max_length=254)),
                ("recovery_generation", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "purpose",
                    models.CharField(choices=[("confirm", "Confirm"), ("undo", "Undo")], max_length=8),
                ),
                (
                    "change",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=DO_NOTHING,
                        related_name="tokens",
                        to="accounts.emailchange",
                    ),
                ),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "email_change_tokens",
                "indexes": [models.Index(fields=["expires_at"], name="email_change_tokens_expiry")],
                "constraints": [
                    models.UniqueConstraint(fields=("creator", "id"), name="email_change_tokens_tenant_key"),
                    Reference(
                        fields=["creator"],
                        name="email_change_tokens_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    RowLevelSecurity(name="email_change_tokens_rls"),
                    TenantPolicy(field="creator", name="email_change_tokens_tenant", role="app"),
                    Policy(name="email_change_tokens_operator", role="operator", expression="true"),
                    Grant(
                        name="email_change_tokens_app_grant",
                        role="app",
                        privileges=["SELECT", "INSERT", "UPDATE (used_at)"],
                    ),
                    Grant(
                        name="email_change_tokens_operator_grant",
                        role="operator",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                    ),
                    Reference(
                        fields=["creator", "change"],
                        name="email_change_tokens_change",
                        to="accounts.EmailChange",
                        to_fields=["creator", "id"],
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            "emailchange",
            models.Index(
                fields=["old_email"],
                name="email_changes_reserved",
                condition=models.Q(confirmed_at__isnull=False, undone_at=None),
            ),
        ),
        migrations.AddConstraint(
            "emailchange", Policy(name="email_changes_lookup", role="lookup", expression="true")
        ),
        migrations.AddConstraint(
            "emailchange",
            Grant(
                name="email_changes_lookup_grant",
                role="lookup",
                privileges=["SELECT (creator_id, old_email, confirmed_at, undone_at, undo_expires_at)"],
            ),
        ),
        RunRoleSQL(RESERVE, UNRESERVE),
    ]
