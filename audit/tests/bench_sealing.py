"""`make bench`: rows sealed and verified per second, and the memory that verification takes."""

import time
import tracemalloc
from datetime import timedelta

import psycopg
import pytest

from audit.sealing import sealer, verifier
from audit.sealing.verifier import Summary, verify
from tenancy.context import OPERATOR, using_alias

ROWS, ROWS_PER_STATEMENT = 200_000, 500
FILL = """
    WITH new AS (
        SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' ||
            substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid AS id,
            gen_random_uuid() AS creator_id, '\\x00112233445566778899aabbccddeeff'::bytea AS salt
        FROM generate_series(1, %(rows)s)
    ), event AS (
        INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, personal_digest)
        SELECT id, creator_id, clock_timestamp(), 'login.succeeded', 'a-request', '{"session": "abcdef"}',
            sha256(salt || '["203.0.113.9", "Firefox", "ada@example.com"]'::bytea) FROM new
    )
    INSERT INTO audit_personal_data (id, creator_id, salt, ip_address, user_agent, email)
    SELECT id, creator_id, salt, '203.0.113.9', 'Firefox', 'ada@example.com' FROM new
"""


def test_rows_per_second(superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sealer, verifier):
        monkeypatch.setattr(module, "MIN_AGE", timedelta(0))
    for _ in range(ROWS // ROWS_PER_STATEMENT):
        superuser.execute(FILL, {"rows": ROWS_PER_STATEMENT})
    superuser.execute("ANALYZE")
    with using_alias(OPERATOR):
        began = time.monotonic()
        while sealer.seal_new_rows():
            pass
        sealed = time.monotonic() - began
        summary, began = Summary(), time.monotonic()
        assert list(verify(summary)) == []
        verified = time.monotonic() - began
        tracemalloc.start()
        assert list(verify(Summary())) == []
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert summary.rows >= ROWS
    print(f"\n{summary.rows / sealed:,.0f} rows per second are sealed, {summary.rows / verified:,.0f} verified, "
          f"in {peak / 2**20:.0f} MiB of Python memory")  # fmt: skip
    assert peak < 64 * 2**20
