"""CAs that people added on a page: where each is, and the file that has its credential. Read where the CA's workers run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from certs.models import CAAddition

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # no folder, and no way up
_CLIENTS = {
    CAAddition.Kind.REST: "certs.ca.rest.RestCAClient",
    CAAddition.Kind.VAULT_PKI: "certs.ca.vault_pki.VaultPKIClient",
}


def connection_of(alias: str) -> dict[str, Any] | None:
    """Return the class of a CA's client and the options without the credential, as an entry of CA_CLIENTS has them.

    None for a CA that nobody added on a page, or that was given up.
    """
    added = CAAddition.objects.filter(name=alias, kind__in=_CLIENTS).exclude(state=CAAddition.State.GIVEN_UP).first()
    return None if added is None else connection_from(added)


def connection_from(added: CAAddition) -> dict[str, Any] | None:
    """Return the same of one addition, also of one that was given up; None for a CA of the settings."""
    if added.kind not in _CLIENTS:
        return None
    return {"CLIENT": _CLIENTS[CAAddition.Kind(added.kind)], "CREDENTIAL": added.credential, **_options(added)}


def _options(added: CAAddition) -> dict[str, Any]:
    if added.kind == CAAddition.Kind.VAULT_PKI:
        return {"OPTIONS": {"url": added.address, "mount": added.mount, "role": added.role}, "BUNDLE": "ca_cert"}
    return {"OPTIONS": {"url": added.address}, "BUNDLE": "ca_bundle"}


def options_with_credential(config: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the token, which only the workers of remote CAs can read.

    A file of the same name with `.pem` behind it holds the roots of the server's TLS certificate.
    Raises ImproperlyConfigured where the file is missing: its message names the file, never what is in it.
    """
    # The name comes from a page and is joined to a path, so it may lead nowhere else than into the folder.
    name = str(config["CREDENTIAL"])
    folder = str(settings.PKI_CA_CREDENTIALS)
    if not folder or FILE_NAME.fullmatch(name) is None:
        raise ImproperlyConfigured(f"This process has no credential {name}: PKI_CA_CREDENTIALS names no folder.")
    path = Path(folder) / name
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        # `from None`: the text of a UnicodeDecodeError quotes the file.
        raise ImproperlyConfigured(
            f"The credential {name} cannot be read ({type(exc).__name__}): put the file into PKI_CA_CREDENTIALS where "
            "the workers of the queue ca-remote run."
        ) from None
    if not re.fullmatch(r"[!-~]+", token):
        raise ImproperlyConfigured(f"The credential {name} is empty, or has characters that no token has.")
    bundle = path.with_name(f"{name}.pem")
    return {**config["OPTIONS"], "token": token, **({config["BUNDLE"]: str(bundle)} if bundle.exists() else {})}
