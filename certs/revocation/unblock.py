"""Take back the block of a public key that was blocked by mistake: a security officer's decision."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q

from certs.access.permissions import Authority, Permission
from certs.enums import AlertKind, RevocationReason
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.models import Certificate, IssuanceIntent
from certs.notifications.alerts import close_alerts, key_cause, raise_alert
from certs.notifications.audience import security_team
from certs.requests.exposure.refused_secrets import refuse_secrets
from db.clock import database_now
from keys.models import PublicKey
from keys.public_keys import unblock_public_key

MOST_REASON = 200  # characters


def unblock_key(named: str, *, reason: str, authority: Authority) -> dict[str, Any]:
    """Unblock the public key with that SPKI SHA-256, or that of the certificate with that id.

    Effects, in one transaction: the rows of the key, `key:unblocked`, its open alerts closed, and
    a mail to the security team. No certificate changes: a revocation is never taken back.
    Raises NotPermitted for anybody but a security officer, NotFound, InputRefused for an empty
    reason, CSRRefused for one that holds a secret, and Conflict for a key that is not blocked, or
    of which a certificate was revoked as keyCompromise or whose CA is distrusted as cACompromise:
    relying parties learned it, so the key stays blocked permanently.
    """
    # 1. Rights and reason, before the transaction: the refusal of a secret has a record, which a rollback would remove.
    if not authority.may_decide_keys:
        raise NotPermitted(
            "Only a security officer may unblock a key.",
            next_step="Ask the security team, with the reason why the block is wrong.",
            permission=Permission.DECIDE_KEYS,
        )
    why = " ".join(reason.split())
    if not why:
        raise InputRefused(
            "Unblocking a key needs a reason.",
            field="reason",
            next_step="Write why the block was wrong; the reason is kept in the audit log.",
        )
    if len(why) > MOST_REASON:
        raise InputRefused(
            f"The reason has {len(why)} characters, more than {MOST_REASON}.",
            field="reason",
            next_step="Shorten the reason; it is kept in the audit log.",
        )
    refuse_secrets(why, actor=authority.actor, team="", field="reason")
    with transaction.atomic():
        spki = _spki(named)
        # 2. Lock the public key's row, before those of certificates as everywhere. A revocation for keyCompromise locks it too, so
        #    such a revocation is either visible to the queries below or begins after the commit.
        PublicKey.objects.select_for_update().get(pk=spki)
        now = database_now()
        # 3. What relying parties have learned is final.
        on_key = Certificate.objects.filter(spki_sha256=spki)
        revoked = on_key.filter(revocation__reason=RevocationReason.KEY_COMPROMISE, revocation__released_at__isnull=True).first()
        if revoked is not None:
            raise Conflict(
                f"{revoked.cert_id} on this key is revoked as keyCompromise, which is public and final.",
                field="key",
                next_step="The key stays blocked. Make a new key and request a new certificate.",
            )
        entry = IssuanceIntent.objects.filter(
            spki_sha256=spki,
            revocation_reason=RevocationReason.CA_COMPROMISE,
            revoked_at__isnull=False,
        ).first()
        if entry is not None:
            raise Conflict(
                f"It is the key of a CA ({entry.order_ref}) that is distrusted as cACompromise, which is public and final.",
                field="key",
                next_step="The key stays blocked. Make a new CA with `manage.py roll_over_ca`.",
            )
        # 4. Take the block back, with its event.
        if not unblock_public_key(spki, why, now=now, actor=authority.actor):
            raise Conflict(
                f"The public key {spki[:16]}… is not blocked.",
                field="key",
                next_step="Nothing is to be done.",
            )
        # 5. Close the alerts about the block. One new alert goes to all officers, not only to the one who decided.
        for kind in (AlertKind.KEY_BLOCKED, AlertKind.KEY_CLAIMED, AlertKind.AUTHORITY_KEY_EXPOSED):
            close_alerts(kind=kind, cause=key_cause(spki), now=now)
        raise_alert(
            kind=AlertKind.KEY_UNBLOCKED,
            cause=key_cause(spki),
            message=f"Public key {spki[:16]}… was unblocked by {authority.actor.name}: {why}",
            next_step="Check that the reason is right, then close this alert.",
            now=now,
            also_to=security_team(),
        )
        certificates = list(on_key.order_by("pk").values_list("cert_id", flat=True)[:100])
        return {"success": True, "spki_sha256": spki, "blocked": False, "certificates": certificates}


def _spki(named: str) -> str:
    """Return the SPKI SHA-256 of a key or certificate. Raises NotFound."""
    text = named.strip()
    certificate = Certificate.objects.filter(Q(cert_id=text) | Q(spki_sha256=text.lower())).first()
    spki = certificate.spki_sha256 if certificate else text.lower().replace(":", "")
    if not PublicKey.objects.filter(pk=spki).exists():
        raise NotFound(
            "No public key or certificate of that name is known here.",
            field="key",
            next_step="Give the SHA-256 of the SubjectPublicKeyInfo in hex, or a certificate id.",
        )
    return spki
