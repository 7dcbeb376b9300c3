"""Do the books balance? Compares what the portal believes about a request with what the CA and the key backend know."""

from __future__ import annotations

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.models import Attempt, Certificate, CertificateRequest, QuarantinedCertificate, RequestCSR, UnclaimedResult
from keys.models import Key
from tests.twins.ca import TwinCAClient

ONCE = ("request:submitted", "csr:created", "certificate:issued", "certificate:recorded")
KEY = ("key:generated", "key:rotated", "key:recorded")  # exactly one of them: made, made in another's place, or used again


def assert_balanced(request: CertificateRequest, ca: TwinCAClient) -> None:
    """Exactly one key (none of its own for a renewal that keeps its key), one CSR, one living certificate that the portal knows
    (none where the portal has it revoked); each event once; nothing left open.
    """
    request.refresh_from_db()
    problems = [*_problems(request, ca)]
    assert problems == [], problems


def _problems(request: CertificateRequest, ca: TwinCAClient) -> list[str]:
    wrong: list[str] = []
    events = list(AuditEvent.objects.filter(subject=request.subject).order_by("subject_seq").values_list("event", flat=True))
    known = {bytes(c.body.der) for c in Certificate.objects.filter(request=request).select_related("body")}
    living = ca.book.living(request.public_id)
    if request.state not in (S.COMPLETED, S.CANCELLED, S.REJECTED):
        wrong.append(f"ended as {request.state}: {request.error}")
    wrong += [f"{events.count(name)} x {name}" for name in ONCE if events.count(name) > 1]
    if request.state == S.COMPLETED:
        wrong += [f"no {name}" for name in ONCE if name not in events]
        wrong += [] if sum(events.count(name) for name in KEY) == 1 else ["not one key event"]
        revoked = {bytes(c.body.der) for c in Certificate.objects.filter(request=request, status=Certificate.Status.REVOKED)}
        if len(living) > 1 or len(known) != 1 or {one.der for one in living} != known - revoked:
            wrong.append(f"{len(living)} living certificates at the CA, {len(known)} in the inventory")
        if RequestCSR.objects.filter(request=request).count() != 1:
            wrong.append("no CSR is kept")
    elif unknown := [one.serial for one in living if one.der not in known]:
        wrong.append(f"{request.state}, but the CA has living certificates that nobody knows: {unknown}")
    keys = Key.objects.filter(claimed_for=request.public_id)
    wanted = 0 if request.key_reused else 1
    if keys.count() > wanted or (request.state == S.COMPLETED and keys.count() != wanted):
        wrong.append(f"{keys.count()} keys")
    if Attempt.objects.filter(request=request, closed_at__isnull=True).exists() and request.state == S.COMPLETED:
        wrong.append("an attempt is open")
    if UnclaimedResult.objects.filter(request=request, settled_at__isnull=True).exists():
        wrong.append("an unclaimed result is not settled")
    if QuarantinedCertificate.objects.filter(request=request, revoked_at__isnull=True).exists():
        wrong.append("a quarantined certificate is not revoked")
    return wrong
