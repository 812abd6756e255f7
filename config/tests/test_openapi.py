"""The OpenAPI document is valid and complete; its page loads nothing from other hosts."""

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from rest_framework.utils.formatting import lazy_format

from accounts.api.endpoints import endpoints
from accounts.api.openapi import AccessTokenScheme
from accounts.api.problems import TABLE, problem_facts
from accounts.exceptions import AccountsError, AdminError
from accounts.tests.support.flows import all_at_once
from config.openapi import _document
from config.tests.support.client import API
from config.tests.support.urls import POST_BODIES

UNDOCUMENTED = ("account/", ".well-known/change-password", "api/schema", "api/docs/")
PROBLEM = "application/problem+json"


@pytest.fixture
def document(api: API) -> dict[str, Any]:
    response = api.get("/api/schema", Accept="application/vnd.oai.openapi+json")
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def operations(document: dict[str, Any]) -> Any:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_document_is_valid_and_generated_without_warnings(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_concurrent_first_requests_do_not_race(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """drf-spectacular replaces an extension's path by its class on first use, which is not thread-safe."""
    barrier, lock = threading.Barrier(2), threading.Lock()
    load = AccessTokenScheme._load_class

    def load_at_once() -> None:  # after both threads have read the path
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=1)
        with lock:
            load()

    path = "accounts.api.authentication.AccessTokenAuthentication"
    monkeypatch.setattr(AccessTokenScheme, "target_class", path)
    monkeypatch.setattr(AccessTokenScheme, "_load_class", load_at_once)
    _document.cache_clear()
    api = API(raise_request_exception=False)
    assert all_at_once(2, lambda _: api.get("/api/schema").status_code) == [200, 200]


def test_every_endpoint_is_in_the_document(document: dict[str, Any]) -> None:
    served = {
        f"{endpoint.method.lower()} " + re.sub(r"<\w+:(\w+)>", r"{\1}", endpoint.path)
        for endpoint in endpoints()
        if not endpoint.route.startswith(UNDOCUMENTED)
    }
    assert served == {name for name, _ in operations(document)}


def test_components_of_bodies_are_named_request_or_response(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        bodies = [("Request", operation.get("requestBody", {}))]
        bodies += [("Response", response) for response in operation["responses"].values()]
        for suffix, body in bodies:
            for content in body.get("content", {}).values():
                component = content["schema"].get("$ref", suffix)
                assert component.endswith(suffix), (name, component)


def example_codes(response: dict[str, Any]) -> set[str]:
    return {example["value"]["code"] for example in response["content"][PROBLEM]["examples"].values()}


def test_every_error_is_a_problem_with_its_codes_and_examples(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            assert "X-Request-ID" in response["headers"], (name, status)
            if int(status) < 400:
                continue
            component = response["content"][PROBLEM]["schema"]["$ref"].rpartition("/")[2]
            properties = document["components"]["schemas"][component]["properties"]
            assert properties["status"]["enum"] == [int(status)]
            assert example_codes(response) == set(properties["code"]["enum"]), (name, status)


def test_every_status_of_the_table_is_in_the_document(document: dict[str, Any]) -> None:
    documented = {int(status) for _, operation in operations(document) for status in operation["responses"]}
    undocumented = {status for status, *_ in TABLE.values()} - documented
    assert undocumented == {405}  # a documented method cannot get it


def subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_every_error_has_a_problem_or_is_for_the_admin_only() -> None:
    errors = [error for error in subclasses(AccountsError) if not issubclass(error, AdminError)]
    assert not [error for error in errors if not any(kind in TABLE for kind in error.__mro__)]
    assert all(all(problem_facts(error)) for error in errors)


def test_login_documents_lockout_and_retry_after(document: dict[str, Any]) -> None:
    login = document["paths"]["/api/v1/auth/login"]["post"]["responses"]
    assert set(login) == {"200", "400", "401", "411", "413", "415", "429", "503"}
    assert example_codes(login["429"]) == {"account_locked", "rate_limited"}
    assert {"429", "503"} == {status for status in login if "Retry-After" in login[status]["headers"]}
    assert "WWW-Authenticate" in login["401"]["headers"]


def test_each_kind_of_token_has_its_security_scheme(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert set(schemes) == {"accessToken", "apiKey", "endUserSession"}
    assert {(scheme["type"], scheme["scheme"]) for scheme in schemes.values()} == {("http", "bearer")}
    security = {name: operation.get("security") for name, operation in operations(document)}
    assert security["get /api/v1/auth/me"] == [{"accessToken": []}]
    assert security["post /api/v1/auth/token/introspect"] == [{"apiKey": []}]
    assert security["get /api/v1/end-users/sessions/current"] == [{"endUserSession": []}]
    assert security["post /api/v1/auth/logout"] == [{}, {"accessToken": []}]
    assert security["post /api/v1/auth/login"] is None


def test_page_loads_nothing_from_other_hosts(api: API) -> None:
    page = api.get("/api/docs/")
    text = page.content.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) == 5
    for link in links:
        assert link.startswith("/"), link
        response = api.get(link.replace("&amp;", "&"))
        assert response.status_code == 200, link
        response.close()
    assert "<script>" not in text  # the policy allows no inline script
    policy = page["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "connect-src 'self';" in policy + ";"
    assert "http" not in policy


def test_other_pages_allow_no_script(api: API) -> None:
    assert "script-src" not in api.get("/account/password-reset/")["Content-Security-Policy"]


@pytest.mark.parametrize("accept", ["text/html;q=x", "image/png", "x/" * 100, "", "application/json;q=0"])
def test_document_is_yaml_if_the_client_accepts_neither_form(api: API, accept: str) -> None:
    assert api.get("/api/schema", Accept=accept).status_code == 200
    assert api.get("/api/schema?format=xml").status_code == 404


def test_page_has_no_options(api: API) -> None:
    refused = api.call("OPTIONS", "/api/docs/")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")


def test_length_errors_have_the_language_of_each_request(api: API) -> None:
    """Serializers are shared by all requests of a process."""
    body = POST_BODIES["/api/v1/auth/register"] | {"display_name": "x" * 500}
    details = [
        api.post("register", body, **{"Accept-Language": language}).json()["errors"][0]["detail"]
        for language in ("de", "en", "de")
    ]
    assert details[0] == details[2]
    assert details[1] == "Ensure this field has no more than 100 characters."
    assert details[0] != details[1]


def test_shared_serializers_keep_no_state() -> None:
    """DRF's lazy_format stores the first text that it formats, and is not thread-safe while it does."""
    for endpoint in endpoints():
        serializer = endpoint.operation and endpoint.operation.request
        if isinstance(serializer, type):
            messages = [
                getattr(validator, "message", None)
                for field in serializer().fields.values()
                for validator in field.validators
            ]
            assert not [message for message in messages if isinstance(message, lazy_format)], serializer
