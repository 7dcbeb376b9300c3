"""Policies and their versions as rows: a version is a draft until it is published, and never changes after that."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from policy.errors import PolicyCorrupt, PolicyImmutable
from policy.rules import RuleSet, RuleSetInvalid, ruleset_digest, ruleset_from_dict

_parsed: dict[tuple[int, str], RuleSet] = {}
_MOST_PARSED = 256


class Profile(models.Model):
    """What a certificate is for, and the subject fields that are never taken from a form or a CSR."""

    name = models.SlugField(max_length=64, unique=True)
    ekus = models.JSONField(default=list, help_text='Extended key usages by RFC 5280 name, such as ["serverAuth"].')
    description = models.CharField(max_length=200, blank=True)
    subject_organization = models.CharField(
        max_length=64, blank=True, help_text="Subject O where the team has none of its own (RFC 5280 ub-organization-name: 64)."
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name


class Policy(models.Model):
    """A named policy with its versions; which of them is in force depends on the moment."""

    name = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name_plural = "policies"
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises ValidationError for another name than before: settings and the audit log know the policy by it."""
        if self.pk and Policy.objects.filter(pk=self.pk).exclude(name=self.name).exists():
            raise ValidationError({"name": "The name of a policy is final. Change the description instead."})
        super().save(*args, **kwargs)


class Person(models.Model):
    """Which person an account belongs to: an id from the directory, or an e-mail address that was verified."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="person")
    person_id = models.CharField(max_length=200, blank=True, help_text="The same for all accounts of one person.")
    verified_email = models.EmailField(blank=True)

    def __str__(self) -> str:
        return self.person_id or self.verified_email


class PolicyVersionQuerySet(models.QuerySet["PolicyVersion"]):
    """Reads of versions; rows that are published are never updated or deleted in bulk."""

    def published(self) -> PolicyVersionQuerySet:
        return self.filter(state=PolicyVersion.State.PUBLISHED)

    def in_force(self, policy_name: str, at: datetime) -> PolicyVersionQuerySet:
        """Return, newest first, published versions of the policy whose effective date is reached. The first one counts."""
        reached = self.published().filter(policy__name=policy_name, effective_from__lte=at)
        reached = reached.filter(withdrawal__isnull=True)
        return reached.order_by("-effective_from", "-published_at", "-pk")

    def update(self, **values: Any) -> int:
        if self.published().exists():
            raise PolicyImmutable
        return super().update(**values)

    def delete(self) -> tuple[int, dict[str, int]]:
        if self.published().exists():
            raise PolicyImmutable
        return super().delete()


class PolicyVersion(models.Model):
    """One text of a policy. `rules` is the canonical JSON of `policy.rules.ruleset_to_dict`, `digest` its SHA-256.

    A published row is refused by save() and delete() here, and by a trigger in the database (migration 0001).
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        PUBLISHED = "published"

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="versions")
    version = models.CharField(max_length=32)
    rules = models.JSONField()
    digest = models.CharField(max_length=64)
    state = models.CharField(max_length=16, choices=State.choices, default=State.DRAFT)
    drafted_at = models.DateTimeField()
    drafted_by = models.CharField(max_length=200)
    drafter = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The account that drafted it; empty for the portal itself.",
    )
    authors = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        related_name="+",
        blank=True,
        help_text="Every account that wrote a part of the draft.",
    )
    note = models.CharField(max_length=500, blank=True, default="", db_default="", help_text="Why the policy changes.")
    proposed_from = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the draft shall take effect; empty: when it is published.",
    )
    effective_from = models.DateTimeField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.CharField(max_length=200, blank=True)

    objects = PolicyVersionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["policy", "-drafted_at", "-pk"]
        permissions = [("publish_policyversion", "Can publish policy versions")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["policy", "version"], name="policy_version_once"),
            models.CheckConstraint(
                name="policy_version_published_is_complete",
                condition=Q(state="draft", published_at=None, effective_from=None, published_by="")
                | (Q(state="published", published_at__isnull=False, effective_from__isnull=False) & ~Q(published_by="")),
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["policy", "-effective_from"], condition=Q(state="published"), name="policy_version_in_force"),
        ]

    def __str__(self) -> str:
        return f"{self.policy.name} {self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk and PolicyVersion.objects.published().filter(pk=self.pk).exists():
            raise PolicyImmutable(str(self))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        if self.pk and PolicyVersion.objects.published().filter(pk=self.pk).exists():
            raise PolicyImmutable(str(self))
        return super().delete(*args, **kwargs)

    @property
    def stamp(self) -> str:
        """Return a digest of everything that publishing puts in force: rules, date and note.

        What a page showed is compared by it with what is stored.
        """
        start = self.proposed_from.astimezone(UTC).isoformat() if self.proposed_from else ""
        return hashlib.sha256(f"{self.digest}\n{start}\n{self.note}".encode()).hexdigest()

    @property
    def is_published(self) -> bool:
        return self.state == self.State.PUBLISHED

    @property
    def ruleset(self) -> RuleSet:
        """The rules, parsed once a process for each (row, digest). Raises PolicyCorrupt when they are not what was published."""
        key = (self.pk, self.digest)
        if key not in _parsed:
            if len(_parsed) >= _MOST_PARSED:
                _parsed.clear()
            _parsed[key] = self.read_rules()
        return _parsed[key]

    def read_rules(self) -> RuleSet:
        """Parse the stored rules and compare them with their digest. Raises PolicyCorrupt."""
        try:
            ruleset = ruleset_from_dict(self.rules)
        except RuleSetInvalid as error:
            raise PolicyCorrupt(str(self), f"its rules cannot be read ({error})") from error
        if ruleset_digest(ruleset) != self.digest:
            raise PolicyCorrupt(str(self), "its rules do not match their digest")
        return ruleset


class PolicyWithdrawal(models.Model):
    """The end of a planned version before it began. A row of its own: published rows never change."""

    version = models.OneToOneField(PolicyVersion, on_delete=models.PROTECT, primary_key=True, related_name="withdrawal")
    withdrawn_at = models.DateTimeField()
    withdrawn_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=500)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"withdrawal of {self.version}"
