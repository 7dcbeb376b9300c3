"""Notices: alerts for operators in the portal, mails that wait to be sent, and who wants which."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class OperatorAlert(models.Model):
    """Something that a person must look at. One open alert for a cause; repeats only count up."""

    kind = models.CharField(max_length=32)
    cause = models.CharField(max_length=128, help_text="What the alert is about, such as ca:Internal-CA-Prod.")
    message = models.CharField(max_length=1000)
    next_step = models.CharField(max_length=500)
    occurrences = models.PositiveIntegerField(default=1)
    raised_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    end_notified_at = models.DateTimeField(null=True, blank=True, help_text="When the operators were notified that an outage is over.")
    tried_at = models.DateTimeField(null=True, blank=True, help_text="When the work that fails was last tried again.")
    trials = models.PositiveSmallIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "cause"], condition=models.Q(closed_at__isnull=True), name="alert_open_once")
        ]
        indexes = [models.Index(fields=["kind", "cause", "-closed_at"], name="alert_latest")]

    def __str__(self) -> str:
        return self.message

    @property
    def title(self) -> str:
        """The first sentence of the message without its full stop: for headings, lists and subjects."""
        return self.message.partition(". ")[0].removesuffix(".")

    @property
    def details(self) -> str:
        """What the message says after its first sentence."""
        return self.message.partition(". ")[2]


class OutgoingMail(models.Model):
    """One mail to one recipient. Written in the transaction of its cause, sent afterwards.

    A recipient gets one mail for each `dedup_key`. A mail is waiting, sent (`sent_at`), given up
    (`given_up_at`) or part of a bundle (`bundled_into`), which is a mail of its own.
    """

    dedup_key = models.CharField(max_length=160)
    topic = models.CharField(max_length=32)
    recipient = models.CharField(max_length=254)
    reply_to = models.CharField(max_length=254, blank=True)
    subject = models.CharField(max_length=200)
    body = models.TextField(help_text="The text part.")
    html = models.TextField(blank=True, help_text="The HTML part, with its style sheet inlined.")
    written_at = models.DateTimeField()
    not_before = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    bundle_kind = models.CharField(max_length=32, blank=True, db_default="", help_text="Many of one kind become one mail.")
    bundle_line = models.JSONField(null=True, blank=True, help_text="What the mail says in a bundle: name, why, path.")
    bundled_into = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="bundled")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dedup_key", "recipient"], name="mail_once_for_recipient")]
        indexes = [
            models.Index(
                fields=["not_before"],
                condition=models.Q(sent_at__isnull=True, given_up_at__isnull=True, bundled_into__isnull=True),
                name="mail_waiting",
            ),
            models.Index(
                fields=["recipient", "bundle_kind", "written_at"],
                condition=~models.Q(bundle_kind=""),
                name="mail_of_kind",
            ),
        ]

    def __str__(self) -> str:
        return self.subject


class MailAttachment(models.Model):
    """A file or an inline picture of one mail."""

    mail = models.ForeignKey(OutgoingMail, on_delete=models.CASCADE, related_name="attachments")
    name = models.CharField(max_length=100)
    media_type = models.CharField(max_length=100)
    content_id = models.CharField(max_length=100, blank=True, help_text="For <img src=cid:...>; empty for a file.")
    content = models.BinaryField()

    def __str__(self) -> str:
        return self.name


class MailChoice(models.Model):
    """Whether a person wants the mails of a topic. Without a row: yes."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mail_choices")
    topic = models.CharField(max_length=32)
    wanted = models.BooleanField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "topic"], name="mail_choice_once")]

    def __str__(self) -> str:
        return f"{self.topic}: {'yes' if self.wanted else 'no'}"


class DigestEntry(models.Model):
    """A certificate that waits for the next digest of its topic. Deleted when that is written."""

    topic = models.CharField(max_length=32)
    certificate = models.ForeignKey("certs.Certificate", on_delete=models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField()
    announced = models.BooleanField(default=False, help_text="Webhooks have been notified.")
    batch = models.UUIDField(null=True, help_text="The digest that takes the entry, inside its transaction.")

    class Meta:
        indexes = [models.Index(fields=["topic", "at"], name="digest_entry_due")]

    def __str__(self) -> str:
        return f"{self.topic}: {self.certificate_id}"
