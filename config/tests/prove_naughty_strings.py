"""Every naughty string in every text field of every door; in the short form every second one."""

from typing import Any

import pytest

from config.tests.support.fixtures import API, Person
from config.tests.support.proofs import whole

from .test_naughty_strings import STRINGS, bearers_of, document, knock_everywhere, quiet

__all__ = ["document", "quiet"]
pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
SHARE = whole(1, short=2)


def test_no_naughty_string_breaks_any_door(api: API, ada: Person, document: dict[str, Any]) -> None:
    answers = knock_everywhere(api, document, bearers_of(ada), SHARE)
    assert answers.total() > 30 * len(STRINGS) // SHARE
