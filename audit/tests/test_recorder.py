"""What is recorded, with what, and who can never take it back."""

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


def test_event_is_part_of_the_transaction_it_describes(ada: Person, superuser: psycopg.Connection) -> None:
    def fail() -> None:
        with tenant_scope(ada.id):
            record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "profile.updated" not in recorded(superuser)
    with tenant_scope(ada.id):
        record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id)
        assert "profile.updated" not in recorded(superuser)  # not before it has happened
    assert recorded(superuser)[-1] == "profile.updated"


def test_record_of_a_refusal_outlives_the_request(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    assert api.post("login", {"email": ada.email, "password": "wrong"}).status_code == 401
    assert "login.failed" in recorded(superuser)


def test_nobody_writes_in_anothers_name(ada: Person, bob: Person) -> None:
    with pytest.raises(TenantMismatchError), tenant_scope(ada.id):
        record(Event.LOGIN_FAILED, client=CLIENT, creator_id=bob.id)


def test_event_has_its_facts_and_an_id_that_tells_its_time(ada: Person) -> None:
    before = timezone.now()
    event_id = record(Event.SESSION_ENDED, client=CLIENT, creator_id=ada.id, email="a@b.c", session="s1")
    with tenant_scope(ada.id):
        event, personal = AuditLog.objects.get(pk=event_id), PersonalData.objects.get(pk=event_id)
    assert event_id.version == 7
    assert event.at == datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
    assert abs((event.at - before).total_seconds()) < 5
    assert (event.type, event.request_id, event.detail) == ("session.ended", "request-1", {"session": "s1"})
    assert (personal.ip_address, personal.user_agent, personal.email) == ("203.0.113.9", "Firefox", "a@b.c")


def test_event_without_a_tenant_is_nobodys(superuser: psycopg.Connection) -> None:
    event_id = record(Event.LOGIN_FAILED, client=CLIENT)
    found = superuser.execute("SELECT creator_id FROM audit_logs WHERE id = %s", [event_id]).fetchone()
    assert found == (NO_TENANT,)


def test_digest_tells_a_change_and_nothing_else(ada: Person) -> None:
    event_id = record(Event.LOGIN_FAILED, client=CLIENT, creator_id=ada.id, email="ä@b.c")
    with tenant_scope(ada.id):
        event, personal = AuditLog.objects.get(pk=event_id), PersonalData.objects.get(pk=event_id)
    facts = {"ip_address": "203.0.113.9", "user_agent": "Firefox", "email": "ä@b.c"}
    assert bytes(event.personal_digest or b"") == personal_digest(bytes(personal.salt), **facts)
    plain = (
        bytes(personal.salt) + json.dumps(["203.0.113.9", "Firefox", "ä@b.c"], ensure_ascii=False).encode()
    )
    assert hashlib.sha256(plain).digest() == bytes(event.personal_digest or b"")
    for name, value in {"ip_address": None, "user_agent": "Firefo", "email": "xä@b.c"}.items():
        assert personal_digest(bytes(personal.salt), **(facts | {name: value})) != event.personal_digest  # type: ignore[arg-type]
    assert len(personal.salt) == 16


def test_equal_facts_have_unequal_digests(ada: Person) -> None:
    for _ in range(2):
        record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id)
    with tenant_scope(ada.id):
        events = AuditLog.objects.filter(type="profile.updated")
        assert len({bytes(event.personal_digest or b"") for event in events}) == 2


def test_personal_data_can_be_erased_and_the_event_stays_as_it_is(ada: Person) -> None:
    event_id = record(Event.LOGIN_FAILED, client=CLIENT, creator_id=ada.id, email=ada.email)
    with using_alias(OPERATOR):
        before = AuditLog.objects.filter(pk=event_id).values().get()
        assert PersonalData.objects.filter(pk=event_id).delete()[0] == 1
        assert AuditLog.objects.filter(pk=event_id).values().get() == before
        assert "203.0.113.9" not in str(before)
        assert ada.email not in str(before)


FORGERIES = {
    "an event with an id, a time or a digest of one's own": (
        "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, personal_digest) "
        "VALUES (gen_random_uuid(), '{ada}', now(), 'login.failed', '', '{{}}', 'x')"
    ),
    "personal data beside an event": (
        "INSERT INTO audit_personal_data (id, creator_id, salt, user_agent, email) "
        "VALUES (gen_random_uuid(), '{ada}', '', '', '')"
    ),
    "the erasure of personal data": "DELETE FROM audit_personal_data",
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
def test_digest_of_the_database_is_the_one_that_is_verified(
    ada: Person, address: str | None, agent: str
) -> None:
    event_id = record(Event.LOGIN_FAILED, client=ClientInfo(address, agent), creator_id=ada.id, email=agent)
    with using_alias(OPERATOR):
        (line,) = queries.entries(AuditLog.objects.filter(pk=event_id))
    assert line.is_intact


def test_events_sort_as_they_were_written(ada: Person) -> None:
    with tenant_scope(ada.id):
        ids = [record(Event.PROFILE_UPDATED, client=CLIENT, creator_id=ada.id) for _ in range(200)]
    assert ids == sorted(ids)


def test_every_event_has_words_for_its_owner() -> None:
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
def page(superuser: psycopg.Connection) -> Iterator[str]:
    """The partition that an event has just been written to; the event is there at the end of the test."""
    event_id = record(Event.LOGIN_FAILED, client=CLIENT, creator_id=uuid4())
    query = "SELECT tableoid::regclass::text, t::text FROM audit_logs t WHERE id = %s"
    before = superuser.execute(query, [event_id]).fetchone()
    assert before
    yield before[0]
    assert superuser.execute(query, [event_id]).fetchone() == before


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("role", [ROLES.app, ROLES.operator, ROLES.owner, "postgres"])
def test_no_role_changes_a_line_of_the_book(role: str, verb: str, page: str) -> None:
    """The grants stop app and operator, RLS the owner, and the triggers even a superuser."""
    for table in ("audit_logs", page):
        with psycopg.connect(server.url(role, DATABASE), autocommit=True) as connection:
            statement = CHANGES[verb].format(table=table).encode()
            if role == ROLES.owner and verb in {"UPDATE", "DELETE", "UPSERT"}:
                assert connection.execute(statement).rowcount == 0  # it sees no rows
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_triggers_fire_for_a_replica_too(page: str, superuser: psycopg.Connection) -> None:
    superuser.execute("SET session_replication_role = replica")
    for table in ("audit_logs", page):
        for verb in ("UPDATE", "DELETE", "TRUNCATE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                superuser.execute(CHANGES[verb].format(table=table).encode())


def test_line_is_not_moved_to_another_owner_or_time(
    ada: Person, page: str, superuser: psycopg.Connection
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
    "WITH gone AS (DELETE FROM {table} RETURNING *) SELECT * FROM gone",
    "WITH new AS (UPDATE {table} SET type = 'x' RETURNING *) SELECT * FROM new",
    "COPY {table} FROM STDIN",
    "COPY (DELETE FROM {table} RETURNING *) TO STDOUT",
    "DO $$ BEGIN DELETE FROM {table}; END $$",
    "DO $$ BEGIN EXECUTE 'UPDATE {table} SET type = type'; END $$",
    "PREPARE gone AS DELETE FROM {table}; EXECUTE gone",
    "EXPLAIN ANALYZE DELETE FROM {table}",
    "SELECT * FROM {table} WHERE id = '{id}' FOR UPDATE",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE TRIGGER audit_logs_append_only",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} ALTER written_at SET DEFAULT '-infinity'",
    "ALTER TABLE {table} RENAME TO mine",
    "ALTER TABLE audit_logs DETACH PARTITION {page}",
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

MEANINGLESS = {"SyntaxError", "UndefinedTable", "UndefinedColumn", "UndefinedFunction", "UndefinedObject"}


def test_app_changes_no_line_of_the_book_by_any_statement(page: str, superuser: psycopg.Connection) -> None:
    """Mallory has a connection of the app's role, on which the tenant is the owner of the line."""
    (tenant, event_id) = (
        superuser.execute("SELECT creator_id, id FROM audit_logs ORDER BY id DESC").fetchone() or ()
    )
    whole = "SELECT array_agg(log::text ORDER BY id) FROM audit_logs AS log"
    before = superuser.execute(whole).fetchone()
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as mallory:
        mallory.execute("SELECT set_config('app.current_creator_id', %s, false)", [str(tenant)])
        for attempt in ATTEMPTS:
            for table in ("audit_logs", page):
                statement = attempt.format(table=table, page=page, id=event_id, tenant=tenant)
                assert tried(mallory, statement) not in MEANINGLESS, statement
                assert superuser.execute(whole).fetchone() == before, statement


def tried(mallory: psycopg.Connection, statement: str) -> str:
    """The name of the error; "" where there was none, and PostgreSQL only warned."""
    try:
        mallory.execute(statement.encode())
    except psycopg.Error as error:
        return type(error).__name__
    return ""
