"""Teams, the domains they own and who is in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction

from audit.changes import actor_of, attribute
from audit.events import Actor
from certs.errors import InputRefused
from certs.x509.domains import NORMAL_FORM, is_inside, normalise_domain

_Row = TypeVar("_Row", bound=models.Model)
SLUG_IS_FINAL = (
    "The slug of a team is final: public keys belong to the team of that slug, and another team could take it. Change the name instead."
)


class RowByRow(models.QuerySet[_Row]):
    """Write each row through its own `save()`, so that each is validated and recorded.

    The tables are small (teams, domains): what bulk statements would save is not worth a change
    of power that leaves no audit event.
    """

    def update(self, **values: Any) -> int:
        with transaction.atomic():
            rows = list(self.select_for_update())
            for row in rows:
                for name, value in values.items():
                    setattr(row, name, value)
                row.save(update_fields=list(values))
        return len(rows)

    def delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            rows = list(self.select_for_update())
            for row in rows:
                row.delete()
        return len(rows), {self.model._meta.label: len(rows)}

    def bulk_create(self, objs: Iterable[_Row], *args: Any, **kwargs: Any) -> list[_Row]:
        if args or kwargs:
            raise TypeError("Teams and domains are saved one by one; bulk_create takes no options.")
        made = list(objs)
        with transaction.atomic():
            for row in made:
                row.save(force_insert=True)
        return made

    def bulk_update(self, objs: Iterable[_Row], fields: Any, batch_size: int | None = None) -> int:
        changed = list(objs)
        with transaction.atomic():
            for row in changed:
                row.save(update_fields=list(fields))
        return len(changed)


def outside(default: str, owned: Collection[str]) -> str:
    """Return the refusal of a default domain that the team does not own."""
    return (
        f"{default} is outside the team's domains ({', '.join(sorted(owned)[:10]) or 'none'}). "
        "Choose one of them, or add the domain to the team first."
    )


def _normal_domain(text: str, field: str) -> str:
    """Raises ValidationError for `field`, the form in which Django's forms and the admin show it."""
    try:
        return normalise_domain(text, private_suffixes=settings.PKI_PRIVATE_SUFFIXES, field=field)
    except InputRefused as exc:
        raise ValidationError({field: f"{exc.message} {exc.next_step}"}) from exc


class TeamQuerySet(RowByRow["Team"]):
    """Teams, written one by one."""


class Team(models.Model):
    """Owner of names, keys and certificates. Rows point at the team, not at a person who may leave."""

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=128)
    default_domain = models.CharField(
        max_length=253,
        blank=True,
        help_text="Completes a bare label: api-1 becomes api-1.<default domain>. One of the team's "
        "domains or a name beneath one. Empty: bare labels are refused.",
    )
    organization = models.CharField(max_length=64, blank=True, help_text="Subject O of the team's certificates; never taken from a CSR.")
    email = models.EmailField(blank=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="teams", blank=True)
    leads = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        related_name="led_teams",
        blank=True,
        help_text="Members who may also take people in and out, and give names away. A lead who is no member counts for nothing.",
    )

    objects = TeamQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(default_domain="") | models.Q(default_domain__regex=NORMAL_FORM),
                name="team_default_domain_is_normal",
                violation_error_message="The default domain is not in lower-case A-label form.",
            )
        ]

    # As they were when this object was made to be kept for some seconds; see certs.api.http.auth.
    remembered_domains: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the team with its default domain in normal form.

        Raises ValidationError for another slug than before, by which public keys and the audit log
        know the team, and for a default domain that is none, or that is outside the domains of
        the team. A team that owns no domain yet may name the one that it is about to get.
        """
        self.clean()
        if self.pk and Team.objects.filter(pk=self.pk).exclude(slug=self.slug).exists():
            raise ValidationError({"slug": SLUG_IS_FINAL})
        owned = self.domain_names() if self.pk else ()
        if owned and self.default_domain and not is_inside(self.default_domain, owned):
            raise ValidationError({"default_domain": outside(self.default_domain, owned)})
        super().save(*args, **kwargs)

    def clean(self) -> None:
        super().clean()
        if self.default_domain:
            self.default_domain = _normal_domain(self.default_domain, "default_domain")

    @property
    def example_domain(self) -> str:
        """A domain for examples on pages, also where the team has no default domain."""
        return self.default_domain or next(iter(self.domain_names()), "example.com")

    @property
    def example_name(self) -> str:
        """A name within the team's domain for examples on pages, which does not say one word twice."""
        domain = self.example_domain
        return f"{'www' if domain.startswith('shop.') else 'shop'}.{domain}"

    def domain_names(self) -> tuple[str, ...]:
        """The domains that the team owns, as they are now. (Asked for each CSR: the ORM costs four times the answer.)"""
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM certs_domain WHERE team_id = %s ORDER BY name", [self.pk])
            return tuple(row[0] for row in cursor.fetchall())


class DomainQuerySet(RowByRow["Domain"]):
    """Domains, written one by one."""


class Domain(models.Model):
    """A domain and everything beneath it belongs to one team; a longer match of another team takes its part out.

    `name` is kept in lower-case A-label form, so that comparing two domains label by label compares
    what they mean. `save()`, `clean()` and the database each refuse every other spelling.
    """

    name = models.CharField(
        max_length=253, unique=True, help_text="Such as example.com. It covers every name beneath it. International names are converted."
    )
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="domains")

    objects = DomainQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(name__regex=NORMAL_FORM),
                name="domain_name_is_normal",
                violation_error_message="The domain is not in lower-case A-label form.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the domain in normal form. Raises ValidationError for what is no domain.

        A team that loses its default domain by this has none afterwards.
        """
        self.clean()
        before = Domain.objects.filter(pk=self.pk).select_related("team").first()
        super().save(*args, **kwargs)
        if before is not None:
            drop_lost_default(before.team, actor_of(self))

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the domain. A team that loses its default domain by this has none afterwards."""
        deleted = super().delete(*args, **kwargs)
        drop_lost_default(self.team, actor_of(self))
        return deleted

    def clean(self) -> None:
        super().clean()
        self.name = _normal_domain(self.name, "name")


def drop_lost_default(team: Team, actor: Actor) -> None:
    """Clear a default domain that is not inside the team's domains any more."""
    team.refresh_from_db(fields=["default_domain"])
    if team.default_domain and not is_inside(team.default_domain, team.domain_names()):
        team.default_domain = ""
        attribute(team, actor)
        team.save(update_fields=["default_domain"])
