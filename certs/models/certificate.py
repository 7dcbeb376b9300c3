"""The inventory: certificates, their bytes and the names by which people look for them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from certs.models.people.permission import team_seen_by
from keys.spec import KeyFacts


class RenewalBlocked(models.TextChoices):
    """Why the expiry run cannot renew a certificate without a person; an empty value where it can.

    Written by the expiry run, so that lists and figures need no evaluation of the policy.
    """

    NEEDS_CSR = "needs_csr", "needs a new CSR"
    POLICY = "policy", "refused by the policy"
    APPROVAL = "approval", "waits for an approval"
    FAILED = "failed", "failed"
    OFF = "off", "switched off"


class CertificateQuerySet(models.QuerySet["Certificate"]):
    def visible_to(self, user: Any) -> CertificateQuerySet:
        """Certificates of the user's teams; of every team for accounts that may see them."""
        return self.filter(team_seen_by(user))


class Certificate(models.Model):
    """A certificate, verified before it was recorded. A renewal makes a new row; this one is never overwritten."""

    class Status(models.TextChoices):
        GOOD = "good", "good"
        REVOCATION_PENDING = "revocation_pending", "revocation pending"
        REVOKED = "revoked", "revoked"

    # What own CRL and OCSP say revoked of: from the moment it is asked for, whatever the CA has done yet.
    SAYS_REVOKED = (Status.REVOCATION_PENDING, Status.REVOKED)

    cert_id = models.CharField(max_length=40)
    request = models.OneToOneField("certs.CertificateRequest", on_delete=models.PROTECT, related_name="certificate")
    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="certificates", db_index=False)
    serial_number = models.CharField(max_length=40, help_text="Lower-case hex without leading zeros.")
    status = models.CharField(max_length=20, choices=Status, default=Status.GOOD)
    status_version = models.PositiveIntegerField(default=1)
    common_name = models.CharField(max_length=253, blank=True)
    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="certificates", db_index=False)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    profile = models.CharField(max_length=64)
    policy_version = models.CharField(max_length=32)
    key = models.ForeignKey("keys.Key", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    key_type = models.CharField(max_length=16)
    spki_sha256 = models.CharField(max_length=64)
    sha256_fingerprint = models.CharField(max_length=64)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    alert_at = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField()
    renewed_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="renewals", db_index=False)
    chain = models.ForeignKey("certs.Chain", on_delete=models.PROTECT, related_name="+", db_index=False)
    crl_shard = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Which of the issuer's CRLs it is on; its CRL address says so."
    )
    # What people write about a certificate (`certs.inventory.describe`); a renewal inherits it.
    # Database defaults, so that processes of the release before go on inserting rows.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="The person who answers for it; by default the person who requested it.",
    )
    purpose = models.CharField(max_length=200, blank=True, default="", db_default="")
    notes = models.CharField(
        max_length=1000,
        blank=True,
        default="",
        db_default="",
        help_text="What whoever looks after it should know.",
    )
    tags = models.CharField(
        max_length=340,
        blank=True,
        default="",
        db_default="",
        help_text="Each between spaces, so that one is found by a comparison: ' production web '.",
    )
    runbook = models.CharField(
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text="Address of the instructions for its service.",
    )
    critical_function = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Supports a critical or important function (DORA, Regulation (EU) 2022/2554).",
    )
    last_review = models.DateField(null=True, blank=True, help_text="When a person last checked it.")
    renewal_off_reason = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="Why a person switched the automatic renewal off; empty where it is on.",
    )
    renewal_blocked = models.CharField(
        max_length=12,
        choices=RenewalBlocked,
        blank=True,
        default="",
        db_default="",
        help_text="What the last expiry run could not do without a person.",
    )

    objects = CertificateQuerySet.as_manager()

    class Meta:
        # Each index is paid for with every certificate: none on a column that no query begins with, and no pattern index, which
        # `unique=True` and `db_index=True` add to text columns on PostgreSQL.
        constraints = [
            models.UniqueConstraint(fields=["issuer", "serial_number"], name="certificate_serial_once"),
            models.UniqueConstraint(fields=["cert_id"], name="certificate_id_once"),
            models.UniqueConstraint(fields=["sha256_fingerprint"], name="certificate_fingerprint_once"),
        ]
        indexes = [
            models.Index(fields=["team", "-id"], name="certificate_team_recent"),
            models.Index(fields=["spki_sha256"], name="certificate_key"),
            # Whatever ends in a time; with it, what is due or not yet due before its end. With what filters compare most,
            # so that they read it in place of the table, of which it is an eighth.
            models.Index(
                fields=["not_after", "alert_at"],
                include=["id", "status", "not_before", "team", "issuer", "key_type", "request", "issued_at"],
                name="certificate_ends",
            ),
            # The few that were issued lately, or long ago.
            models.Index(fields=["issued_at"], name="certificate_issued"),
            # Orders of the inventory page. With a million rows any other way reads far too many.
            models.Index(fields=["common_name"], name="certificate_common_name"),
            models.Index(fields=["key_type", "not_after"], name="certificate_key_type_ends"),
            models.Index(fields=["issuer", "not_after"], name="certificate_issuer_ends"),
            models.Index(fields=["team", "not_after"], name="certificate_team_ends"),
            models.Index(fields=["key"], condition=models.Q(key__isnull=False), name="certificate_made_key"),
            models.Index(
                fields=["renewed_from"],
                include=["id", "status", "not_after", "team", "request"],
                condition=models.Q(renewed_from__isnull=False),
                name="certificate_renewal",
            ),
            models.Index(
                fields=["issuer", "crl_shard", "id"],
                include=["status_version"],
                condition=models.Q(status__in=["revocation_pending", "revoked"]),
                name="certificate_on_crl",
            ),
            # One person may own most of them: with what a sum by team reads.
            models.Index(
                fields=["owner", "not_after"],
                include=["id", "status", "team"],
                condition=models.Q(owner__isnull=False),
                name="certificate_owner_ends",
            ),
            # Those below hold few rows, and cost nothing at issuance.
            models.Index(
                fields=["not_after"],
                include=["id", "status", "team"],
                condition=~models.Q(status="good"),
                name="certificate_not_good",
            ),
            # Nearly all have the profile of TLS servers: a list of those follows the index of ends.
            models.Index(
                fields=["profile", "not_after"],
                condition=~models.Q(profile="tls-server"),
                name="certificate_rare_profile",
            ),
            models.Index(
                fields=["-id"],
                condition=models.Q(critical_function=True),
                name="certificate_critical",
            ),
            models.Index(
                fields=["-id"],
                condition=~models.Q(renewal_blocked=""),
                name="certificate_blocked",
            ),
            models.Index(
                fields=["-id"],
                condition=~models.Q(renewal_off_reason=""),
                name="certificate_renewal_off",
            ),
            # What needs a person, nearest end first: the first page of the estate, whatever its size.
            models.Index(
                fields=["not_after"],
                condition=~models.Q(renewal_blocked="") | ~models.Q(renewal_off_reason=""),
                name="certificate_by_person",
            ),
            # The tags of each are in it: a rare tag is found without a look at the rows.
            models.Index(
                fields=["-id"],
                include=["tags"],
                condition=~models.Q(tags=""),
                name="certificate_tagged",
            ),
        ]

    def __str__(self) -> str:
        return self.cert_id

    @property
    def first_name(self) -> str:
        """The name by which people know it. Reads the request where the subject has no common name,
        which holds up to 64 characters (RFC 5280 A.1).
        """
        return self.common_name or next(iter(self.request.names), self.cert_id)

    @property
    def tag_list(self) -> list[str]:
        """The tags, in the order in which they were written."""
        return self.tags.split()

    @property
    def key_label(self) -> str:
        """The key as people write it, such as ECDSA P-256."""
        return KeyFacts.from_name(self.key_type).label


class CertificateBody(models.Model):
    """The DER bytes, apart from the row that changes."""

    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, primary_key=True, related_name="body")
    der = models.BinaryField()


class CertificateName(models.Model):
    """One subject alternative name, for search by name and (label order turned round) by domain."""

    certificate = models.ForeignKey(Certificate, on_delete=models.PROTECT, related_name="names", db_index=False)
    kind = models.CharField(max_length=4, choices=[("dns", "dns"), ("ip", "ip")])
    name = models.CharField(max_length=253)
    reversed_labels = models.CharField(max_length=254, help_text="com.example.api for api.example.com.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["certificate", "kind", "name"], name="certificate_name_once")]
        indexes = [
            # Whole names and beginnings of names; parts of names by reading the index alone.
            models.Index(
                fields=["name"],
                opclasses=["varchar_pattern_ops"],
                include=["certificate"],
                name="certificate_name",
            ),
            models.Index(fields=["reversed_labels"], opclasses=["varchar_pattern_ops"], name="certificate_domain"),
        ]
