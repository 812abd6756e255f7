from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from tenancy.roles import create_database_statement, database_statements, role_statements


class Command(BaseCommand):
    help = (
        "Print the SQL that creates the database and its roles on an external PostgreSQL server, with the "
        "names and passwords of DATABASE_URL, OPERATOR_DATABASE_URL and OWNER_DATABASE_URL. Pipe it into "
        "psql as superuser."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        roles, database = settings.TENANT_ROLES, settings.DATABASES["default"]["NAME"]
        passwords = {
            settings.DATABASES[alias]["USER"]: settings.DATABASES[alias]["PASSWORD"]
            for alias in settings.DATABASES
        }
        for statement in role_statements(roles, passwords):
            self.stdout.write(f"{statement};")
        create = create_database_statement(database, roles).replace("'", "''")
        name = database.replace("'", "''")
        missing = f"NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')"
        self.stdout.write(f"SELECT '{create}' WHERE {missing} \\gexec")
        self.stdout.write(f'\\connect "{database}"')
        for statement in database_statements(database, roles):
            self.stdout.write(f"{statement};")
