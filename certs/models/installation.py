"""Where certificates are served: the last observation of each place."""

from __future__ import annotations

from django.db import models


class StartTLS(models.TextChoices):
    """How TLS begins at a port: at once, or after a word in another protocol."""

    NONE = "", "TLS from the first byte (https, ldaps, imaps …)"
    SMTP = "smtp", "SMTP with STARTTLS"
    IMAP = "imap", "IMAP with STARTTLS"
    POP3 = "pop3", "POP3 with STLS"
    LDAP = "ldap", "LDAP with STARTTLS"
    POSTGRES = "postgres", "PostgreSQL"
    MYSQL = "mysql", "MySQL, MariaDB"


class PlaceOutcome(models.TextChoices):
    """What a look at a place found."""

    SERVED = "served", "served"
    NO_INTERMEDIATE = "no_intermediate", "chain incomplete"
    WRONG_NAME = "wrong_name", "name does not match"
    OLD = "old", "still the old one"
    ANOTHER = "another", "another certificate of this portal"
    OTHER_CA = "other_ca", "certificate of another CA"
    NO_TLS = "no_tls", "no TLS"
    UNREACHABLE = "unreachable", "not reachable from here"
    NOT_ALLOWED = "not_allowed", "not looked at"


class InstalledPlace(models.Model):
    """One host and port of one lineage of certificates, and what the last look at it found.

    `certificate` is the newest of the lineage at that time: the one that should be served. A row
    with `asked_at` after `seen_at` is being looked at.
    """

    certificate = models.ForeignKey("certs.Certificate", on_delete=models.PROTECT, related_name="places", db_index=False)
    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField()
    starttls = models.CharField(max_length=8, choices=StartTLS, blank=True)
    asked_at = models.DateTimeField()
    asked_by = models.CharField(max_length=150, blank=True, help_text="Empty for the portal's own looks.")
    seen_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, choices=PlaceOutcome, blank=True)
    detail = models.CharField(max_length=300, blank=True)
    failures = models.PositiveSmallIntegerField(default=0, help_text="Looks in a row that saw no certificate.")
    address = models.CharField(max_length=45, blank=True)
    protocol = models.CharField(max_length=16, blank=True)
    cipher = models.CharField(max_length=64, blank=True)
    served = models.ForeignKey(
        "certs.Certificate",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        help_text="The certificate of the inventory that was served.",
    )
    served_sha256 = models.CharField(max_length=64, blank=True)
    served_issuer = models.CharField(max_length=300, blank=True)
    served_not_after = models.DateTimeField(null=True)
    chain = models.TextField(blank=True, help_text="PEM, as the server sent it.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["certificate", "host", "port"], name="place_once")]
        indexes = [
            # Few rows: those that need a person.
            models.Index(fields=["served"], condition=models.Q(outcome="old"), name="place_still_old"),
            # Whether a certificate is served is looked up for each of a page, in the order of the list.
            models.Index(fields=["served"], condition=models.Q(served__isnull=False), name="place_served"),
            models.Index(fields=["seen_at"], name="place_seen"),
        ]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_being_looked_at(self) -> bool:
        """Whether a look was asked for that has not ended."""
        return self.seen_at is None or self.asked_at > self.seen_at
