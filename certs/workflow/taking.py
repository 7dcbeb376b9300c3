"""A certificate taken home, from the portal or over REST: one in force only, and each time on record.

Reading a certificate (its page, its JSON, by order) is not taking it: those say its status beside it, so nobody can take it for
good when it is not. A file says nothing of the kind once it is saved.
"""

from __future__ import annotations

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from certs.errors import Conflict, NotFound
from certs.models import Certificate
from certs.x509.pem import pem_of

FORMS = ("cert.pem", "chain.pem", "fullchain.pem", "cert.der")
_TYPES = {"pem": "application/pem-certificate-chain", "der": "application/pkix-cert"}


def take(certificate: Certificate, form: str, *, actor: Actor | None) -> tuple[bytes, str]:
    """The content of one of FORMS and its type. `actor` None: only asked about, not taken (HEAD).

    Raises NotFound for another form, Conflict from the moment on at which a revocation was requested.
    """
    if form not in FORMS:
        raise NotFound(f"A certificate has no file {form}.", next_step=f"There are {', '.join(FORMS)}.")
    if certificate.status != Certificate.Status.GOOD:
        revoked = certificate.status == Certificate.Status.REVOKED
        how = "is revoked" if revoked else "is being revoked, its CA has not confirmed it yet,"
        raise Conflict(f"{certificate.cert_id} {how} and not handed out any more.", next_step="Ask for a new certificate.")
    if actor is not None:
        _note(certificate, form, actor)
    der, chain = bytes(certificate.body.der), certificate.chain.pem
    content = {
        "cert.pem": pem_of(der).encode(),
        "chain.pem": chain.encode(),
        "fullchain.pem": (pem_of(der) + chain).encode(),
        "cert.der": der,
    }[form]
    return content, _TYPES[form.rpartition(".")[2]]


@transaction.atomic
def _note(certificate: Certificate, form: str, actor: Actor) -> None:
    subject = f"certificate:{certificate.cert_id}"
    record(EventType.CERTIFICATE_DOWNLOADED, subject=subject, actor=actor, at=database_now(), data={"form": form})
