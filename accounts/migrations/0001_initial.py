import datetime

import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.lookups
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

import accounts.email_addresses
import accounts.models.sessions
import tenancy.constraints
import tenancy.operations


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="Creator",
            fields=[
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("email", accounts.email_addresses.AddressField(max_length=254)),
                ("holds_email", models.BooleanField(default=False)),
                ("email_verified_at", models.DateTimeField(blank=True, null=True)),
                ("email_undeliverable_at", models.DateTimeField(blank=True, null=True)),
                ("display_name", models.CharField(blank=True, max_length=100)),
                ("is_active", models.BooleanField(default=True)),
                ("is_staff", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("recovery_generation", models.PositiveIntegerField(db_default=0, default=0)),
                ("must_reset_password", models.BooleanField(db_default=False, default=False)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "db_table": "creators",
                "permissions": [
                    ("unlock", "Can unlock sign-in"),
                    ("end_sessions", "Can end sessions"),
                    ("send_reset", "Can send a mail to reset the password"),
                    ("deactivate_creator", "Can deactivate and reactivate"),
                    ("mark_verified", "Can mark an email address as verified"),
                ],
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        accounts.email_addresses.AddressParts("email"),
                        fastupdate=False,
                        name="creators_address_parts",
                    ),
                    models.Index(
                        condition=models.Q(("password__startswith", "bcrypt")),
                        fields=["id"],
                        name="creators_bcrypt",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("holds_email", True)),
                        fields=("email",),
                        name="creators_email_held_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "email__regex",
                                "^(?=[^@]{1,64}@)(?!.*=\\?)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(?:(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\.)+(?![0-9]+$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|localhost)$",
                            )
                        ),
                        name="creators_email_stored_form",
                    ),
                    tenancy.constraints.RowLevelSecurity(name="creators_rls"),
                    tenancy.constraints.TenantPolicy(field="id", name="creators_tenant", role="app"),
                    tenancy.constraints.Policy(
                        expression="true", name="creators_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(
                        name="creators_app_grant",
                        privileges=[
                            "SELECT",
                            "INSERT",
                            "UPDATE (password, last_login, email, holds_email, email_verified_at, display_name, recovery_generation, must_reset_password)",
                            "DELETE",
                        ],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="creators_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                    tenancy.constraints.Policy(
                        expression="NOT is_staff AND NOT is_superuser",
                        name="creators_no_staff",
                        restrictive=True,
                        role="app",
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="creators_lookup", restrictive=False, role="lookup"
                    ),
                    tenancy.constraints.Grant(
                        name="creators_lookup_grant",
                        privileges=["SELECT (id, email, holds_email, email_verified_at)"],
                        role="lookup",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Operator",
            fields=[],
            options={
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("accounts.creator",),
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("created_at", models.DateTimeField()),
                ("last_used_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "db_table": "api_keys",
                "permissions": [("revoke_apikey", "Can revoke an API key")],
                "constraints": [
                    tenancy.constraints.Grant(
                        name="api_keys_app_grant", privileges=["SELECT", "UPDATE (last_used_at)"], role="app"
                    ),
                    tenancy.constraints.Grant(
                        name="api_keys_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Authenticator",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("confirmed", models.BooleanField(default=True, help_text="Is this device ready for use?")),
                ("secret", models.BinaryField()),
                ("last_step", models.BigIntegerField()),
                ("created_at", models.DateTimeField()),
                (
                    "user",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "authenticators",
                "constraints": [
                    tenancy.constraints.CompositeForeignKey(
                        fields=["user"], name="authenticators_user", to="accounts.Creator", to_fields=["id"]
                    ),
                    tenancy.constraints.Grant(
                        name="authenticators_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BlacklistedToken",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "creator_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("id", models.UUIDField(default=uuid_utils.compat.uuid7, editable=False)),
                ("expires_at", models.DateTimeField()),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "jwt_blacklist",
                "indexes": [models.Index(fields=["expires_at"], name="jwt_blacklist_expiry")],
                "constraints": [
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="jwt_blacklist_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="jwt_blacklist_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="jwt_blacklist_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="jwt_blacklist_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(
                        name="jwt_blacklist_app_grant", privileges=["SELECT", "INSERT"], role="app"
                    ),
                    tenancy.constraints.Grant(
                        name="jwt_blacklist_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        tenancy.operations.CreateUnloggedModel(
            name="Counter",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("value", models.BigIntegerField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "counters",
                "indexes": [models.Index(fields=["expires_at"], name="counters_expiry")],
                "constraints": [
                    tenancy.constraints.Grant(
                        name="counters_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="counters_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EmailChange",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("old_email", models.CharField(max_length=254)),
                ("new_email", models.CharField(max_length=254)),
                ("recovery_generation", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("undo_expires_at", models.DateTimeField()),
                ("confirmed_at", models.DateTimeField(null=True)),
                ("superseded_at", models.DateTimeField(null=True)),
                ("undone_at", models.DateTimeField(null=True)),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "email_changes",
                "indexes": [
                    models.Index(fields=["undo_expires_at"], name="email_changes_expiry"),
                    models.Index(
                        condition=models.Q(("confirmed_at__isnull", False), ("undone_at", None)),
                        fields=["old_email"],
                        name="email_changes_reserved",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("creator", "id"), name="email_changes_tenant_key"),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="email_changes_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="email_changes_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="email_changes_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="email_changes_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(
                        name="email_changes_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE (confirmed_at, superseded_at, undone_at)"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="email_changes_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                    models.UniqueConstraint(fields=("creator", "number"), name="email_changes_in_order"),
                    tenancy.constraints.Policy(
                        expression="true", name="email_changes_lookup", restrictive=False, role="lookup"
                    ),
                    tenancy.constraints.Grant(
                        name="email_changes_lookup_grant",
                        privileges=[
                            "SELECT (creator_id, old_email, new_email, confirmed_at, undone_at, undo_expires_at)"
                        ],
                        role="lookup",
                    ),
                ],
            },
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
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="tokens",
                        to="accounts.emailchange",
                    ),
                ),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
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
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="email_change_tokens_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="email_change_tokens_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="email_change_tokens_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true",
                        name="email_change_tokens_operator",
                        restrictive=False,
                        role="operator",
                    ),
                    tenancy.constraints.Grant(
                        name="email_change_tokens_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE (used_at)"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="email_change_tokens_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator", "change"],
                        name="email_change_tokens_change",
                        to="accounts.EmailChange",
                        to_fields=["creator", "id"],
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EmailVerificationToken",
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
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "email_verification_tokens",
                "indexes": [models.Index(fields=["expires_at"], name="email_verification_expiry")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("creator", "id"), name="email_verification_tokens_tenant_key"
                    ),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="email_verification_tokens_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="email_verification_tokens_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="email_verification_tokens_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true",
                        name="email_verification_tokens_operator",
                        restrictive=False,
                        role="operator",
                    ),
                    tenancy.constraints.Grant(
                        name="email_verification_tokens_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE (used_at, attempts)"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="email_verification_tokens_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EndUserSession",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("metadata", models.JSONField(default=dict)),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "user_sessions",
                "indexes": [
                    models.Index(fields=["creator", "-created_at"], name="user_sessions_newest"),
                    models.Index(fields=["expires_at"], name="user_sessions_expiry"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("creator", "id"), name="user_sessions_tenant_key"),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="user_sessions_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="user_sessions_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="user_sessions_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="user_sessions_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(
                        name="user_sessions_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="user_sessions_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.LessThanOrEqual(
                            accounts.models.sessions.StoredBytes("metadata"), 4096
                        ),
                        name="user_sessions_metadata_size",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LockoutLimits",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("attempts", models.PositiveIntegerField()),
                ("duration", models.DurationField()),
            ],
            options={
                "db_table": "lockout_limits",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("attempts__gt", 0), ("duration__gt", datetime.timedelta(0)), ("id", 1)
                        ),
                        name="lockout_limits_sane",
                    ),
                    tenancy.constraints.Grant(
                        name="lockout_limits_lookup", privileges=["SELECT"], role="lookup"
                    ),
                    tenancy.constraints.Grant(
                        name="lockout_limits_operator",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LoginReservation",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("scope", models.CharField(max_length=16)),
                ("username", models.CharField(max_length=255)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "login_reservations",
                "indexes": [models.Index(fields=["username", "scope"], name="login_reservations_in_flight")],
                "constraints": [
                    tenancy.constraints.Grant(
                        name="login_reservations_lookup",
                        privileges=["SELECT", "INSERT", "DELETE"],
                        role="lookup",
                    ),
                    tenancy.constraints.Grant(
                        name="login_reservations_operator",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PasswordResetToken",
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
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "password_reset_tokens",
                "indexes": [models.Index(fields=["expires_at"], name="password_reset_tokens_expiry")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("creator", "id"), name="password_reset_tokens_tenant_key"
                    ),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="password_reset_tokens_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="password_reset_tokens_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="password_reset_tokens_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true",
                        name="password_reset_tokens_operator",
                        restrictive=False,
                        role="operator",
                    ),
                    tenancy.constraints.Grant(
                        name="password_reset_tokens_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE (used_at)"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="password_reset_tokens_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RecoveryCode",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.BinaryField(max_length=32)),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "authenticator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="recovery_codes",
                        to="accounts.authenticator",
                    ),
                ),
            ],
            options={
                "db_table": "recovery_codes",
                "constraints": [
                    models.UniqueConstraint(fields=("authenticator", "digest"), name="recovery_codes_once"),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["authenticator"],
                        name="recovery_codes_authenticator",
                        to="accounts.Authenticator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.Grant(
                        name="recovery_codes_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
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
                ("reply", models.CharField(max_length=200)),
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
                    tenancy.constraints.CompositeForeignKey(
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
        migrations.CreateModel(
            name="SecurityNotice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kind", models.CharField(max_length=32)),
                ("email", models.CharField(max_length=254)),
                ("at", models.DateTimeField()),
                ("until", models.DateTimeField(null=True)),
                ("ip_address", models.GenericIPAddressField(null=True)),
                ("device", models.CharField(blank=True, max_length=100)),
                ("sent_at", models.DateTimeField(null=True)),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "security_notices",
                "indexes": [models.Index(fields=["creator", "sent_at"], name="security_notices_unsent")],
                "constraints": [
                    models.UniqueConstraint(fields=("creator", "id"), name="security_notices_tenant_key"),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="security_notices_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="security_notices_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="security_notices_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true",
                        name="security_notices_operator",
                        restrictive=False,
                        role="operator",
                    ),
                    tenancy.constraints.Grant(
                        name="security_notices_app_grant", privileges=["SELECT", "INSERT"], role="app"
                    ),
                    tenancy.constraints.Grant(
                        name="security_notices_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("last_used_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("end_reason", models.CharField(blank=True, max_length=16)),
                ("ip_address", models.GenericIPAddressField(null=True)),
                ("user_agent", models.TextField(blank=True)),
                ("device", models.CharField(blank=True, max_length=100)),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "sessions",
                "indexes": [
                    models.Index(fields=["creator", "-created_at"], name="sessions_newest"),
                    models.Index(fields=["expires_at"], name="sessions_expiry"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("creator", "id"), name="sessions_tenant_key"),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"], name="sessions_creator", to="accounts.Creator", to_fields=["id"]
                    ),
                    tenancy.constraints.RowLevelSecurity(name="sessions_rls"),
                    tenancy.constraints.TenantPolicy(field="creator", name="sessions_tenant", role="app"),
                    tenancy.constraints.Policy(
                        expression="true", name="sessions_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(
                        name="sessions_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE (last_used_at, ended_at, end_reason)"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="sessions_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RefreshToken",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kid", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "creator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.refreshtoken",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.session",
                    ),
                ),
            ],
            options={
                "db_table": "refresh_tokens",
                "indexes": [
                    models.Index(fields=["creator", "session"], name="refresh_tokens_family"),
                    models.Index(fields=["expires_at"], name="refresh_tokens_expiry"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("creator", "id"), name="refresh_tokens_tenant_key"),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator"],
                        name="refresh_tokens_creator",
                        to="accounts.Creator",
                        to_fields=["id"],
                    ),
                    tenancy.constraints.RowLevelSecurity(name="refresh_tokens_rls"),
                    tenancy.constraints.TenantPolicy(
                        field="creator", name="refresh_tokens_tenant", role="app"
                    ),
                    tenancy.constraints.Policy(
                        expression="true", name="refresh_tokens_operator", restrictive=False, role="operator"
                    ),
                    tenancy.constraints.Grant(
                        name="refresh_tokens_app_grant",
                        privileges=["SELECT", "INSERT", "UPDATE (used_at)"],
                        role="app",
                    ),
                    tenancy.constraints.Grant(
                        name="refresh_tokens_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator", "session"],
                        name="refresh_tokens_session",
                        to="accounts.Session",
                        to_fields=["creator", "id"],
                    ),
                    tenancy.constraints.CompositeForeignKey(
                        fields=["creator", "parent"],
                        name="refresh_tokens_parent",
                        to="accounts.RefreshToken",
                        to_fields=["creator", "id"],
                    ),
                    models.UniqueConstraint(
                        fields=("creator", "parent"), name="refresh_tokens_one_successor"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ("kid", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("algorithm", models.CharField(max_length=8)),
                ("private_key", models.BinaryField()),
                ("public_key", models.TextField()),
                ("created_at", models.DateTimeField()),
                ("activates_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "signing_keys",
                "constraints": [
                    tenancy.constraints.Grant(
                        name="signing_keys_app_grant", privileges=["SELECT"], role="app"
                    ),
                    tenancy.constraints.Grant(
                        name="signing_keys_operator_grant",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                        role="operator",
                    ),
                ],
            },
        ),
    ]
