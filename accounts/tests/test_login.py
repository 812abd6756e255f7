from typing import Any

import bcrypt
import psycopg
import pytest
from django.db import connections, transaction

from accounts.models import Creator
from accounts.services import lockout, password_hashing
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from tenancy.context import OPERATOR, tenant_scope, using_alias


def test_right_password_gives_a_token_pair(api: API, ada: Person) -> None:
    response = api.post("login", {"email": " ADA@example.com", "password": ada.password})
    assert response.status_code == 200
    assert set(response.json()) == {"access", "refresh", "token_type", "expires_in", "refresh_expires_in"}
    assert api.get("me", token=response.json()["access"]).json()["email"] == ada.email


def test_all_refusals_are_equal(api: API, ada: Person) -> None:
    make_creator("off@example.com", is_active=False)
    make_creator("waiting@example.com", holds_email=False, email_verified_at=None)
    make_creator("olga@example.com", is_staff=True)
    responses = []
    for email, password in [
        (ada.email, "wrong"), ("nobody@example.com", ada.password), ("off@example.com", ada.password),
        ("waiting@example.com", ada.password), ("olga@example.com", ada.password),
    ]:  # fmt: skip
        response = api.post("login", {"email": email, "password": password})
        body = response.json()
        body.pop("request_id")
        responses.append((response.status_code, body, sorted(response.headers)))
    assert responses[0][0] == 401
    assert responses[0][1]["code"] == "invalid_credentials"
    assert all(response == responses[0] for response in responses)


@pytest.mark.parametrize("hasher", ["bcrypt", "bcrypt_sha256", "pbkdf2_sha256"])
def test_imported_hash_is_upgraded_at_sign_in(api: API, transactional_db: None, hasher: str) -> None:
    from django.contrib.auth.hashers import make_password

    old = make_creator("imported@example.com", password=make_password("an old password", hasher=hasher))
    assert api.post("login", {"email": old.email, "password": "an old password"}).status_code == 200
    with tenant_scope(old.id):
        assert Creator.objects.get().password.startswith("argon2$argon2id$")
    assert api.post("login", {"email": old.email, "password": "an old password"}).status_code == 200


def test_passwords_equal_in_nfc_are_equal(api: API, transactional_db: None) -> None:
    zoe = make_creator("zoe@example.com", password="Zoe\u0308 likes caf\u00e9s a lot")
    assert (
        api.post("login", {"email": zoe.email, "password": "Zo\u00eb likes cafe\u0301s a lot"}).status_code
        == 200
    )


def test_imported_bcrypt_hash_of_a_long_password(api: API, transactional_db: None) -> None:
    """bcrypt uses 72 bytes, and its newest version raises for more. A 500 would reveal the account."""
    long = "\u00e9" * 60  # 120 bytes
    data = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    old = make_creator("imported@example.com", password=f"bcrypt${data}")
    assert api.post("login", {"email": old.email, "password": "x" * 100}).status_code == 401
    assert api.post("login", {"email": old.email, "password": long}).status_code == 200
    with tenant_scope(old.id):
        assert Creator.objects.get().password.startswith("argon2$")
    assert api.post("login", {"email": old.email, "password": long}).status_code == 200
    assert api.post("login", {"email": old.email, "password": long[:-1]}).status_code == 401


def imported_hash(cost: int, hasher: str = "bcrypt_sha256") -> str:
    from django.contrib.auth.hashers import get_hasher

    costly = type(get_hasher(hasher))()
    costly.rounds = cost
    return str(costly.encode("an old password", costly.salt()))


@pytest.mark.parametrize(("cost", "event"), [(4, "password.weak_hash_upgraded"), (5, "password.upgraded")])
def test_upgrade_of_a_weak_bcrypt_hash_has_its_own_event(
    api: API, superuser: psycopg.Connection, settings: Any, cost: int, event: str
) -> None:
    settings.BCRYPT_ROUNDS = 5
    old = make_creator("imported@example.com", password=imported_hash(cost))
    assert api.post("login", {"email": old.email, "password": "an old password"}).status_code == 200
    rows = superuser.execute("SELECT type, detail FROM audit_logs WHERE type LIKE 'password.%'").fetchall()
    assert rows == [(event, {"cost": 4} if cost == 4 else {})]


def test_bcrypt_hashes_of_this_service_cost_bcrypt_rounds(settings: Any) -> None:
    from django.contrib.auth.hashers import make_password

    for hasher in ("bcrypt", "bcrypt_sha256"):
        encoded = make_password("an old password", hasher=hasher)
        assert int(encoded.split("$")[3]) == settings.BCRYPT_ROUNDS


def test_accounts_with_weak_bcrypt_hashes_are_found(transactional_db: None, settings: Any) -> None:
    settings.BCRYPT_ROUNDS = 11
    real = imported_hash(4, "bcrypt")
    hashes = {"argon2": None, "cost10": real.replace("$04$", "$10$"), "cost11": real.replace("$04$", "$11$")}
    hashes |= {"cost4": real, "sha256": imported_hash(5), "pbkdf2": "pbkdf2_sha256$1$2b$04$x"}
    for name, encoded in hashes.items():
        make_creator(f"{name}@example.com", **({"password": encoded} if encoded else {}))
    with using_alias(OPERATOR):
        found = Creator.objects.weak_password_hashes().values_list("email", flat=True)
        assert sorted(found) == ["cost10@example.com", "cost4@example.com", "sha256@example.com"]
        assert "creators_bcrypt" in plan_without_seqscan(found)


def plan_without_seqscan(rows: Any) -> str:
    with transaction.atomic(using=OPERATOR), connections[OPERATOR].cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        return str(rows.using(OPERATOR).explain())


def test_hash_that_changes_during_each_verification_ends_the_sign_in(
    api: API, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, calls = lockout.verify_password, []

    def verify_then_change(**facts: Any) -> lockout.Outcome:
        outcome = verify(**facts)
        calls.append(password_hashing.hash_password(ada.password))
        with tenant_scope(ada.id):
            Creator.objects.filter(pk=ada.id).update(password=calls[-1])
        return outcome

    monkeypatch.setattr(lockout, "verify_password", verify_then_change)
    response = api.post("login", {"email": ada.email, "password": ada.password})
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert len(calls) == password_hashing.MAX_VERIFICATIONS
