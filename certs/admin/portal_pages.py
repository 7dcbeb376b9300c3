"""The portal's page of a row of the admin. The admin shows tables; what is done about a row is done on its page.

A row without a page of its own leads to the page that shows its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Model
from django.urls import reverse
from django.utils.http import urlencode
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from audit.models import AuditEvent, Checkpoint
from certs.inventory import CertificateFilter
from certs.models import (
    CRL,
    ApiToken,
    Approval,
    Attempt,
    BulkChunk,
    BulkItem,
    BulkOrder,
    Certificate,
    CertificateRequest,
    GroupMapping,
    IssuanceIntent,
    Issuer,
    OperatorAlert,
    OutgoingMail,
    PolicyEvaluation,
    QuarantinedCertificate,
    ResponderCertificate,
    Revocation,
    Team,
    UnclaimedResult,
    UnknownCertificate,
)
from keys.models import Key, PublicKey
from policy.models import Policy, PolicyVersion, PolicyWaiver, Profile

# What an audit event is about, as its subject begins.
_OF_SUBJECTS = {"request": "request", "certificate": "certificate", "bulk": "bulk-order", "issuer": "ca"}


def _request(row: Any) -> str:
    return reverse("request", args=[row.public_id])


def _of_request(row: Any) -> str:
    return _request(row.request)


def _order(row: Any) -> str:
    return reverse("bulk-order", args=[row.public_id])


def _of_order(row: Any) -> str:
    return _order(row.order)


def _ca(row: Any) -> str:
    return reverse("ca", args=[row.slug])


def _of_ca(row: Any) -> str:
    return _ca(row.issuer)


def _certificate(row: Any) -> str:
    return reverse("certificate", args=[row.cert_id])


def _event(row: Any) -> str:
    kind, _, name = row.subject.partition(":")
    if kind in _OF_SUBJECTS and name:
        return reverse(_OF_SUBJECTS[kind], args=[name])
    return f"{reverse('audit')}?{urlencode({'q': row.pk})}"


def _key(row: Any) -> str:
    """The certificates on a key; the CAs for a key of a CA, which no list of certificates has."""
    is_of_ca = row.purpose != Key.Purpose.LEAF or not row.spki_sha256
    return reverse("cas") if is_of_ca else CertificateFilter(spki=row.spki_sha256).url()


def _team(row: Any) -> str:
    return reverse("team", args=[row.slug])


def _mapping(row: Any) -> str:
    return reverse("team-people", args=[row.team.slug]) if row.team else reverse("people")


def _machinery(_row: Any) -> str:
    return reverse("machinery")


_PAGES: Mapping[type[Model], Callable[[Any], str]] = {
    CertificateRequest: _request,
    Approval: _of_request,
    PolicyEvaluation: _of_request,
    Attempt: _of_request,
    UnclaimedResult: _of_request,
    QuarantinedCertificate: _of_request,
    BulkOrder: _order,
    BulkItem: _of_order,
    BulkChunk: _of_order,
    Certificate: _certificate,
    Revocation: lambda row: _certificate(row.certificate),
    Issuer: _ca,
    IssuanceIntent: _of_ca,
    ResponderCertificate: _of_ca,
    UnknownCertificate: _of_ca,
    CRL: lambda row: _of_ca(row.point),
    PublicKey: lambda row: CertificateFilter(spki=row.spki_sha256).url(),
    Key: _key,
    Team: _team,
    ApiToken: lambda row: reverse("team-tokens", args=[row.team.slug]),
    get_user_model(): lambda row: reverse("person", args=[row.pk]),
    Group: lambda _row: f"{reverse('people')}?{urlencode({'show': 'role'})}",
    GroupMapping: _mapping,
    Policy: lambda _row: reverse("policy"),
    PolicyVersion: lambda row: reverse("policy-version", args=[row.pk]),
    PolicyWaiver: lambda row: f"{reverse('policy-waivers')}#{row}",
    Profile: lambda row: CertificateFilter(profile=row.name).url(),
    OperatorAlert: lambda row: reverse("alert", args=[row.pk]),
    OutgoingMail: _machinery,
    PeriodicTask: _machinery,
    **dict.fromkeys((IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule), _machinery),
    AuditEvent: _event,
    Checkpoint: lambda _row: reverse("audit-consistency"),
}


def page_of(model: type[Model]) -> Callable[[Any], str] | None:
    """Return the function from a row of the table to the address of its page; None for a table without pages.

    The address of a row without a page is empty.
    """
    return _PAGES.get(model)
