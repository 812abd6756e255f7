"""Whatever is sent to whatever door: a documented refusal as RFC 9457 wants it, and never a 500."""

import json
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory

from accounts.services import api_keys
from config.tests.support.accounts import Person, no_lockout
from config.tests.support.client import API
from config.tests.support.requests import AUTH, BODIES, EMAIL, PASSWORD, TOKEN, UID, assert_problem
from tenancy.context import OPERATOR, using_alias

LIMIT = 64 * 1024
FORM_DOORS = (f"{AUTH}token/introspect", f"{AUTH}token/revoke")
BODILESS = f"{AUTH}logout/all"
GETS = {
    f"{AUTH}me": {"GET", "HEAD", "PATCH", "OPTIONS"},
    f"{AUTH}me/export": {"GET", "HEAD", "OPTIONS"},
    f"{AUTH}sessions": {"GET", "HEAD", "OPTIONS"},
    f"{AUTH}sessions/{uuid4()}": {"DELETE", "OPTIONS"},
    "/api/v1/end-users/sessions": {"GET", "HEAD", "POST", "OPTIONS"},
    f"/api/v1/end-users/sessions/{uuid4()}": {"DELETE", "OPTIONS"},
    "/api/v1/audit/events": {"GET", "HEAD", "OPTIONS"},
    "/.well-known/jwks.json": {"GET", "HEAD", "OPTIONS"},
    "/healthz": {"GET", "HEAD", "OPTIONS"},
    "/readyz": {"GET", "HEAD", "OPTIONS"},
}
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "FOO",
    "post",
)

BROKEN = {
    "nothing": b"",
    "half an object": b"{",
    "no value": b'{"email":}',
    "a trailing comma": b'{"email": "a@example.com",}',
    "two objects": b"{}{}",
    "single quotes": b"{'email': 'a@example.com'}",
    "a word": b"nul",
    "NaN": b'{"password": NaN}',
    "Infinity": b'{"password": -Infinity}',
    "a number beyond all floats": b'{"password": 1e400, "metadata": {"a": 1e400}}',
    "an integer of 5000 digits": b'{"password": ' + b"9" * 5000 + b"}",
    "invalid UTF-8": b'{"email": "\xff\xfe"}',
    "invalid UTF-8 in a good password": b'{"password": "a lovely sentence \xff"}',
    "an overlong NUL": b'{"email": "a\xc0\x80@example.com"}',
    "a CESU-8 surrogate": b'{"email": "\xed\xa0\x80"}',
    "UTF-16": '{"email": "a@example.com"}'.encode("utf-16"),
    "a byte order mark": '\ufeff{"email": "a@example.com"}'.encode(),
    "a bare control character": b'{"email": "a\x01b"}',
    "a lone surrogate": b'{"email": "\\ud800"}',
    "a lone surrogate in a name": b'{"\\udfff": 1}',
    "surrogates in the wrong order": b'{"password": "\\udc00\\ud800"}',
    "deep arrays": b"[" * 20_000 + b"]" * 20_000,
    "deep objects": b'{"metadata":' * 4_000 + b"{}" + b"}" * 4_000,
    "an array": b"[]",
    "an array of objects": b'[{"email": "a@example.com"}]',
    "a text": b'"email"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "an empty object": b"{}",
}  # fmt: skip
ODD = {
    "null": None, "true": True, "a list": ["x"], "an object": {"x": "y"}, "an empty list": [], "NUL": "a\0b",
    "empty": "",
}  # fmt: skip
OPTIONAL_AND_EMPTY = {"display_name", "email"}  # of password/validate


@pytest.fixture(autouse=True)
def nobody_is_locked(settings: Any, transactional_db: None) -> None:
    no_lockout(settings)


@pytest.fixture
def bearer(ada: Person) -> str:
    return ada.access


@pytest.fixture
def key(transactional_db: None) -> str:
    with using_alias(OPERATOR):
        return str(api_keys.create_api_key("a resource server"))


STRICT = Client(raise_request_exception=False, enforce_csrf_checks=True)
LENIENT = Client(raise_request_exception=False)  # for forms without their CSRF token


def send(method: str, path: str, body: bytes = b"", *, token: str = "", **more: Any) -> Any:
    kind = more.pop("content_type", "application/json")
    headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    client = LENIENT if path.startswith("/account/") else STRICT
    client.cookies.clear()
    return client.generic(method, path, body, content_type=kind, headers=headers, **more)


def test_broken_body_is_refused(bearer: str) -> None:
    for door in BODIES:
        for why, body in BROKEN.items():
            response = send("POST", door, body, token=bearer)
            assert_problem(response, 400, "invalid_input", why)
            assert response["Cache-Control"] == "no-store"


def test_impossible_value_is_refused_by_the_name_of_its_field(bearer: str) -> None:
    for door, good in BODIES.items():
        for field in good:
            for why, value in ODD.items():
                if why == "empty" and field in OPTIONAL_AND_EMPTY and door.endswith(("register", "validate")):
                    continue
                if field == "metadata" and why == "an object":
                    continue
                if field == "email" and why == "empty":
                    continue
                body = json.dumps(good | {field: value}).encode()
                problem = assert_problem(
                    send("POST", door, body, token=bearer), 400, "invalid_input", (field, why)
                )
                assert {error["field"] for error in problem["errors"]} == {field}, (field, why)


def test_text_is_not_made_of_numbers(bearer: str) -> None:
    """A password of 1.10 would be kept as "1.1": not what was sent."""
    for door, good in BODIES.items():
        for field in good:
            for value in (123456789012345678, 1.10, 10**300):
                body = json.dumps(good | {field: value}).encode()
                problem = assert_problem(
                    send("POST", door, body, token=bearer), 400, "invalid_input", (door, field)
                )
                assert {error["field"] for error in problem["errors"]} == {field}


def test_missing_field_is_named(bearer: str) -> None:
    for door, good in BODIES.items():
        for field in set(good) - {"display_name", "metadata"}:
            if field == "email" and door.endswith("validate"):
                continue
            body = json.dumps({name: value for name, value in good.items() if name != field}).encode()
            problem = assert_problem(send("POST", door, body, token=bearer), 400, "invalid_input", field)
            assert problem["errors"][0] | {"detail": ""} == {"field": field, "code": "required", "detail": ""}


def test_strange_but_legal_json_is_no_bug(bearer: str) -> None:
    for door, good in BODIES.items():
        first = next(iter(good))
        for body in (
            json.dumps(good | {"more": "x" * 1000, "__proto__": {"a": 1}, "": None}).encode(),
            json.dumps(good).replace("{", f'{{"{first}": "first", ', 1).encode(),  # twice the same name
            json.dumps(good | {"list": list(range(5000))}).encode(),
            json.dumps(good, indent=8).encode(),
            json.dumps(good | {first: "x" * 60_000}).encode(),
            json.dumps(good | {first: "\u202e\ufeff\u0007" * 20}).encode(),
            json.dumps(good | {"deep": [[[[[[[]]]]]]]}).encode(),
        ):
            assert send("POST", door, body, token=bearer).status_code in {
                200,
                201,
                202,
                204,
                400,
                401,
                403,
                404,
                429,
            }


OTHER_KINDS = (
    "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=x", "application/jsonp", "text/json", "application/*", "*/*", "rubbish", "",
)  # fmt: skip


def test_other_content_types_are_refused(bearer: str) -> None:
    for door, good in BODIES.items():
        body = json.dumps(good).encode()
        for kind in OTHER_KINDS:
            assert_problem(
                send("POST", door, body, token=bearer, content_type=kind), 415, "unsupported_media_type", kind
            )
        for kind in (
            "application/json; charset=utf-8",
            "APPLICATION/JSON",
            "application/json;charset=rubbish",
        ):
            assert send("POST", door, body, token=bearer, content_type=kind).status_code != 415, kind


def test_doors_for_forms_take_forms(key: str) -> None:
    for door in FORM_DOORS:
        form = "application/x-www-form-urlencoded"
        assert_problem(send("POST", door, b'{"token": "x"}', token=key), 415, "unsupported_media_type")
        assert send("POST", door, b"token=x", token=key, content_type=form).status_code == 200
        for body in (b"", b"token=", b"token=%00", b"other=x"):
            assert_problem(send("POST", door, body, token=key, content_type=form), 400, "invalid_input", body)
        for body in (
            b"token=%ff%fe",
            b"token=%ED%A0%80",
            b"token=x&token=y",
            b"token=" + b"a" * 60_000,
            b"token=a.b.c",
        ):
            assert send("POST", door, body, token=key, content_type=form).status_code in {200, 400}, body
        many = b"&".join(b"a%d=x" % number for number in range(3000))
        assert send("POST", door, many, token=key, content_type=form).status_code == 400


def test_long_bodies_are_refused_and_the_longest_are_not(bearer: str) -> None:
    for door in [*BODIES, *FORM_DOORS, BODILESS, "/account/password-reset/", "/nowhere"]:
        assert_problem(send("POST", door, b" " * (LIMIT + 1), token=bearer), 413, "body_too_large")
        longest = send("POST", door, b'{"a": "' + b"x" * (LIMIT - 9) + b'"}', token=bearer)
        assert longest.status_code not in {413, 500}


def test_bodies_without_a_length_are_refused(bearer: str) -> None:
    for door in [*BODIES, *FORM_DOORS, BODILESS]:
        for value in ("chunked", "gzip, chunked", "identity", "rubbish"):
            response = send("POST", door, b"{}", token=bearer, headers={"Transfer-Encoding": value})
            assert_problem(response, 411, "length_required", value)


LENGTHS = {
    "-1": 400, "abc": 400, "1e3": 400, "0x10": 400, "1 2": 400, "+5": 400, "\u0661": 400,
    "9" * 4000: 413, "9" * 5000: 413,
}  # fmt: skip


def test_lengths_that_are_none_are_refused() -> None:
    for length, status in LENGTHS.items():
        response = send("POST", f"{AUTH}login", b"{}", CONTENT_LENGTH=length)
        assert_problem(response, status, {400: "invalid_input", 413: "body_too_large"}[status], length[:9])


ALLOWED = dict.fromkeys((*BODIES, *FORM_DOORS, BODILESS), frozenset({"POST", "OPTIONS"})) | GETS


def test_other_methods_are_refused(bearer: str, key: str) -> None:
    for door, allowed in ALLOWED.items():
        own = key if door in FORM_DOORS else bearer
        for method in METHODS:
            if method.upper() in allowed:
                continue
            for token in (own, "", "rubbish"):
                response = send(method, door, b"{}", token=token)
                if method == "HEAD":
                    assert (response.status_code, response.content) == (405, b""), door
                else:
                    assert_problem(response, 405, "method_not_allowed", (door, method, token))
                assert set(response["Allow"].split(", ")) <= allowed, (door, method)
        if "OPTIONS" in allowed:
            assert send("OPTIONS", door, token=own).status_code == 200, door


def test_slash_at_the_end_is_another_address(bearer: str) -> None:
    for door in [*ALLOWED, "/api/schema"]:
        for method in ("GET", "POST", "DELETE"):
            assert_problem(send(method, f"{door}/", b"{}", token=bearer), 404, "not_found", method)


NOWHERE = (
    "/api", "/api/", "/api/v1", "/api/v1/auth/", "/api/v2/auth/login", "/api/v1/auth//login", "/api/v1/auth/LOGIN",
     "/api/v1/auth/sessions/1", "/api/v1/auth/sessions/x%00", "/api/v1/auth/%ff%fe", "/api/v1/auth/login%00",
     "/api/v1/auth/../auth/login2", "/api/v1/auth/%2e%2e/login", "/%", "/\u00e9", "/.well-known/", "/nowhere",
)  # fmt: skip


def test_unknown_addresses_are_not_found(bearer: str) -> None:
    for path in NOWHERE:
        for method in ("GET", "POST", "FOO"):
            assert_problem(send(method, path, token=bearer), 404, "not_found", method)


QUERIES = (
    "cursor=x", "cursor=%00", "cursor=%ff", "cursor=cD0x", "cursor=bz0tMQ==", "cursor=" + "A" * 5000, "limit=-1",
    "page_size=x", "format=xml", "format=json", "type=x", "type=%00", "type=login.failed&type=x", "after=x", "after=0",
    "after=9999-12-31T23:59:59%2B00:00", "before=0001-01-01T00:00:00%2B23:59", "before=9999-12-31T23:59:59-23:59",
    "after=2020-13-45", "after=%00", "cursor=cD1hJm89MQ==",
)  # fmt: skip


QUERIED = ("/api/v1/audit/events", f"{AUTH}sessions", "/api/v1/end-users/sessions", f"{AUTH}me", "/healthz")


def test_hostile_queries_are_answered(bearer: str) -> None:
    for door in QUERIED:
        for query in QUERIES:
            response = send("GET", f"{door}?{query}", token=bearer)
            assert response.status_code in {200, 400, 404}, (
                query,
                response.status_code,
                response.content[:300],
            )
            if response.status_code != 200:
                assert response["Content-Type"] == "application/problem+json", query


HEADERS: dict[str, list[str]] = {
    "Authorization": [
        "Bearer",
        "Bearer ",
        "Bearer " + "a" * 20_000,
        "bearer \xff\xfe",
        "Basic Zm9vOmJhcg==",
        "\x00",
    ],
    "X-Request-ID": ["x", "x" * 65, "a b c d e f g", "é" * 10, "<script>alert(1)</script>", "\x00" * 10],
    "X-Forwarded-For": ["", "x", "1.2.3.4, x", ",,,", "::1%eth0", "\xff", "1" * 5000],
    "Accept": ["", "text/html", "*/*;q=0", "application/json;q=rubbish", "rubbish", "x/" * 500],
    "Accept-Language": ["", "*", "x" * 5000, "de;q=9", "\xff", "../../etc/passwd", "en-" * 300],
    "Accept-Encoding": ["rubbish", "gzip;q=-1"],
    "Cookie": ["", "=", "csrftoken=\xff", "sessionid=x", "a" * 5000, "sessionid=" + "x" * 500],
    "User-Agent": ["", "\x00\x01\x02", "\xff\xfe", "x" * 20_000, "a\tb", "'; DROP TABLE creators; --"],
    "Origin": ["null", "rubbish", "https://mallory.example", "\xff"],
    "Referer": ["rubbish", "\xff", "http://[::1"],
    "X-Forwarded-Proto": ["https", "rubbish"],
    "X-HTTP-Method-Override": ["DELETE", "GET"],
    "Content-Encoding": ["gzip"],
    "If-None-Match": ["*", "rubbish"],
    "Range": ["bytes=0-1"],
    "Expect": ["rubbish"],
}


def test_hostile_headers_change_nothing_but_the_answer(ada: Person) -> None:
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    for name, values in HEADERS.items():
        for value in values:
            refused = send("POST", f"{AUTH}login", body, headers={name: value})
            assert refused.status_code == 401, (value, refused.content[:300])
            assert_problem(refused, refused.status_code, refused.json()["code"], value)
            signed_up = send("POST", f"{AUTH}register", body, headers={name: value})
            assert signed_up.status_code == 202, value
            page = send("GET", "/account/password-reset/", headers={name: value})
            assert page.status_code == 200, value
            if name != "Authorization":
                me = send("GET", f"{AUTH}me", headers={name: value}, token=ada.access)
                assert me.status_code == 200, value


HOSTS = ("mallory.example", "", "a b", "[::1", "x" * 300, "\xff", "%00")


def test_foreign_hosts_are_refused(ada: Person, key: str) -> None:
    login = json.dumps({"email": ada.email, "password": ada.password}).encode()
    for host in HOSTS:
        assert_problem(send("POST", f"{AUTH}login", login, HTTP_HOST=host), 400, "invalid_input", host)
        me = send("GET", f"{AUTH}me", token=ada.access, HTTP_HOST=host)
        assert_problem(me, 400, "invalid_input", host)
        assert send("GET", "/account/password-reset/", HTTP_HOST=host).status_code == 400
    assert send("GET", f"{AUTH}me", token=ada.access).status_code == 200


def test_request_id_of_the_client_does_not_come_back(api: API) -> None:
    for given in ("trace-0123456789", "short", "x" * 65, "with space", "new\tline-or-so"):
        assert api.get("me", **{"X-Request-ID": given})["X-Request-ID"] != given


def test_bodies_that_end_early_are_refused() -> None:
    """Content-Length says more than comes."""
    half = b'{"email": "a@'
    environ = RequestFactory().post(f"{AUTH}login", half, content_type="application/json").environ
    answers: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        answers.append(status)

    application = WSGIHandler()
    body = b"".join(
        application(environ | {"CONTENT_LENGTH": "5000", "wsgi.input": BytesIO(half)}, start_response)
    )
    assert answers == ["400 Bad Request"]
    assert json.loads(body)["code"] == "invalid_input"


PAGE_BODIES: list[tuple[bytes, str]] = [
    (b"", "application/x-www-form-urlencoded"),
    (b"email=%ff%fe&password=%ff", "application/x-www-form-urlencoded"),
    (b"email=%00&password=%00&new_password=%00", "application/x-www-form-urlencoded"),
    (b"&".join(b"a%d=x" % number for number in range(3000)), "application/x-www-form-urlencoded"),
    (b"rubbish", "multipart/form-data; boundary=x"),
    (b"rubbish", "multipart/form-data"),
    (b"--x\r\nContent-Disposition: form-data; name=\"password\"; filename=\"a\"\r\n\r\nb\r\n--x--\r\n",
     "multipart/form-data; boundary=x"),
    (b'{"password": "x"}', "application/json"),
    (b"email=a", "application/x-www-form-urlencoded; charset=rubbish"),
    (b"email=a", "application/x-www-form-urlencoded; charset=utf-16"),
]  # fmt: skip


PAGES = (
    "/account/password-reset/", f"/account/reset/{UID}/{TOKEN}/", f"/account/verify-email/{UID}/{TOKEN}/",
     f"/account/email-change/{UID}/{TOKEN}/", f"/account/email-change/undo/{UID}/{TOKEN}/",
)  # fmt: skip


def test_pages_refuse_hostile_forms() -> None:
    for page in PAGES:
        for body, kind in PAGE_BODIES:
            response = send("POST", page, body, content_type=kind)
            assert response.status_code in {200, 400}, (kind, body[:40])
            assert response["Content-Type"].startswith("text/html")
            assert "X-Request-ID" in response
        for method in ("PUT", "DELETE", "FOO", "TRACE", "OPTIONS"):
            assert send(method, page).status_code == 405


def test_deep_metadata_is_refused_before_it_hurts(ada: Person) -> None:
    door, start = "/api/v1/end-users/sessions", b'{"creator": "%s", "metadata": ' % str(ada.id).encode()
    assert send("POST", door, start + b'{"":' * 60 + b"1" + b"}" * 61).status_code == 201
    for depth in (70, 500, 600, 700, 750, 790):
        for opening, closing in ((b'{"":', b"}"), (b"[", b"]")):
            body = start + b'{"":' + opening * depth + b"1" + closing * depth + b"}}"
            assert_problem(send("POST", door, body), 400, "invalid_input", (depth, closing))


def test_metadata_that_postgresql_can_not_hold_are_refused(ada: Person) -> None:
    door, start = "/api/v1/end-users/sessions", b'{"creator": "%s", "metadata": ' % str(ada.id).encode()
    for value in (
        b"1e400",
        b"-1e400",
        b"NaN",
        b'"\\ud800"',
        b'"a\\udc00"',
        b'"\\u0000"',
        b'{"\\u0000": 1}',
        b'{"\\udfff": 1}',
    ):
        assert_problem(send("POST", door, start + b'{"a": ' + value + b"}}"), 400, "invalid_input", value)
    for value in (b"1e300", b"-0", b'"\\ud83c\\udf38"', b'"\\\\u0000"', b"9" * 400):
        assert send("POST", door, start + b'{"a": ' + value + b"}}").status_code == 201, value
