"""The audit log in the admin: search, export and overview, for operators with the permission."""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Creator
from audit import queries
from audit.admin.forms import EventFilter
from audit.admin.overview import read_overview
from audit.events import Event
from audit.models import AuditLog, PersonalData
from audit.recorder import NO_TENANT, personal_digest, record
from audit.requests.client_info import ClientInfo
from audit.tests.support.admin_pages import EXPORT, LIST, OVERVIEW
from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.database import superuser_of
from config.tests.support.dataset import populate_audit_log
from config.tests.support.environment import DATABASE
from config.tests.support.operators import make_operator, reauthenticate, sign_in_operator
from tenancy.context import OPERATOR, tenant_scope, using_alias

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def staff(name: str, *permissions: str) -> Client:
    """An operator, signed in and reauthenticated, with these permissions only."""
    person = make_operator(f"{name}@example.com", "")
    with using_alias(OPERATOR):
        found = Permission.objects.filter(codename__in=permissions, content_type__app_label="audit")
        Creator.objects.get(pk=person.id).user_permissions.set(found)
    client = sign_in_operator(person)
    reauthenticate(client, person)
    return client


@pytest.fixture
def superuser_olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


@pytest.fixture
def olga(superuser_olga: Person) -> Client:
    client = sign_in_operator(superuser_olga)
    reauthenticate(client, superuser_olga)
    return client


@pytest.fixture
def reader(transactional_db: None) -> Client:
    return staff("reader", "view_auditlog")


def add_event(
    event: Event,
    *,
    at: datetime | None = None,
    of: UUID = NO_TENANT,
    ip: str | None = "203.0.113.9",
    **facts: Any,
) -> UUID:
    """Record an event; with `at`, insert it as if it had been recorded then."""
    client = ClientInfo(ip, facts.pop("agent", FIREFOX), facts.pop("request", "request-1"))
    if at:
        return insert_event(event, at, of, client, facts)
    with using_alias(OPERATOR):
        return record(event, client=client, creator_id=of, **facts)


def insert_event(event: Event, at: datetime, of: UUID, client: ClientInfo, facts: dict[str, Any]) -> UUID:
    """Insert an event with an id and a time that no role of the service can set."""
    event_id, email = id_at(at), facts.pop("email", "")
    personal = {"ip_address": client.ip_address, "user_agent": client.user_agent, "email": email}
    row = [event_id, of, at, event.value, client.request_id, json.dumps(facts)]
    with superuser_of(DATABASE) as database:
        database.execute(
            "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, personal_digest) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)", [*row, personal_digest(b"salt", **personal)],
        )  # fmt: skip
        database.execute(
            "INSERT INTO audit_personal_data (id, creator_id, salt, ip_address, user_agent, email) "
            "VALUES (%s, %s, 'salt', %s, %s, %s)", [event_id, of, *personal.values()],
        )  # fmt: skip
    return event_id


def id_at(at: datetime) -> UUID:
    milliseconds = round(at.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | (uuid4().int & (2**62 - 1)))


def text_of(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def listed_ids(response: Any) -> list[str]:
    """The ids of the listed events, from top to bottom."""
    assert response.status_code == 200, text_of(response)
    return re.findall(rf'{LIST}([0-9a-f-]{{36}})/change/"', response.content.decode())


# --- permissions --------------------------------------------------------------------------------------


def views() -> Iterator[tuple[str, str, str]]:
    """Method, path, permission."""
    event_id = add_event(Event.LOGIN_FAILED)
    for path in (LIST, f"{LIST}{event_id}/change/", OVERVIEW):
        yield "get", path, "view_auditlog"
    yield "post", EXPORT, "export_auditlog"


def test_each_view_requires_its_permission(ada: Person) -> None:
    callers = {
        "anonymous": (Client(), ()),
        "creator": (API(), ()),
        "nothing": (staff("nothing"), ()),
        "reader": (staff("reader", "view_auditlog"), ("view_auditlog",)),
        "exporter": (staff("exporter", "export_auditlog"), ("export_auditlog",)),
    }
    for method, path, permission in views():
        for name, (client, permissions) in callers.items():
            headers = {"Authorization": f"Bearer {ada.access}"} if name == "creator" else {}
            status = getattr(Client, method)(client, path, {"format": "csv"}, headers=headers).status_code
            expected = 200 if permission in permissions else 302 if name in {"anonymous", "creator"} else 403
            assert status == expected, (name, method, path)


@pytest.mark.parametrize("path", ["add/", "{id}/delete/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_superuser_cannot_add_or_delete_an_event(olga: Client, path: str, method: str) -> None:
    event_id = add_event(Event.LOGIN_FAILED)
    response = getattr(olga, method)(LIST + path.format(id=event_id), {"post": "yes"})
    assert response.status_code == 403
    assert str(event_id) in listed_ids(olga.get(LIST))


@pytest.mark.parametrize("path", ["", "{id}/change/", "overview/"])
def test_superuser_cannot_change_an_event(olga: Client, path: str) -> None:
    event_id = add_event(Event.LOGIN_FAILED)
    data = {"type": "x", "action": "delete_selected", "_selected_action": str(event_id)}
    assert olga.post(LIST + path.format(id=event_id), data).status_code == 405
    with using_alias(OPERATOR):
        assert AuditLog.objects.get(pk=event_id).type == "login.failed"


# --- the list -------------------------------------------------------------------------------------


def test_list_shows_time_type_creator_address_and_device(reader: Client, ada: Person) -> None:
    add_event(Event.TOKEN_REUSED, of=ada.id, request="0123456789abcdef0123456789abcdef")
    page = text_of(reader.get(f"{LIST}?type=token.reused"))
    assert timezone.now().strftime("%Y-%m-%d %H:") in page
    assert "A refresh token was used twice; its session was ended. token.reused" in page
    assert f"…{str(ada.id)[-12:]} 203.0.113.9 Firefox on Linux …456789abcdef" in page


def test_creator_link_requires_permission_to_view_creators(reader: Client, olga: Client, ada: Person) -> None:
    add_event(Event.TOKEN_REUSED, of=ada.id)
    page = f"/admin/accounts/creator/{ada.id}/change/"
    assert page in olga.get(LIST).content.decode()
    for_reader = reader.get(LIST).content.decode()
    assert page not in for_reader
    assert f"?creator={ada.id}" in for_reader


def test_filters_find_only_matching_events(reader: Client, ada: Person) -> None:
    now = timezone.now()
    match = add_event(
        Event.TOKEN_REUSED, at=now - timedelta(hours=2), of=ada.id, ip="2001:db8::7", request="one-request"
    )
    add_event(Event.PASSWORD_RESET, at=now - timedelta(hours=4), ip="198.51.100.7", request="another-request")
    add_event(
        Event.TOKEN_REUSED, at=now - timedelta(days=8), of=ada.id, ip="2001:db8::7", request="one-request"
    )
    for query in (
        f"creator={ada.id}",
        "address=2001:db8::7",
        "address=2001:DB8:0::/64",
        "request=one-request",
        f"type=token.reused&address=2001:db8::/32&creator={ada.id}&request=one-request",
        f"type=token.reused&after={now - timedelta(hours=3):%Y-%m-%dT%H:%M:%S}",
        f"type=token.reused&before={now - timedelta(hours=1):%Y-%m-%dT%H:%M}",
    ):
        assert listed_ids(reader.get(f"{LIST}?{query}")) == [str(match)], query
    for query in ("address=2001:db8::8", "address=2001:db8:1::/64", "creator=" + str(uuid4()), "request=one"):
        assert listed_ids(reader.get(f"{LIST}?{query}")) == [], query
    assert (
        len(listed_ids(reader.get(f"{LIST}?type=token.reused&after={now - timedelta(days=9):%Y-%m-%d}"))) == 2
    )


@pytest.mark.parametrize(
    "query",
    [
        "after=yesterday", "before=0000-00-00", "after=2026-11-22T10:00&before=2026-11-22T10:00", "type=nonsense",
        "type=%00", "creator=1", "creator=%27", "address=1.2.3", "address=1.2.3.4/33", "address=fe80::1%25eth0",
        "address=" + "1" * 65, "request=%00", "request=a%20b", "request=" + "a" * 65, "older=1", "older=x&type=nonsense", "newer=%00",
        "after=%ff", "after=9999-12-31T23:59:59-23:59&before=0001-01-01T00:00:00%2B23:59",
    ],
)  # fmt: skip
def test_invalid_filter_is_reported_without_a_search(reader: Client, query: str) -> None:
    response = reader.get(f"{LIST}?{query}")
    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()


@pytest.mark.parametrize(
    "query", ["after=0001-01-01", "before=9999-12-31T23:59:59", "address=::/0", "address=0.0.0.0/0"]
)
def test_extreme_filter_is_accepted(reader: Client, query: str) -> None:
    assert reader.get(f"{LIST}?{query}").status_code == 200


def test_old_request_id_is_found_without_a_range(reader: Client) -> None:
    then = timezone.now() - timedelta(days=100)
    request = id_at(then).hex
    old = add_event(Event.LOGIN_FAILED, at=then + timedelta(seconds=1), request=request)
    assert listed_ids(reader.get(f"{LIST}?request={request}")) == [str(old)]


def link(response: Any, rel: str) -> str:
    """The target of the pagination link, "" if there is none."""
    match = re.search(rf'rel="{rel}" href="([^"]+)"', response.content.decode())
    return LIST + match[1].replace("&amp;", "&") if match else ""


def test_pages_show_each_event_once_while_events_arrive(reader: Client) -> None:
    ids = [str(add_event(Event.PASSWORD_RESET)) for _ in range(2 * queries.PAGE_SIZE + 3)][::-1]
    first = reader.get(f"{LIST}?type=password.reset")
    assert listed_ids(first) == ids[: queries.PAGE_SIZE]
    assert link(first, "prev") == ""
    add_event(Event.PASSWORD_RESET)
    second = reader.get(link(first, "next"))
    assert listed_ids(second) == ids[queries.PAGE_SIZE : 2 * queries.PAGE_SIZE]
    third = reader.get(link(second, "next"))
    assert listed_ids(third) == ids[2 * queries.PAGE_SIZE :]
    assert link(third, "next") == ""
    back = reader.get(link(third, "prev"))
    assert listed_ids(back) == listed_ids(second)
    assert listed_ids(reader.get(link(back, "prev"))) == ids[: queries.PAGE_SIZE]


def test_page_takes_two_queries(reader: Client) -> None:
    for _ in range(3):
        add_event(Event.PASSWORD_RESET)
    with CaptureQueriesContext(connections[OPERATOR]) as captured:
        reader.get(f"{LIST}?address=203.0.113.0/24&older={UUID(int=2**128 - 1)}")
    statements = [query["sql"] for query in captured if "audit_" in query["sql"]]
    assert len(statements) == 2
    assert not [sql for sql in statements if "COUNT(" in sql or "OFFSET" in sql]


def test_search_prunes_partitions(superuser: psycopg.Connection) -> None:
    form = EventFilter({"after": "2026-01-10T00:00", "before": "2026-01-20T00:00"})
    assert form.is_valid()
    plan = form.events().order_by("-id").explain()
    scanned = set(re.findall(r"audit_logs_(\w+?)(?:_pkey|_id|_type| |$)", plan))
    partitions = superuser.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    ).fetchone()
    assert partitions
    assert partitions[0] > 3
    assert scanned == {"other"}


# --- one event --------------------------------------------------------------------------------------


def test_event_page_shows_every_field(reader: Client, ada: Person) -> None:
    event_id = add_event(Event.LOGIN_FAILED, of=ada.id, email="<b>x@example.com", note="<script>")
    response = reader.get(f"{LIST}{event_id}/change/")
    body = response.content.decode()
    for text in (
        "A sign-in failed.", "login.failed", str(ada.id), "203.0.113.9", "Firefox on Linux", "request-1",
        "&lt;b&gt;x@example.com", "&lt;script&gt;", "as they were recorded", str(event_id),
    ):  # fmt: skip
        assert text in body


def test_event_page_reports_changed_and_erased_personal_data(
    reader: Client, superuser: psycopg.Connection
) -> None:
    page = f"{LIST}{add_event(Event.LOGIN_FAILED)}/change/"
    superuser.execute("UPDATE audit_personal_data SET ip_address = '203.0.113.10'")
    assert "not as they were recorded" in text_of(reader.get(page))
    superuser.execute("DELETE FROM audit_personal_data")
    assert "Personal data erased" in text_of(reader.get(page))
    assert "Firefox" not in text_of(reader.get(LIST))


@pytest.mark.parametrize("event_id", ["1", "x" * 40, "00000000-0000-7000-8000-000000000000", "%00"])
def test_unknown_event_is_not_found(reader: Client, event_id: str) -> None:
    assert reader.get(f"{LIST}{event_id}/change/").status_code == 404


# --- the export -------------------------------------------------------------------------------------


def exported(response: Any) -> str:
    assert response.status_code == 200
    assert response.streaming
    return b"".join(response.streaming_content).decode()


def test_export_contains_the_matching_events(
    olga: Client, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "BATCH_SIZE", 2)
    ids = [str(add_event(Event.PASSWORD_RESET, of=ada.id, email="ä@example.com", kind=n)) for n in range(5)]
    add_event(Event.PASSWORD_RESET, at=timezone.now() - timedelta(days=9))
    query = {"type": "password.reset"}
    lines = exported(olga.post(EXPORT, query | {"format": "jsonl"})).splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    assert json.loads(lines[3]) == {
        "id": ids[3], "at": json.loads(lines[3])["at"], "type": "password.reset", "summary": json.loads(lines[3])["summary"],
        "creator_id": str(ada.id), "ip_address": "203.0.113.9", "user_agent": FIREFOX, "email": "ä@example.com",
        "request_id": "request-1", "detail": {"kind": 3},
    }  # fmt: skip
    response = olga.post(EXPORT, query | {"format": "csv"})
    assert re.fullmatch(r'attachment; filename="audit-\d{8}-\d{6}\.csv"', response["Content-Disposition"])
    rows = list(csv.DictReader(io.StringIO(exported(response))))
    assert [row["id"] for row in rows] == ids
    assert json.loads(rows[3]["detail"]) == {"kind": 3}
    assert datetime.fromisoformat(rows[3]["at"]).tzinfo == UTC


def test_export_is_streamed_as_the_operator(olga: Client, ada: Person, bob: Person) -> None:
    for person in (ada, bob):
        add_event(Event.PASSWORD_RESET, of=person.id)
    response = olga.post(EXPORT, {"type": "password.reset", "format": "jsonl"})
    with tenant_scope(ada.id):
        assert len(exported(response).splitlines()) == 2


@pytest.mark.parametrize(
    ("first", "escaped"),
    [*((char, f"'{char}") for char in "=+-@\uff1d"), ("\t", "\\u0009"), ("\r", "\\u000d"), ("\n", "\\u000a")],
)
def test_export_has_no_formulas(olga: Client, first: str, escaped: str) -> None:
    add_event(Event.PASSWORD_RESET, email=f"{first}cmd|' /C calc'!A0", agent=f"{first}1+1")
    response = olga.post(EXPORT, {"type": "password.reset", "format": "csv"})
    (row,) = csv.DictReader(io.StringIO(exported(response), newline=""))
    assert (row["email"], row["user_agent"]) == (f"{escaped}cmd|' /C calc'!A0", f"{escaped}1+1")


INVISIBLE = "a\u202eb\u2066c\x1b[2Jd\u200be\U000e0041f"
ESCAPED = "a\\u202eb\\u2066c\\u001b[2Jd\\u200be\\udb40\\udc41f"


def test_invisible_characters_are_escaped_on_pages_and_in_csv(olga: Client, api: API, ada: Person) -> None:
    """Stored values and API responses are unchanged."""
    event = add_event(Event.ACCOUNT_VIEWED, of=ada.id, email=INVISIBLE, agent=INVISIBLE, reason=INVISIBLE)
    add_event(Event.LOGIN_FAILED, email=INVISIBLE, agent=INVISIBLE)
    for page in (f"{LIST}?type=account.viewed", f"{LIST}{event}/change/", OVERVIEW):
        text = olga.get(page).content.decode()
        assert ESCAPED in text, page
        assert not set(INVISIBLE) & set(text) - set("abcdef[2J"), page
    (row,) = csv.DictReader(
        io.StringIO(exported(olga.post(EXPORT, {"type": "account.viewed", "format": "csv"})))
    )
    assert (row["email"], row["user_agent"], json.loads(row["detail"])) == (
        ESCAPED,
        ESCAPED,
        {"reason": INVISIBLE},
    )
    (response_event, *_) = api.get("/api/v1/audit/events?type=account.viewed", token=ada.access).json()[
        "results"
    ]
    assert (response_event["user_agent"], response_event["detail"]) == (INVISIBLE, {"reason": INVISIBLE})


def test_letters_of_all_scripts_are_not_escaped(olga: Client) -> None:
    text = "Ä ß 日本 עברית می\u200cخوا \U0001f469\u200d\U0001f4bb"  # noqa: RUF001
    event = add_event(Event.ACCOUNT_VIEWED, reason=text)
    assert text in olga.get(f"{LIST}{event}/change/").content.decode()


def test_export_is_recorded_on_the_operators_account(
    olga: Client, superuser_olga: Person, ada: Person
) -> None:
    query = {"type": "login.failed", "creator": str(ada.id), "address": "203.0.113.9", "format": "csv"}
    exported(olga.post(EXPORT, query))
    with using_alias(OPERATOR):
        event = AuditLog.objects.get(type="audit.exported")
    assert event.creator_id == superuser_olga.id
    assert event.detail["format"] == "csv"
    filter_ = event.detail["filter"]
    assert (filter_["type"], filter_["creator"], filter_["address"]) == ("login.failed", str(ada.id), "given")


def test_export_requires_reauthentication(superuser_olga: Person) -> None:
    client = sign_in_operator(superuser_olga)
    page = f"{LIST}?type=token.reused"
    sent = client.post(EXPORT, {"format": "csv"}, headers={"Referer": f"http://testserver{page}"})
    assert sent.status_code == 302
    assert sent["Location"].startswith("/admin/confirm/")
    with using_alias(OPERATOR):
        assert not AuditLog.objects.filter(type="audit.exported").exists()
    reauthenticate(client, superuser_olga)
    assert exported(client.post(EXPORT, {"format": "csv"}))


@pytest.mark.parametrize("data", [{}, {"format": "xls"}, {"format": "csv", "type": "nonsense"}])
def test_invalid_export_is_refused_and_not_recorded(olga: Client, data: dict[str, str]) -> None:
    assert olga.post(EXPORT, data).status_code == 400
    assert olga.get(EXPORT).status_code == 405
    with using_alias(OPERATOR):
        assert not AuditLog.objects.filter(type="audit.exported").exists()


def test_export_ends_while_events_arrive(olga: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "BATCH_SIZE", 1)
    add_event(Event.PASSWORD_RESET)
    batches = iter(olga.post(EXPORT, {"type": "password.reset", "format": "jsonl"}).streaming_content)
    assert next(batches)
    add_event(Event.PASSWORD_RESET)
    assert list(batches) == []


def test_export_button_requires_the_permission(reader: Client, olga: Client) -> None:
    assert EXPORT in olga.get(LIST).content.decode()
    assert EXPORT not in reader.get(LIST).content.decode()


# --- the overview -----------------------------------------------------------------------------------


def test_overview_counts_by_hour_and_day(reader: Client) -> None:
    now = timezone.now()
    for hours, count in {0: 3, 23: 2, 24: 1, 167: 4, 168: 5}.items():
        for _ in range(count):
            add_event(Event.LOGIN_FAILED, at=now - timedelta(hours=hours))
    hourly = read_overview(now).by_event[Event.LOGIN_FAILED]
    assert {hour: count for hour, count in enumerate(reversed(hourly.counts)) if count} == {
        0: 3,
        23: 2,
        24: 1,
        167: 4,
    }
    assert (hourly.today, hourly.day_before) == (5, 1)
    assert "5 in 24 hours; 1 in the 24 hours before" in text_of(reader.get(OVERVIEW))


def test_overview_lists_the_top_sources_of_failures(reader: Client, ada: Person) -> None:
    for number in range(12):
        for _ in range(number + 1):
            add_event(Event.LOGIN_FAILED, ip=f"198.51.100.{number}", email=f"nobody-{number}@example.com")
    add_event(Event.LOGIN_FAILED, of=ada.id, email=ada.email, ip="198.51.100.11")
    add_event(Event.LOGIN_FAILED, of=ada.id, email=ada.email, ip=None)
    add_event(
        Event.LOGIN_FAILED, at=timezone.now() - timedelta(hours=25), email="long@example.com", ip="192.0.2.1"
    )
    page = text_of(reader.get(OVERVIEW))
    assert "Address Failures Accounts 198.51.100.11 13 2 198.51.100.10 11 1" in page
    assert "198.51.100.2 3 1" in page
    assert "198.51.100.1 2 1" not in page  # the eleventh
    assert "nobody-11@example.com no account 12 1" in page
    assert "long@example.com" not in page
    assert "192.0.2.1" not in page


def test_overview_counts_only_the_newest_failures(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an attack does not slow the page down. The page shows the start."""
    monkeypatch.setattr("audit.admin.overview.MAX_FAILURES", 3)
    now = timezone.now()
    for minutes in range(1, 9):
        add_event(Event.LOGIN_FAILED, at=now - timedelta(minutes=minutes), email="x@example.com")
    page = text_of(reader.get(OVERVIEW))
    assert f"Failed sign-ins Since {now - timedelta(minutes=3):%Y-%m-%d %H:%M} UTC." in page
    assert "x@example.com no account 3 1" in page


def test_overview_warns_if_sealing_is_late(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "Some events have been unsealed"
    add_event(Event.LOGIN_FAILED)
    assert warning not in text_of(reader.get(OVERVIEW))
    monkeypatch.setattr("audit.admin.overview.MAX_SEALING_DELAY", timedelta(0))
    assert warning in text_of(reader.get(OVERVIEW))


def test_overview_of_an_empty_log(reader: Client, superuser: psycopg.Connection) -> None:
    page = reader.get(OVERVIEW)
    assert page.status_code == 200
    assert text_of(page).count("No events.") >= 8


def test_charts_have_titles_descriptions_and_a_table(reader: Client) -> None:
    add_event(Event.LOGIN_SUCCEEDED)
    body = reader.get(OVERVIEW).content.decode()
    for chart in re.findall(r"<svg class=\"chart.*?</svg>", body, re.DOTALL):
        title, description = re.search(r'aria-labelledby="(\S+) (\S+)"', chart).groups()  # type: ignore[union-attr]
        assert re.search(rf'<title id="{title}">\S.*</title>', chart)
        assert re.search(rf'<desc id="{description}">\S.*</desc>', chart)
    assert body.count('<svg class="chart') == 11
    assert len(re.findall(r"<tr><th scope=\"row\">\d{4}-\d\d-\d\d \d\d:00</th>", body)) == 168


def test_charts_use_no_inline_style_or_script(reader: Client) -> None:
    response = reader.get(OVERVIEW, headers={"Accept-Language": "de"})
    body = response.content.decode()
    assert "style=" not in body
    assert not re.search(r"<script(?![^>]*src=)", body)
    assert not re.search(r'(width|height|x|y)="\d+,\d', body)  # a German decimal comma
    assert "style-src 'self'" in response["Content-Security-Policy"]


def test_overview_link_requires_the_permission(reader: Client) -> None:
    assert OVERVIEW in reader.get("/admin/").content.decode()
    assert OVERVIEW not in staff("nothing").get("/admin/").content.decode()


# --- many events ------------------------------------------------------------------------------------


def test_generated_events_are_like_recorded_ones(superuser: psycopg.Connection) -> None:
    populate_audit_log(superuser, events=300)
    with using_alias(OPERATOR):
        listed = queries.entries(AuditLog.objects.using(OPERATOR).all())
        assert len(listed) == PersonalData.objects.count() == 300
    assert all(entry.is_intact for entry in listed)
    assert all(entry.event.pk.version == 7 and entry.event.type in set(Event) for entry in listed)


@pytest.mark.parametrize(
    "query", ["type=token.reused", "address=198.51.100.2", "request=019a0000000070008000000000000000"]
)
def test_filters_use_an_index(superuser: psycopg.Connection, query: str) -> None:
    populate_audit_log(superuser, events=20_000, days=2)
    superuser.execute("ANALYZE audit_logs, audit_personal_data")
    form = EventFilter(dict([query.split("=")]))
    assert form.is_valid()
    plan = form.events().order_by("-id")[:51].explain()
    scanned = re.findall(r"Seq Scan on (\S+).*rows=(\d+)", plan)
    assert [table for table, rows in scanned if int(rows) > 1] == []  # partitions of later months are empty
