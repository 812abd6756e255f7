"""Only issued tokens verify; any change to one is refused."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import jwt
import pytest
from django.conf import settings
from django.utils import timezone
from rest_framework_simplejwt.utils import aware_utcnow

from accounts.exceptions import InvalidTokenError
from accounts.services import signing_keys
from accounts.tests.support.flows import log_in
from accounts.tests.support.forged_tokens import (
    FOREIGN,
    by_our_key,
    claims_with,
    claims_without,
    foreign_jwk,
    header_with,
    header_without,
    hs256,
    part,
    public_pem,
    segments,
    signed,
    unpack,
)
from accounts.tokens.jwt import AccessToken
from accounts.tokens.key_cache import invalidate_key_ring, key_ring
from accounts.tokens.keys import KeyRing
from config.tests.support.accounts import Person
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias

Header = dict[str, Any]
Claims = dict[str, Any]
NOW = int(time.time())


def other_last_character(token: str) -> str:
    """Another encoding of the same signature if base64 has unused bits, else another signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def twice(name: str, at: int, first: Any = None) -> Callable[[str], str]:
    """The header (0) or claims (1) with a duplicate of a member before the right one."""

    def mutate(token: str) -> str:
        parts: list[Any] = list(unpack(token))
        text = json.dumps(parts[at])
        value = json.dumps(parts[at][name] if first is None else first)
        parts[at] = f'{{"{name}": {value}, {text[1:]}'.encode()
        return signed(*parts)

    return mutate


CLAIMS = ("iss", "aud", "sub", "sid", "jti", "iat", "exp", "token_type")
ODD = {
    "null": None, "true": True, "zero": 0, "minus one": -1, "a float": NOW + 600.5, "huge": 10**30,
    "after year 9999": 10**15, "text of digits": str(NOW + 600), "empty": "", "a list": ["x"],
    "an object": {"a": 1}, "NUL": "\0", "Infinity": float("inf"), "NaN": float("nan"),
    "upper case": "01A2052B-7F68-7014-96E8-1474819AA645", "braces": "{01a2052b-7f68-7014-96e8-1474819aa645}",
    "lone surrogate": "\ud800",
}  # fmt: skip
VALID = {("iat", "zero")}

MUTATIONS: dict[str, Callable[[str], str]] = {
    "alg none": segments(lambda h, p, s: f"{part({'alg': 'none', 'typ': 'JWT'})}.{p}."),
    "alg none with kid": lambda t: ".".join([part(unpack(t)[0] | {"alg": "none"}), *t.split(".")[1:]]),
    "alg None": header_with(alg="None"),
    "alg missing": header_without("alg"),
    "alg a list": header_with(alg=["RS256"]),
    "alg another of the family": header_with(alg="RS512"),
    "signed by our key with RS512": lambda t: by_our_key(t, "RS512"),
    "signed by our key with PS256": lambda t: by_our_key(t, "PS256"),
    "HS256 with the public PEM": lambda t: hs256(*unpack(t), public_pem()),
    "HS256 with the public PEM, no final newline": lambda t: hs256(*unpack(t), public_pem().strip()),
    "HS256 with the kid": lambda t: hs256(*unpack(t), unpack(t)[0]["kid"].encode()),
    "HS256 with nothing": lambda t: hs256(*unpack(t), b""),
    "signed by a foreign key": lambda t: signed(*unpack(t), FOREIGN),
    "foreign key in jwk": lambda t: signed(unpack(t)[0] | {"jwk": foreign_jwk()}, unpack(t)[1], FOREIGN),
    "own key, jwk": header_with(jwk={"kty": "RSA"}),
    "own key, jku": header_with(jku="https://mallory.example/jwks.json"),
    "own key, x5u": header_with(x5u="https://mallory.example/cert.pem"),
    "own key, x5c": header_with(x5c=["MIIB"]),
    "own key, crit": header_with(crit=["exp"]),
    "own key, b64": header_with(b64=False),
    "own key, zip": header_with(zip="DEF"),
    "kid unknown": header_with(kid="unknown"),
    "kid missing": header_without("kid"),
    "kid a number": header_with(kid=1),
    "kid a list": header_with(kid=["a"]),
    "kid an object": header_with(kid={}),
    "kid null": header_with(kid=None),
    "kid a path": header_with(kid="../../../../dev/null"),
    "kid SQL": header_with(kid="' OR 1=1 --"),
    "kid NUL": header_with(kid="\0"),
    "header a list": lambda t: signed([], unpack(t)[1]),
    "header text": lambda t: signed("RS256", unpack(t)[1]),
    "alg twice": twice("alg", 0),
    "alg twice, none first": twice("alg", 0, "none"),
    "kid twice": twice("kid", 0, "unknown"),
    "sub twice": twice("sub", 1),
    "sub twice, another first": twice("sub", 1, str(uuid4())),
    "exp twice": twice("exp", 1, NOW + 60),
    "a member of a member twice": lambda t: signed(
        unpack(t)[0], json.dumps(unpack(t)[1] | {"more": 0}).replace('"more": 0', '"more": {"a": 1, "a": 2}').encode()
    ),
    "header in UTF-16": lambda t: signed(json.dumps(unpack(t)[0]).encode("utf-16"), unpack(t)[1]),
    "claims in UTF-16": lambda t: signed(unpack(t)[0], json.dumps(unpack(t)[1]).encode("utf-16")),
    "header not JSON": segments(lambda h, p, s: f"{part(b'{')}.{p}.{s}"),
    "header invalid UTF-8": segments(lambda h, p, s: f"{part(bytes([255, 254]))}.{p}.{s}"),
    "header very deep": lambda t: signed((b'{"alg":' * 500) + (b"}" * 500), unpack(t)[1]),
    "claims a list": lambda t: signed(unpack(t)[0], [unpack(t)[1]]),
    "claims a text": lambda t: signed(unpack(t)[0], "sub"),
    "claims null": lambda t: signed(unpack(t)[0], None),
    "claims not JSON": lambda t: signed(unpack(t)[0], b"{"),
    "claims invalid UTF-8": lambda t: signed(unpack(t)[0], b"\xff\xfe"),
    "claims very deep": lambda t: signed(unpack(t)[0], b"[" * 900 + b"]" * 900),
    "a token in the token": lambda t: signed(unpack(t)[0], t.encode()),
    "expired now": claims_with(exp=NOW - 1),
    "issued tomorrow": claims_with(iat=NOW + 86400),
    "not before tomorrow": claims_with(nbf=NOW + 86400),
    "other audience": claims_with(aud="https://other.example"),
    "audience a list with ours": lambda t: claims_with(aud=[unpack(t)[1]["aud"], "x"])(t),
    "other issuer": claims_with(iss="https://other.example"),
    "issuer a part of ours": lambda t: claims_with(iss=unpack(t)[1]["iss"][:-1])(t),
    "other session": claims_with(sid=str(uuid4())),
    "other creator": claims_with(sub=str(uuid4())),
    "nil creator": claims_with(sub="00000000-0000-0000-0000-000000000000"),
    "other type": claims_with(token_type="sliding"),
    "appended ==": lambda t: t + "==",
    "appended =": lambda t: t + "=",
    "appended newline": lambda t: t + "\n.",
    "appended A": lambda t: t + "A",
    "last character altered": other_last_character,
    "first of the signature altered": segments(lambda h, p, s: f"{h}.{p}.{'AB'[s[0] == 'A']}{s[1:]}"),
    "no signature": segments(lambda h, p, s: f"{h}.{p}."),
    "two segments": segments(lambda h, p, s: f"{h}.{p}"),
    "four segments": lambda t: t + "." + t.split(".")[2],
    "signature twice": segments(lambda h, p, s: f"{h}.{p}.{s}{s}"),
    "payload twice": segments(lambda h, p, s: f"{h}.{p}.{p}.{s}"),
    "a zero byte before the signature": segments(
        lambda h, p, s: f"{h}.{p}.{part(bytes(1) + jwt.utils.base64url_decode(s))}"
    ),
    "truncated": lambda t: t[:-10],
    "half": lambda t: t[: len(t) // 2],
    "only dots": lambda t: "..",
    "huge": lambda t: t + "A" * 40_000,
    "huge claims": claims_with(more="x" * 30_000),
    "non-ASCII": lambda t: t[:-1] + "é",
    "full-width letters": lambda t: t.replace("e", "\uff45"),
    "a comma and another": lambda t: f"{t},{t}",
    "JSON serialisation": segments(
        lambda h, p, s: json.dumps({"protected": h, "payload": p, "signature": s})
    ),
    "padded segments": segments(lambda h, p, s: f"{h}==.{p}==.{s}=="),
    "standard alphabet": lambda t: t.replace("-", "+").replace("_", "/"),
    **{f"without {name}": claims_without(name) for name in CLAIMS},
    **{
        f"{name}: {kind}": claims_with(**{name: value})
        for name in CLAIMS for kind, value in ODD.items() if (name, kind) not in VALID
    },
}  # fmt: skip


def assert_refused(response: Any, why: str) -> None:
    assert response.status_code == 401, (why, response.status_code, response.content)
    assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"', why
    assert response.json()["code"] == "invalid_token", why


def latin(text: str) -> str:
    """As in an HTTP header."""
    return text.encode().decode("latin-1")


def test_tokens_of_these_tests_are_valid_without_a_mutation(api: API, ada: Person) -> None:
    """Otherwise the refusals below could have another reason."""
    assert api.get("me", token=signed(*unpack(ada.access))).status_code == 200
    assert api.get("me", token=claims_with(iat=0)(ada.access)).status_code == 200
    assert api.post("refresh", {"refresh": signed(*unpack(ada.refresh))}).status_code == 200


def test_mutated_access_tokens_are_refused(api: API, ada: Person) -> None:
    for why, mutate in MUTATIONS.items():
        assert_refused(api.get("me", token=latin(mutate(ada.access).replace("\n", ""))), why)
    assert api.get("me", token=ada.access).status_code == 200


def test_mutated_refresh_tokens_are_refused(api: API, ada: Person) -> None:
    for why, mutate in MUTATIONS.items():
        assert_refused(api.post("refresh", {"refresh": mutate(ada.refresh)}), f"refresh: {why}")
        if why not in {
            "other session",
            "other creator",
            "nil creator",
        }:  # validly signed: logout has no session to end, 204
            assert_refused(api.post("logout", {"refresh": mutate(ada.refresh)}), f"logout: {why}")
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 200


def test_token_of_another_type_is_refused(api: API, ada: Person) -> None:
    assert_refused(api.get("me", token=ada.refresh), "refresh as access")
    assert_refused(api.post("refresh", {"refresh": ada.access}), "access as refresh")
    assert_refused(api.post("logout", {"refresh": ada.access}), "access at logout")


@pytest.mark.parametrize("scheme", ["Basic", "Token", "JWT", "", "Bearer Bearer"])
def test_only_the_bearer_scheme_is_accepted(api: API, ada: Person, scheme: str) -> None:
    assert_refused(api.get("me", Authorization=f"{scheme} {ada.access}"), scheme)


def test_claims_are_those_of_the_contract(api: API, ada: Person, settings: Any) -> None:
    pair = log_in(api, ada.email).json()
    header, claims = unpack(pair["access"])
    assert header == {"alg": "RS256", "typ": "JWT", "kid": key_ring().signing_key().kid}
    assert set(claims) == set(CLAIMS)
    assert (claims["iss"], claims["aud"]) == (settings.JWT_ISSUER, settings.JWT_AUDIENCE)
    assert (claims["sub"], claims["token_type"]) == (str(ada.id), "access")
    assert claims["exp"] - claims["iat"] == 3600 == pair["expires_in"]
    refresh_header, refresh = unpack(pair["refresh"])
    assert refresh_header == header
    assert set(refresh) == set(CLAIMS)
    assert (refresh["token_type"], refresh["sid"]) == ("refresh", claims["sid"])
    assert refresh["exp"] - refresh["iat"] == 30 * 86400 == pair["refresh_expires_in"]
    assert refresh["jti"] != claims["jti"]
    assert pair["token_type"] == "Bearer"


def test_token_expires_at_its_second(api: API, ada: Person) -> None:
    assert api.get("me", token=claims_with(exp=int(time.time()) + 5)(ada.access)).status_code == 200
    assert_refused(api.get("me", token=claims_with(exp=int(time.time()))(ada.access)), "at its second")


def test_jwks_is_public_and_cacheable(api: API, ada: Person) -> None:
    response = api.get("/.well-known/jwks.json", token="rubbish")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/jwk-set+json"
    assert response["Cache-Control"] == "public, max-age=300"
    assert "Cookie" not in response.get("Vary", "")
    (key,) = response.json()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) * 8 == 3072


def test_kid_is_the_rfc_7638_thumbprint(api: API) -> None:
    (key,) = api.get("/.well-known/jwks.json").json()["keys"]
    canonical = f'{{"e":"{key["e"]}","kty":"RSA","n":"{key["n"]}"}}'
    assert key["kid"] == part(hashlib.sha256(canonical.encode()).digest())


def test_other_services_verify_tokens_with_the_jwks(api: API, ada: Person, settings: Any) -> None:
    jwks = jwt.PyJWKSet.from_dict(api.get("/.well-known/jwks.json").json())
    key = jwks[unpack(ada.access)[0]["kid"]]
    claims = jwt.decode(ada.access, key, audience=settings.JWT_AUDIENCE, issuer=settings.JWT_ISSUER)
    assert claims["sub"] == str(ada.id)


@pytest.mark.parametrize(
    ("algorithm", "members"),
    [
        ("PS256", {"kty", "n", "e"}), ("RS512", {"kty", "n", "e"}), ("ES256", {"kty", "crv", "x", "y"}),
        ("ES512", {"kty", "crv", "x", "y"}), ("EdDSA", {"kty", "crv", "x"}),
    ],
)  # fmt: skip
def test_other_algorithms_sign_publish_and_refresh(
    api: API, ada: Person, settings: Any, superuser: Any, algorithm: str, members: set[str]
) -> None:
    settings.JWT_ALGORITHM = algorithm
    invalidate_key_ring()
    try:
        with using_alias(OPERATOR):
            assert signing_keys.ensure_signing_key()
        assert_refused(api.get("me", token=ada.access), "only the configured algorithm verifies")
        pair = log_in(api, ada.email).json()
        assert unpack(pair["access"])[0]["alg"] == algorithm
        assert api.get("me", token=pair["access"]).status_code == 200
        assert api.post("refresh", {"refresh": pair["refresh"]}).status_code == 200
        jwks = api.get("/.well-known/jwks.json").json()
        (key,) = jwks["keys"]
        assert set(key) == members | {"kid", "use", "alg"}
        plain = jwt.PyJWKSet.from_dict(jwks)[key["kid"]]
        assert jwt.decode(pair["access"], plain, audience=settings.JWT_AUDIENCE)["sub"] == str(ada.id)
        assert_refused(api.get("me", token=other_last_character(pair["access"])), "altered")
    finally:
        superuser.execute("DELETE FROM signing_keys WHERE algorithm <> 'RS256'")
        invalidate_key_ring()


def test_cached_signature_expires_with_the_token(monkeypatch: pytest.MonkeyPatch, ada: Person) -> None:
    AccessToken.verified(ada.access)
    later = aware_utcnow() + settings.JWT_ACCESS_TOKEN_LIFETIME
    monkeypatch.setattr("rest_framework_simplejwt.tokens.aware_utcnow", lambda: later)
    with pytest.raises(InvalidTokenError):
        AccessToken.verified(ada.access)


def test_cached_signature_expires_with_its_key(monkeypatch: pytest.MonkeyPatch, ada: Person) -> None:
    AccessToken.verified(ada.access)
    expired = replace(key_ring().signing_key(), expires_at=timezone.now())
    monkeypatch.setattr("accounts.tokens.jwt.key_ring", lambda: KeyRing([expired]))
    with pytest.raises(InvalidTokenError):
        AccessToken.verified(ada.access)


def test_cached_claims_cannot_be_changed(ada: Person) -> None:
    AccessToken.verified(ada.access).payload["sub"] = str(uuid4())
    assert AccessToken.verified(ada.access).creator_id == ada.id


def test_cache_does_not_accept_other_bytes(ada: Person) -> None:
    AccessToken.verified(ada.access)
    for changed in (f"{ada.access}=", f"{ada.access[:-6]}AAAAAA", f"{ada.access} "):
        with pytest.raises(InvalidTokenError):
            AccessToken.verified(changed)
