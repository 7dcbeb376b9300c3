"""The rows that give power: each change of one is in the audit log, with who, old and new value.

A change of power is a row that decides who may do what (accounts, groups, teams, domains, tokens),
what is allowed (profiles, policies, issuers), or whether the portal's own jobs run (schedules).
A model that gives power and is missing here is a fault: see the test of the admin's models.

Changes that use cases write with events of their own: policy versions (`policy.publishing`),
creation and revocation of tokens, creation of issuers and their state. Those of tokens and issuers
carry the digest of the row too (`verify_states`).
"""

from __future__ import annotations

from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete, pre_save
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from audit.changes import (
    CHANGED,
    CREATED,
    DELETED,
    UNATTRIBUTED,
    Watched,
    actor_of,
    attribute,
    watch,
    watched,
)
from audit.log import Actor
from certs.models import ApiToken, Domain, GroupMapping, Invitation, Issuer, SecondFactorGrace, Team, Webhook
from policy.models import Person, Policy, Profile

_ACCOUNT = ("username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser")
_TEAM = ("slug", "name", "default_domain", "organization", "email")
_TOKEN = ("name", "user", "team", "scopes", "profiles", "expires_at", "revoked_at")
_INVITATION = ("address", "team", "as_lead", "role", "invited_by", "expires_at", "accepted_by", "accepted_at", "withdrawn_at")
_WEBHOOK = ("team", "name", "url", "topics", "disabled_at", "removed_at")
_ISSUER = ("name", "slug", "alias", "state", "parent", "key", "successor")
_PROFILE = ("name", "ekus", "description", "subject_organization")
_TASK = (
    *("name", "task", "enabled", "interval", "crontab", "solar", "clocked", "args", "kwargs"),
    *("queue", "exchange", "routing_key", "headers", "priority", "expires", "expire_seconds"),
    *("one_off", "start_time"),
)
_CRONTAB = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year", "timezone")


def wholly_recorded() -> dict[type[Model], Watched]:
    """Return the models of which every row is explained by its last event alone."""
    return {model: what for model, what in watched().items() if CREATED in what.verbs}


def record_changes_of_power() -> None:
    """Watch every model that gives power. For `AppConfig.ready()`."""
    people = ("groups", "user_permissions")
    watch(get_user_model(), Watched("user", _ACCOUNT, hidden=("password",), relations=people))
    watch(Group, Watched("group", ("name",), relations=("permissions",)))
    watch(Team, Watched("team", _TEAM, relations=("members", "leads")))
    watch(Domain, Watched("domain", ("name", "team")))
    watch(Person, Watched("person", ("person_id", "verified_email")))
    watch(Profile, Watched("profile", _PROFILE))
    watch(Policy, Watched("policy", ("name", "description")))
    secret = ("sha256",)
    watch(ApiToken, Watched("token", _TOKEN, hidden=secret, sealed=secret, verbs=(CHANGED,), subject="token"))
    unsaid = ("nonce", "token_sha256")
    watch(Invitation, Watched("invitation", _INVITATION, hidden=unsaid, sealed=unsaid))
    ders = ("certificate_der", "trust_anchor_der")
    watch(Issuer, Watched("issuer", _ISSUER, hidden=ders, sealed=ders, verbs=(CHANGED, DELETED)))
    watch(Webhook, Watched("webhook", _WEBHOOK, hidden=("salt",), sealed=("salt",)))
    # Whoever adds a passkey or an identity to an account can sign in to it.
    watch(Authenticator, Watched("second_factor", ("user", "type"), hidden=("data",), sealed=("data",)))
    watch(SocialAccount, Watched("identity", ("user", "provider", "uid")))
    watch(SecondFactorGrace, Watched("second_factor_grace", ("user", "until", "given_by", "reason")))
    watch(GroupMapping, Watched("group_mapping", ("group", "team", "role")))
    for model in (Authenticator, SocialAccount):
        uid = f"certs.access.changes_of_power.{model._meta.label}"
        pre_save.connect(_attribute_to_its_person, sender=model, dispatch_uid=uid)
        pre_delete.connect(_attribute_to_its_person, sender=model, dispatch_uid=uid)
    watch(PeriodicTask, Watched("schedule", _TASK))
    watch(IntervalSchedule, Watched("schedule", ("every", "period")))
    watch(CrontabSchedule, Watched("schedule", _CRONTAB))
    watch(SolarSchedule, Watched("schedule", ("event", "latitude", "longitude")))
    watch(ClockedSchedule, Watched("schedule", ("clocked_time",)))


def _attribute_to_its_person(instance: Authenticator | SocialAccount, origin: Any = None, **_signal: Any) -> None:
    """Say who wrote the row, where django-allauth writes it in a request.

    The person who is signed in; at a sign-in the person of the account, as its pages change own rows
    only. A row that is deleted with its account is attributed like the account.
    """
    with_account = origin is not None and not isinstance(origin, (type(instance), QuerySet))
    if with_account or actor_of(instance) is not UNATTRIBUTED or context.request is None:
        return
    user = getattr(context.request, "user", None)
    acting = user if user is not None and user.is_authenticated else instance.user
    attribute(instance, Actor("user", acting.get_username()))
