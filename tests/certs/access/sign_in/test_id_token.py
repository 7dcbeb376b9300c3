"""Which ID tokens prove who somebody is, and which prove nothing."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.access.sign_in.id_token import LOGOUT_EVENT, TokenRefused, verify_id_token, verify_logout_token

ISSUER, CLIENT, NONCE = "https://id.example.com", "pki-portal", "a nonce"


@cache
def key(name: str) -> Any:
    if name == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


def jwk(name: str, **more: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.ECAlgorithm if name == "ec" else jwt.algorithms.RSAAlgorithm
    return {**algorithm.to_jwk(key(name).public_key(), as_dict=True), "kid": name, "use": "sig", **more}


def known_keys() -> dict[str, Any]:
    return {"keys": [jwk("rsa"), jwk("ec")]}


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    full = {"iss": ISSUER, "sub": "s-1", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": NONCE} | changed
    return {name: value for name, value in full.items() if value is not None}


def token(name: str = "rsa", algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changed: Any) -> str:
    return jwt.encode(claims(**changed), key(name), algorithm, headers={"kid": name} | (headers or {}))


def verified(text: str, keys: dict[str, Any] | None = None) -> dict[str, Any]:
    return verify_id_token(text, keys=known_keys() if keys is None else keys, issuer=ISSUER, client_id=CLIENT, nonce=NONCE)


def now(seconds: int) -> int:
    return int(time.time()) + seconds


@pytest.mark.parametrize(
    "made",
    [
        token,
        lambda: token("ec", "ES256"),
        lambda: token(algorithm="PS256"),
        lambda: token(aud=[CLIENT]),
        lambda: token(aud=[CLIENT, "other"], azp=CLIENT),
        lambda: token(iat=now(30)),  # the clocks differ by less than a minute
        lambda: token(exp=now(-30)),
    ],
)
def test_a_token_for_this_sign_in_gives_its_claims(made: Callable[[], str]) -> None:
    assert verified(made())["sub"] == "s-1"


@pytest.mark.parametrize(
    "made",
    [
        lambda: token(aud="another client"),
        lambda: token(aud=[CLIENT, "other"]),
        lambda: token(aud=[CLIENT, "other"], azp="other"),
        lambda: token(azp="other"),
        lambda: token(iss="https://evil.example"),
        lambda: token(iss=ISSUER + "/"),
        lambda: token(exp=now(-120)),
        lambda: token(iat=now(120)),
        lambda: token(nbf=now(120)),
        lambda: token(nonce="of another sign-in"),
        lambda: token(nonce=None),
        lambda: token(sub=None),
        lambda: token(sub=""),
        lambda: token(sub="s" * 192),
        lambda: token(sub="s-1\x00"),
        lambda: token(sub="s-1\n"),
        lambda: token(exp=None),
        lambda: token(iat=None),
        lambda: token(headers={"kid": "unknown"}),
        lambda: token(headers={"kid": "ec"}),
        lambda: "",
        lambda: "a.b.c",
        lambda: "é.é.é",
        lambda: token()[:-5] + "AAAAA",
    ],
)
def test_any_other_token_is_refused(made: Callable[[], str]) -> None:
    with pytest.raises(TokenRefused) as refused:
        verified(made())
    assert "s-1" not in str(refused.value)


def test_an_unsigned_token_is_refused() -> None:
    unsigned = jwt.encode(claims(), "", "none")
    assert unsigned.endswith(".")
    with pytest.raises(TokenRefused, match="unsigned"):
        verified(unsigned)
    stripped = token().rpartition(".")[0] + "."
    with pytest.raises(TokenRefused):
        verified(stripped)


def test_the_public_key_is_no_shared_secret() -> None:
    """HS256 with the public key as its secret: everybody knows that key."""
    public = key("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256"}, claims())]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(b".".join(parts), public)
    forged = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    with pytest.raises(TokenRefused):
        verified(forged)


@pytest.mark.parametrize(
    "keys",
    [
        dict,
        lambda: {"keys": []},
        lambda: {"keys": [jwk("rsa", use="enc")]},
        lambda: {"keys": [jwk("rsa", alg="RS512")]},
        lambda: {"keys": [jwk("rsa"), jwk("rsa")]},
        lambda: {"keys": [{"kty": "RSA", "kid": "rsa", "n": "AQAB"}]},
    ],
)
def test_keys_that_do_not_fit_prove_nothing(keys: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(TokenRefused):
        verified(token(), keys())


def test_a_token_without_a_key_id_is_verified_with_the_only_key() -> None:
    text = jwt.encode(claims(), key("rsa"), "RS256")
    assert verified(text)["sub"] == "s-1"


def logout(**changed: Any) -> str:
    return token(**{"nonce": None, "jti": "j-1", "events": {LOGOUT_EVENT: {}}} | changed)


def test_a_logout_token_names_whose_sessions_end() -> None:
    found = verify_logout_token(logout(), keys=known_keys(), issuer=ISSUER, client_id=CLIENT)
    assert found["sub"] == "s-1"


@pytest.mark.parametrize(
    "made",
    [
        token,  # an ID token
        lambda: logout(events=None),
        lambda: logout(events={}),
        lambda: logout(events=[LOGOUT_EVENT]),
        lambda: logout(events={LOGOUT_EVENT: "yes"}),
        lambda: logout(nonce=NONCE),
        lambda: logout(sub=None),
        lambda: logout(jti=None),
        lambda: logout(iss="https://evil.example"),
        lambda: logout(aud="another client"),
        lambda: logout(exp=now(-120)),
        lambda: logout(iat=now(120)),
        lambda: logout(iat=-(10**15)),
        lambda: logout(iat=str(now(0))),
        lambda: logout(sub="s-1\x00"),
        lambda: logout()[:-5] + "AAAAA",
    ],
)
def test_nothing_else_ends_sessions(made: Callable[[], str]) -> None:
    with pytest.raises(TokenRefused):
        verify_logout_token(made(), keys=known_keys(), issuer=ISSUER, client_id=CLIENT)


def test_a_logout_token_signs_nobody_in() -> None:
    with pytest.raises(TokenRefused):
        verified(logout())
