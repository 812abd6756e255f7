"""Tokens that the service did not issue, or that were changed."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from accounts.tokens.key_cache import key_ring

Header = dict[str, Any]
Claims = dict[str, Any]
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unpack(token: str) -> tuple[Header, Claims]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def signed(header: Any, claims: Any, key: Any = None) -> str:
    """A compact JWS with any header and claims, signed with `key` or the service's own."""
    key = key or key_ring().signing_key().private
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(jwt.algorithms.get_default_algorithms()['RS256'].sign(text.encode(), key))}"


def by_our_key(token: str, algorithm: str) -> str:
    header, claims = unpack(token)
    private = key_ring().signing_key().private
    return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": header["kid"]})


def hs256(header: Header, claims: Claims, secret: bytes) -> str:
    text = f"{part(header | {'alg': 'HS256'})}.{part(claims)}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"


def public_pem() -> bytes:
    pem: bytes = (
        key_ring()
        .signing_key()
        .public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pem


def foreign_jwk() -> dict[str, Any]:
    jwk: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(FOREIGN.public_key(), as_dict=True)
    return jwk


def header_with(**more: Any) -> Callable[[str], str]:
    return lambda token: signed(unpack(token)[0] | more, unpack(token)[1])


def header_without(name: str) -> Callable[[str], str]:
    return lambda token: signed({k: v for k, v in unpack(token)[0].items() if k != name}, unpack(token)[1])


def claims_with(**more: Any) -> Callable[[str], str]:
    return lambda token: signed(unpack(token)[0], unpack(token)[1] | more)


def claims_without(name: str) -> Callable[[str], str]:
    return lambda token: signed(unpack(token)[0], {k: v for k, v in unpack(token)[1].items() if k != name})


def segments(change: Callable[[str, str, str], str]) -> Callable[[str], str]:
    return lambda token: change(*token.split("."))
