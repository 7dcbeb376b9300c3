"""How a program signs with a key that stays in Vault or in an HSM. Pure."""

from __future__ import annotations

import shlex

from keys.spec import KeyFacts

_MECHANISMS = {"rsa": "SHA256-RSA-PKCS", "ec": "ECDSA-SHA256", "ed25519": "EDDSA"}


def sign_call(backend: str, *, locator: str, name: str, version: int, key_type: str) -> str:
    """Return the command that signs FILE with the key, for the class name of its key backend.

    "" where no program but the portal can sign, as with the local keys of a trial.
    """
    facts = KeyFacts.from_name(key_type)
    match backend:
        case "VaultKeyBackend":
            return _vault(locator, version, facts)
        case "PKCS11KeyBackend":
            mechanism = _MECHANISMS.get(facts.family, "")
            return f"pkcs11-tool --sign --label {shlex.quote(name)} --mechanism {mechanism} -i FILE -o FILE.sig" if mechanism else ""
    return ""


def _vault(locator: str, version: int, facts: KeyFacts) -> str:
    """`locator` is MOUNT/keys/NAME; the transit engine signs at MOUNT/sign/NAME."""
    mount, _, name = locator.partition("/keys/")
    digest = "" if facts.family == "ed25519" else "/sha2-256"
    # Transit signs RSA with PSS unless it is told otherwise; TLS 1.2 and most software expect PKCS #1 v1.5.
    scheme = " signature_algorithm=pkcs1v15" if facts.family == "rsa" else ""
    path = shlex.quote(f"{mount}/sign/{name}{digest}")
    return f'vault write -field=signature {path} key_version={version}{scheme} input="$(base64 -w0 FILE)"'
