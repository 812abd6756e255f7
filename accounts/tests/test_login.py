import bcrypt
import pytest

from accounts.models import Creator
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from tenancy.context import tenant_scope


def test_right_password_gives_a_token_pair(api: API, ada: Person) -> None:
    response = api.post("login", {"email": " ADA@example.com", "password": ada.password})
    assert response.status_code == 200
    assert set(response.json()) == {"access", "refresh", "token_type", "expires_in", "refresh_expires_in"}
    assert api.get("me", token=response.json()["access"]).json()["email"] == ada.email


def test_all_refusals_look_alike(api: API, ada: Person) -> None:
    make_creator("off@example.com", is_active=False)
    make_creator("waiting@example.com", holds_email=False, email_verified_at=None)
    make_creator("olga@example.com", is_staff=True)
    answers = []
    for email, password in [
        (ada.email, "wrong"), ("nobody@example.com", ada.password), ("off@example.com", ada.password),
        ("waiting@example.com", ada.password), ("olga@example.com", ada.password),
    ]:  # fmt: skip
        response = api.post("login", {"email": email, "password": password})
        body = response.json()
        body.pop("request_id")
        answers.append((response.status_code, body, sorted(response.headers)))
    assert answers[0][0] == 401
    assert answers[0][1]["code"] == "invalid_credentials"
    assert all(answer == answers[0] for answer in answers)


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


def test_imported_bcrypt_hash_of_a_long_password_opens_and_refuses_as_any_other(
    api: API, transactional_db: None
) -> None:
    """bcrypt reads 72 bytes and its newest version raises for more: a 500 would tell accounts apart."""
    long = "\u00e9" * 60  # 120 bytes
    data = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    old = make_creator("imported@example.com", password=f"bcrypt${data}")
    assert api.post("login", {"email": old.email, "password": "x" * 100}).status_code == 401
    assert api.post("login", {"email": old.email, "password": long}).status_code == 200
    with tenant_scope(old.id):
        assert Creator.objects.get().password.startswith("argon2$")
    assert api.post("login", {"email": old.email, "password": long}).status_code == 200
    assert api.post("login", {"email": old.email, "password": long[:-1]}).status_code == 401
