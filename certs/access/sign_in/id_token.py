"""Verify tokens of an OpenID provider: signature, issuer, audience, times, and what each is for. No network."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

# Asymmetric signatures only: "none" is unsigned, and under HS256 a public key could serve as the secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
CLOCK_SKEW_SECONDS = 60
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
MOST_SUBJECT_CHARACTERS = 191  # of django-allauth's column


class TokenRefused(Exception):
    """The token proves nothing. The message is for the log, and holds nothing of the token."""


def verify_id_token(token: str, *, keys: Mapping[str, Any], issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """Return the claims of the token (OpenID Connect Core 1.0, 3.1.3.7). Raises TokenRefused.

    `keys` is the provider's JWK Set. The signature is verified although the token came over TLS:
    then a mistake of a proxy in between signs nobody in.
    """
    claims = _verified(token, keys=keys, issuer=issuer, client_id=client_id, required=("sub",))
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise TokenRefused("The ID token was refused: it is not the one of this sign-in (nonce).")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims.get("azp", client_id) != client_id or (len(audiences) > 1 and "azp" not in claims):
        raise TokenRefused("The ID token was refused: it was issued for another client (azp).")
    return claims


def verify_logout_token(token: str, *, keys: Mapping[str, Any], issuer: str, client_id: str) -> dict[str, Any]:
    """Return the claims of a logout token (OpenID Connect Back-Channel Logout 1.0, 2.6). Raises TokenRefused.

    It must name the subject: the portal keeps no session ids of the provider.
    """
    claims = _verified(token, keys=keys, issuer=issuer, client_id=client_id, required=("sub", "jti", "events"))
    events = claims["events"]
    # An ID token has no such event, and a logout token no nonce: neither passes for the other.
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict) or "nonce" in claims:
        raise TokenRefused("The logout token was refused: it asks for no logout.")
    return claims


def _verified(token: str, *, keys: Mapping[str, Any], issuer: str, client_id: str, required: Sequence[str]) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key=_key(keys, header),
            algorithms=[header["alg"]],
            audience=client_id,
            issuer=issuer,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["iss", "aud", "exp", "iat", *required]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise TokenRefused(f"The token was refused: {type(exc).__name__}.") from exc
    sub = claims["sub"]
    if not isinstance(sub, str) or not 0 < len(sub) <= MOST_SUBJECT_CHARACTERS or not sub.isprintable():
        raise TokenRefused("The token was refused: its subject is no text of a usable length.")
    if not isinstance(claims["iat"], int | float) or claims["iat"] < 0:  # RFC 7519 2: a number; the library reads texts too
        raise TokenRefused("The token was refused: the time at which it was issued is no number.")
    return claims


def _key(keys: Mapping[str, Any], header: Mapping[str, Any]) -> Any:
    """Return the key that the header names; the only one where it names none."""
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise TokenRefused("The token was refused: it is unsigned, or signed in a way that proves nothing.")
    found = [
        one
        for one in keys.get("keys", [])
        if one.get("use", "sig") == "sig"
        and one.get("kty") == _KEY_TYPE[algorithm[:2]]
        and one.get("alg", algorithm) == algorithm
        and header.get("kid") in (None, one.get("kid"))
    ]
    if len(found) != 1:
        raise TokenRefused("The token was refused: no key of the provider fits it.")
    return jwt.PyJWK.from_dict(found[0], algorithm=algorithm).key


_KEY_TYPE = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
