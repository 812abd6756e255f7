"""In a full database every frequent query uses an index, under Row Level Security."""

import psycopg
from django.test import Client

from config.tests.support.dataset import creator_of, populate
from config.tests.support.plans import calls_without_index, fill

CREATORS = 20_000


def test_every_frequent_query_uses_an_index(superuser: psycopg.Connection) -> None:
    fill(superuser, CREATORS)
    assert calls_without_index(superuser, CREATORS // 2) == {}


def test_a_query_without_an_index_is_found(superuser: psycopg.Connection) -> None:
    fill(superuser, 1000)
    superuser.execute("DROP INDEX audit_personal_data_address")
    try:
        assert set(calls_without_index(superuser, 500)) == {"operator finds an address's events"}
    finally:
        superuser.execute("CREATE INDEX audit_personal_data_address ON audit_personal_data (ip_address, id)")


def test_the_dataset_fills_every_tenant_table(superuser: psycopg.Connection) -> None:
    """With all constraints and triggers."""
    populate(superuser, creators=20)
    populate(superuser, creators=30, already=20)
    for table, minimum in {
        "creators": 30, "sessions": 30, "refresh_tokens": 60, "user_sessions": 30, "password_reset_tokens": 3,
        "jwt_blacklist": 3, "audit_logs": 60, "audit_personal_data": 60,
    }.items():  # fmt: skip
        row = superuser.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row
        assert row[0] >= minimum, table
    assert creator_of(superuser, 7).version == 7
    assert Client().get("/readyz").status_code == 200
