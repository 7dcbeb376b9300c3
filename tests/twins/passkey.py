"""A passkey in software: real keys and the real formats of WebAuthn, without a device and a browser."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

HOST = "pki.example.com"
_FLAG = AuthenticatorData.FLAG
_PRESENT_AND_VERIFIED, _ATTESTED = _FLAG.UP | _FLAG.UV, _FLAG.AT


class Passkey:
    """One credential for one host."""

    def __init__(self, host: str = HOST) -> None:
        self.host = host
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._id = os.urandom(32)
        self._host_hash = hashlib.sha256(host.encode()).digest()

    def register(self, user: Any) -> Authenticator:
        """Add the passkey to an account, as its page does."""
        cose = ES256.from_cryptography_key(self._key.public_key())  # type: ignore[no-untyped-call]
        attested = AttestedCredentialData.create(Aaguid.NONE, self._id, cose)
        data = AuthenticatorData.create(self._host_hash, _PRESENT_AND_VERIFIED | _ATTESTED, 0, attested)
        client = CollectedClientData.create("webauthn.create", os.urandom(32), f"https://{self.host}")
        response = {
            "clientDataJSON": websafe_encode(client),
            "attestationObject": websafe_encode(AttestationObject.create("none", data, {})),
        }
        credential = {**self._names(), "response": response, "clientExtensionResults": {}}
        return Authenticator.objects.create(
            user=user, type=Authenticator.Type.WEBAUTHN, data={"name": "software", "credential": credential}
        )

    def answer(self, options: Mapping[str, Any], *, origin: str = "", kind: str = "webauthn.get") -> dict[str, Any]:
        """Sign the challenge in the options, as a browser returns it."""
        challenge = websafe_decode(options["publicKey"]["challenge"])
        client = CollectedClientData.create(kind, challenge, origin or f"https://{self.host}")
        data = AuthenticatorData.create(self._host_hash, _PRESENT_AND_VERIFIED, 1)
        signature = self._key.sign(bytes(data) + client.hash, ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": websafe_encode(client),
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signature),
            "userHandle": None,
        }
        return {**self._names(), "response": response, "clientExtensionResults": {}}

    def _names(self) -> dict[str, str]:
        return {"id": websafe_encode(self._id), "rawId": websafe_encode(self._id), "type": "public-key"}
