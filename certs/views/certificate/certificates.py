"""The inventory's pages, and downloads."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from audit.events import EventType
from audit.models import AuditEvent
from certs.access.owners import current_owner
from certs.ca.registry import capabilities_of
from certs.enums import RevocationReason
from certs.errors import InputRefused
from certs.inventory import CertificateFilter, Page, listed_state, page_of, search_certificates, with_state
from certs.inventory.download import FORMS, content_of, take
from certs.models import Certificate, Revocation
from certs.requests.lineage import lineage_of, stops_lineage
from certs.views.access import authority_of, page
from certs.views.certificate.filter_form import chips, filter_form
from certs.views.request.timeline import event_detail
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.serial import format_serial
from db.clock import database_now
from keys.spec import KeyFacts


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The inventory, filtered by the address. A filter that cannot be read: 400, and no list."""
    now, wrong = database_now(), None
    try:
        sought = CertificateFilter.from_query(request.GET)
    except InputRefused as exc:
        sought, wrong = CertificateFilter(), exc
    given = request.GET.get("before", "0")
    before = int(given) if given.isdecimal() and len(given) < 19 else 0
    rows = search_certificates(request.user, sought, now=now).select_related("owner")
    found: Page[Certificate] = Page([], 0)
    if wrong is None:
        found = page_of(with_state(rows, now), before=before)
    form = filter_form(request, sought)
    shown = {"q", *(field.name for field in form)}
    context = {
        "page": found,
        "older": _address(sought, before=found.older) if found.older else "",
        "sought": sought,
        "wrong": wrong,
        "form": form,
        # What the form has no field for stays in force when it is sent.
        "kept": [(name, value) for name, value in sought.to_query().items() if name not in shown],
        "chips": chips(sought, base=request.path),
        "now": now,
    }
    return render(request, "portal/certificates.html", context, status=400 if wrong else 200)


def _address(sought: CertificateFilter, *, before: int) -> str:
    return f"?{urlencode(sought.to_query() | {'before': str(before)})}"


def _mine(request: HttpRequest, cert_id: str) -> Certificate:
    related = ("team", "issuer", "request", "key", "chain", "body", "requester", "owner")
    rows = Certificate.objects.visible_to(request.user).select_related(*related)
    row = rows.filter(cert_id=cert_id).first()
    if row is None:
        raise Http404
    return row


@page
@require_safe
def detail(request: HttpRequest, cert_id: str) -> HttpResponse:
    row, now = _mine(request, cert_id), database_now()
    authority = authority_of(request)
    lineage = lineage_of(row)
    listed = with_state(Certificate.objects.filter(pk__in=[one.pk for one in lineage]), now)
    states = {one.pk: listed_state(one) for one in listed}
    revocation = Revocation.objects.filter(certificate=row).first()
    context = {
        "row": row,
        "serial": format_serial(int(row.serial_number, 16)),
        "names": row.names.order_by("pk"),
        "key_label": KeyFacts.from_name(row.key_type).label,
        "pem": pem_of(bytes(row.body.der)),
        "history": [(event, event_detail(event)) for event in _history(row)],
        "forms": FORMS,
        "lineage": [(one, states[one.pk]) for one in lineage] if len(lineage) > 1 else [],
        "superseded_by": lineage[lineage.index(row) + 1] if row != lineage[-1] else None,
        "revocation": revocation if row.status != Certificate.Status.GOOD else None,
        "reason_stays_here": revocation is not None and not capabilities_of(row.issuer.alias).reports_reason,
        "may_act": authority.may_act_on(row),
        "may_revoke": _may_be_revoked(row, revocation),
        "may_release": _may_be_released(row, revocation),
        "may_renew": not stops_lineage(lineage[-1]),
        "state": states[row.pk],
        "owner": current_owner(row),
        "now": now,
    }
    return render(request, "portal/certificate.html", context)


def _history(row: Certificate) -> QuerySet[AuditEvent]:
    """Newest first: its own events, its request's, and the downloads of the whole order that it was issued in."""
    wanted = Q(subject__in=(f"certificate:{row.cert_id}", row.request.subject))
    if row.request.bulk_item is not None:
        wanted |= Q(subject=row.request.bulk_item.order.subject, event=EventType.CERTIFICATE_DOWNLOADED)
    return AuditEvent.objects.filter(wanted).order_by("-pk")[:50]


def _may_be_revoked(row: Certificate, revocation: Revocation | None) -> bool:
    """Whether the button makes sense: keyCompromise can be added to all but itself, anything else only to what is good."""
    if row.status != Certificate.Status.GOOD and revocation is not None:
        return revocation.reason != RevocationReason.KEY_COMPROMISE
    return True


def _may_be_released(row: Certificate, revocation: Revocation | None) -> bool:
    if revocation is None or row.status != Certificate.Status.REVOKED:
        return False
    return revocation.reason == RevocationReason.CERTIFICATE_HOLD and revocation.release_requested_at is None


@page
@require_safe
def download(request: HttpRequest, cert_id: str, form: str) -> HttpResponse:
    """A certificate or its chain; not one whose revocation was requested. Each download is in the audit log."""
    row = _mine(request, cert_id)
    give = content_of if request.method == "HEAD" else take
    content, content_type = give(row, form, authority=authority_of(request))
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{row.cert_id}-{form}"'
    return response
