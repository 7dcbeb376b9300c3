"""The one way to block a public key: never a CA's key, and never without the security team knowing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from cryptography import x509

from audit.log import Actor
from certs.enums import AlertKind
from certs.inventory.filters import CertificateFilter
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, Chain, Issuer, ResponderCertificate, Team
from certs.notifications.alerts import close_alerts, key_cause, raise_alert
from certs.notifications.audience import security_team, team_of
from certs.notifications.delivery.bundles import Kind as Bundle
from certs.notifications.delivery.bundles import Line
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of, name_of
from keys.models import Key, PublicKey
from keys.public_keys import block_public_key
from keys.spec import blocked_names


def block_key(spki: str, *, team: str, reason: str, now: datetime, actor: Actor, revoking: int | None = None) -> bool:
    """Refuse a public key permanently, at every channel. The caller has the proof.

    `revoking` is the key of a certificate that the caller revokes in the same transaction.

    Returns whether the key is blocked: False for a key of a CA, a root or an OCSP responder, which
    is never blocked here; for such a key an alert of the highest level is raised instead.
    Effects, in the caller's open transaction: the rows of the key, `key:compromised`, and an alert
    with its mail to the operators and the security team.
    """
    authority = authority_of_key(spki)
    if authority:
        _alert_authority_key(spki, authority, reason=reason, now=now, actor=actor)
        return False
    if block_public_key(spki, team=team, reason=reason, now=now, actor=actor):
        alert_block(spki, team=team, reason=reason, now=now, actor=actor, revoking=revoking)
    close_alerts(kind=AlertKind.KEY_CLAIMED, cause=key_cause(spki), now=now)
    return True


def authority_of_key(spki: str) -> str:
    """Name the CA, root or OCSP responder that a public key belongs to; empty for every other key.

    Asks the rows of keys and also the certificates, since the key of a CA elsewhere has no row here.
    """
    key = Key.objects.filter(spki_sha256=spki).exclude(purpose=Key.Purpose.LEAF).first()
    if key is not None:
        return f"{key.get_purpose_display()} key {key.name}"
    for name, certificates in _authority_certificates():
        for certificate in certificates:
            if spki in blocked_names(certificate.public_key()):
                return name
    return ""


def _authority_certificates() -> Iterator[tuple[str, list[x509.Certificate]]]:
    for issuer in Issuer.objects.order_by("pk"):
        ders = (issuer.certificate_der, issuer.trust_anchor_der)
        yield issuer.name, [x509.load_der_x509_certificate(bytes(der)) for der in ders if der]
    for chain in Chain.objects.select_related("issuer"):
        yield f"{chain.issuer.name} or its root", x509.load_pem_x509_certificates(chain.pem.encode())
    for responder in ResponderCertificate.objects.select_related("issuer"):
        der = bytes(responder.certificate_der)
        name = f"OCSP responder of {responder.issuer.name}"
        yield name, [x509.load_der_x509_certificate(der)]


def _alert_authority_key(spki: str, authority: str, *, reason: str, now: datetime, actor: Actor) -> None:
    raise_alert(
        kind=AlertKind.AUTHORITY_KEY_EXPOSED,
        cause=key_cause(spki),
        message=f"CRITICAL: the private key of {authority} is exposed ({reason}; {actor.name}).",
        next_step="The key was not blocked: that would stop the CA without protecting anybody. Treat"
        " the CA as compromised now: `manage.py distrust_ca NAME --reason cACompromise` and a new CA.",
        now=now,
        also_to=security_team(),
    )


def alert_block(spki: str, *, team: str, reason: str, now: datetime, actor: Actor, revoking: int | None = None) -> None:
    """Open the officers' case about a key that was just blocked: it stays open until one of them closes it.

    Needs the transaction of the block.
    """
    owner = PublicKey.objects.get(pk=spki).team
    whose = f"a key of team {owner}" if owner else "a key"
    by = f", team {team}" if team and team != owner else ""
    living = Certificate.objects.filter(spki_sha256=spki, not_after__gt=now, status=Certificate.Status.GOOD).order_by("pk")
    count, named = living.count(), list(living[:20])
    on_it = "1 valid certificate is" if count == 1 else f"{count:,} valid certificates are"
    what = count_of([name_of(each) for each in named], count) if named else f"key {spki[:16]}"
    raise_alert(
        kind=AlertKind.KEY_BLOCKED,
        cause=key_cause(spki),
        message=f"Public key {spki[:16]}…, {whose}, was blocked: {reason} ({actor.name}{by}). {on_it} on it.",
        next_step="Revoke the certificates on it as keyCompromise and tell their owners. If the block"
        f" is wrong: `manage.py unblock_key {spki} --reason TEXT --as USER`.",
        now=now,
        also_to=security_team(),
        bundle=partial(
            Line, Bundle.KEY_ALERT, what, f"Keys of team {owner}, blocked by {actor.name}" if owner else f"Blocked by {actor.name}"
        ),
    )
    states = states_of([one.pk for one in named], now)
    if revoking in states:
        states[revoking] = CertificateState.BEING_REVOKED
    for one in Team.objects.filter(slug=owner):
        notify(
            Topic.KEY_BLOCKED,
            key=f"key:blocked:{spki}:{now:%Y%m%d%H%M%S}",
            audience=team_of(one),
            subject=f"Replace now: {what} (key blocked)" if named else f"A key of team {one.name} was blocked",
            template="key_blocked",
            context={
                "spki": spki,
                "list_url": CertificateFilter(spki=spki).url(),
                "team": one,
                "reason": reason,
                "by": actor.name,
                "at": now,
                "living": [(each, states[each.pk]) for each in named],
                "count": count,
                "more": count - len(named),
            },
            now=now,
            bundle=Line(
                Bundle.KEY_BLOCKED,
                what,
                f"Blocked by {actor.name}",
                CertificateFilter(spki=spki).url(),
            ),
        )
