"""The functions and triggers whose text is in `accounts/sql/`."""

from django.db import migrations

from tenancy.operations import SQLFunction


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("audit", "0002_functions"),
        ("axes", "0010_accessattemptexpiration"),
        ("django_tasks_database", "0021_conditional_partial_index_ordering"),
    ]

    operations = [
        SQLFunction("accounts", "find_creator", owner="lookup", roles=["app", "operator"]),
        SQLFunction("accounts", "find_account", roles=["app"]),
        SQLFunction("accounts", "identify_caller", roles=["app", "operator"]),
        SQLFunction("accounts", "start_session", roles=["app"]),
        SQLFunction("accounts", "rotate_refresh", roles=["app"]),
        SQLFunction("accounts", "lockout_is_bounded", owner="lookup"),
        SQLFunction("accounts", "lockout_reserve", owner="lookup", roles=["app", "operator"]),
        SQLFunction("accounts", "lockout_finish", owner="lookup", roles=["app", "operator"]),
        SQLFunction("accounts", "lockout_release", owner="lookup", roles=["app", "operator"]),
        SQLFunction("accounts", "lockout_unlock", owner="lookup", roles=["app", "operator"]),
        SQLFunction("accounts", "events_at_own_address", owner="lookup", roles=["app", "operator"]),
        SQLFunction("accounts", "creators_refuse_reserved_email", owner="lookup"),
        SQLFunction("accounts", "creators_erase_personal_data", owner="lookup"),
        SQLFunction("accounts", "jobs_refuse_malformed"),
    ]
