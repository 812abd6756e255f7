"""The big list of naughty strings, in every text field of every door.

Here each field gets every eighth string, and each field others; `make prove` gives all to all, in its short form half.
"""

from typing import Any

import pytest

from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.naughty_strings import STRINGS, bearers_of, knock_everywhere

pytestmark = pytest.mark.slow
SHARE = 8


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
