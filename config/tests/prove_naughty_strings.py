"""`make prove`: every naughty string in every text field of every endpoint; in the short form every second one."""

from typing import Any

from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.naughty_strings import STRINGS, bearers_of, document, quiet, send_everywhere
from config.tests.support.proofs import whole

__all__ = ["document", "quiet"]
SHARE = whole(1, short=2)


def test_no_naughty_string_causes_a_server_error(api: API, ada: Person, document: dict[str, Any]) -> None:
    statuses = send_everywhere(api, document, bearers_of(ada), SHARE)
    assert statuses.total() > 30 * len(STRINGS) // SHARE
