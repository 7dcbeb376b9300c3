"""No upload may hold a private key or token: looked for in all that it contains, before anything of it is used. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from certs.enums import RefusalClass
from certs.errors import CSRRefused
from certs.language.secret_scan import find_secret
from certs.x509.csr.private_keys import find_exposed_keys, find_private_key

ADVICE = "Treat it as exposed and replace it, take it out and upload again. Nobody at the portal ever needs a private key or token."
# The scanners look at so much at a time; windows overlap by more than any key is long, so none hides at a seam.
_WINDOW, _OVERLAP = 64 * 1024, 16 * 1024
# What is between these lines goes through the gate, which looks into it.
_REQUEST_BODY = re.compile(
    r"(-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----)[A-Za-z0-9+/=\s]++(?=-----END (?:NEW )?CERTIFICATE REQUEST-----)"
)


def refuse_secrets(text: str) -> None:
    """For text that nothing else looks through. Raises CSRRefused(secret_pasted) for the whole upload, without a word of the text."""
    for window in _windows(text):
        octets = window.encode("utf-8", "replace")
        if found := find_private_key(octets):
            raise secret_in_upload(found.kind, find_exposed_keys(octets))
    refuse_secrets_around_requests(text)


def refuse_secrets_around_requests(text: str) -> None:
    """For text whose CSRs all go through the gate: what is around them. Raises
    CSRRefused(secret_pasted).
    """
    for window in _windows(_REQUEST_BODY.sub(r"\1", text)):
        found = find_secret(window)
        if found is not None:
            exposed = find_exposed_keys(window.encode("utf-8", "replace"))
            raise secret_in_upload(found.kind, exposed)


def refuse_secret_bytes(data: bytes) -> None:
    """Key files and keystores, in text or binary. Raises CSRRefused(secret_pasted)."""
    if found := find_private_key(data):
        raise secret_in_upload(found.kind, find_exposed_keys(data))


def secret_in_upload(kind: str, exposed_keys: tuple[str, ...] = ()) -> CSRRefused:
    """`exposed_keys`: public keys whose private keys are in the file, each proven."""
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
