"""The OpenAPI document is valid and complete; its page works without the rest of the internet."""

import contextlib
import re
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.api.openapi import AccessTokenScheme
from accounts.api.problems import TABLE
from accounts.tests.support.flows import all_at_once
from config.openapi import _document
from config.tests.support.client import API

OUTSIDE = (
    "account/",
    ".well-known/change-password",
    "admin/",
    "api/schema",
    "api/docs/",
)  # pages, the document
PROBLEM = "application/problem+json"


@pytest.fixture
def document(api: API) -> dict[str, Any]:
    response = api.get("/api/schema", Accept="application/vnd.oai.openapi+json")
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def operations(document: dict[str, Any]) -> Any:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def routes(patterns: Any, prefix: str = "") -> Any:
    for entry in patterns:
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, prefix + str(entry.pattern))
        elif isinstance(entry, URLPattern):
            yield prefix + str(entry.pattern)


def test_the_document_is_valid_and_made_without_a_warning(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_two_first_requests_do_not_race(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """drf-spectacular turns an extension's path into a class when it is first met: of two at once, one dies."""
    meeting, one_by_one = threading.Barrier(2), threading.Lock()
    load = AccessTokenScheme._load_class

    def meet() -> None:  # both have seen the path
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(timeout=1)
        with one_by_one:
            load()

    path = "accounts.api.authentication.AccessTokenAuthentication"
    monkeypatch.setattr(AccessTokenScheme, "target_class", path)
    monkeypatch.setattr(AccessTokenScheme, "_load_class", meet)
    _document.cache_clear()
    api = API(raise_request_exception=False)
    assert all_at_once(2, lambda _: api.get("/api/schema").status_code) == [200, 200]


def test_every_door_is_in_the_document(document: dict[str, Any]) -> None:
    doors = {
        "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route)
        for route in routes(get_resolver().url_patterns)
        if not route.startswith(OUTSIDE)
    }
    assert doors == set(document["paths"])


def test_every_refusal_is_a_problem_with_its_codes_and_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert "X-Request-ID" in answer["headers"], (name, status)
            if int(status) < 400:
                continue
            content = answer["content"][PROBLEM]
            kind = content["schema"]["$ref"].rpartition("/")[2]
            codes = document["components"]["schemas"][kind]["allOf"][1]["properties"]["code"]["enum"]
            assert set(content["examples"]) == set(codes), (name, status)


def test_every_refusal_of_the_table_is_in_the_document(document: dict[str, Any]) -> None:
    told = {int(s) for _, operation in operations(document) for s in operation["responses"]}
    unseen = {status for status, *_ in TABLE.values()} - told
    assert unseen == {405}  # which no described method can get


def test_a_door_that_locks_says_so_and_when_to_come_back(document: dict[str, Any]) -> None:
    login = document["paths"]["/api/v1/auth/login"]["post"]["responses"]
    assert set(login) == {"200", "400", "401", "411", "413", "415", "429", "503"}
    assert set(login["429"]["content"][PROBLEM]["examples"]) == {"account_locked", "rate_limited"}
    assert {"429", "503"} == {status for status in login if "Retry-After" in login[status]["headers"]}
    assert "WWW-Authenticate" in login["401"]["headers"]


def test_each_kind_of_bearer_has_its_scheme(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert set(schemes) == {"accessToken", "apiKey", "endUserSession"}
    assert {(scheme["type"], scheme["scheme"]) for scheme in schemes.values()} == {("http", "bearer")}
    asked = {name: operation.get("security") for name, operation in operations(document)}
    assert asked["get /api/v1/auth/me"] == [{"accessToken": []}]
    assert asked["post /api/v1/auth/token/introspect"] == [{"apiKey": []}]
    assert asked["get /api/v1/end-users/sessions/current"] == [{"endUserSession": []}]
    assert asked["post /api/v1/auth/logout"] == [{}, {"accessToken": []}]
    assert asked["post /api/v1/auth/login"] is None


def test_the_page_needs_nobody_else(api: API) -> None:
    page = api.get("/api/docs/")
    text = page.content.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) == 5
    for link in links:
        assert link.startswith("/"), link
        answer = api.get(link.replace("&amp;", "&"))
        assert answer.status_code == 200, link
        answer.close()
    assert "<script>" not in text  # none inline, and so none is allowed
    policy = page["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "connect-src 'self';" in policy + ";"
    assert "http" not in policy


def test_other_pages_allow_no_script(api: API) -> None:
    assert "script-src" not in api.get("/account/password-reset/")["Content-Security-Policy"]


@pytest.mark.parametrize("accept", ["text/html;q=x", "image/png", "x/" * 100, "", "application/json;q=0"])
def test_document_is_given_to_clients_that_accept_none_of_its_forms(api: API, accept: str) -> None:
    assert api.get("/api/schema", Accept=accept).status_code == 200
    assert api.get("/api/schema?format=xml").status_code == 404


def test_page_has_no_options(api: API) -> None:
    refused = api.call("OPTIONS", "/api/docs/")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
