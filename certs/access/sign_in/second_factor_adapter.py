"""What django-allauth asks the portal about second factors."""

from __future__ import annotations

from allauth.mfa.adapter import DefaultMFAAdapter

from certs.access.sign_in.sealed_secrets import seal, unseal


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc] # allauth has no types
    """Named by settings.MFA_ADAPTER."""

    def encrypt(self, text: str) -> str:
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(encrypted_text)
