"""An export that fails midway, and the escaping of invisible characters."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from audit.admin.export import COLUMNS, INCOMPLETE, as_csv, as_json_lines
from audit.models import AuditLog
from audit.queries import Entry
from audit.text import visible

pytestmark = pytest.mark.no_database


def failing_batches() -> Iterator[list[Entry]]:
    event = AuditLog(creator_id=uuid4(), at=datetime.now(UTC), type="login.failed", detail={"a": 1})
    yield [Entry(event, None)]
    raise ConnectionError


def read(parts: Iterator[str]) -> str:
    text: list[str] = []
    with pytest.raises(ConnectionError):
        text.extend(parts)
    return "".join(text)


def test_incomplete_export_ends_with_an_error() -> None:
    """The status 200 has been sent by then."""
    first, last = (json.loads(line) for line in read(as_json_lines(failing_batches())).splitlines())
    assert first["type"] == "login.failed"
    assert last == {"error": INCOMPLETE}
    header, row, end = csv.reader(io.StringIO(read(as_csv(failing_batches()))))
    assert header == list(COLUMNS)
    assert row[2] == "login.failed"
    assert end == [INCOMPLETE]


@pytest.mark.parametrize(
    "char", ["\u3164", "\u115f", "\uffa0", "\u2800", "\u034f", "\u180b", "\u202e", "\u200b"]
)
def test_invisible_character_is_escaped(char: str) -> None:
    assert visible(f"a{char}b") == f"a\\u{ord(char):04x}b"


@pytest.mark.parametrize("text", ["Jürgen", "\u0646\u0645\u06cc\u200c\u062e\u0648", "❤\ufe0f", "한글", "a b"])
def test_visible_text_is_unchanged(text: str) -> None:
    assert visible(text) == text
