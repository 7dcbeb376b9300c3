"""What django-allauth asks the portal about second factors."""

from __future__ import annotations

import base64
import logging
import os
from typing import Any

from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings

from certs.access.sessions import browser_of
from certs.access.sign_in.sealed_secrets import SecretUnreadable, seal, unseal

log = logging.getLogger(__name__)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc] # allauth has no types
    """Named by settings.MFA_ADAPTER."""

    def encrypt(self, text: str) -> str:
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret; after a change of SECRET_KEY another one, to which no code fits.

        So codes are wrong then, and the pages on which a person makes new ones still open.
        """
        try:
            return unseal(encrypted_text)
        except SecretUnreadable as exc:
            log.error("%s", exc)  # noqa: TRY400 - the traceback says nothing more
            return base64.b32encode(os.urandom(20)).decode("ascii")

    def generate_authenticator_name(self, user: Any, type: Any) -> str:  # noqa: A002 - the library's signature
        """Suggest the device on which the person is now."""
        return browser_of(context.request.headers.get("User-Agent", ""))

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Name the portal in the browser's dialogue. The id stays the host of the address bar."""
        entity: dict[str, str] = super().get_public_key_credential_rp_entity()
        return entity | {"name": settings.MFA_TOTP_ISSUER}
