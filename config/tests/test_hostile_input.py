"""Malformed and hostile requests get a documented problem (RFC 9457) from every endpoint, never a 500."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory

from accounts.api.openapi_examples import BY_NAME
from accounts.services import api_keys, end_users
from config.tests.support.accounts import Person, no_lockout
from config.tests.support.client import API
from config.tests.support.requests import assert_problem
from config.tests.support.urls import POST_BODIES, allowed_methods
from tenancy.context import OPERATOR, using_alias

MAX_BODY_BYTES = 64 * 1024
EMAIL, PASSWORD = "zoe@example.com", "a lovely sentence"
UID, TOKEN = BY_NAME["uid"], BY_NAME["token"]
AUTH = "/api/v1/auth/"
FORM_PATHS = (f"{AUTH}token/introspect", f"{AUTH}token/revoke")
BODILESS = f"{AUTH}logout/all"
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
def no_account_is_locked(settings: Any, transactional_db: None) -> None:
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


def send(method: str, path: str, body: bytes = b"", *, token: str = "", **options: Any) -> Any:
    kind = options.pop("content_type", "application/json")
    headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    client = LENIENT if path.startswith("/account/") else STRICT
    client.cookies.clear()
    return client.generic(method, path, body, content_type=kind, headers=headers, **options)


def test_broken_body_is_refused(bearer: str) -> None:
    for path in POST_BODIES:
        for case, body in BROKEN.items():
            response = send("POST", path, body, token=bearer)
            assert_problem(response, 400, "invalid_input", case)
            assert response["Cache-Control"] == "no-store"


def test_impossible_value_is_refused_by_the_name_of_its_field(bearer: str) -> None:
    for path, valid in POST_BODIES.items():
        for field in valid:
            for case, value in ODD.items():
                if (
                    case == "empty"
                    and field in OPTIONAL_AND_EMPTY
                    and path.endswith(("register", "validate"))
                ):
                    continue
                if field == "metadata" and case == "an object":
                    continue
                if field == "email" and case == "empty":
                    continue
                body = json.dumps(valid | {field: value}).encode()
                problem = assert_problem(
                    send("POST", path, body, token=bearer), 400, "invalid_input", (field, case)
                )
                assert {error["field"] for error in problem["errors"]} == {field}, (field, case)


def test_number_is_not_accepted_as_text(bearer: str) -> None:
    """A password of 1.10 would become "1.1", which is not what was sent."""
    for path, valid in POST_BODIES.items():
        for field in valid:
            for value in (123456789012345678, 1.10, 10**300):
                body = json.dumps(valid | {field: value}).encode()
                problem = assert_problem(
                    send("POST", path, body, token=bearer), 400, "invalid_input", (path, field)
                )
                assert {error["field"] for error in problem["errors"]} == {field}


def test_missing_field_is_named(bearer: str) -> None:
    for path, valid in POST_BODIES.items():
        for field in set(valid) - {"display_name", "metadata"}:
            if field == "email" and path.endswith("validate"):
                continue
            body = json.dumps({name: value for name, value in valid.items() if name != field}).encode()
            problem = assert_problem(send("POST", path, body, token=bearer), 400, "invalid_input", field)
            assert problem["errors"][0] | {"detail": ""} == {"field": field, "code": "required", "detail": ""}


def test_unusual_but_valid_json_is_handled(bearer: str) -> None:
    for path, valid in POST_BODIES.items():
        first = next(iter(valid))
        for body in (
            json.dumps(valid | {"more": "x" * 1000, "__proto__": {"a": 1}, "": None}).encode(),
            json.dumps(valid).replace("{", f'{{"{first}": "first", ', 1).encode(),  # a duplicate name
            json.dumps(valid | {"list": list(range(5000))}).encode(),
            json.dumps(valid, indent=8).encode(),
            json.dumps(valid | {first: "x" * 60_000}).encode(),
            json.dumps(valid | {first: "\u202e\ufeff\u0007" * 20}).encode(),
            json.dumps(valid | {"deep": [[[[[[[]]]]]]]}).encode(),
        ):
            assert send("POST", path, body, token=bearer).status_code in {
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


OTHER_CONTENT_TYPES = (
    "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=x", "application/jsonp", "text/json", "application/*", "*/*", "rubbish", "",
)  # fmt: skip


def test_other_content_type_is_refused(bearer: str) -> None:
    for path, valid in POST_BODIES.items():
        body = json.dumps(valid).encode()
        for kind in OTHER_CONTENT_TYPES:
            assert_problem(
                send("POST", path, body, token=bearer, content_type=kind), 415, "unsupported_media_type", kind
            )
        for kind in (
            "application/json; charset=utf-8",
            "APPLICATION/JSON",
            "application/json;charset=rubbish",
        ):
            assert send("POST", path, body, token=bearer, content_type=kind).status_code != 415, kind


def test_form_endpoints_accept_only_forms(key: str) -> None:
    for path in FORM_PATHS:
        form = "application/x-www-form-urlencoded"
        assert_problem(send("POST", path, b'{"token": "x"}', token=key), 415, "unsupported_media_type")
        assert send("POST", path, b"token=x", token=key, content_type=form).status_code == 200
        for body in (b"", b"token=", b"token=%00", b"other=x"):
            assert_problem(send("POST", path, body, token=key, content_type=form), 400, "invalid_input", body)
        for body in (
            b"token=%ff%fe",
            b"token=%ED%A0%80",
            b"token=x&token=y",
            b"token=" + b"a" * 60_000,
            b"token=a.b.c",
        ):
            assert send("POST", path, body, token=key, content_type=form).status_code in {200, 400}, body
        many = b"&".join(b"a%d=x" % number for number in range(3000))
        assert send("POST", path, many, token=key, content_type=form).status_code == 400


def test_body_above_the_maximum_is_refused(bearer: str) -> None:
    for path in [*POST_BODIES, *FORM_PATHS, BODILESS, "/account/password-reset/", "/nowhere"]:
        assert_problem(send("POST", path, b" " * (MAX_BODY_BYTES + 1), token=bearer), 413, "body_too_large")
        longest = send("POST", path, b'{"a": "' + b"x" * (MAX_BODY_BYTES - 9) + b'"}', token=bearer)
        assert longest.status_code not in {413, 500}


def test_body_without_length_is_refused(bearer: str) -> None:
    for path in [*POST_BODIES, *FORM_PATHS, BODILESS]:
        for value in ("chunked", "gzip, chunked", "identity", "rubbish"):
            response = send("POST", path, b"{}", token=bearer, headers={"Transfer-Encoding": value})
            assert_problem(response, 411, "length_required", value)


LENGTHS = {
    "-1": 400, "abc": 400, "1e3": 400, "0x10": 400, "1 2": 400, "+5": 400, "\u0661": 400,
    "9" * 4000: 413, "9" * 5000: 413,
}  # fmt: skip


def test_invalid_content_length_is_refused() -> None:
    for length, status in LENGTHS.items():
        response = send("POST", f"{AUTH}login", b"{}", CONTENT_LENGTH=length)
        assert_problem(response, status, {400: "invalid_input", 413: "body_too_large"}[status], length[:9])


ALLOWED = allowed_methods()


def test_unsupported_method_is_refused(ada: Person, key: str) -> None:
    end_user = end_users.open_session(creator=ada.id, metadata={}).session
    credentials = dict.fromkeys(FORM_PATHS, key) | {"/api/v1/end-users/sessions/current": end_user}
    for path, allowed in ALLOWED.items():
        credential = credentials.get(path, ada.access)
        for method in METHODS:
            if method.upper() in allowed:
                continue
            for token in (credential, "", "rubbish"):
                response = send(method, path, b"{}", token=token)
                if method == "HEAD":
                    assert (response.status_code, response.content) == (405, b""), path
                else:
                    assert_problem(response, 405, "method_not_allowed", (path, method, token))
                assert set(response["Allow"].split(", ")) <= allowed, (path, method)
        if "OPTIONS" in allowed:
            assert send("OPTIONS", path, token=credential).status_code == 200, path


def test_trailing_slash_is_not_found(bearer: str) -> None:
    for path in [*ALLOWED, "/api/schema"]:
        for method in ("GET", "POST", "DELETE"):
            assert_problem(send(method, f"{path}/", b"{}", token=bearer), 404, "not_found", method)


UNKNOWN_PATHS = (
    "/api", "/api/", "/api/v1", "/api/v1/auth/", "/api/v2/auth/login", "/api/v1/auth//login", "/api/v1/auth/LOGIN",
     "/api/v1/auth/sessions/1", "/api/v1/auth/sessions/x%00", "/api/v1/auth/%ff%fe", "/api/v1/auth/login%00",
     "/api/v1/auth/../auth/login2", "/api/v1/auth/%2e%2e/login", "/%", "/\u00e9", "/.well-known/", "/nowhere",
)  # fmt: skip


def test_unknown_path_is_not_found(bearer: str) -> None:
    for path in UNKNOWN_PATHS:
        for method in ("GET", "POST", "FOO"):
            assert_problem(send(method, path, token=bearer), 404, "not_found", method)


QUERIES = (
    "cursor=x", "cursor=%00", "cursor=%ff", "cursor=cD0x", "cursor=bz0tMQ==", "cursor=" + "A" * 5000, "limit=-1",
    "page_size=x", "format=xml", "format=json", "type=x", "type=%00", "type=login.failed&type=x", "after=x", "after=0",
    "after=9999-12-31T23:59:59%2B00:00", "before=0001-01-01T00:00:00%2B23:59", "before=9999-12-31T23:59:59-23:59",
    "after=2020-13-45", "after=%00", "cursor=cD1hJm89MQ==",
)  # fmt: skip


QUERIED = ("/api/v1/audit/events", f"{AUTH}sessions", "/api/v1/end-users/sessions", f"{AUTH}me", "/healthz")


def test_hostile_query_is_handled(bearer: str) -> None:
    for path in QUERIED:
        for query in QUERIES:
            response = send("GET", f"{path}?{query}", token=bearer)
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


def test_hostile_header_is_handled(ada: Person) -> None:
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


def test_unknown_host_is_refused(ada: Person, key: str) -> None:
    login = json.dumps({"email": ada.email, "password": ada.password}).encode()
    for host in HOSTS:
        assert_problem(send("POST", f"{AUTH}login", login, HTTP_HOST=host), 400, "invalid_input", host)
        me = send("GET", f"{AUTH}me", token=ada.access, HTTP_HOST=host)
        assert_problem(me, 400, "invalid_input", host)
        assert send("GET", "/account/password-reset/", HTTP_HOST=host).status_code == 400
    assert send("GET", f"{AUTH}me", token=ada.access).status_code == 200


def test_request_id_of_the_client_is_not_returned(api: API) -> None:
    for given in ("trace-0123456789", "short", "x" * 65, "with space", "new\tline-or-so"):
        assert api.get("me", **{"X-Request-ID": given})["X-Request-ID"] != given


def test_truncated_body_is_refused() -> None:
    """Content-Length is larger than the body."""
    half = b'{"email": "a@'
    environ = RequestFactory().post(f"{AUTH}login", half, content_type="application/json").environ
    statuses: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        statuses.append(status)

    application = WSGIHandler()
    body = b"".join(
        application(environ | {"CONTENT_LENGTH": "5000", "wsgi.input": BytesIO(half)}, start_response)
    )
    assert statuses == ["400 Bad Request"]
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


def test_page_refuses_hostile_form() -> None:
    for page in PAGES:
        for body, kind in PAGE_BODIES:
            response = send("POST", page, body, content_type=kind)
            assert response.status_code in {200, 400}, (kind, body[:40])
            assert response["Content-Type"].startswith("text/html")
            assert "X-Request-ID" in response
        for method in ("PUT", "DELETE", "FOO", "TRACE", "OPTIONS"):
            assert send(method, page).status_code == 405


def test_deeply_nested_metadata_is_refused(ada: Person) -> None:
    path, start = "/api/v1/end-users/sessions", b'{"creator": "%s", "metadata": ' % str(ada.id).encode()
    assert send("POST", path, start + b'{"":' * 60 + b"1" + b"}" * 61).status_code == 201
    for depth in (70, 500, 600, 700, 750, 790):
        for opening, closing in ((b'{"":', b"}"), (b"[", b"]")):
            body = start + b'{"":' + opening * depth + b"1" + closing * depth + b"}}"
            assert_problem(send("POST", path, body), 400, "invalid_input", (depth, closing))


def test_metadata_that_postgresql_cannot_store_is_refused(ada: Person) -> None:
    path, start = "/api/v1/end-users/sessions", b'{"creator": "%s", "metadata": ' % str(ada.id).encode()
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
        assert_problem(send("POST", path, start + b'{"a": ' + value + b"}}"), 400, "invalid_input", value)
    for value in (b"1e300", b"-0", b'"\\ud83c\\udf38"', b'"\\\\u0000"', b"9" * 400):
        assert send("POST", path, start + b'{"a": ' + value + b"}}").status_code == 201, value
