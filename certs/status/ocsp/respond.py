"""Respond to OCSP requests (RFC 6960, RFC 9919): parse, look the status up, then sign a response or send the one that was
signed before for the same version of the row.
"""

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
    Unsuccessful,
    parse_request,
    response_data,
    successful,
)
from db.tolerance import CLOCK_TOLERANCE
from keys.errors import KeyBackendError

log = logging.getLogger(__name__)

KEPT = 20_000  # responses of about 800 octets
LONGEST_MAX_AGE = 60  # seconds, whatever nextUpdate says: caches must not hide a revocation
UNKNOWN_FOR = timedelta(minutes=5)  # an unknown serial may be issued in the next second


@dataclass(frozen=True, slots=True)
class Reply:
    """An OCSPResponse, and for how long and since when caches may keep it (`max_age` 0: not at all)."""

    body: bytes
    max_age: int = 0
    produced_at: datetime | None = None
    next_update: datetime | None = None
    etag: str = ""  # made once for all clients that get the same octets
    last_modified: str = ""


@dataclass(slots=True)
class _Kept:
    """A response without nonce about one certificate of ours, and the version of the row it was made of."""

    signer: Signer
    serial: str
    version: tuple[str, ...]
    reply: Reply
    until: datetime


kept_replies: dict[tuple[str, bytes], _Kept] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=kept_replies.clear)


def answer(slug: str, data: bytes, *, client: str) -> Reply:
    """Return the response to a request for the CA of that name.

    Args:
        client: the network of the requester, for the limit on responses with a nonce.

    Raises UnknownIssuer for a CA that is not one of ours, and LookupError for rows that contradict each other.
    """
    # An error is a response too: a client that gets none often goes on as if the certificate were good.
    try:
        return kept_reply(slug, data) or _new_reply(slug, data, client)
    except MalformedRequest:
        return Reply(Unsuccessful.MALFORMED_REQUEST)
    except NobodySpeaks:
        return Reply(Unsuccessful.UNAUTHORIZED)  # RFC 6960 2.3: not authoritative; a retry would not help
    except (psycopg.Error, Error, KeyBackendError, NoResponder) as exc:
        log.warning("an OCSP request for %s cannot be answered now: %s", slug, exc)
        forget_signers()
        close_old_connections()  # a broken one: no request of Django's begins or ends here to do it
        return Reply(Unsuccessful.TRY_LATER)


def kept_reply(slug: str, data: bytes) -> Reply | None:
    """Return the response to the same octets, if the row is still of that version and the response young enough."""
    # Found by the octets of the request, which are not parsed: nearly all clients ask for one certificate in the same octets.
    kept = kept_replies.get((slug, data))
    if kept is None:
        return None
    now = clock.now()
    # The row is read each time: a kept response must never outlive a revocation, not even by a second.
    if now >= kept.until or look_up(kept.signer.issuer_id, kept.serial).version != kept.version:
        with _lock:  # `_keep` looks for the oldest, which fails when the dictionary changes in the meantime
            kept_replies.pop((slug, data), None)
        return None
    return kept.reply


def _new_reply(slug: str, data: bytes, client: str) -> Reply:
    # 1. The time is the database's, like that of every signature, and the responder is one that is valid now.
    now = clock.now()
    signer = signer_for(slug, now=now)
    request = parse_request(data)
    # 2. A request that names no certificate of this CA is refused (RFC 6960 2.3); one that names others too gets
    #    `unknown` for those.
    ours = [one.issuer in signer.hashes for one in request.certificates]
    if not any(ours):
        return Reply(Unsuccessful.UNAUTHORIZED)
    # 3. A response with a nonce is signed for one client and cannot be kept, so each network has a limit of them.
    #    Beyond it the nonce is left out, and a kept response will do.
    nonce, key = None, data
    if request.nonce is not None:
        nonce = request.nonce if nonces.allowed(client, now) else None
        key = b"without its nonce" + b"".join(one.raw for one in request.certificates)
        if nonce is None and (kept := kept_reply(slug, key)):
            return kept
    # 4. Statuses. A serial that is not on record is unknown, never good: the CA may not have issued it (RFC 6960 2.2). The row's
    #    version is read with the status, so that a response that is kept cannot be newer than it says.
    found = [look_up(signer.issuer_id, one.serial) if mine else None for one, mine in zip(request.certificates, ours, strict=True)]
    statuses = [UNKNOWN if one is None else one.status for one in found]
    # 5. Sign. An unknown serial may be issued in the next second, so such a response is short-lived; none
    #    outlives the responder's certificate.
    produced_at = now.replace(microsecond=0)
    lifetime = UNKNOWN_FOR if UNKNOWN in statuses else timedelta(minutes=settings.PKI_OCSP_VALID_MINUTES)
    next_update = min(produced_at + lifetime, signer.not_after)
    answers = [
        Answer(certificate, status, _this_update(one, produced_at))
        for certificate, status, one in zip(request.certificates, statuses, found, strict=True)
    ]
    tbs = response_data(answers, key_hash=signer.key_hash, produced_at=produced_at, next_update=next_update, nonce=nonce)
    body = successful(tbs, signer.sign(tbs), algorithm=signer.algorithm, certificate_der=signer.certificate_der)
    # 6. What caches may keep, and what is kept here: nothing for one client only, nothing that is unknown.
    keepable = nonce is None and UNKNOWN not in statuses
    max_age = max(0, min(LONGEST_MAX_AGE, int((next_update - now).total_seconds()))) if keepable else 0
    if not max_age:
        return Reply(body, 0, produced_at, next_update)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    reply = Reply(body, max_age, produced_at, next_update, etag, format_datetime(produced_at, usegmt=True))
    (first, *others) = found
    if first is not None and not others:
        _keep(slug, key, signer, request.certificates[0], first, reply, now)
    return reply


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
    """Keep a response until half of its validity is over. The oldest one is dropped when there are too many."""
    assert reply.next_update is not None
    until = now + (reply.next_update - now) / 2
    with _lock:
        while len(kept_replies) >= KEPT:
            kept_replies.pop(next(iter(kept_replies)))
        kept_replies[slug, key] = _Kept(signer, certificate.serial, found.version, reply, until)


def forget_answers() -> None:
    """Forget the kept responses, for tests."""
    kept_replies.clear()
