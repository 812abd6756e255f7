"""Keys are rotated without a restart or a lost token, encrypted at rest, or set by the environment."""

import io
import math
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from accounts.services import signing_keys
from accounts.tests.support.flows import log_in, wait_for_waiters
from accounts.tokens import key_cache
from accounts.tokens.jwt import RefreshToken
from accounts.tokens.key_cache import invalidate_key_ring, key_ring
from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.environment import ROOT
from tenancy.context import OPERATOR, using_alias

RSA_2048 = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_1024 = rsa.generate_private_key(public_exponent=65537, key_size=1024)
P256 = ec.generate_private_key(ec.SECP256R1())


def pem(private: Any, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    text: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return text.decode()


def public_pem(private: Any) -> str:
    text: bytes = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return text.decode()


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


@pytest.fixture
def store(superuser: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection to the table of keys, which is restored afterwards: it outlives the tests."""
    before = superuser.execute("SELECT * FROM signing_keys").fetchall()
    invalidate_key_ring()
    yield superuser
    superuser.execute("TRUNCATE signing_keys")
    for row in before:
        superuser.execute(f"INSERT INTO signing_keys VALUES ({', '.join(['%s'] * len(row))})".encode(), row)
    invalidate_key_ring()


@pytest.fixture
def environment_key(settings: Any) -> Iterator[Any]:
    invalidate_key_ring()
    settings.JWT_SECRET_KEY = pem(RSA_2048)
    yield settings
    invalidate_key_ring()


def rotate() -> str:
    with using_alias(OPERATOR):
        return signing_keys.rotate_signing_key()


def published(api: API) -> set[str]:
    return {key["kid"] for key in api.get("/.well-known/jwks.json").json()["keys"]}


def pass_time(store: psycopg.Connection, seconds: int) -> None:
    store.execute(
        "UPDATE signing_keys SET activates_at = activates_at - make_interval(secs => %(s)s), "
        "created_at = created_at - make_interval(secs => %(s)s), "
        "expires_at = expires_at - make_interval(secs => %(s)s)",
        {"s": seconds},
    )
    invalidate_key_ring()


def test_keys_are_read_outside_of_transactions(
    api: API, ada: Person, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decrypting takes a while, and PostgreSQL ends a transaction that idles."""
    in_transaction: list[bool] = []
    decrypt = key_cache.decrypt_private_key

    def recorded(encrypted: bytes) -> Any:
        in_transaction.append(connections["default"].in_atomic_block)
        return decrypt(encrypted)

    monkeypatch.setattr(key_cache, "decrypt_private_key", recorded)
    assert log_in(api, ada.email).status_code == 200
    assert in_transaction == [False]


def test_other_threads_go_on_while_one_reads_the_keys(
    store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = key_ring(), []

    def read() -> None:
        new.append(key_ring())
        connections.close_all()

    monkeypatch.setattr(key_cache, "CACHE_SECONDS", 0)
    reader = threading.Thread(target=read)
    with store.transaction():
        store.execute("LOCK TABLE signing_keys")
        reader.start()
        wait_for_waiters(store, 1)
        assert key_ring() is old
    reader.join(timeout=10)
    assert new != [old]
    assert len(new) == 1


def test_new_key_is_published_before_it_signs(api: API, ada: Person, store: psycopg.Connection) -> None:
    old = kid_of(ada.access)
    new = rotate()
    assert published(api) == {old, new}
    assert kid_of(log_in(api, ada.email).json()["access"]) == old
    pass_time(store, 270)
    assert kid_of(log_in(api, ada.email).json()["access"]) == old
    pass_time(store, 30)
    pair = log_in(api, ada.email).json()
    assert kid_of(pair["access"]) == kid_of(pair["refresh"]) == new
    assert api.get("me", token=ada.access).status_code == 200
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 200
    assert published(api) == {old, new}


def test_old_key_verifies_until_its_last_token_expires(
    api: API, ada: Person, store: psycopg.Connection
) -> None:
    old, new = kid_of(ada.access), rotate()
    pass_time(store, 300 + 30 * 86400 - 30)
    assert api.get("me", token=ada.access).status_code == 200
    assert published(api) == {old, new}
    pass_time(store, 31)
    assert api.get("me", token=ada.access).status_code == 401
    assert published(api) == {new}
    with using_alias(OPERATOR):
        call_command("prune_expired", verbosity=0, stdout=io.StringIO())
    assert store.execute("SELECT kid FROM signing_keys").fetchall() == [(new,)]


def test_rotation_reaches_a_running_process_within_a_second(
    api: API, ada: Person, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(key_cache.time, "monotonic", lambda: now[0])
    old = published(api)
    monkeypatch.setattr(signing_keys, "invalidate_key_ring", lambda: None)  # another process rotates
    new = rotate()
    assert published(api) == old
    now[0] += 1.0
    assert published(api) == old | {new}


def test_concurrent_rotations_leave_no_gap(api: API, ada: Person, store: psycopg.Connection) -> None:
    """Both have generated a key when they wait for the lock on the old one."""
    old = kid_of(ada.access)
    new: list[str] = []

    def make() -> None:
        new.append(rotate())
        connections.close_all()

    threads = [threading.Thread(target=make) for _ in range(2)]
    with store.transaction():
        store.execute("SELECT 1 FROM signing_keys FOR UPDATE")
        for thread in threads:
            thread.start()
        wait_for_waiters(store, 2)
    for thread in threads:
        thread.join(timeout=20)
    assert published(api) == {old, *new}
    assert len(new) == 2
    assert kid_of(log_in(api, ada.email).json()["access"]) == old
    pass_time(store, 301)
    assert kid_of(log_in(api, ada.email).json()["access"]) in new
    lasting = store.execute("SELECT expires_at IS NULL FROM signing_keys").fetchall()
    assert sorted(last for (last,) in lasting) == [False, False, True]
    assert api.get("me", token=ada.access).status_code == 200


def test_worker_rotates_when_it_is_due(ada: Person, store: psycopg.Connection) -> None:
    with using_alias(OPERATOR):
        assert not signing_keys.ensure_signing_key()
        pass_time(store, 90 * 86400 + 5)
        assert signing_keys.ensure_signing_key()
        assert not signing_keys.ensure_signing_key()


def test_first_key_signs_at_once(api: API, ada: Person, store: psycopg.Connection) -> None:
    store.execute("TRUNCATE signing_keys")
    invalidate_key_ring()
    first = rotate()
    pair = log_in(api, ada.email).json()
    assert kid_of(pair["access"]) == first
    assert api.get("me", token=pair["access"]).status_code == 200


def test_rotation_is_recorded_with_the_key_id_alone(store: psycopg.Connection) -> None:
    kid = rotate()
    row = store.execute("SELECT type, detail FROM audit_logs ORDER BY id DESC LIMIT 1").fetchone()
    assert row == ("signing_key.rotated", {"kid": kid})


def test_private_key_is_encrypted_at_rest(store: psycopg.Connection) -> None:
    for (stored,) in store.execute("SELECT private_key FROM signing_keys"):
        assert b"PRIVATE" not in bytes(stored)
        with pytest.raises(ValueError, match=r"PEM|deserialize|load"):
            serialization.load_pem_private_key(bytes(stored), None)


def test_keys_of_another_secret_key_do_not_sign(
    api: API, ada: Person, store: psycopg.Connection, settings: Any
) -> None:
    settings.SECRET_KEY = "another-" + "9876543210" * 5
    invalidate_key_ring()
    response = log_in(api, ada.email)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response["Retry-After"]) >= 1
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["detail"]) == (503, "The signing keys are not ready.")
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 503
    assert api.get("me", token=ada.access).status_code == 200  # public keys are not encrypted
    # the remedy: a new key, which signs at once, because no other can
    new = rotate()
    assert kid_of(log_in(api, ada.email).json()["access"]) == new
    assert api.get("/readyz").status_code == 200
    settings.SECRET_KEY = os.environ["SECRET_KEY"]
    invalidate_key_ring()
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 200  # the failed refresh used nothing


def test_app_role_cannot_write_keys(store: psycopg.Connection) -> None:
    from django.db import ProgrammingError, connection

    for statement in (
        "DELETE FROM signing_keys",
        "UPDATE signing_keys SET expires_at = now()",
        "INSERT INTO signing_keys SELECT * FROM signing_keys",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), connection.cursor() as cursor:
            cursor.execute(statement)


def test_environment_key_is_the_only_key(api: API, ada: Person, environment_key: Any) -> None:
    pair = log_in(api, ada.email).json()
    assert published(api) == {kid_of(pair["access"])}
    assert api.get("me", token=pair["access"]).status_code == 200
    assert api.get("me", token=ada.access).status_code == 401  # signed with a stored key


def test_retired_keys_verify_and_never_sign(api: API, ada: Person, environment_key: Any) -> None:
    old = log_in(api, ada.email).json()
    fresh = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for retired in (public_pem(RSA_2048), pem(RSA_2048), public_pem(RSA_2048) + public_pem(fresh)):
        environment_key.JWT_SECRET_KEY, environment_key.JWT_RETIRED_KEYS = pem(fresh), retired
        invalidate_key_ring()
        assert api.get("me", token=old["access"]).status_code == 200
        pair = log_in(api, ada.email).json()
        assert kid_of(pair["access"]) != kid_of(old["access"])
        assert published(api) == {kid_of(pair["access"]), kid_of(old["access"])}
    assert api.post("refresh", {"refresh": old["refresh"]}).status_code == 200
    environment_key.JWT_RETIRED_KEYS = ""
    invalidate_key_ring()
    assert api.get("me", token=old["access"]).status_code == 401


def test_replay_of_a_token_of_a_retired_key(api: API, ada: Person, environment_key: Any) -> None:
    old = log_in(api, ada.email).json()
    first = api.post("refresh", {"refresh": old["refresh"]}).json()
    fresh = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    environment_key.JWT_SECRET_KEY, environment_key.JWT_RETIRED_KEYS = pem(fresh), public_pem(RSA_2048)
    invalidate_key_ring()
    again = api.post("refresh", {"refresh": old["refresh"]}).json()
    ids = [jwt.decode(pair["refresh"], options={"verify_signature": False})["jti"] for pair in (first, again)]
    assert ids[0] == ids[1]
    assert api.post("refresh", {"refresh": again["refresh"]}).status_code == 200


def test_manual_rotation_is_refused_with_an_environment_key(environment_key: Any) -> None:
    with pytest.raises(CommandError, match="JWT_RETIRED_KEYS"):
        call_command("rotate_signing_key")
    with using_alias(OPERATOR):
        assert not signing_keys.ensure_signing_key()


def from_primes(p: int, q: int) -> Any:
    private = pow(65537, -1, (p - 1) * (q - 1))
    crt = (rsa.rsa_crt_dmp1(private, p), rsa.rsa_crt_dmq1(private, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, private, *crt, rsa.RSAPublicNumbers(65537, p * q)).private_key()


def is_prime(number: int) -> bool:
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11))


def roca_prime() -> int:
    """As in CVE-2017-15361: k·M + (65537^a mod M), with M the product of the first 126 primes."""
    primes = [n for n in range(2, 710) if all(n % k for k in range(2, math.isqrt(n) + 1))][:126]
    product = math.prod(primes)
    while True:
        least = 3 << (1022 - product.bit_length())
        number = (least + secrets.randbits(least.bit_length() - 3)) * product + pow(
            65537, secrets.randbits(60), product
        )
        if number.bit_length() == 1024 and is_prime(number):
            return number


def next_prime(number: int) -> int:
    return next(n for n in range(number + 2, number + 20_000, 2) if is_prime(n))


CLOSE = RSA_2048.private_numbers().p
WEAK = {
    "e = 3": rsa.generate_private_key(public_exponent=3, key_size=2048),
    "ROCA": from_primes(roca_prime(), roca_prime()),
    "close primes": from_primes(next_prime(CLOSE), CLOSE),
}
UNFIT = {
    **{name: ("RS256", pem(key), "") for name, key in WEAK.items()},
    **{f"retired: {name}": ("PS256", pem(RSA_2048), public_pem(key)) for name, key in WEAK.items()},
    "two keys": ("RS256", pem(RSA_2048) + pem(RSA_2048), ""),
    "a key and a public key": ("RS256", pem(RSA_2048) + public_pem(RSA_2048), ""),
    "two EC keys": ("ES256", pem(P256) + pem(ec.generate_private_key(ec.SECP256R1())), ""),
    "not a key": ("RS256", "secret", ""),
    "a public key": ("RS256", public_pem(RSA_2048), ""),
    "RSA of 1024 bits": ("RS256", pem(RSA_1024), ""),
    "EC for RS256": ("RS256", pem(P256), ""),
    "RSA for ES256": ("ES256", pem(RSA_2048), ""),
    "the wrong curve": ("ES384", pem(P256), ""),
    "EC for EdDSA": ("EdDSA", pem(P256), ""),
    "X25519": ("EdDSA", pem(x25519.X25519PrivateKey.generate()), ""),
    "DSA": ("RS256", pem(dsa.generate_private_key(2048)), ""),
    "an unknown curve": ("ES256", pem(ec.generate_private_key(ec.SECP256K1())), ""),
    "under a password": ("RS256", pem(RSA_2048, b"secret"), ""),
    "half a key": ("RS256", pem(RSA_2048)[:400], ""),
    "retired: weak": ("RS256", pem(RSA_2048), public_pem(RSA_1024)),
    "retired: other type": ("RS256", pem(RSA_2048), public_pem(P256)),
    "retired: not a key": ("RS256", pem(RSA_2048), "secret"),
    "retired: one good, one not": ("RS256", pem(RSA_2048), public_pem(RSA_2048) + "\nsecret"),
}


def test_unfit_keys_are_refused_with_the_name_of_the_setting(environment_key: Any) -> None:
    for kind, (algorithm, key, retired) in UNFIT.items():
        environment_key.JWT_ALGORITHM = algorithm
        environment_key.JWT_SECRET_KEY, environment_key.JWT_RETIRED_KEYS = key, retired
        invalidate_key_ring()
        with pytest.raises(ImproperlyConfigured) as caught:
            key_ring()
        name = "JWT_RETIRED_KEYS" if kind.startswith("retired") else "JWT_SECRET_KEY"
        message = str(caught.value)
        assert message.startswith(f"{name} "), kind
        assert not re.search("\n|secret|BEGIN", message), kind


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [("PS512", RSA_2048), ("ES256", P256), ("EdDSA", ed25519.Ed25519PrivateKey.generate())],
)
def test_environment_keys_of_other_types_sign(
    api: API, ada: Person, environment_key: Any, algorithm: str, private: Any
) -> None:
    environment_key.JWT_SECRET_KEY, environment_key.JWT_ALGORITHM = pem(private), algorithm
    invalidate_key_ring()
    pair = log_in(api, ada.email).json()
    assert jwt.get_unverified_header(pair["access"])["alg"] == algorithm
    assert api.get("me", token=pair["access"]).status_code == 200
    assert api.post("refresh", {"refresh": pair["refresh"]}).status_code == 200


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_tokens_equal_those_of_pyjwt(environment_key: Any, algorithm: str) -> None:
    """Both algorithms are deterministic."""
    key = RSA_2048 if algorithm == "RS256" else ed25519.Ed25519PrivateKey.generate()
    environment_key.JWT_SECRET_KEY, environment_key.JWT_ALGORITHM = pem(key), algorithm
    invalidate_key_ring()
    now = timezone.now()
    token = RefreshToken.issue(
        creator_id=uuid4(), session_id=uuid4(), jti=uuid4(), issued_at=now, expires_at=now + timedelta(days=1)
    )
    headers = {"kid": key_ring().signing_key().kid}
    assert str(token) == jwt.encode(token.payload, key, algorithm, headers=headers)
    assert RefreshToken.verified(str(token)).payload == token.payload


PROGRAM = """
import django
django.setup()
from accounts.tokens.key_cache import key_ring
print(key_ring().signing_key().kid)
"""


def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_environment_key_may_have_escaped_newlines(tmp_path: Path) -> None:
    text = pem(RSA_2048)
    runs = [
        start("-c", PROGRAM, JWT_SECRET_KEY=text),
        start("-c", PROGRAM, JWT_SECRET_KEY=text.replace("\n", "\\n")),
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout != ""


@pytest.mark.slow
def test_weak_key_fails_the_start_with_one_line() -> None:
    run = start("manage.py", "check", JWT_SECRET_KEY=pem(RSA_1024))
    assert run.returncode != 0
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stderr.startswith("JWT_SECRET_KEY ")
