"""Refresh: each token has one successor, and showing a spent one ends the session."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest
from django.db import IntegrityError, connections
from django.utils import timezone

from accounts.models import RefreshToken
from accounts.services import account_deletion, sessions
from accounts.tests.support.flows import age_spent, all_at_once, events, wait_for_waiters
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
    assert api.get("me", token=ada.access).status_code == 200  # lives on to its own end
    assert refresh(api, pair["refresh"])[0] == 200


def test_lost_answer_is_given_again_byte_for_byte(api: API, ada: Person, superuser: Any) -> None:
    first = refresh(api, ada.refresh)[1]
    for _ in range(3):
        status, again = refresh(api, ada.refresh)
        assert status == 200
        assert again["refresh"] == first["refresh"]
        assert api.get("me", token=again["access"]).status_code == 200
    assert successors(superuser, ada.refresh) == 1
    assert "token.reused" not in events(superuser)


def test_grace_ends_when_it_is_over(api: API, ada: Person, superuser: Any, settings: Any) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(seconds=60)
    refresh(api, ada.refresh)
    age_spent(superuser, 30)
    assert refresh(api, ada.refresh)[0] == 200
    age_spent(superuser, 30)
    assert refused(api, ada.refresh) == "token_reused"


def test_replay_after_the_grace_ends_the_family_access_tokens_included(
    api: API, ada: Person, superuser: Any
) -> None:
    other_device = sign_in(Person(ada.id, ada.email))
    pair = refresh(api, ada.refresh)[1]
    age_spent(superuser, 11)
    assert refused(api, ada.refresh) == "token_reused"
    for dead in (ada.access, pair["access"]):
        assert api.get("me", token=dead).status_code == 401
    assert refused(api, pair["refresh"]) == "invalid_token"
    assert refused(api, ada.refresh) == "invalid_token"
    assert events(superuser, of=ada.id).count("token.reused") == 1
    assert api.get("me", token=other_device.access).status_code == 200
    assert refresh(api, other_device.refresh)[0] == 200


def test_grace_is_over_once_the_successor_was_used(api: API, ada: Person) -> None:
    pair = refresh(api, ada.refresh)[1]
    assert refresh(api, pair["refresh"])[0] == 200
    assert refused(api, ada.refresh) == "token_reused"
    assert api.get("me", token=pair["access"]).status_code == 401


def test_without_grace_a_second_use_ends_the_family(api: API, ada: Person, settings: Any) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(0)
    pair = refresh(api, ada.refresh)[1]
    assert refused(api, ada.refresh) == "token_reused"
    assert api.get("me", token=pair["access"]).status_code == 401


def test_session_ends_at_its_time_however_often_it_is_refreshed(
    api: API, ada: Person, superuser: Any
) -> None:
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


def test_deactivated_creator_refreshes_nothing(api: API, ada: Person, superuser: Any) -> None:
    superuser.execute("UPDATE creators SET is_active = false WHERE id = %s", [ada.id])
    assert refused(api, ada.refresh) == "invalid_token"
    assert api.get("me", token=ada.access).status_code == 401


def test_deleted_creator_refreshes_nothing(api: API, ada: Person, superuser: Any) -> None:
    superuser.execute("DELETE FROM creators WHERE id = %s", [ada.id])
    assert refused(api, ada.refresh) == "invalid_token"
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("logout", {"refresh": ada.refresh}, token=ada.access).status_code == 204


def test_refresh_after_sign_out_is_refused(api: API, ada: Person) -> None:
    assert api.post("logout", {"refresh": ada.refresh}).status_code == 204
    assert refused(api, ada.refresh) == "invalid_token"


def test_another_tenants_token_refreshes_their_own_session_only(api: API, ada: Person, bob: Person) -> None:
    response = api.post("refresh", {"refresh": bob.refresh}, token=ada.access)
    assert claims(response.json()["access"])["sub"] == str(bob.id)
    assert refresh(api, ada.refresh)[0] == 200


def test_token_that_was_never_issued_is_refused_and_ends_nothing(api: API, ada: Person) -> None:
    """Rightly signed, of a live session, but with an id that no row has: a lost database."""
    from accounts.tests.support.forged_tokens import claims_with

    assert refused(api, claims_with(jti=str(uuid4()))(ada.refresh)) == "invalid_token"
    assert refresh(api, ada.refresh)[0] == 200


def test_refresh_without_a_signing_key_spends_nothing(
    api: API, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.exceptions import NoSigningKeyError
    from accounts.tokens.keys import KeyRing

    def none(self: KeyRing) -> Any:
        raise NoSigningKeyError

    with monkeypatch.context() as patch:
        patch.setattr(KeyRing, "signing_key", none)
        assert refresh(api, ada.refresh)[0] == 503
    first = refresh(api, ada.refresh)[1]
    assert claims(first["refresh"])["sid"] == claims(ada.refresh)["sid"]


def test_two_refreshes_forced_to_meet_give_one_successor(api: API, ada: Person, superuser: Any) -> None:
    """Both stand before the locked family, then are let go."""
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


@pytest.mark.parametrize("is_spent", [False, True], ids=["fresh", "spent"])
def test_refresh_and_deletion_do_not_wait_for_each_other(
    api: API, ada: Person, superuser: psycopg.Connection, is_spent: bool
) -> None:
    """The refresh is held in mid-way, where it has the session's row; then the deletion comes."""
    if is_spent:
        refresh(api, ada.refresh)
        age_spent(superuser, 60)
    ends: list[Any] = []

    def use() -> None:
        ends.append(refresh(API(raise_request_exception=False), ada.refresh)[0])
        connections.close_all()

    def delete() -> None:
        with tenant_scope(ada.id):
            account_deletion.delete_account_rows(ada.id)
        ends.append("deleted")
        connections.close_all()

    threads = [threading.Thread(target=use), threading.Thread(target=delete)]
    hold = (
        "LOCK TABLE audit_logs IN EXCLUSIVE MODE" if is_spent else "SELECT 1 FROM refresh_tokens FOR UPDATE"
    )
    with superuser.transaction():
        superuser.execute(hold)
        for count, thread in enumerate(threads, 1):
            thread.start()
            wait_for_waiters(superuser, count)
    for thread in threads:
        thread.join(timeout=20)
    assert set(ends) == {401 if is_spent else 200, "deleted"}


def race(token: str, threads: int) -> list[tuple[int, str]]:
    """(status, refresh token or code) of each."""

    def use(_: int) -> tuple[int, str]:
        status, body = refresh(API(raise_request_exception=False), token)
        return status, body["refresh"] if status == 200 else body["code"]

    return all_at_once(threads, use)


@pytest.mark.slow
def test_fifty_refreshes_at_once_give_one_successor_in_each_of_twenty_rounds(
    api: API, ada: Person, superuser: Any
) -> None:
    token, rounds, count = ada.refresh, 20, 50
    gates = [threading.Barrier(count + 1) for _ in range(2 * rounds)]
    shown = [token]
    answers: list[list[tuple[int, str]]] = [[] for _ in range(rounds)]

    def use() -> None:
        client = API(raise_request_exception=False)
        for number in range(rounds):
            gates[2 * number].wait(timeout=30)
            status, body = refresh(client, shown[-1])
            answers[number].append((status, body.get("refresh", "")))
            gates[2 * number + 1].wait(timeout=30)
        connections.close_all()

    threads = [threading.Thread(target=use, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for number in range(rounds):
        gates[2 * number].wait(timeout=30)
        gates[2 * number + 1].wait(timeout=30)
        assert {status for status, _ in answers[number]} == {200}
        (successor,) = {given for _, given in answers[number]}
        assert successors(superuser, shown[-1]) == 1
        shown.append(successor)
    for thread in threads:
        thread.join(timeout=10)
    age_spent(superuser, 11)
    assert refused(api, shown[-2]) == "token_reused"
    assert api.get("me", token=ada.access).status_code == 401


def test_without_grace_one_of_a_race_wins_and_the_losers_end_the_family(
    api: API, ada: Person, settings: Any, superuser: Any
) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(0)
    answers = race(ada.refresh, 10)
    assert sorted(status for status, _ in answers) == [200] + [401] * 9
    assert sorted(code for status, code in answers if status == 401) == ["invalid_token"] * 8 + [
        "token_reused"
    ]
    (winner,) = (token for status, token in answers if status == 200)
    assert refused(api, winner) == "invalid_token"
    assert events(superuser).count("token.reused") == 1


def test_without_grace_a_loser_who_came_before_the_winner_loses(ada: Person, settings: Any) -> None:
    settings.JWT_REFRESH_GRACE = timedelta(0)
    token, now = RefreshTokenJWT.verified(ada.refresh), timezone.now()
    assert sessions._rotate(token, now).outcome == "rotated"
    assert sessions._rotate(token, now - timedelta(milliseconds=1)).outcome == "reused"


def test_refresh_and_sign_out_at_once_leave_nobody_signed_in(api: API, ada: Person) -> None:
    def act(number: int) -> int:
        door = "logout" if number % 2 else "refresh"
        return int(API(raise_request_exception=False).post(door, {"refresh": ada.refresh}).status_code)

    assert {204} <= set(all_at_once(10, act)) <= {200, 204, 401}
    assert refused(api, ada.refresh) == "invalid_token"
    assert api.get("me", token=ada.access).status_code == 401


def test_database_refuses_a_second_successor_whatever_the_code_does(ada: Person) -> None:
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


def test_replay_survives_a_key_rotation_in_between(api: API, ada: Person, superuser: Any) -> None:
    """The successor's row names its key, so that the very same bytes come again."""
    from accounts.services import signing_keys
    from accounts.tokens.key_cache import invalidate_key_ring
    from tenancy.context import OPERATOR, using_alias

    (kept,) = superuser.execute("SELECT kid FROM signing_keys").fetchone()
    first = refresh(api, ada.refresh)[1]
    try:
        with using_alias(OPERATOR):
            signing_keys.rotate_signing_key()
        superuser.execute(
            "UPDATE signing_keys SET activates_at = now() - interval '1 s' WHERE kid <> %s", [kept]
        )
        invalidate_key_ring()
        again = refresh(api, ada.refresh)[1]
        assert again["refresh"] == first["refresh"]
        assert jwt.get_unverified_header(again["access"])["kid"] != kept
    finally:
        superuser.execute("DELETE FROM signing_keys WHERE kid <> %s", [kept])
        superuser.execute("UPDATE signing_keys SET expires_at = NULL")
        invalidate_key_ring()


def test_refresh_counts_as_use_of_the_session(api: API, ada: Person, superuser: Any) -> None:
    superuser.execute("UPDATE sessions SET last_used_at = last_used_at - interval '1 hour'")
    refresh(api, ada.refresh)
    assert superuser.execute(
        "SELECT last_used_at > now() - interval '1 minute' FROM sessions"
    ).fetchone() == (True,)
