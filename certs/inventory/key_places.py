"""Where private keys are kept, in words that an auditor knows."""

from __future__ import annotations

from django.conf import settings

from keys.models import Key

OWN_SERVER = "the requester's own server"
_KINDS = {
    "keys.backends.vault.VaultKeyBackend": "Vault (transit)",
    "keys.backends.pkcs11.PKCS11KeyBackend": "HSM (PKCS#11)",
    "keys.backends.local.LocalKeyBackend": "the portal, encrypted",
}


def kind_of(backend: str) -> str:
    """Return what kind of place a key backend is; its class where that is not one of ours."""
    config = settings.KEY_BACKENDS.get(backend)
    if config is None:
        return "no longer configured"
    backend_class = str(config["BACKEND"])
    return _KINDS.get(backend_class, backend_class.rpartition(".")[2])


def place_of(key: Key | None) -> str:
    """Return where the private key of a certificate is; without a key the portal never had it."""
    return OWN_SERVER if key is None else f"{kind_of(key.backend)}, {key.backend}"
