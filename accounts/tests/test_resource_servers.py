"""Introspection (RFC 7662) and revocation (RFC 7009) with API keys."""

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.services import api_keys
from accounts.tests.support.resource_servers import post_token
from config.tests.support.accounts import Person
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias


@pytest.fixture
def key(transactional_db: None) -> str:
    with using_alias(OPERATOR):
        return str(api_keys.create_api_key("the shop"))


def test_valid_token_is_active_with_its_claims(api: API, ada: Person, key: str) -> None:
    session = api.post("/api/v1/end-users/sessions", {"creator": str(ada.id)}).json()["session"]
    for token, kind in [(ada.access, "access"), (ada.refresh, "refresh"), (session, "session")]:
        body = post_token(api, "introspect", key, token).json()
        assert body["active"] is True
        assert (body["sub"], body["token_type"]) == (str(ada.id), kind)
        assert {"sid", "exp", "iat", "jti"} <= body.keys()


def test_invalid_token_is_only_not_active(api: API, ada: Person, key: str) -> None:
    api.post("refresh", {"refresh": ada.refresh})
    assert post_token(api, "introspect", key, ada.refresh).json() == {"active": False}
    api.post("logout/all", token=ada.access)
    for token in (ada.access, ada.refresh, "rubbish", key, "a.b.c"):
        assert post_token(api, "introspect", key, token).json() == {"active": False}


def test_revoking_a_refresh_token_ends_its_session(api: API, ada: Person, key: str) -> None:
    pair = api.post("refresh", {"refresh": ada.refresh}).json()
    assert post_token(api, "revoke", key, ada.access).status_code == 200
    assert api.get("me", token=ada.access).status_code == 401
    assert api.get("me", token=pair["access"]).status_code == 200
    assert post_token(api, "revoke", key, pair["refresh"]).status_code == 200
    assert api.get("me", token=pair["access"]).status_code == 401
    for token in (ada.access, pair["refresh"], "rubbish"):
        assert post_token(api, "revoke", key, token).status_code == 200


def test_only_a_valid_key_is_accepted(api: API, ada: Person, key: str, capsys: Any) -> None:
    for invalid in ("", "rubbish", ada.access, f"{key}x"):
        response = post_token(api, "introspect", invalid, ada.access)
        assert response.status_code == 401
        assert "WWW-Authenticate" in response.headers
    call_command("revoke_api_key", "the shop")
    assert post_token(api, "introspect", key, ada.access).status_code == 401
    with pytest.raises(CommandError):
        call_command("revoke_api_key", "the shop")
    with pytest.raises(CommandError):
        call_command("create_api_key", "the shop")


def test_only_the_digest_is_stored_and_last_use_is_recorded(
    api: API, ada: Person, key: str, superuser: Any
) -> None:
    post_token(api, "introspect", key, ada.access)
    row = superuser.execute("SELECT api_keys::text, last_used_at IS NOT NULL FROM api_keys").fetchone()
    assert key not in row[0]
    assert row[1]
