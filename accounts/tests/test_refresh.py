"""Each refresh token has one successor, and reuse of one ends the session."""

import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest
from django.db import IntegrityError, connections
from django.utils import timezone

from accounts import sql
from accounts.models import RefreshToken
from accounts.services import account_deletion
from accounts.tests.support.flows import age_used_tokens, all_at_once, events, wait_for_waiters
from accounts.tokens.jwt import RefreshToken as RefreshTokenJWT
from config.tests.support.accounts import Person, sign_in
from config.tests.support.client import API
from tenancy.context import tenant_scope


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def refresh(api: API, token: str) -> tuple[int, Any]:
    response = api.post("refresh", {"refresh": token})
    return response.status_code, response.json()


def refused(api: API, token: str) -> str:
    status, body = refresh(api, token)
    assert status == 401, body
    return str(body["code"])


def successors(superuser: psycopg.Connection, token: str) -> int:
    (count,) = superuser.execute(  # type: ignore[misc]
        "SELECT count(*) FROM refresh_tokens WHERE parent_id = %s", [claims(token)["jti"]]
    ).fetchone()
    return int(count)


def test_refresh_gives_a_new_pair_of_the_same_session(api: API, ada: Person) -> None:
    status, pair = refresh(api, ada.refresh)
    assert status == 200
    assert set(pair) == {"access", "refresh", "token_type", "expires_in", "refresh_expires_in"}
    old, new = claims(ada.refresh), claims(pair["refresh"])
    assert new["jti"] != old["jti"]
    assert (new["sid"], new["sub"], new["exp"]) == (old["sid"], old["sub"], old["exp"])
    assert api.get("me", token=pair["access"]).status_code == 200
    assert api.get("me", token=ada.access).status_code == 200  # valid until it expires
    assert refresh(api, pair["refresh"])[0] == 200


def test_replay_gives_the_same_refresh_token(api: API, ada: Person, superuser: Any) -> None:
    first = refresh(api, ada.refresh)[1]
    for _ in range(3):
        status, again = refresh(api, ada.refresh)
        assert status == 200
        assert again["refresh"] == first["refresh"]
        assert api.get("me", token=again["access"]).status_code == 200
    assert successors(superuser, ada.refresh) == 1
    assert "token.reused" not in events(superuser)


def test_grace_ends_at_its_time(api: API, ada: Person, superuser: Any, settings: Any) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(seconds=60)
    refresh(api, ada.refresh)
    age_used_tokens(superuser, 30)
    assert refresh(api, ada.refresh)[0] == 200
    age_used_tokens(superuser, 30)
    assert refused(api, ada.refresh) == "token_reused"


def test_reuse_ends_the_session_and_its_access_tokens(api: API, ada: Person, superuser: Any) -> None:
    other_device = sign_in(Person(ada.id, ada.email))
    pair = refresh(api, ada.refresh)[1]
    age_used_tokens(superuser, 11)
    assert refused(api, ada.refresh) == "token_reused"
    for dead in (ada.access, pair["access"]):
        assert api.get("me", token=dead).status_code == 401
    assert refused(api, pair["refresh"]) == "invalid_token"
    assert refused(api, ada.refresh) == "invalid_token"
    assert events(superuser, of=ada.id).count("token.reused") == 1
    assert api.get("me", token=other_device.access).status_code == 200
    assert refresh(api, other_device.refresh)[0] == 200


def test_grace_ends_when_the_successor_is_used(api: API, ada: Person) -> None:
    pair = refresh(api, ada.refresh)[1]
    assert refresh(api, pair["refresh"])[0] == 200
    assert refused(api, ada.refresh) == "token_reused"
    assert api.get("me", token=pair["access"]).status_code == 401


def test_without_grace_a_second_use_is_reuse(api: API, ada: Person, settings: Any) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(0)
    pair = refresh(api, ada.refresh)[1]
    assert refused(api, ada.refresh) == "token_reused"
    assert api.get("me", token=pair["access"]).status_code == 401


def test_refresh_does_not_prolong_the_session(api: API, ada: Person, superuser: Any) -> None:
    pair = refresh(api, ada.refresh)[1]
    assert claims(pair["refresh"])["exp"] == claims(ada.refresh)["exp"]
    superuser.execute("UPDATE sessions SET expires_at = now() + interval '2 seconds'")
    status, last = refresh(api, pair["refresh"])
    assert status == 200
    assert last["refresh_expires_in"] <= 2
    assert last["expires_in"] <= 2  # an access token never outlives its session
    superuser.execute("UPDATE sessions SET expires_at = now() - interval '1 millisecond'")
    assert refused(api, last["refresh"]) == "invalid_token"
    assert api.get("me", token=pair["access"]).status_code == 401


def test_deactivated_creator_cannot_refresh(api: API, ada: Person, superuser: Any) -> None:
    superuser.execute("UPDATE creators SET is_active = false WHERE id = %s", [ada.id])
    assert refused(api, ada.refresh) == "invalid_token"
    assert api.get("me", token=ada.access).status_code == 401


def test_deleted_creator_cannot_refresh(api: API, ada: Person, superuser: Any) -> None:
    superuser.execute("DELETE FROM creators WHERE id = %s", [ada.id])
    assert refused(api, ada.refresh) == "invalid_token"
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("logout", {"refresh": ada.refresh}, token=ada.access).status_code == 204


def test_refresh_after_sign_out_is_refused(api: API, ada: Person) -> None:
    assert api.post("logout", {"refresh": ada.refresh}).status_code == 204
    assert refused(api, ada.refresh) == "invalid_token"


def test_refresh_ignores_the_access_token(api: API, ada: Person, bob: Person) -> None:
    response = api.post("refresh", {"refresh": bob.refresh}, token=ada.access)
    assert claims(response.json()["access"])["sub"] == str(bob.id)
    assert refresh(api, ada.refresh)[0] == 200


def test_token_without_a_row_is_refused_and_ends_nothing(api: API, ada: Person) -> None:
    """Validly signed and of a live session, as after a restored backup."""
    from accounts.tests.support.forged_tokens import claims_with

    assert refused(api, claims_with(jti=str(uuid4()))(ada.refresh)) == "invalid_token"
    assert refresh(api, ada.refresh)[0] == 200


def test_refresh_without_a_signing_key_uses_nothing(
    api: API, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.exceptions import NoSigningKeyError
    from accounts.tokens.keys import KeyRing

    def fail(self: KeyRing) -> Any:
        raise NoSigningKeyError

    with monkeypatch.context() as patch:
        patch.setattr(KeyRing, "signing_key", fail)
        assert refresh(api, ada.refresh)[0] == 503
    first = refresh(api, ada.refresh)[1]
    assert claims(first["refresh"])["sid"] == claims(ada.refresh)["sid"]


def test_two_concurrent_refreshes_give_one_successor(api: API, ada: Person, superuser: Any) -> None:
    """Both wait for a lock on the session, which is then released."""
    pairs: list[Any] = []

    def use() -> None:
        pairs.append(refresh(API(raise_request_exception=False), ada.refresh))
        connections.close_all()

    threads = [threading.Thread(target=use) for _ in range(2)]
    with superuser.transaction():
        superuser.execute("SELECT 1 FROM sessions FOR UPDATE")
        for thread in threads:
            thread.start()
        wait_for_waiters(superuser, 2)
    for thread in threads:
        thread.join(timeout=20)
    assert [status for status, _ in pairs] == [200, 200]
    assert pairs[0][1]["refresh"] == pairs[1][1]["refresh"]
    assert successors(superuser, ada.refresh) == 1


@pytest.mark.parametrize("is_used", [False, True], ids=["fresh", "used"])
def test_refresh_and_deletion_do_not_wait_for_each_other(
    api: API, ada: Person, superuser: psycopg.Connection, is_used: bool
) -> None:
    """The refresh waits while it holds the session's row; then the deletion begins."""
    if is_used:
        refresh(api, ada.refresh)
        age_used_tokens(superuser, 60)
    results: list[Any] = []

    def use() -> None:
        results.append(refresh(API(raise_request_exception=False), ada.refresh)[0])
        connections.close_all()

    def delete() -> None:
        with tenant_scope(ada.id):
            account_deletion.delete_account_rows(ada.id)
        results.append("deleted")
        connections.close_all()

    threads = [threading.Thread(target=use), threading.Thread(target=delete)]
    lock = "LOCK TABLE audit_logs IN EXCLUSIVE MODE" if is_used else "SELECT 1 FROM refresh_tokens FOR UPDATE"
    with superuser.transaction():
        superuser.execute(lock)
        for count, thread in enumerate(threads, 1):
            thread.start()
            wait_for_waiters(superuser, count)
    for thread in threads:
        thread.join(timeout=20)
    assert set(results) == {401 if is_used else 200, "deleted"}


def race(token: str, threads: int) -> list[tuple[int, str]]:
    """(status, refresh token or code) of each request."""

    def use(_: int) -> tuple[int, str]:
        status, body = refresh(API(raise_request_exception=False), token)
        return status, body["refresh"] if status == 200 else body["code"]

    return all_at_once(threads, use)


@pytest.mark.slow
def test_fifty_concurrent_refreshes_give_one_successor(api: API, ada: Person, superuser: Any) -> None:
    token, rounds, count = ada.refresh, 20, 50
    gates = [threading.Barrier(count + 1) for _ in range(2 * rounds)]
    shown = [token]
    responses: list[list[tuple[int, str]]] = [[] for _ in range(rounds)]

    def use() -> None:
        client = API(raise_request_exception=False)
        for number in range(rounds):
            gates[2 * number].wait(timeout=30)
            status, body = refresh(client, shown[-1])
            responses[number].append((status, body.get("refresh", "")))
            gates[2 * number + 1].wait(timeout=30)
        connections.close_all()

    threads = [threading.Thread(target=use, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for number in range(rounds):
        gates[2 * number].wait(timeout=30)
        gates[2 * number + 1].wait(timeout=30)
        assert {status for status, _ in responses[number]} == {200}
        (successor,) = {given for _, given in responses[number]}
        assert successors(superuser, shown[-1]) == 1
        shown.append(successor)
    for thread in threads:
        thread.join(timeout=10)
    age_used_tokens(superuser, 11)
    assert refused(api, shown[-2]) == "token_reused"
    assert api.get("me", token=ada.access).status_code == 401


def test_without_grace_concurrent_refreshes_end_the_session(
    api: API, ada: Person, settings: Any, superuser: Any
) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(0)
    responses = race(ada.refresh, 10)
    assert sorted(status for status, _ in responses) == [200] + [401] * 9
    assert sorted(code for status, code in responses if status == 401) == ["invalid_token"] * 8 + [
        "token_reused"
    ]
    (winner,) = (token for status, token in responses if status == 200)
    assert refused(api, winner) == "invalid_token"
    assert events(superuser).count("token.reused") == 1


def test_without_grace_an_earlier_request_that_comes_second_is_reuse(ada: Person) -> None:
    token, now = RefreshTokenJWT.verified(ada.refresh), timezone.now()

    def rotate(used_now: datetime) -> str:
        rotation = sql.rotate_refresh(
            creator=ada.id, family=token.session_id, token=token.jti, successor=uuid4(), signing_kid="k",
            used_now=used_now, grace=None, idle=None,
        )  # fmt: skip
        assert rotation
        return rotation.outcome

    assert rotate(now) == "rotated"
    assert rotate(now - timedelta(milliseconds=1)) == "reused"


def test_concurrent_refresh_and_sign_out_end_the_session(api: API, ada: Person) -> None:
    def act(number: int) -> int:
        endpoint = "logout" if number % 2 else "refresh"
        return int(API(raise_request_exception=False).post(endpoint, {"refresh": ada.refresh}).status_code)

    assert {204} <= set(all_at_once(10, act)) <= {200, 204, 401}
    assert refused(api, ada.refresh) == "invalid_token"
    assert api.get("me", token=ada.access).status_code == 401


def test_database_refuses_a_second_successor(ada: Person) -> None:
    token = claims(ada.refresh)
    now = timezone.now()

    def insert() -> None:
        RefreshToken.objects.create(
            creator_id=ada.id, session_id=UUID(token["sid"]), parent_id=UUID(token["jti"]), kid="k",
            created_at=now, expires_at=now,
        )  # fmt: skip

    with tenant_scope(ada.id):
        insert()
    with pytest.raises(IntegrityError, match="one_successor"), tenant_scope(ada.id):
        insert()


def test_replay_after_a_key_rotation_gives_the_same_token(api: API, ada: Person, superuser: Any) -> None:
    """The successor is signed with the key that its row names."""
    from accounts.services import signing_keys
    from accounts.tokens.key_cache import invalidate_key_ring
    from tenancy.context import OPERATOR, using_alias

    (old,) = superuser.execute("SELECT kid FROM signing_keys").fetchone()
    first = refresh(api, ada.refresh)[1]
    try:
        with using_alias(OPERATOR):
            signing_keys.rotate_signing_key()
        superuser.execute(
            "UPDATE signing_keys SET activates_at = now() - interval '1 s' WHERE kid <> %s", [old]
        )
        invalidate_key_ring()
        again = refresh(api, ada.refresh)[1]
        assert again["refresh"] == first["refresh"]
        assert jwt.get_unverified_header(again["access"])["kid"] != old
    finally:
        superuser.execute("DELETE FROM signing_keys WHERE kid <> %s", [old])
        superuser.execute("UPDATE signing_keys SET expires_at = NULL")
        invalidate_key_ring()


def test_refresh_counts_as_use_of_the_session(api: API, ada: Person, superuser: Any) -> None:
    superuser.execute("UPDATE sessions SET last_used_at = last_used_at - interval '1 hour'")
    refresh(api, ada.refresh)
    assert superuser.execute(
        "SELECT last_used_at > now() - interval '1 minute' FROM sessions"
    ).fetchone() == (True,)
