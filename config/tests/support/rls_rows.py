"""A row for each tenant table, written out column by column.

The product's `sample_row` derives rows from the models. An error there must not make these tests miss a gap,
so they do not use it.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

Row = dict[str, Any]  # column → value
Rows = dict[str, Row]  # table → row

TABLES = (  # in an order in which rows can be inserted
    "creators",
    "sessions",
    "refresh_tokens",
    "jwt_blacklist",
    "user_sessions",
    "password_reset_tokens",
    "email_verification_tokens",
    "email_changes",
    "email_change_tokens",
    "security_notices",
    "audit_logs",
    "audit_personal_data",
)
# (table, column) → the table that it references, for all references except those to the creator
REFERENCES = {
    ("refresh_tokens", "session_id"): "sessions",
    ("refresh_tokens", "parent_id"): "refresh_tokens",
    ("email_change_tokens", "change_id"): "email_changes",
}
SET_BY_DATABASE = {"written_at", "written_xid"}  # columns of audit_logs that the rows leave out


def tenant_column(table: str) -> str:
    return "id" if table == "creators" else "creator_id"


def new_row(table: str, tenant: UUID, others: Rows) -> Row:
    """A new row of the tenant that references the rows in `others`. Its texts are unique."""
    text, now = secrets.token_hex(16), datetime.now(UTC)
    email, expiry = f"{text}@example.com", now + timedelta(hours=1)
    key = {"id": tenant} if table == "creators" else {"id": uuid4(), "creator_id": tenant}
    link: Row = {
        "digest": text.encode(), "email": email, "recovery_generation": 0,
        "created_at": now, "expires_at": expiry, "used_at": None,
    }  # fmt: skip
    columns: Rows = {
        "creators": {
            "email": email, "holds_email": False, "email_verified_at": None, "email_undeliverable_at": None,
            "password": text, "display_name": text, "is_active": True, "is_staff": False, "is_superuser": False,
            "last_login": None, "created_at": now, "recovery_generation": 0, "must_reset_password": False,
        },
        "sessions": {
            "created_at": now, "last_used_at": now, "expires_at": expiry, "ended_at": None, "end_reason": "",
            "ip_address": "192.0.2.1", "user_agent": text, "device": text,
        },
        "refresh_tokens": {
            "session_id": _id(others, "sessions"), "parent_id": None, "kid": text,
            "created_at": now, "expires_at": expiry, "used_at": None,
        },
        "jwt_blacklist": {"expires_at": expiry},
        "user_sessions": {"created_at": now, "expires_at": expiry, "metadata": f'{{"text": "{text}"}}'},
        "password_reset_tokens": link,
        "email_verification_tokens": link | {"attempts": 0},
        "email_changes": {
            "number": secrets.randbelow(2**31), "old_email": email, "new_email": f"new-{email}",
            "recovery_generation": 0, "created_at": now, "expires_at": expiry, "undo_expires_at": expiry,
            "confirmed_at": None, "superseded_at": None, "undone_at": None,
        },
        "email_change_tokens": link | {"change_id": _id(others, "email_changes"), "purpose": "confirm"},
        "security_notices": {
            "kind": "new_device", "email": email, "at": now, "until": None, "ip_address": "192.0.2.1",
            "device": text, "sent_at": None,
        },
        "audit_logs": {
            "at": now, "type": "login.succeeded", "request_id": text, "detail": f'{{"text": "{text}"}}',
            "personal_digest": text.encode(),
        },
        "audit_personal_data": {
            "salt": text.encode(), "ip_address": "192.0.2.1", "user_agent": text, "email": email,
        },
    }  # fmt: skip
    return key | columns[table]


def _id(others: Rows, table: str) -> UUID | None:
    return others[table]["id"] if table in others else None


def insert_statement(table: str, row: Row) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
