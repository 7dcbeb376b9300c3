"""Requests for certificates, and the notes that make each external act happen once: attempts, unclaimed and quarantined results."""

from __future__ import annotations

import secrets
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import models

from certs.enums import RequestState
from certs.models.people.permission import team_seen_by
from certs.spec import Validity
from keys.spec import KeyFacts


def new_public_id(kind: str, now: datetime) -> str:
    """`req-20261124083015-9f86d081a3`: sortable by time, not guessable."""
    return f"{kind}-{_to_the_second(now)}-{secrets.token_hex(5)}"


@lru_cache(maxsize=16)
def _to_the_second(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%S}"


class RequestQuerySet(models.QuerySet["CertificateRequest"]):
    def visible_to(self, user: Any) -> RequestQuerySet:
        """Requests of the user's teams; of every team for accounts that may see them."""
        return self.filter(team_seen_by(user))


# What a person requested by itself: no line of a bulk order, no renewal by the schedule, nothing of a program.
BY_PEOPLE = models.Q(door__in=["portal", "command"], bulk_item__isnull=True)


class CertificateRequest(models.Model):
    """A request for one certificate. Its content never changes; an edit is a new request. Kept narrow: bytes are in other tables."""

    public_id = models.CharField(max_length=40, help_text="The audit reference.")
    state = models.CharField(max_length=20, choices=[(s.value, s.value.replace("_", " ")) for s in RequestState])
    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="requests", db_index=False)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    door = models.CharField(max_length=16)
    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="requests", db_index=False)
    profile = models.CharField(max_length=64)
    common_name = models.CharField(max_length=253, blank=True)
    dns_names = models.JSONField(default=list)
    ip_addresses = models.JSONField(default=list)
    key_type = models.CharField(max_length=16)
    key_backend = models.CharField(max_length=64, blank=True, help_text="Empty when the CSR was brought: the key is the requester's.")
    validity_days = models.PositiveIntegerField(null=True, help_text="Counted from signing; empty where an end date was named.")
    not_after = models.DateField(null=True, help_text="The last day of validity (UTC), where a person named one.")
    csr_brought = models.BooleanField(default=False)
    digest = models.CharField(max_length=64)
    policy_version = models.CharField(max_length=32, blank=True)
    key = models.ForeignKey("keys.Key", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    spki_sha256 = models.CharField(max_length=64, blank=True)
    renewed_from = models.ForeignKey(
        "certs.Certificate", on_delete=models.PROTECT, null=True, blank=True, related_name="renewal_requests", db_index=False
    )
    bulk_item = models.ForeignKey(
        "certs.BulkItem", on_delete=models.PROTECT, null=True, blank=True, related_name="requests", db_index=False
    )
    key_reused = models.BooleanField(default=False, help_text="A renewal on the key of the certificate that it renews.")
    error = models.CharField(max_length=1000, blank=True)
    suggestion = models.CharField(max_length=1000, blank=True)
    stopped_at = models.CharField(max_length=20, blank=True, help_text="The state in which a failed request stopped.")
    resume_id = models.CharField(max_length=48, null=True, blank=True)  # noqa: DJ001 - unique where it is given
    held_since = models.DateTimeField(null=True, blank=True)
    losses = models.PositiveSmallIntegerField(default=0, help_text="Attempts whose worker was lost.")
    idempotency_scope = models.CharField(max_length=40, blank=True, help_text="Whose key it is: token:<id>, user:<id> or command.")
    idempotency_key = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField()
    state_changed_at = models.DateTimeField()

    objects = RequestQuerySet.as_manager()

    class Meta:
        # Few indexes: a request changes its state three times, and each change writes all of them anew.
        constraints = [
            models.UniqueConstraint(fields=["public_id"], name="request_public_id_once"),
            models.UniqueConstraint(fields=["resume_id"], condition=models.Q(resume_id__isnull=False), name="request_resume_id_once"),
            models.UniqueConstraint(
                fields=["idempotency_scope", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="request_idempotency_key_once",
            ),
            models.UniqueConstraint(
                fields=["renewed_from"],
                condition=models.Q(renewed_from__isnull=False) & ~models.Q(state__in=["rejected", "failed", "cancelled"]),
                name="request_renewal_once",
            ),
            models.CheckConstraint(
                condition=models.Q(validity_days__isnull=True) ^ models.Q(not_after__isnull=True), name="request_days_or_end_date"
            ),
            # Of ended requests too: whatever became of a line, it is not requested a second time automatically.
            models.UniqueConstraint(fields=["bulk_item"], condition=models.Q(bulk_item__isnull=False), name="request_bulk_item_once"),
        ]
        indexes = [
            models.Index(fields=["team", "-id"], name="request_team_recent"),
            models.Index(fields=["renewed_from"], condition=models.Q(renewed_from__isnull=False), name="request_renewal"),
            models.Index(
                fields=["renewed_from"],
                condition=models.Q(
                    renewed_from__isnull=False, state__in=["submitted", "awaiting_approval", "approved", "key_ready", "csr_created"]
                ),
                name="request_renewal_open",
            ),
            models.Index(fields=["key"], condition=models.Q(key__isnull=False), name="request_key"),
            models.Index(
                fields=["state_changed_at"],
                condition=models.Q(state__in=["submitted", "approved", "key_ready", "csr_created", "issued"]),
                name="request_unfinished",
            ),
            models.Index(
                fields=["-id"],
                condition=models.Q(state="awaiting_approval"),
                name="request_awaiting_approval",
            ),
            models.Index(
                fields=["-id"],
                condition=models.Q(state__in=["rejected", "failed", "cancelled"]),
                name="request_ended_without",
            ),
            models.Index(fields=["-id"], include=["team", "requester", "door"], condition=BY_PEOPLE, name="request_by_people"),
            # By which channel a certificate was requested; lines of orders are not in it.
            models.Index(fields=["door"], include=["id"], condition=models.Q(bulk_item__isnull=True), name="request_channel"),
            # Lines of an order with what went wrong, in that order: few.
            models.Index(fields=["bulk_item"], condition=~models.Q(error=""), name="request_with_error"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def state_words(self) -> str:
        """The state as people read it. `get_state_display` has the words of the value, for the admin."""
        return RequestState(self.state).words

    @property
    def subject(self) -> str:
        """The audit log's subject of everything that happens to this request."""
        return f"request:{self.public_id}"

    @property
    def validity(self) -> Validity:
        """The days or the end date that were requested."""
        return Validity(self.validity_days, self.not_after)

    @property
    def key_label(self) -> str:
        """The key as people write it, such as ECDSA P-256."""
        return KeyFacts.from_name(self.key_type).label

    @property
    def names(self) -> list[str]:
        return [*self.dns_names, *self.ip_addresses]


class RequestCSR(models.Model):
    """The CSR of a request, signed by the key's backend or external. Of an external one with a challenge password only the
    public key is stored: the password is not ours to keep.
    """

    request = models.OneToOneField(CertificateRequest, on_delete=models.PROTECT, primary_key=True, related_name="csr")
    der = models.BinaryField(default=b"")
    spki_der = models.BinaryField()
    spki_sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()


class PolicyEvaluation(models.Model):
    """One evaluation of a request: which version said what, check by check. Never changed afterwards."""

    request = models.ForeignKey(CertificateRequest, on_delete=models.PROTECT, related_name="evaluations")
    policy_version = models.CharField(max_length=32)
    outcome = models.CharField(max_length=16)
    checks = models.JSONField()
    suggestion = models.JSONField(null=True)
    evaluated_at = models.DateTimeField()
    # What the decision follows from, so that it can be made again. Database defaults, so that
    # processes of the release before go on inserting rows.
    rules_digest = models.CharField(max_length=64, blank=True, default="", db_default="")
    facts = models.JSONField(null=True, help_text="In the form of `policy.recorded`.")
    facts_digest = models.CharField(max_length=64, blank=True, default="", db_default="")


class Approval(models.Model):
    """A person's word on a request; it counts only for the digest that was shown to them."""

    request = models.ForeignKey(CertificateRequest, on_delete=models.PROTECT, related_name="approvals")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64)
    granted = models.BooleanField()
    comment = models.CharField(max_length=500, blank=True)
    decided_at = models.DateTimeField()


class Attempt(models.Model):
    """Intent of one external act, with a lease. At most one is open for a (request, step)."""

    request = models.ForeignKey(CertificateRequest, on_delete=models.PROTECT, related_name="attempts", db_index=False)
    step = models.CharField(max_length=16)
    number = models.PositiveIntegerField()
    batch = models.PositiveIntegerField(default=1, help_text="How many requests were claimed together with this one.")
    lease_until = models.DateTimeField()
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, blank=True)
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["request", "step"], condition=models.Q(closed_at__isnull=True), name="attempt_open_once"),
            models.UniqueConstraint(fields=["request", "step", "number"], name="attempt_number_once"),
        ]


class UnclaimedResult(models.Model):
    """The result of an attempt that had lost its claim: kept until the sweeper revokes it or finds it recorded."""

    request = models.ForeignKey(CertificateRequest, on_delete=models.PROTECT, related_name="unclaimed_results")
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=16, choices=[("key", "key"), ("csr", "csr"), ("certificate", "certificate")])
    payload = models.BinaryField(help_text="DER of the certificate or CSR, or of the key's SubjectPublicKeyInfo.")
    chain = models.BinaryField(default=b"", help_text="PEM of the chain that came with a certificate.")
    brought_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    settlement = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True, help_text="Until then, or since then, one worker settles it.")


class QuarantinedCertificate(models.Model):
    """A certificate that a CA sent in place of the one ordered. Never in the inventory; revoked as soon as the CA can be reached."""

    request = models.ForeignKey(CertificateRequest, on_delete=models.PROTECT, related_name="quarantined")
    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="quarantined")
    order_ref = models.CharField(max_length=80)
    der = models.BinaryField()
    serial_number = models.CharField(max_length=64, blank=True, help_text="Lower-case hex; empty when it could not be read.")
    reasons = models.JSONField()
    received_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revocation_tries = models.PositiveSmallIntegerField(default=0)
    revocation_error = models.CharField(max_length=500, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True, help_text="Until then, or since then, one worker settles it.")
