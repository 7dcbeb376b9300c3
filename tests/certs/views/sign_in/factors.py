"""Second factors for tests: an authenticator app with a known seed, and the code that it shows now."""

from __future__ import annotations

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.test import Client

from tests.portal.fixtures import PASSWORD

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def add_app(user: Any, seed: str = SEED) -> Authenticator:
    """Give an account an authenticator app."""
    return TOTP.activate(user, seed).instance


def add_recovery_codes(user: Any) -> list[str]:
    """Give an account recovery codes, and return them."""
    return list(RecoveryCodes.activate(user).get_unused_codes())


def code(step: int = 0, seed: str = SEED) -> str:
    """Return the code that the app shows now, or `step` times 30 seconds later."""
    return str(format_hotp_value(hotp_value(seed, int(time.time()) // 30 + step)))


def wrong_code() -> str:
    """Return a code that the app shows neither now nor around now."""
    valid = {code(step) for step in range(-3, 4)}
    return next(f"{number:06}" for number in range(10) if f"{number:06}" not in valid)


def password_step(client: Client, name: str = "alice", **more: str) -> Any:
    """Send the right password."""
    return client.post("/login/", {"username": name, "password": PASSWORD, **more})


def is_signed_in(client: Client) -> bool:
    """Whether the browser is signed in."""
    return client.get("/account/").status_code == 200
