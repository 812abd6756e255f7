"""The password rules, which are the same at every endpoint."""

from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from accounts.exceptions import WeakPasswordError
from accounts.models import Creator
from accounts.passwords.validators import LengthValidator
from accounts.services import password_hashing
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias

WORDS = "quiet lanterns swim above harbours and nobody minds the noise they make; "


def codes(password: str, email: str = "zoe.zimmermann@example.com", name: str = "Zoe Magdalena") -> list[str]:
    try:
        password_hashing.validate(password, email=email, display_name=name)
    except WeakPasswordError as error:
        return [code for code, _sentence in error.errors]
    return []


def long(length: int) -> str:
    return (WORDS * 3)[:length]


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        (long(14), ["password_too_short"]),
        (long(15), []),
        (long(128), []),
        (long(129), ["password_too_long"]),
        (long(13) + "e\u0301", ["password_too_short"]),
        (long(14) + "e\u0301", []),
        (long(127) + "e\u0301", []),
        (long(128) + "e\u0301", ["password_too_long"]),
        ("\U0001f3b9" * 14, ["password_too_short"]),
        ("\U0001f3b9 and \U0001f409 live in \u6771\u4eac", []),
        ("               ", []),  # no composition rules
        ("123456789987654321", ["password_too_common"]),
        ("zoe.zimmermann@example.com", ["password_too_similar"]),
        ("Zoe.Zimmermann1", ["password_too_similar"]),
        ("Zoe Magdalena 1", ["password_too_similar"]),
        ("creator accounts", ["password_of_the_service"]),
        ("CreatorAccounts2026!", ["password_of_the_service"]),
        ("welcome admin login", ["password_of_the_service"]),
        ("the password of creators in my village", []),
    ],
)
def test_rule(password: str, expected: list[str]) -> None:
    assert codes(password) == expected


def test_length_validator_normalizes() -> None:
    with pytest.raises(ValidationError):
        LengthValidator(15).validate(long(13) + "e\u0301")


def test_all_faults_are_reported_together(api: API) -> None:
    result = api.post("password/validate", {"password": "password1", "email": "password1@example.com"}).json()
    assert result["is_valid"] is False
    assert len(result["suggestions"]) == 4
    assert result["suggestions"][0] == "Use at least 15 characters."
    good = api.post("password/validate", {"password": WORDS[:60]}).json()
    assert good == {"is_valid": True, "suggestions": []}


def test_suggestions_are_translated(api: API) -> None:
    result = api.post("password/validate", {"password": "password1"}, **{"Accept-Language": "de"}).json()
    assert result["suggestions"][0] == "Verwenden Sie mindestens 15 Zeichen."


@pytest.mark.parametrize("length", [129, 4096, 60_000])
def test_oversized_password_is_refused_before_it_is_hashed(
    api: API, ada: Any, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("it was hashed")

    monkeypatch.setattr("django.contrib.auth.hashers.make_password", never)
    monkeypatch.setattr("django.contrib.auth.hashers.verify_password", never)
    body = {"email": ada.email, "password": "x" * length}
    assert api.post("login", body).status_code == 401
    assert api.post("register", body).status_code == 400


def test_operators_passwords_follow_the_same_rules(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with using_alias(OPERATOR):
        Creator.objects.create_superuser("olga@example.com", WORDS[:40])
    monkeypatch.setattr("getpass.getpass", lambda prompt: "short")
    with pytest.raises(CommandError):
        call_command("changepassword", "olga@example.com")
    assert "at least 15" in capsys.readouterr().err


@pytest.mark.parametrize(
    "encoded",
    [make_password("x", hasher="bcrypt"), "!unusable", "rubbish", ""],
    ids=[
        "another account's",
        "unusable",
        "rubbish",
        "empty",
    ],  # a salt in a test's name differs between workers
)
def test_invalid_hashes_verify_nothing(transactional_db: None, encoded: str) -> None:
    assert not password_hashing.verify("a lovely sentence", encoded).is_right
