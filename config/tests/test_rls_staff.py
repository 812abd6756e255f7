"""No statement of the app role makes an account staff, whatever the setting is."""

import itertools
from typing import Any
from uuid import uuid4

import psycopg

from config.tests.support.rls_fixtures import TwoTenants, mallory, outcome, set_tenant, two_tenants

__all__ = ["mallory", "two_tenants"]

MAKE_STAFF = [
    "INSERT INTO creators ({columns}, is_staff) VALUES ({values}, true)",
    "INSERT INTO creators ({columns}, is_superuser) VALUES ({values}, true)",
    "INSERT INTO creators ({columns}, is_staff) VALUES ({values}, true) "
    "ON CONFLICT (id) DO UPDATE SET display_name = 'x'",
    "INSERT INTO creators ({columns}) VALUES ({values}) ON CONFLICT (id) DO UPDATE SET is_staff = true",
    "INSERT INTO creators ({columns}) VALUES ({values}) "
    "ON CONFLICT (email) WHERE holds_email DO UPDATE SET password = 'x'",
    "INSERT INTO creators ({columns}) VALUES ({values}) ON CONFLICT (id) DO UPDATE SET password = 'x'",
    "UPDATE creators SET is_staff = true",
    "UPDATE creators SET is_superuser = true",
    "UPDATE creators SET is_active = true",
    "UPDATE creators SET password = 'x', email = 'olga@example.com' WHERE is_staff OR is_superuser",
    "UPDATE creators SET id = '{olga}'",
    "DELETE FROM creators WHERE is_staff",
    "MERGE INTO creators c USING (SELECT 1) m ON c.is_staff WHEN MATCHED THEN UPDATE SET password = 'x'",
    "WITH gone AS (DELETE FROM creators RETURNING id) "
    "INSERT INTO creators ({columns}, is_staff) SELECT {from_gone}, true FROM gone",
    "INSERT INTO creators_groups (id, creator_id, group_id) VALUES (1, '{olga}', 1)",
    "INSERT INTO creators_user_permissions (id, creator_id, permission_id) VALUES (1, '{ada}', 1)",
    "INSERT INTO auth_group (id, name) VALUES (1, 'x')",
    "INSERT INTO django_session (session_key, session_data, expire_date) VALUES ('x', 'x', now())",
    "SELECT session_data FROM django_session",
    "ALTER TABLE creators ALTER is_staff SET DEFAULT true",
]


def test_no_statement_makes_an_account_staff(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    columns = "id, email, password, holds_email, display_name, is_active, created_at"
    query = b"SELECT to_jsonb(c)::text FROM creators c WHERE is_staff OR is_superuser"
    before = two_tenants.superuser.execute(query).fetchall()
    assert len(before) == 1
    tenants: list[Any] = [two_tenants.ada, two_tenants.olga, uuid4(), ""]
    for tenant, email, template in itertools.product(tenants, ("new@x.y", "olga@example.com"), MAKE_STAFF):
        set_tenant(mallory, tenant)
        rest = f"'{email}', 'x', true, '', true, now()"
        others = [flag for flag in ("is_staff", "is_superuser") if f", {flag})" not in template]
        statement = template.format(
            columns=", ".join([columns, *others]),
            values=", ".join([f"'{tenant or uuid4()}'", rest, *("false" for _ in others)]),
            from_gone=", ".join(["id", rest, *("false" for _ in others)]),
            olga=two_tenants.olga,
            ada=two_tenants.ada,
        )
        result = outcome(mallory, statement)
        assert result != "SyntaxError", statement
        assert two_tenants.superuser.execute(query).fetchall() == before, (tenant, statement, result)
