"""Every naughty string in every text field of every door; in the short form every second one."""

from typing import Any

from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.naughty_strings import STRINGS, bearers_of, document, knock_everywhere, quiet
from config.tests.support.proofs import whole

__all__ = ["document", "quiet"]
SHARE = whole(1, short=2)


def test_no_naughty_string_breaks_any_door(api: API, ada: Person, document: dict[str, Any]) -> None:
    answers = knock_everywhere(api, document, bearers_of(ada), SHARE)
    assert answers.total() > 30 * len(STRINGS) // SHARE
