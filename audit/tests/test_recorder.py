"""Recording events, their fields, and that no role can change them."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from django.utils import timezone

from audit import queries
from audit.events import SUMMARIES, Event
from audit.models import AuditLog, PersonalData
from audit.recorder import NO_TENANT, personal_digest, record
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, tenant_scope, using_alias
from tenancy.exceptions import TenantMismatchError

CLIENT = ClientInfo("203.0.113.9", "Firefox", "request-1")


def recorded(superuser: psycopg.Connection) -> list[str]:
    return [type_ for (type_,) in superuser.execute("SELECT type FROM audit_logs ORDER BY id")]


def test_event_is_part_of_the_transaction(ada: Person, superuser: psycopg.Connection) -> None:
    def fail() -> None:
        with tenant_scope(ada.id):
            record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "profile.updated" not in recorded(superuser)
    with tenant_scope(ada.id):
        record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id)
        assert "profile.updated" not in recorded(superuser)  # not before the commit
    assert recorded(superuser)[-1] == "profile.updated"


def test_event_of_a_refused_request_is_kept(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    assert api.post("login", {"email": ada.email, "password": "wrong"}).status_code == 401
    assert "login.failed" in recorded(superuser)


def test_event_of_another_tenant_is_refused(ada: Person, bob: Person) -> None:
    with pytest.raises(TenantMismatchError), tenant_scope(ada.id):
        record(Event.LOGIN_FAILED, client=CLIENT, creator_id=bob.id)


def test_event_has_its_fields_and_a_uuid7(ada: Person) -> None:
    before = timezone.now()
    event_id = record(Event.SESSION_ENDED, client=CLIENT, creator_id=ada.id, email="a@b.c", session="s1")
    with tenant_scope(ada.id):
        event, personal = AuditLog.objects.get(pk=event_id), PersonalData.objects.get(pk=event_id)
    assert event_id.version == 7
    assert event.at == datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
    assert abs((event.at - before).total_seconds()) < 5
    assert (event.type, event.request_id, event.detail) == ("session.ended", "request-1", {"session": "s1"})
    assert (personal.ip_address, personal.user_agent, personal.email) == ("203.0.113.9", "Firefox", "a@b.c")


def test_event_without_a_tenant_has_the_nil_uuid(superuser: psycopg.Connection) -> None:
    event_id = record(Event.LOGIN_FAILED, client=CLIENT)
    row = superuser.execute("SELECT creator_id FROM audit_logs WHERE id = %s", [event_id]).fetchone()
    assert row == (NO_TENANT,)


def test_digest_detects_a_change(ada: Person) -> None:
    event_id = record(Event.LOGIN_FAILED, client=CLIENT, creator_id=ada.id, email="ä@b.c")
    with tenant_scope(ada.id):
        event, personal = AuditLog.objects.get(pk=event_id), PersonalData.objects.get(pk=event_id)
    fields = {"ip_address": "203.0.113.9", "user_agent": "Firefox", "email": "ä@b.c"}
    assert bytes(event.personal_digest or b"") == personal_digest(bytes(personal.salt), **fields)
    plain = (
        bytes(personal.salt) + json.dumps(["203.0.113.9", "Firefox", "ä@b.c"], ensure_ascii=False).encode()
    )
    assert hashlib.sha256(plain).digest() == bytes(event.personal_digest or b"")
    for name, value in {"ip_address": None, "user_agent": "Firefo", "email": "xä@b.c"}.items():
        assert personal_digest(bytes(personal.salt), **(fields | {name: value})) != event.personal_digest  # type: ignore[arg-type]
    assert len(personal.salt) == 16


def test_equal_personal_data_have_different_digests(ada: Person) -> None:
    for _ in range(2):
        record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id)
    with tenant_scope(ada.id):
        events = AuditLog.objects.filter(type="profile.updated")
        assert len({bytes(event.personal_digest or b"") for event in events}) == 2


def test_erasing_personal_data_keeps_the_event(ada: Person) -> None:
    event_id = record(Event.LOGIN_FAILED, client=CLIENT, creator_id=ada.id, email=ada.email)
    with using_alias(OPERATOR):
        before = AuditLog.objects.filter(pk=event_id).values().get()
        assert PersonalData.objects.filter(pk=event_id).delete()[0] == 1
        assert AuditLog.objects.filter(pk=event_id).values().get() == before
        assert "203.0.113.9" not in str(before)
        assert ada.email not in str(before)


FORGERIES = {
    "an event with a chosen id, time or digest": (
        "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, personal_digest) "
        "VALUES (gen_random_uuid(), '{ada}', now(), 'login.failed', '', '{{}}', 'x')"
    ),
    "personal data of an event": (
        "INSERT INTO audit_personal_data (id, creator_id, salt, user_agent, email) "
        "VALUES (gen_random_uuid(), '{ada}', '', '', '')"
    ),
    "erasing personal data": "DELETE FROM audit_personal_data",
    "an event of another tenant": "SELECT record_event('{bob}', 'x', '', '{{}}', NULL, '', '')",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_app_role_is_refused(forgery: str, ada: Person, bob: Person) -> None:
    record(Event.LOGIN_FAILED, client=CLIENT, creator_id=ada.id)
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as mallory:
        mallory.execute("SELECT set_config('app.current_creator_id', %s, false)", [str(ada.id)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            mallory.execute(FORGERIES[forgery].format(ada=ada.id, bob=bob.id).encode())


@pytest.mark.parametrize(
    "address", [None, "203.0.113.9", "2001:db8::1", "::1.2.3.4", "::102:304", "::ffff:1.2.3.4"]
)
@pytest.mark.parametrize("agent", ["", 'q"b\\s', "\x01\x1f\x7f\t\n\r\f\b", "ä\u2028\u2029🦊"])
def test_database_and_python_compute_the_same_digest(ada: Person, address: str | None, agent: str) -> None:
    event_id = record(Event.LOGIN_FAILED, client=ClientInfo(address, agent), creator_id=ada.id, email=agent)
    with using_alias(OPERATOR):
        (entry,) = queries.entries(AuditLog.objects.filter(pk=event_id))
    assert entry.is_intact


def test_event_ids_sort_in_the_order_of_writing(ada: Person) -> None:
    with tenant_scope(ada.id):
        ids = [record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id) for _ in range(200)]
    assert ids == sorted(ids)


def test_every_event_has_a_summary_and_a_noun_and_a_verb() -> None:
    assert SUMMARIES.keys() == set(Event)
    assert all(noun and verb for noun, _, verb in (event.value.partition(".") for event in Event))


# --- append-only ------------------------------------------------------------------------------

CHANGES = {
    "UPDATE": "UPDATE {table} SET type = 'x'",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "UPSERT": "INSERT INTO {table} SELECT * FROM audit_logs LIMIT 1 ON CONFLICT (id) DO UPDATE SET type = 'x'",
    "MERGE": "MERGE INTO {table} t USING (SELECT 1) m ON true WHEN MATCHED THEN DELETE",
}


@pytest.fixture
def partition(superuser: psycopg.Connection) -> Iterator[str]:
    """The partition of a new event, which must be unchanged at the end of the test."""
    event_id = record(Event.LOGIN_FAILED, client=CLIENT, creator_id=uuid4())
    query = "SELECT tableoid::regclass::text, t::text FROM audit_logs t WHERE id = %s"
    before = superuser.execute(query, [event_id]).fetchone()
    assert before
    yield before[0]
    assert superuser.execute(query, [event_id]).fetchone() == before


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("role", [ROLES.app, ROLES.operator, ROLES.owner, "postgres"])
def test_no_role_changes_an_event(role: str, verb: str, partition: str) -> None:
    """The grants stop app and operator, RLS the owner, and the triggers even a superuser."""
    for table in ("audit_logs", partition):
        with psycopg.connect(server.url(role, DATABASE), autocommit=True) as connection:
            statement = CHANGES[verb].format(table=table).encode()
            if role == ROLES.owner and verb in {"UPDATE", "DELETE", "UPSERT"}:
                assert connection.execute(statement).rowcount == 0  # RLS hides all rows
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_triggers_fire_in_a_replica_session(partition: str, superuser: psycopg.Connection) -> None:
    superuser.execute("SET session_replication_role = replica")
    for table in ("audit_logs", partition):
        for verb in ("UPDATE", "DELETE", "TRUNCATE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                superuser.execute(CHANGES[verb].format(table=table).encode())


def test_superuser_cannot_change_id_creator_or_time(
    ada: Person, partition: str, superuser: psycopg.Connection
) -> None:
    for change in ("id = gen_random_uuid()", f"creator_id = '{ada.id}'", "at = now()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            superuser.execute(f"UPDATE audit_logs SET {change}".encode())


NEW = "(id, creator_id, at, type, request_id, detail) VALUES ('{id}', '{tenant}', now(), 'x', '', '{{}}')"
ATTEMPTS = [
    "UPDATE {table} SET detail = '{{}}'",
    "UPDATE {table} SET id = id WHERE id = '{id}' RETURNING *",
    "UPDATE {table} AS log SET type = 'x' FROM creators WHERE log.id = '{id}'",
    "DELETE FROM {table} WHERE id = '{id}'",
    "DELETE FROM {table} USING creators",
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
    "MERGE INTO {table} AS log USING (SELECT 1) m ON log.id = '{id}' WHEN MATCHED THEN DELETE",
    "MERGE INTO {table} AS log USING (SELECT 1) m ON log.id = '{id}' WHEN MATCHED THEN UPDATE SET type = 'x'",
    "INSERT INTO {table} " + NEW + " ON CONFLICT (id) DO UPDATE SET type = 'x'",
    "INSERT INTO {table} " + NEW + " ON CONFLICT (creator_id, id) DO UPDATE SET detail = excluded.detail",
    "INSERT INTO {table} " + NEW,
    "WITH deleted AS (DELETE FROM {table} RETURNING *) SELECT * FROM deleted",
    "WITH new AS (UPDATE {table} SET type = 'x' RETURNING *) SELECT * FROM new",
    "COPY {table} FROM STDIN",
    "COPY (DELETE FROM {table} RETURNING *) TO STDOUT",
    "DO $$ BEGIN DELETE FROM {table}; END $$",
    "DO $$ BEGIN EXECUTE 'UPDATE {table} SET type = type'; END $$",
    "PREPARE deletion AS DELETE FROM {table}; EXECUTE deletion",
    "EXPLAIN ANALYZE DELETE FROM {table}",
    "SELECT * FROM {table} WHERE id = '{id}' FOR UPDATE",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE TRIGGER audit_logs_append_only",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} ALTER written_at SET DEFAULT '-infinity'",
    "ALTER TABLE {table} RENAME TO mine",
    "ALTER TABLE audit_logs DETACH PARTITION {partition}",
    "DROP TABLE {table}",
    "DROP TRIGGER audit_logs_append_only ON {table}",
    "DROP FUNCTION audit_refuse_change() CASCADE",
    "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER mine BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION audit_refuse_change()",
    "CREATE RULE mine AS ON INSERT TO {table} DO ALSO DELETE FROM {table}",
    "SELECT audit_drop_partition('2001-01-01')",
    "SELECT audit_protect_partition('{table}')",
    "SELECT query_to_xml('DELETE FROM {table}', true, true, '')",
    "SELECT lo_import('/etc/passwd')",
    "SET session_replication_role = replica",
    "SET ROLE auth_owner",
    "GRANT DELETE ON {table} TO auth_app",
    "VACUUM FULL {table}",
    "CLUSTER {table} USING audit_logs_sealing",
    "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
]

STATEMENT_MISTAKES = {
    "SyntaxError",
    "UndefinedTable",
    "UndefinedColumn",
    "UndefinedFunction",
    "UndefinedObject",
}


def test_app_role_changes_no_event_by_any_statement(partition: str, superuser: psycopg.Connection) -> None:
    """Mallory has a connection of the app role, bound to the event's tenant."""
    (tenant, event_id) = (
        superuser.execute("SELECT creator_id, id FROM audit_logs ORDER BY id DESC").fetchone() or ()
    )
    query = "SELECT array_agg(log::text ORDER BY id) FROM audit_logs AS log"
    before = superuser.execute(query).fetchone()
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as mallory:
        mallory.execute("SELECT set_config('app.current_creator_id', %s, false)", [str(tenant)])
        for attempt in ATTEMPTS:
            for table in ("audit_logs", partition):
                statement = attempt.format(table=table, partition=partition, id=event_id, tenant=tenant)
                assert error_of(mallory, statement) not in STATEMENT_MISTAKES, statement
                assert superuser.execute(query).fetchone() == before, statement


def error_of(mallory: psycopg.Connection, statement: str) -> str:
    """The name of the error; "" if PostgreSQL only warned."""
    try:
        mallory.execute(statement.encode())
    except psycopg.Error as error:
        return type(error).__name__
    return ""
