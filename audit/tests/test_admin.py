"""The book as Olga reads it: found quickly, taken along on purpose, and changed by nobody."""

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
from config.tests.support.operators import confirm, enter, make_operator
from tenancy.context import OPERATOR, tenant_scope, using_alias

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def staff(name: str, *permissions: str) -> Client:
    """A signed-in and confirmed operator who is no superuser."""
    person = make_operator(f"{name}@example.com", "")
    with using_alias(OPERATOR):
        found = Permission.objects.filter(codename__in=permissions, content_type__app_label="audit")
        Creator.objects.get(pk=person.id).user_permissions.set(found)
    client = enter(person)
    confirm(client, person)
    return client


@pytest.fixture
def superuser_olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


@pytest.fixture
def olga(superuser_olga: Person) -> Client:
    client = enter(superuser_olga)
    confirm(client, superuser_olga)
    return client


@pytest.fixture
def reader(transactional_db: None) -> Client:
    return staff("reader", "view_auditlog")


def happened(
    event: Event,
    *,
    at: datetime | None = None,
    of: UUID = NO_TENANT,
    ip: str | None = "203.0.113.9",
    **facts: Any,
) -> UUID:
    """Record an event; with `at`, as if it had been recorded then."""
    client = ClientInfo(ip, facts.pop("agent", FIREFOX), facts.pop("request", "request-1"))
    if at:
        return inserted(event, at, of, client, facts)
    with using_alias(OPERATOR):
        return record(event, client=client, creator_id=of, **facts)


def inserted(event: Event, at: datetime, of: UUID, client: ClientInfo, facts: dict[str, Any]) -> UUID:
    """An event under an id and a time that no role of the service can give it."""
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


def id_at(moment: datetime) -> UUID:
    milliseconds = round(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | (uuid4().int & (2**62 - 1)))


def says(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def shown(response: Any) -> list[str]:
    """The ids of the listed events, from top to bottom."""
    assert response.status_code == 200, says(response)
    return re.findall(rf'{LIST}([0-9a-f-]{{36}})/change/"', response.content.decode())


# --- who may --------------------------------------------------------------------------------------


def doors() -> Iterator[tuple[str, str, str]]:
    """Method, path, permission."""
    event_id = happened(Event.LOGIN_FAILED)
    for path in (LIST, f"{LIST}{event_id}/change/", OVERVIEW):
        yield "get", path, "view_auditlog"
    yield "post", EXPORT, "export_auditlog"


def test_each_door_opens_for_its_permission_alone(ada: Person) -> None:
    callers = {
        "anonymous": (Client(), ()),
        "creator": (API(), ()),
        "nothing": (staff("nothing"), ()),
        "reader": (staff("reader", "view_auditlog"), ("view_auditlog",)),
        "copier": (staff("copier", "export_auditlog"), ("export_auditlog",)),
    }
    for method, path, permission in doors():
        for name, (client, permissions) in callers.items():
            headers = {"Authorization": f"Bearer {ada.access}"} if name == "creator" else {}
            status = getattr(Client, method)(client, path, {"format": "csv"}, headers=headers).status_code
            allowed = 200 if permission in permissions else 302 if name in {"anonymous", "creator"} else 403
            assert status == allowed, (name, method, path)


@pytest.mark.parametrize("path", ["add/", "{id}/delete/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_not_even_a_superuser_adds_or_deletes_a_line(olga: Client, path: str, method: str) -> None:
    event_id = happened(Event.LOGIN_FAILED)
    response = getattr(olga, method)(LIST + path.format(id=event_id), {"post": "yes"})
    assert response.status_code == 403
    assert str(event_id) in shown(olga.get(LIST))


@pytest.mark.parametrize("path", ["", "{id}/change/", "overview/"])
def test_not_even_a_superuser_changes_a_line(olga: Client, path: str) -> None:
    event_id = happened(Event.LOGIN_FAILED)
    data = {"type": "x", "action": "delete_selected", "_selected_action": str(event_id)}
    assert olga.post(LIST + path.format(id=event_id), data).status_code == 405
    with using_alias(OPERATOR):
        assert AuditLog.objects.get(pk=event_id).type == "login.failed"


# --- the list -------------------------------------------------------------------------------------


def test_line_tells_when_what_who_and_from_where(reader: Client, ada: Person) -> None:
    happened(Event.TOKEN_REUSED, of=ada.id, request="0123456789abcdef0123456789abcdef")
    page = says(reader.get(f"{LIST}?type=token.reused"))
    assert timezone.now().strftime("%Y-%m-%d %H:") in page
    assert "A refresh token was used twice; its session was ended. token.reused" in page
    assert f"…{str(ada.id)[-12:]} 203.0.113.9 Firefox on Linux …456789abcdef" in page


def test_creator_links_to_their_page_for_those_who_may_see_it(
    reader: Client, olga: Client, ada: Person
) -> None:
    happened(Event.TOKEN_REUSED, of=ada.id)
    page = f"/admin/accounts/creator/{ada.id}/change/"
    assert page in olga.get(LIST).content.decode()
    for_reader = reader.get(LIST).content.decode()
    assert page not in for_reader
    assert f"?creator={ada.id}" in for_reader


def test_every_filter_finds_its_own_and_nothing_else(reader: Client, ada: Person) -> None:
    now = timezone.now()
    mine = happened(
        Event.TOKEN_REUSED, at=now - timedelta(hours=2), of=ada.id, ip="2001:db8::7", request="one-request"
    )
    happened(Event.PASSWORD_RESET, at=now - timedelta(hours=4), ip="198.51.100.7", request="another-request")
    happened(
        Event.TOKEN_REUSED, at=now - timedelta(days=8), of=ada.id, ip="2001:db8::7", request="one-request"
    )
    for asked in (
        f"creator={ada.id}",
        "address=2001:db8::7",
        "address=2001:DB8:0::/64",
        "request=one-request",
        f"type=token.reused&address=2001:db8::/32&creator={ada.id}&request=one-request",
        f"type=token.reused&after={now - timedelta(hours=3):%Y-%m-%dT%H:%M:%S}",
        f"type=token.reused&before={now - timedelta(hours=1):%Y-%m-%dT%H:%M}",
    ):
        assert shown(reader.get(f"{LIST}?{asked}")) == [str(mine)], asked
    for asked in ("address=2001:db8::8", "address=2001:db8:1::/64", "creator=" + str(uuid4()), "request=one"):
        assert shown(reader.get(f"{LIST}?{asked}")) == [], asked
    assert len(shown(reader.get(f"{LIST}?type=token.reused&after={now - timedelta(days=9):%Y-%m-%d}"))) == 2


@pytest.mark.parametrize(
    "asked",
    [
        "after=yesterday", "before=0000-00-00", "after=2026-11-22T10:00&before=2026-11-22T10:00", "type=nonsense",
        "type=%00", "creator=1", "creator=%27", "address=1.2.3", "address=1.2.3.4/33", "address=fe80::1%25eth0",
        "address=" + "1" * 65, "request=%00", "request=a%20b", "request=" + "a" * 65, "older=1", "older=x&type=nonsense", "newer=%00",
        "after=%ff", "after=9999-12-31T23:59:59-23:59&before=0001-01-01T00:00:00%2B23:59",
    ],
)  # fmt: skip
def test_bad_filter_is_told_and_nothing_is_sought(reader: Client, asked: str) -> None:
    response = reader.get(f"{LIST}?{asked}")
    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()


@pytest.mark.parametrize(
    "asked", ["after=0001-01-01", "before=9999-12-31T23:59:59", "address=::/0", "address=0.0.0.0/0"]
)
def test_extreme_filter_is_answered(reader: Client, asked: str) -> None:
    assert reader.get(f"{LIST}?{asked}").status_code == 200


def test_request_of_long_ago_is_found_without_a_range(reader: Client) -> None:
    then = timezone.now() - timedelta(days=100)
    request = id_at(then).hex
    old = happened(Event.LOGIN_FAILED, at=then + timedelta(seconds=1), request=request)
    assert shown(reader.get(f"{LIST}?request={request}")) == [str(old)]


def link(response: Any, rel: str) -> str:
    """ "" where there is none."""
    found = re.search(rf'rel="{rel}" href="([^"]+)"', response.content.decode())
    return LIST + found[1].replace("&amp;", "&") if found else ""


def test_pages_show_each_event_once_while_new_ones_come_in(reader: Client) -> None:
    ids = [str(happened(Event.PASSWORD_RESET)) for _ in range(2 * queries.PAGE_SIZE + 3)][::-1]
    first = reader.get(f"{LIST}?type=password.reset")
    assert shown(first) == ids[: queries.PAGE_SIZE]
    assert link(first, "prev") == ""
    happened(Event.PASSWORD_RESET)
    second = reader.get(link(first, "next"))
    assert shown(second) == ids[queries.PAGE_SIZE : 2 * queries.PAGE_SIZE]
    third = reader.get(link(second, "next"))
    assert shown(third) == ids[2 * queries.PAGE_SIZE :]
    assert link(third, "next") == ""
    back = reader.get(link(third, "prev"))
    assert shown(back) == shown(second)
    assert shown(reader.get(link(back, "prev"))) == ids[: queries.PAGE_SIZE]


def test_page_costs_two_statements_whatever_the_book_holds(reader: Client) -> None:
    for _ in range(3):
        happened(Event.PASSWORD_RESET)
    with CaptureQueriesContext(connections[OPERATOR]) as captured:
        reader.get(f"{LIST}?address=203.0.113.0/24&older={UUID(int=2**128 - 1)}")
    book = [query["sql"] for query in captured if "audit_" in query["sql"]]
    assert len(book) == 2
    assert not [sql for sql in book if "COUNT(" in sql or "OFFSET" in sql]


def test_old_partitions_stay_closed(superuser: psycopg.Connection) -> None:
    form = EventFilter({"after": "2026-01-10T00:00", "before": "2026-01-20T00:00"})
    assert form.is_valid()
    plan = form.events().order_by("-id").explain()
    touched = set(re.findall(r"audit_logs_(\w+?)(?:_pkey|_id|_type| |$)", plan))
    pages = superuser.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    ).fetchone()
    assert pages
    assert pages[0] > 3
    assert touched == {"other"}


# --- one event --------------------------------------------------------------------------------------


def test_page_of_an_event_has_all_of_it(reader: Client, ada: Person) -> None:
    event_id = happened(Event.LOGIN_FAILED, of=ada.id, email="<b>x@example.com", note="<script>")
    response = reader.get(f"{LIST}{event_id}/change/")
    body = response.content.decode()
    for fact in (
        "A sign-in failed.", "login.failed", str(ada.id), "203.0.113.9", "Firefox on Linux", "request-1",
        "&lt;b&gt;x@example.com", "&lt;script&gt;", "as they were recorded", str(event_id),
    ):  # fmt: skip
        assert fact in body


def test_changed_and_erased_personal_data_are_told(reader: Client, superuser: psycopg.Connection) -> None:
    page = f"{LIST}{happened(Event.LOGIN_FAILED)}/change/"
    superuser.execute("UPDATE audit_personal_data SET ip_address = '203.0.113.10'")
    assert "not as they were recorded" in says(reader.get(page))
    superuser.execute("DELETE FROM audit_personal_data")
    assert "Personal data erased" in says(reader.get(page))
    assert "Firefox" not in says(reader.get(LIST))


@pytest.mark.parametrize("event_id", ["1", "x" * 40, "00000000-0000-7000-8000-000000000000", "%00"])
def test_unknown_event_is_not_found(reader: Client, event_id: str) -> None:
    assert reader.get(f"{LIST}{event_id}/change/").status_code == 404


# --- the export -------------------------------------------------------------------------------------


def exported(response: Any) -> str:
    assert response.status_code == 200
    assert response.streaming
    return b"".join(response.streaming_content).decode()


def test_export_is_what_the_filter_shows(olga: Client, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "BATCH_SIZE", 2)
    ids = [str(happened(Event.PASSWORD_RESET, of=ada.id, email="ä@example.com", kind=n)) for n in range(5)]
    happened(Event.PASSWORD_RESET, at=timezone.now() - timedelta(days=9))
    asked = {"type": "password.reset"}
    lines = exported(olga.post(EXPORT, asked | {"format": "jsonl"})).splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    assert json.loads(lines[3]) == {
        "id": ids[3], "at": json.loads(lines[3])["at"], "type": "password.reset", "summary": json.loads(lines[3])["summary"],
        "creator_id": str(ada.id), "ip_address": "203.0.113.9", "user_agent": FIREFOX, "email": "ä@example.com",
        "request_id": "request-1", "detail": {"kind": 3},
    }  # fmt: skip
    response = olga.post(EXPORT, asked | {"format": "csv"})
    assert re.fullmatch(r'attachment; filename="audit-\d{8}-\d{6}\.csv"', response["Content-Disposition"])
    rows = list(csv.DictReader(io.StringIO(exported(response))))
    assert [row["id"] for row in rows] == ids
    assert json.loads(rows[3]["detail"]) == {"kind": 3}
    assert datetime.fromisoformat(rows[3]["at"]).tzinfo == UTC


def test_export_that_is_read_after_the_request_speaks_as_the_operator(
    olga: Client, ada: Person, bob: Person
) -> None:
    for person in (ada, bob):
        happened(Event.PASSWORD_RESET, of=person.id)
    response = olga.post(EXPORT, {"type": "password.reset", "format": "jsonl"})
    with tenant_scope(ada.id):
        assert len(exported(response).splitlines()) == 2


@pytest.mark.parametrize(
    ("first", "shown"),
    [*((one, f"'{one}") for one in "=+-@\uff1d"), ("\t", "\\u0009"), ("\r", "\\u000d"), ("\n", "\\u000a")],
)
def test_no_cell_of_an_export_is_a_formula(olga: Client, first: str, shown: str) -> None:
    happened(Event.PASSWORD_RESET, email=f"{first}cmd|' /C calc'!A0", agent=f"{first}1+1")
    response = olga.post(EXPORT, {"type": "password.reset", "format": "csv"})
    (row,) = csv.DictReader(io.StringIO(exported(response), newline=""))
    assert (row["email"], row["user_agent"]) == (f"{shown}cmd|' /C calc'!A0", f"{shown}1+1")


UNSEEN = "a\u202eb\u2066c\x1b[2Jd\u200be\U000e0041f"
SPELT = "a\\u202eb\\u2066c\\u001b[2Jd\\u200be\\udb40\\udc41f"


def test_what_strangers_chose_is_shown_with_all_its_characters(olga: Client, api: API, ada: Person) -> None:
    """What is kept, and what the API gives to programs, stays as it was given."""
    event = happened(Event.ACCOUNT_VIEWED, of=ada.id, email=UNSEEN, agent=UNSEEN, reason=UNSEEN)
    happened(Event.LOGIN_FAILED, email=UNSEEN, agent=UNSEEN)
    for page in (f"{LIST}?type=account.viewed", f"{LIST}{event}/change/", OVERVIEW):
        text = olga.get(page).content.decode()
        assert SPELT in text, page
        assert not set(UNSEEN) & set(text) - set("abcdef[2J"), page
    (row,) = csv.DictReader(
        io.StringIO(exported(olga.post(EXPORT, {"type": "account.viewed", "format": "csv"})))
    )
    assert (row["email"], row["user_agent"], json.loads(row["detail"])) == (SPELT, SPELT, {"reason": UNSEEN})
    (found, *_) = api.get("/api/v1/audit/events?type=account.viewed", token=ada.access).json()["results"]
    assert (found["user_agent"], found["detail"]) == (UNSEEN, {"reason": UNSEEN})


def test_letters_of_all_scripts_are_shown_as_they_are(olga: Client) -> None:
    text = "Ä ß 日本 עברית می\u200cخوا \U0001f469\u200d\U0001f4bb"  # noqa: RUF001
    event = happened(Event.ACCOUNT_VIEWED, reason=text)
    assert text in olga.get(f"{LIST}{event}/change/").content.decode()


def test_export_is_recorded_on_the_operators_own_account(
    olga: Client, superuser_olga: Person, ada: Person
) -> None:
    asked = {"type": "login.failed", "creator": str(ada.id), "address": "203.0.113.9", "format": "csv"}
    exported(olga.post(EXPORT, asked))
    with using_alias(OPERATOR):
        event = AuditLog.objects.get(type="audit.exported")
    assert event.creator_id == superuser_olga.id
    assert event.detail["format"] == "csv"
    found = event.detail["filter"]
    assert (found["type"], found["creator"], found["address"]) == ("login.failed", str(ada.id), "given")


def test_export_asks_again_who_it_is(superuser_olga: Person) -> None:
    client = enter(superuser_olga)
    page = f"{LIST}?type=token.reused"
    sent = client.post(EXPORT, {"format": "csv"}, headers={"Referer": f"http://testserver{page}"})
    assert sent.status_code == 302
    assert sent["Location"].startswith("/admin/confirm/")
    with using_alias(OPERATOR):
        assert not AuditLog.objects.filter(type="audit.exported").exists()
    confirm(client, superuser_olga)
    assert exported(client.post(EXPORT, {"format": "csv"}))


@pytest.mark.parametrize("asked", [{}, {"format": "xls"}, {"format": "csv", "type": "nonsense"}])
def test_bad_export_is_refused_and_not_recorded(olga: Client, asked: dict[str, str]) -> None:
    assert olga.post(EXPORT, asked).status_code == 400
    assert olga.get(EXPORT).status_code == 405
    with using_alias(OPERATOR):
        assert not AuditLog.objects.filter(type="audit.exported").exists()


def test_export_ends_though_events_come_in(olga: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "BATCH_SIZE", 1)
    happened(Event.PASSWORD_RESET)
    batches = iter(olga.post(EXPORT, {"type": "password.reset", "format": "jsonl"}).streaming_content)
    assert next(batches)
    happened(Event.PASSWORD_RESET)
    assert list(batches) == []


def test_export_is_offered_to_those_who_may(reader: Client, olga: Client) -> None:
    assert EXPORT in olga.get(LIST).content.decode()
    assert EXPORT not in reader.get(LIST).content.decode()


# --- the overview -----------------------------------------------------------------------------------


def test_overview_counts_by_hour_and_day(reader: Client) -> None:
    from audit.admin.overview import overview

    now = timezone.now()
    for hours, count in {0: 3, 23: 2, 24: 1, 167: 4, 168: 5}.items():
        for _ in range(count):
            happened(Event.LOGIN_FAILED, at=now - timedelta(hours=hours))
    found = overview(now).by_event[Event.LOGIN_FAILED]
    assert {hour: count for hour, count in enumerate(reversed(found.counts)) if count} == {
        0: 3,
        23: 2,
        24: 1,
        167: 4,
    }
    assert (found.today, found.day_before) == (5, 1)
    assert "5 in 24 hours; 1 in the 24 before" in says(reader.get(OVERVIEW))


def test_overview_names_who_fails_most(reader: Client, ada: Person) -> None:
    for number in range(12):
        for _ in range(number + 1):
            happened(Event.LOGIN_FAILED, ip=f"198.51.100.{number}", email=f"nobody-{number}@example.com")
    happened(Event.LOGIN_FAILED, of=ada.id, email=ada.email, ip="198.51.100.11")
    happened(Event.LOGIN_FAILED, of=ada.id, email=ada.email, ip=None)
    happened(
        Event.LOGIN_FAILED, at=timezone.now() - timedelta(hours=25), email="long@example.com", ip="192.0.2.1"
    )
    page = says(reader.get(OVERVIEW))
    assert "Address Failures Accounts 198.51.100.11 13 2 198.51.100.10 11 1" in page
    assert "198.51.100.2 3 1" in page
    assert "198.51.100.1 2 1" not in page  # the eleventh
    assert "nobody-11@example.com no account 12 1" in page
    assert "long@example.com" not in page
    assert "192.0.2.1" not in page


def test_an_attack_does_not_make_its_overview_slow(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest failures are counted by who, and the page says since when."""
    monkeypatch.setattr("audit.admin.overview.FAILURES_LOOKED_AT", 3)
    now = timezone.now()
    for minutes in range(1, 9):
        happened(Event.LOGIN_FAILED, at=now - timedelta(minutes=minutes), email="x@example.com")
    page = says(reader.get(OVERVIEW))
    assert f"Failed sign-ins Since {now - timedelta(minutes=3):%Y-%m-%d %H:%M} UTC." in page
    assert "x@example.com no account 3 1" in page


def test_overview_says_when_sealing_is_late(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    late = "Events have waited for their seal"
    happened(Event.LOGIN_FAILED)
    assert late not in says(reader.get(OVERVIEW))
    monkeypatch.setattr("audit.admin.overview.SEALED_WITHIN", timedelta(0))
    assert late in says(reader.get(OVERVIEW))


def test_overview_of_an_empty_book_is_whole(reader: Client, superuser: psycopg.Connection) -> None:
    page = reader.get(OVERVIEW)
    assert page.status_code == 200
    assert says(page).count("None at all.") >= 8


def test_charts_have_words_and_numbers_for_who_cannot_see_them(reader: Client) -> None:
    happened(Event.LOGIN_SUCCEEDED)
    body = reader.get(OVERVIEW).content.decode()
    for chart in re.findall(r"<svg class=\"chart.*?</svg>", body, re.DOTALL):
        title, description = re.search(r'aria-labelledby="(\S+) (\S+)"', chart).groups()  # type: ignore[union-attr]
        assert re.search(rf'<title id="{title}">\S.*</title>', chart)
        assert re.search(rf'<desc id="{description}">\S.*</desc>', chart)
    assert body.count('<svg class="chart') == 11
    assert len(re.findall(r"<tr><th scope=\"row\">\d{4}-\d\d-\d\d \d\d:00</th>", body)) == 168


def test_charts_need_no_style_or_script_of_their_own(reader: Client) -> None:
    response = reader.get(OVERVIEW, headers={"Accept-Language": "de"})
    body = response.content.decode()
    assert "style=" not in body
    assert not re.search(r"<script(?![^>]*src=)", body)
    assert not re.search(r'(width|height|x|y)="\d+,\d', body)  # German has a comma there
    assert "style-src 'self'" in response["Content-Security-Policy"]


def test_overview_is_linked_from_the_first_page_for_those_who_may(reader: Client) -> None:
    assert OVERVIEW in reader.get("/admin/").content.decode()
    assert OVERVIEW not in staff("nothing").get("/admin/").content.decode()


# --- a full book ------------------------------------------------------------------------------------


def test_made_up_book_is_as_if_written_by_the_service(superuser: psycopg.Connection) -> None:
    populate_audit_log(superuser, events=300)
    with using_alias(OPERATOR):
        listed = queries.entries(AuditLog.objects.using(OPERATOR).all())
        assert len(listed) == PersonalData.objects.count() == 300
    assert all(line.is_intact for line in listed)
    assert all(line.event.pk.version == 7 and line.event.type in set(Event) for line in listed)


@pytest.mark.parametrize(
    "asked", ["type=token.reused", "address=198.51.100.2", "request=019a0000000070008000000000000000"]
)
def test_filters_use_an_index(superuser: psycopg.Connection, asked: str) -> None:
    populate_audit_log(superuser, events=20_000, days=2)
    superuser.execute("ANALYZE audit_logs, audit_personal_data")
    form = EventFilter(dict([asked.split("=")]))
    assert form.is_valid()
    plan = form.events().order_by("-id")[:51].explain()
    scanned = re.findall(r"Seq Scan on (\S+).*rows=(\d+)", plan)
    assert [table for table, rows in scanned if int(rows) > 1] == []  # of next month's, there are none
