"""From an OCSP request to its answer: parse, look up, and sign or take what was signed before for the same version of the row."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime

import psycopg
from django.conf import settings
from django.db import Error, close_old_connections

from certs.status.ocsp.lookup import Found, clock, look_up
from certs.status.ocsp.nonce_limit import nonces
from certs.status.ocsp.signers import NobodySpeaks, NoResponder, Signer, forget_signers, signer_for
from certs.x509.ocsp import (
    UNKNOWN,
    Answer,
    CertID,
    MalformedRequest,
    OCSPRequest,
    Unsuccessful,
    parse_request,
    response_data,
    successful,
)
from db.tolerance import CLOCK_TOLERANCE
from keys.errors import KeyBackendError

log = logging.getLogger(__name__)

KEPT = 20_000  # answers of about 800 octets
LONGEST_MAX_AGE = 60  # seconds, whatever nextUpdate says: caches on the way must not hide a revocation
UNKNOWN_FOR = timedelta(minutes=5)  # an unknown serial may be issued in the next second


@dataclass(frozen=True, slots=True)
class Reply:
    """An OCSPResponse, and for how long and since when it may be kept on the way (`max_age` 0: not at all)."""

    body: bytes
    max_age: int = 0
    produced_at: datetime | None = None
    next_update: datetime | None = None
    etag: str = ""  # made once for all who are given the same bytes
    last_modified: str = ""


@dataclass(slots=True)
class _Kept:
    """An answer without nonce about one certificate of ours, and what it was true of."""

    signer: Signer
    serial: str
    version: tuple[str, ...]
    reply: Reply
    until: datetime


_kept: dict[tuple[str, bytes], _Kept] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=_kept.clear)


def answer(slug: str, data: bytes, *, client: str) -> Reply:
    """The answer to a request that came for the CA of that name. Raises certs.status.ocsp.signers.UnknownIssuer; nothing else.

    `client` is who asks, for the limit on answers with a nonce.
    """
    try:
        return _again(slug, data) or _answer(slug, data, client)
    except MalformedRequest:
        return Reply(Unsuccessful.MALFORMED_REQUEST)
    except NobodySpeaks:
        return Reply(Unsuccessful.UNAUTHORIZED)  # RFC 6960 2.3: not authoritative; trying later would not help
    except (psycopg.Error, Error, KeyBackendError, NoResponder) as exc:
        log.warning("an OCSP request for %s cannot be answered now: %s", slug, exc)
        forget_signers()
        close_old_connections()  # a broken one: no request of Django's begins or ends here to do it
        return Reply(Unsuccessful.TRY_LATER)


def _again(slug: str, data: bytes) -> Reply | None:
    """What was answered to the same bytes before, if the row is still of that version and the answer young enough."""
    kept = _kept.get((slug, data))
    if kept is None:
        return None
    now = clock.now()
    if now >= kept.until or look_up(kept.signer.issuer_id, kept.serial).version != kept.version:
        with _lock:  # `_keep` looks for the oldest, which fails when the dictionary changes meanwhile
            _kept.pop((slug, data), None)
        return None
    return kept.reply


def _answer(slug: str, data: bytes, client: str) -> Reply:
    now = clock.now()
    signer = signer_for(slug, now=now)
    request = parse_request(data)
    ours = [one.issuer in signer.hashes for one in request.certificates]
    if not any(ours):
        return Reply(Unsuccessful.UNAUTHORIZED)
    nonce, key = None, data
    if request.nonce is not None:
        nonce = request.nonce if nonces.allowed(client, now) else None
        key = b"without its nonce" + b"".join(one.raw for one in request.certificates)
        if nonce is None and (kept := _again(slug, key)):
            return kept
    found = [look_up(signer.issuer_id, one.serial) if mine else None for one, mine in zip(request.certificates, ours, strict=True)]
    reply = _sign(signer, request, found, nonce=nonce, now=now)
    (first, *others) = found
    if nonce is None and not others and first is not None and reply.max_age:
        _keep(slug, key, signer, request.certificates[0], first, reply, now)
    return reply


def _sign(signer: Signer, request: OCSPRequest, found: list[Found | None], *, nonce: bytes | None, now: datetime) -> Reply:
    produced_at = now.replace(microsecond=0)
    statuses = [UNKNOWN if one is None else one.status for one in found]
    lifetime = UNKNOWN_FOR if UNKNOWN in statuses else timedelta(minutes=settings.PKI_OCSP_VALID_MINUTES)
    next_update = min(produced_at + lifetime, signer.not_after)
    answers = [
        Answer(certificate, status, _this_update(one, produced_at))
        for certificate, status, one in zip(request.certificates, statuses, found, strict=True)
    ]
    data = response_data(answers, key_hash=signer.key_hash, produced_at=produced_at, next_update=next_update, nonce=nonce)
    body = successful(data, signer.sign(data), algorithm=signer.algorithm, certificate_der=signer.certificate_der)
    keepable = nonce is None and UNKNOWN not in statuses
    max_age = max(0, min(LONGEST_MAX_AGE, int((next_update - now).total_seconds()))) if keepable else 0
    if not max_age:
        return Reply(body, 0, produced_at, next_update)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Reply(body, max_age, produced_at, next_update, etag, format_datetime(produced_at, usegmt=True))


def _this_update(found: Found | None, produced_at: datetime) -> datetime:
    """Return thisUpdate, back-dated like certificates and CRLs for clients whose clock is behind.

    Never before the status began: thisUpdate is a time at which the status was known to be correct
    (RFC 6960 4.2.2.1). producedAt stays the time of the signature (2.4).
    """
    earliest = produced_at - CLOCK_TOLERANCE
    if found is None or found.since is None:
        return earliest
    return max(earliest, min(found.since, produced_at))


def _keep(slug: str, key: bytes, signer: Signer, certificate: CertID, found: Found, reply: Reply, now: datetime) -> None:
    """Until half its validity is over; the oldest makes room."""
    assert reply.next_update is not None
    until = now + (reply.next_update - now) / 2
    with _lock:
        while len(_kept) >= KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[slug, key] = _Kept(signer, certificate.serial, found.version, reply, until)


def forget_answers() -> None:
    """For tests."""
    _kept.clear()
