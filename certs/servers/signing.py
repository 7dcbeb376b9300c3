"""How a program signs with a key that stays in Vault or in an HSM. Pure."""

from __future__ import annotations

import shlex

from keys.spec import KeyFacts

_MECHANISMS = {"rsa": "SHA256-RSA-PKCS", "ec": "ECDSA-SHA256", "ed25519": "EDDSA"}


def sign_call(backend: str, *, locator: str, name: str, version: int, key_type: str) -> str:
    """Return the command that signs FILE with the key into FILE.sig, for the class name of its key backend.

    "" where no program but the portal can sign, as with the local keys of a trial.
    """
    facts = KeyFacts.from_name(key_type)
    match backend:
        case "VaultKeyBackend":
            return _vault(locator, version, facts)
        case "PKCS11KeyBackend" if facts.family in _MECHANISMS:
            options = f"--label {shlex.quote(name)} --mechanism {_MECHANISMS[facts.family]}"
            return f"pkcs11-tool --module MODULE --login --sign {options} \\\n  -i FILE -o FILE.sig"
    return ""


def _vault(locator: str, version: int, facts: KeyFacts) -> str:
    """`locator` is MOUNT/keys/NAME; the transit engine signs at MOUNT/sign/NAME. Curl, which every host has."""
    mount, _, name = locator.partition("/keys/")
    path = f"{mount}/sign/{name}" + ("" if facts.family == "ed25519" else "/sha2-256")
    # Transit signs RSA with PSS unless it is told otherwise; TLS 1.2 and most software expect PKCS #1 v1.5.
    scheme = ', \\"signature_algorithm\\": \\"pkcs1v15\\"' if facts.family == "rsa" else ""
    body = f'{{\\"input\\": \\"$(base64 -w0 FILE)\\", \\"key_version\\": {version}{scheme}}}'
    return " \\\n  ".join(
        (
            'curl -sS --fail -H "X-Vault-Token: $VAULT_TOKEN"',
            f'--data "{body}" "$VAULT_ADDR/v1/"{shlex.quote(path)}',
            """| sed -n 's/.*"signature":"vault:v[0-9]*:\\([^"]*\\)".*/\\1/p' | base64 -d > FILE.sig""",
        )
    )
