"""The responders that this process may sign with: loaded once, looked for again every half minute."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from django.conf import settings

from certs.ca.lifetime import has_ended
from certs.ca.local.ocsp_responder import newest_responder
from certs.models import Issuer
from certs.x509.asn1.writer import signature_algorithm
from certs.x509.ocsp import issuer_hashes
from keys.signing import sign_message
from keys.use import private_key_for

LOOK_AGAIN = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Signer:
    """An issuer, and the delegated responder that signs for it (RFC 6960 2.6)."""

    issuer_id: int
    hashes: frozenset[tuple[str, bytes, bytes]]
    certificate_der: bytes
    key_hash: bytes
    algorithm: bytes
    not_after: datetime
    _private_key: Any

    def sign(self, data: bytes) -> bytes:
        """Raises keys.errors.KeyBackendError."""
        return sign_message(self._private_key, data)


class UnknownIssuer(LookupError):
    """No own CA has that name."""


class NoResponder(Exception):
    """The CA is an own CA, but this process cannot sign for it now."""


class NobodySpeaks(NoResponder):
    """The CA has ended or is distrusted, and so has its last responder: no response will be signed for it again."""


_lock = threading.Lock()
_known: dict[str, tuple[float, Signer]] = {}
os.register_at_fork(after_in_child=_known.clear)


def signer_for(slug: str, *, now: datetime) -> Signer:
    """Return the signer for the CA of that name. Raises UnknownIssuer, NoResponder, keys.errors.KeyBackendError."""
    # Half a minute, for a responder that was replaced: the old one stays valid for days. A CA that was distrusted since is seen
    # by `look_up`, at each request.
    known = _known.get(slug)
    if known is not None and time.monotonic() < known[0] and known[1].not_after > now:
        return known[1]
    with _lock:
        signer = _load(slug, now=now)
        _known[slug] = (time.monotonic() + LOOK_AGAIN, signer)
    return signer


def _load(slug: str, *, now: datetime) -> Signer:
    issuer = Issuer.objects.filter(slug=slug, key__isnull=False, certificate_der__isnull=False).exclude(alias="").first()
    if issuer is None:
        raise UnknownIssuer(slug)
    responder = newest_responder(issuer)
    if responder is None or responder.not_after <= now:
        if issuer.state == Issuer.State.DISTRUSTED or has_ended(issuer, now=now):
            raise NobodySpeaks(f"{issuer.name} has ended or is distrusted, and nobody signs responses for it")
        raise NoResponder(f"{issuer.name} has no OCSP responder whose certificate is valid now")
    if responder.key.backend not in settings.KEY_BACKENDS:
        raise NoResponder(f"this process has no login to the key backend {responder.key.backend}; the service `status` has")
    der = bytes(responder.certificate_der)
    certificate = x509.load_der_x509_certificate(der)
    authority = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    return Signer(
        issuer_id=issuer.pk,
        hashes=frozenset(issuer_hashes(authority)),
        certificate_der=der,
        key_hash=issuer_hashes(certificate)[0][2],
        algorithm=signature_algorithm(certificate.public_key()),
        not_after=responder.not_after,
        _private_key=private_key_for(responder.key),
    )


def forget_signers() -> None:
    """Load the responders anew at the next request: after a key backend failed, and in tests."""
    _known.clear()
