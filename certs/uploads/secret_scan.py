"""Refuse uploads that contain a private key or token anywhere, before anything of them is used. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from certs.enums import RefusalClass
from certs.errors import CSRRefused
from certs.language.secret_scan import find_secret
from certs.x509.csr.private_keys import find_exposed_keys, find_private_key

ADVICE = "Treat it as exposed and replace it, take it out and upload again. Nobody at the portal ever needs a private key or token."
# Texts are scanned in windows. They overlap by more than the longest key, so that no key is cut in two.
_WINDOW, _OVERLAP = 64 * 1024, 16 * 1024
# The CSR gate scans what is between these lines.
_REQUEST_BODY = re.compile(
    r"(-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----)[A-Za-z0-9+/=\s]++(?=-----END (?:NEW )?CERTIFICATE REQUEST-----)"
)


def refuse_secrets(text: str) -> None:
    """Search a text that nothing else scans. Raises CSRRefused (`secret_pasted`), whose message quotes nothing of the text."""
    for window in _windows(text):
        octets = window.encode("utf-8", "replace")
        if found := find_private_key(octets):
            raise secret_in_upload(found.kind, find_exposed_keys(octets))
    refuse_secrets_around_requests(text)


def refuse_secrets_around_requests(text: str) -> None:
    """Search a text except for its CSRs, which the CSR gate scans. Raises CSRRefused (`secret_pasted`)."""
    for window in _windows(_REQUEST_BODY.sub(r"\1", text)):
        found = find_secret(window)
        if found is not None:
            exposed = find_exposed_keys(window.encode("utf-8", "replace"))
            raise secret_in_upload(found.kind, exposed)


def refuse_secret_bytes(data: bytes) -> None:
    """Search for key files and keystores, in text or binary. Raises CSRRefused (`secret_pasted`)."""
    if found := find_private_key(data):
        raise secret_in_upload(found.kind, find_exposed_keys(data))


def secret_in_upload(kind: str, exposed_keys: tuple[str, ...] = ()) -> CSRRefused:
    """Return the refusal. `exposed_keys`: names of public keys whose private keys were found in the file and checked against them."""
    return CSRRefused(
        RefusalClass.SECRET_PASTED,
        f"The file holds a secret ({kind}); nothing of it was used or kept.",
        field="file",
        next_step=ADVICE,
        exposed_keys=exposed_keys,
    )


def _windows(text: str) -> Iterator[str]:
    for start in range(0, max(len(text) - _OVERLAP, 1), _WINDOW - _OVERLAP):
        yield text[start : start + _WINDOW]
