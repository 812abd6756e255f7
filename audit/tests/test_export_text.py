"""What an export says when it breaks off, and what is shown of characters that can't be seen."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from audit.admin.export import COLUMNS, INCOMPLETE, as_csv, as_json_lines
from audit.text import visible

pytestmark = pytest.mark.no_database


def broken() -> Iterator[list[Any]]:
    event = SimpleNamespace(
        pk=uuid4(), at=datetime.now(UTC), type="login.failed", request_id="", detail={"a": 1}
    )
    yield [SimpleNamespace(event=event, personal=None, summary="A sign-in failed.", creator_id=None)]
    raise ConnectionError


def read(parts: Iterator[str]) -> str:
    read: list[str] = []
    with pytest.raises(ConnectionError):
        read.extend(parts)
    return "".join(read)


def test_export_that_breaks_off_says_so() -> None:
    """Its status is 200 by then, and its end looks like any other."""
    first, last = (json.loads(line) for line in read(as_json_lines(broken())).splitlines())
    assert first["type"] == "login.failed"
    assert last == {"error": INCOMPLETE}
    header, row, end = csv.reader(io.StringIO(read(as_csv(broken()))))
    assert header == list(COLUMNS)
    assert row[2] == "login.failed"
    assert end == [INCOMPLETE]


@pytest.mark.parametrize(
    "blank", ["\u3164", "\u115f", "\uffa0", "\u2800", "\u034f", "\u180b", "\u202e", "\u200b"]
)
def test_character_that_shows_nothing_is_spelt_out(blank: str) -> None:
    assert visible(f"a{blank}b") == f"a\\u{ord(blank):04x}b"


@pytest.mark.parametrize("text", ["Jürgen", "\u0646\u0645\u06cc\u200c\u062e\u0648", "❤\ufe0f", "한글", "a b"])
def test_text_that_can_be_seen_stays(text: str) -> None:
    assert visible(text) == text
