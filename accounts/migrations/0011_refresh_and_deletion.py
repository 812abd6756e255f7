"""A refresh and the deletion of its account lock in the same order: the account's row, then the session's."""

from importlib import import_module

from django.db import migrations

from tenancy.operations import RunRoleSQL

CREATE = import_module("accounts.migrations.0009_rotate_refresh").CREATE
BEFORE = CREATE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
# the clauses' order is that of the locks; the successor's reference would take the first one anyway
AFTER = BEFORE.replace("FOR UPDATE OF s", "FOR KEY SHARE OF c FOR UPDATE OF s")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_sign_in")]

    operations = [RunRoleSQL(AFTER, BEFORE)]
