"""Export formats. A file is streamed, with one batch of events in memory."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from audit.queries import Entry, as_dict
from audit.text import visible

COLUMNS = (
    "id", "at", "type", "summary", "creator_id", "ip_address", "user_agent", "email", "request_id", "detail",
)  # fmt: skip
INCOMPLETE = "This export is incomplete: events are missing."  # the status 200 has been sent by then
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # a cell that starts with one is a formula


def as_record(entry: Entry) -> dict[str, Any]:
    fields = as_dict(entry.event, entry.personal)
    fields["id"], fields["at"] = str(fields["id"]), fields["at"].isoformat(timespec="milliseconds")
    fields["creator_id"] = str(entry.creator_id) if entry.creator_id else None
    return {column: fields[column] for column in COLUMNS}


def as_json_lines(batches: Iterable[list[Entry]]) -> Iterator[str]:
    try:
        for batch in batches:
            yield "".join(json.dumps(as_record(entry), ensure_ascii=False) + "\n" for entry in batch)
    except Exception:
        yield json.dumps({"error": INCOMPLETE}) + "\n"
        raise


def as_csv(batches: Iterable[list[Entry]]) -> Iterator[str]:
    yield ",".join(COLUMNS) + "\r\n"
    try:
        for batch in batches:
            text = io.StringIO()
            csv.writer(text).writerows(_cells(as_record(entry)) for entry in batch)
            yield text.getvalue()
    except Exception:
        yield INCOMPLETE + "\r\n"
        raise


def _cells(record: dict[str, Any]) -> list[str]:
    record["detail"] = json.dumps(record["detail"], ensure_ascii=False)
    return [_escape_formula(visible(str(value or ""))) for value in record.values()]


def _escape_formula(cell: str) -> str:
    """Clients choose their user agent and email, which must not become formulas (CWE-1236)."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


Writer = Callable[[Iterable[list[Entry]]], Iterator[str]]
FORMATS: dict[str, tuple[Writer, str]] = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "jsonl": (as_json_lines, "application/x-ndjson"),
}
