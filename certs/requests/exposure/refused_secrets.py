"""Secrets that people send by mistake, and texts that show something else than they say: refused before the first write.

Use cases call `refuse_secrets` for every text that a person sends and that the portal would keep. It
must run before the use case opens its transaction: the refusal would roll back its own record.
"""

from __future__ import annotations

from django.db import transaction

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.enums import AlertKind, RefusalClass
from certs.errors import CSRRefused, InputRefused
from certs.language.secret_scan import find_secret
from certs.language.unseen import unseen_character
from certs.notifications.alerts import raise_alert
from certs.notifications.audience import security_team
from certs.requests.exposure.key_blocks import block_key
from certs.x509.csr.private_keys import find_exposed_keys
from db.clock import database_now

ADVICE = "Treat it as exposed: replace it. Send only the CSR; nobody at the portal ever needs a private key or token."


def refuse_secrets(*texts: str, actor: Actor, team: str, field: str, channel: str = "") -> None:
    """Refuse texts of which one holds a private key, token or password, or a character that nobody sees.

    `team`: the slug of the team that is concerned, empty where there is none.
    Effects, in a transaction of its own: those of `report_secret`.
    Raises CSRRefused (`secret_pasted`), which names the kind of secret and nothing of the text;
    InputRefused for an unseen character.
    """
    for text in texts:
        found = find_secret(text)
        if found is None:
            continue
        exposed = find_exposed_keys(text.encode("utf-8", "replace"))
        report_secret(
            actor=actor,
            team=team,
            channel=channel,
            kind=found.kind,
            length=found.length,
            exposed_keys=exposed,
        )
        raise CSRRefused(
            RefusalClass.SECRET_PASTED,
            f"This text contains a secret ({found.kind}); nothing of it was kept.",
            field=field,
            next_step=ADVICE,
            exposed_keys=exposed,
        )
    # Behind all secrets: one that is hidden between such characters is reported as what it is.
    unseen = next(filter(None, map(unseen_character, texts)), "")
    if unseen:
        raise InputRefused(
            f"This text contains a control character that nobody sees ({unseen}).",
            field=field,
            next_step="Type the text instead of pasting it, or paste it as plain text.",
        )


@transaction.atomic
def report_secret(
    *,
    actor: Actor,
    team: str,
    channel: str,
    kind: str,
    length: int,
    exposed_keys: tuple[str, ...],
) -> None:
    """Record a refused secret by its kind and length, and block the keys that it exposes.

    `exposed_keys`: names of public keys whose private keys were sent, each proven. A key is blocked
    whichever team owns it: who sends another team's private key proves that it is in wrong hands
    (docs/decisions/0021). Without a proven key nothing is blocked.
    Effects: `secret:refused`, an alert with mail, and those of `block_key`.
    """
    now = database_now()
    # in one order, so that two reports cannot wait for each other's rows
    for spki in sorted(exposed_keys):
        block_key(spki, team=team, reason="its private key was sent to the portal", now=now, actor=actor)
    if not exposed_keys:
        raise_alert(
            kind=AlertKind.SECRET_PASTED,
            cause=f"team:{team}",
            message=f"{actor.name} sent a secret to the portal ({kind}); nothing was kept or blocked.",
            next_step="Ask the sender what it was. If a private key or token was exposed, have it"
            " replaced, and revoke the certificates on the key as keyCompromise.",
            now=now,
            also_to=security_team(),
        )
    data: dict[str, Value] = {"kind": kind, "length": length, "door": channel}
    data["spki_sha256"] = list(exposed_keys)
    record(EventType.SECRET_REFUSED, subject=f"team:{team or '-'}", actor=actor, at=now, data=data)


def problem_with_text(text: str, *, actor: Actor, field: str) -> str:
    """Check a field of an admin form as `refuse_secrets` does. Returns what to show there, empty for a harmless text."""
    try:
        refuse_secrets(text, actor=actor, team="", field=field, channel="admin")
    except InputRefused as refused:
        return f"{refused.message} {refused.next_step}"
    return ""
