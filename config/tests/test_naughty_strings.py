"""The big list of naughty strings, in every text field of every endpoint.

Each field gets another eighth of the strings; `make prove` sends all strings to all fields, its short form half.
"""

from typing import Any

import pytest

from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.naughty_strings import STRINGS, bearers_of, document, quiet, send_everywhere

__all__ = ["document", "quiet"]
pytestmark = pytest.mark.slow
SHARE = 8


def test_no_naughty_string_causes_a_server_error(api: API, ada: Person, document: dict[str, Any]) -> None:
    statuses = send_everywhere(api, document, bearers_of(ada), SHARE)
    assert statuses.total() > 30 * len(STRINGS) // SHARE
    assert {200, 202, 400, 401, 403, 404} <= set(statuses)


def test_no_naughty_header_causes_a_server_error(api: API, ada: Person) -> None:
    for string in STRINGS[::4]:
        text = string.encode().decode("latin-1")  # as WSGI passes headers
        headers = dict.fromkeys(
            ("User-Agent", "X-Request-ID", "Accept-Language", "Authorization", "Cookie"), text
        )
        response = api.post("login", {"email": ada.email, "password": ada.password}, **headers)
        assert response.status_code == 200, (string, response.content)
