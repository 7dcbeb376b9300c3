"""Own CAs: made, succeeded and distrusted. The commands and the pages do it through these functions.

Whoever makes or replaces an own CA needs the root's key, which no worker and no web process has in production
(decision 47). `key_is_here` says whether this process can.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils.text import slugify

from audit.log import Actor
from certs.access.permissions import Authority
from certs.authorities.reissue import check_may_manage
from certs.ca.local.ocsp_responder import ensure_responder
from certs.ca.local.setup import ensure_own_ca, succeed
from certs.enums import RevocationReason
from certs.errors import Conflict, InputRefused
from certs.models import CertificateRequest, IssuanceIntent, Issuer
from certs.notifications.audience import operators, security_team
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import UNFINISHED
from certs.revocation.distrust import REASONS, distrust
from certs.status.crl import CRLWithheld, changed, points_of, publish_crl
from certs.status.publishing import refresh_point, retire_predecessors
from certs.status.watch import watch
from db.clock import database_now
from keys.errors import KeyBackendError
from keys.registry import is_answering
from keys.spec import KeySpec

MOST_COUNTED = 1000
# What clients of every age verify. A shell makes others (`roll_over_ca --key`).
KEYS = (KeySpec.EC_P256, KeySpec.EC_P384, KeySpec.RSA_3072, KeySpec.RSA_4096)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{1,62}[A-Za-z0-9]")
_ORGANIZATION = 64  # RFC 5280 A.1, ub-organization-name


@dataclass(frozen=True, slots=True)
class RootWithoutCRL:
    """The CA is distrusted here, and the CRL of its root does not say so yet."""

    root: Issuer
    why: str


def key_is_here(root: Issuer | None) -> bool:
    """Return whether this process can sign with the root's key. Never raises."""
    return root is not None and root.key is not None and is_answering(root.key.backend)


def makes_cas_here() -> bool:
    """Return whether this process can make an own CA: it has the backends of roots' and CAs' keys."""
    return is_answering(settings.PKI_ROOT_KEY_BACKEND) and is_answering(settings.PKI_CA_KEY_BACKEND)


def waiting_at(issuer: Issuer) -> int:
    """Return how many requests are on their way to the CA; MOST_COUNTED for that many and more."""
    return CertificateRequest.objects.filter(issuer=issuer, state__in=UNFINISHED)[:MOST_COUNTED].count()


def distrust_ca(issuer: Issuer, *, reason: str, confirmation: str, authority: Authority) -> RootWithoutCRL | None:
    """Distrust an own issuing CA, permanently. One officer is enough: a stolen key does not wait for a second one.

    `confirmation`: the name of the CA, as typed. Effects: those of `certs.revocation.distrust.distrust` with a mail to
    the security team and the operators, in one transaction; after it the CRL of the root, where its key is here.
    Returns what is left to do about that CRL. Raises NotPermitted, InputRefused, Conflict.
    """
    check_may_manage(authority)
    if reason not in REASONS:
        raise InputRefused("Choose why the CA is distrusted.", field="reason", next_step="One of those on the page.")
    _check_typed(confirmation, issuer.name, "distrust it")
    with transaction.atomic():
        entry = distrust(issuer, reason=RevocationReason(reason), actor=authority.actor)
        what = f"The CA {issuer.name} is distrusted, as {reason}"
        _tell(f"ca:distrusted:{issuer.slug}", what, authority)
    return say_so_in_root_crl(entry, actor=authority.actor)


def say_so_in_root_crl(entry: IssuanceIntent, *, actor: Actor) -> RootWithoutCRL | None:
    """Publish the CRL of the root that lists the CA, unless it is published. Returns what stands in the way.

    Needs no transaction: it calls the key backend. Raises Conflict where a CRL must be withheld.
    """
    root = entry.issuer
    try:
        for point in points_of(root):
            if changed(point):
                publish_crl(point, actor=actor, validity=timedelta(days=settings.PKI_ROOT_CRL_VALID_DAYS))
    except CRLWithheld as exc:
        raise Conflict(str(exc), next_step="The last CRL stays public. Find what changed those rows.") from exc
    except KeyBackendError as exc:
        watch()  # the operators on call are notified too
        return RootWithoutCRL(root, str(exc))
    watch()
    return None


def roll_over(issuer: Issuer, *, name: str, key: str, confirmation: str, authority: Authority) -> Issuer:
    """Have a new issuing CA beneath the same root take over, from a page. Returns the new CA.

    `confirmation`: the name of the old CA, as typed. Effects: those of `take_over`, and a mail to the security team and
    the operators. Raises NotPermitted, InputRefused, Conflict, KeyBackendError.
    """
    check_may_manage(authority)
    refuse_secrets(name, actor=authority.actor, team="", field="name")
    name, spec = checked_name(name), _spec(key)
    if name != issuer.name and name in _names_in_use():
        raise InputRefused(f"There is a CA named {name} already.", field="name", next_step="Choose another name.")
    _check_typed(confirmation, issuer.name, "roll it over")
    new = take_over(issuer, name=name, spec=spec, actor=authority.actor, tell=_silent)
    with transaction.atomic():
        _tell(f"ca:succeeded:{issuer.slug}", f"The CA {new.name} takes over from {issuer.name}", authority)
    return new


def take_over(old: Issuer, *, name: str, spec: KeySpec, actor: Actor, tell: Callable[[str], None]) -> Issuer:
    """Make the CA that takes over from `old`, with its responder and first CRLs. Safe to run again after a crash.

    Raises Conflict, and KeyBackendError, for instance when the root's key is offline.
    """
    new = succeed(old, name=name, spec=spec, actor=actor, tell=tell)
    _publish_first(new, actor)
    retire_predecessors()
    return new


def make_own_ca(given: dict[str, str], *, authority: Authority) -> Issuer:
    """Make a root and an issuing CA beneath it, from a page. Returns the issuing CA.

    `given`: name, organization, key, confirmation (the name once more). Effects: both CAs with their events, the
    responder and first CRLs, and a mail to the security team and the operators.
    Raises NotPermitted, InputRefused that names the field, Conflict, KeyBackendError.
    """
    check_may_manage(authority)
    for field, text in given.items():
        refuse_secrets(text, actor=authority.actor, team="", field=field)
    name, organization = checked_name(given.get("name", "")), given.get("organization", "").strip()
    taken = [name, f"{name} Root"]
    if Issuer.objects.filter(slug__in=[slugify(one) for one in taken]).exists() or name in settings.CA_CLIENTS:
        raise InputRefused(f"There is a CA named {name} already.", field="name", next_step="Choose another name.")
    if not 0 < len(organization) <= _ORGANIZATION or not organization.isprintable():
        raise InputRefused(
            "The organization needs 1 to 64 printable characters.",
            field="organization",
            next_step="As in Example Ltd. It is in the names of root and CA permanently.",
        )
    spec = _spec(given.get("key", ""))
    _check_typed(given.get("confirmation", ""), name, "make it")
    if not makes_cas_here():
        raise Conflict(
            "This process cannot use the keys of CAs.", next_step="Make the CA with `manage.py bootstrap` where the root's key is."
        )
    issuer, _ = ensure_own_ca(name=name, spec=spec, actor=authority.actor, tell=_silent, organization=organization)
    _publish_first(issuer, authority.actor)
    for point in points_of(issuer.parent) if issuer.parent else ():
        publish_crl(point, actor=authority.actor, validity=timedelta(days=settings.PKI_ROOT_CRL_VALID_DAYS))
    with transaction.atomic():
        _tell(f"ca:made:{issuer.slug}", f"The own CA {issuer.name} was made, beneath a new root", authority)
    return issuer


def _publish_first(issuer: Issuer, actor: Actor) -> None:
    ensure_responder(issuer, actor=actor)
    for point in points_of(issuer):
        refresh_point(point, actor=actor)


def _check_typed(typed: str, name: str, what: str) -> None:
    if not hmac.compare_digest(typed.strip().encode(errors="replace"), name.encode()):
        raise InputRefused(
            f"Type the name {name} to {what}. Nothing was changed.",
            field="confirmation",
            next_step="Exactly as it is written there, capitals included.",
        )


def checked_name(text: str) -> str:
    """Return the name of an own CA without outer spaces. Raises InputRefused."""
    name = text.strip()
    if _NAME.fullmatch(name) is None or not slugify(name):
        raise InputRefused("This is no name for a CA.", field="name", next_step="3 to 64 letters, digits, blanks and . _ -")
    return name


def _names_in_use() -> set[str]:
    return {*Issuer.objects.filter(successor__isnull=False).values_list("name", flat=True), *settings.CA_CLIENTS}


def _spec(text: str) -> KeySpec:
    if text not in KEYS:
        raise InputRefused("Choose a key.", field="key", next_step="One of those on the page.")
    return KeySpec(text)


def _tell(key: str, what: str, authority: Authority) -> None:
    now = database_now()
    notify(
        Topic.POWER,
        key=key,
        audience=security_team() | operators(),
        subject=what,
        template="power_changed",
        context={"what": what, "by": authority.actor.name, "at": now},
        now=now,
    )


def _silent(_line: str) -> None:
    pass
