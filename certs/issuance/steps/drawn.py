"""Steps 2 and 3 at once, for keys that the portal's own database holds: made and used before anything is written, then written down
with the requests that they are for. A key elsewhere takes the beats of `keys` and `csr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.conf import settings

from audit.events import EventType
from certs.enums import RequestState as S
from certs.errors import PortalError
from certs.models import CertificateRequest, RequestCSR
from certs.models.rows import insert_models, new
from certs.requests.states import WORKER, Move, transition_many
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from keys.backends.base import Drawn, KeyRef
from keys.errors import KeyBackendError
from keys.lifecycle import KeyWanted, draw_keys, drawable_at, key_name, record_drawn, record_new_keys
from keys.spec import KeySpec, spki_sha256


class DrawnCSR(NamedTuple):
    """A new key and the CSR that it has signed; neither is on record."""

    backend: str
    key: Drawn
    der: bytes


def draws_keys() -> bool:
    """Whether keys are made in the portal's own database now, as far as this process knows."""
    return bool(drawable_at(settings.PKI_LEAF_KEY_BACKEND))


def draw_csrs(wanted: Mapping[int, CertificateSpec]) -> dict[int, DrawnCSR]:
    """By the same numbers, for those whose keys can be drawn; all else is for the beats, which say what is wrong."""
    alias = settings.PKI_LEAF_KEY_BACKEND
    kinds = drawable_at(alias)
    asked = {number: spec for number, spec in wanted.items() if spec.csr_der is None and spec.key in kinds}
    try:
        keys = draw_keys(alias, [KeySpec(spec.key) for spec in asked.values()]) if asked else []
    except KeyBackendError:
        return {}
    csrs = {number: _csr(spec, key) for (number, spec), key in zip(asked.items(), keys, strict=True)}
    return {number: DrawnCSR(alias, key, der) for (number, der), key in zip(csrs.items(), keys, strict=True) if der is not None}


def _csr(spec: CertificateSpec, key: Drawn) -> bytes | None:
    try:
        return build_csr(
            key.signer, common_name=spec.common_name, dns_names=spec.dns_names, ip_addresses=spec.ip_addresses, spki=key.spki_der
        )
    except (PortalError, ValueError):
        return None


def enter_drawn(drawn: Sequence[tuple[CertificateRequest, DrawnCSR]], *, now: datetime) -> None:
    """Approved -> csr_created, for requests that were made in the open transaction; those of them that are not approved keep none.

    Raises IntegrityError, also at the end of the transaction, for a key's name that somebody else takes meanwhile.
    """
    mine = [(request, one) for request, one in drawn if request.state == S.APPROVED and request.key_backend == one.backend]
    if not mine:
        return
    refs = record_drawn([(_wanted(request), one.key) for request, one in mine], now=now)
    spkis = [spki_sha256(one.key.spki_der) for _, one in mine]
    record_new_keys({spki: request.team.slug for (request, _), spki in zip(mine, spkis, strict=True)}, now=now)
    csrs, moves = [], []
    for (request, one), ref, spki in zip(mine, refs, spkis, strict=True):
        csrs.append(new(RequestCSR, request=request, der=one.der, spki_der=one.key.spki_der, spki_sha256=spki, created_at=now))
        moves.append(_move(request, one.key, ref, spki))
    insert_models(csrs)
    transition_many(moves, source=S.APPROVED, actor=WORKER, now=now)


def _wanted(request: CertificateRequest) -> KeyWanted:
    base = key_name(request.common_name or request.names[0])
    return KeyWanted(request.public_id, base, KeySpec(request.key_type), request.key_backend, "leaf")


def _move(request: CertificateRequest, key: Drawn, ref: KeyRef, spki: str) -> Move:
    made = {"key": ref.locator, "version": ref.version, "spec": key.spec.value, "spki_sha256": spki, "backend": ref.backend}
    events = ((EventType.KEY_GENERATED, made), (EventType.CSR_CREATED, {"brought": False, "spki_sha256": spki}))
    return Move(request, (S.KEY_READY, S.CSR_CREATED), events, {"key": ref.key_id, "spki_sha256": spki})
