"""Files of a certificate, downloaded from the portal or over REST: of one in force only, and each time on record.

Reading a certificate (its page, its JSON) is no download: both show its state beside it. A saved file does not, so a
revoked certificate is not downloaded.
"""

from __future__ import annotations

from django.db import transaction

from audit.events import EventType
from audit.log import Actor, record
from certs.access.permissions import Authority
from certs.errors import Conflict, NotFound
from certs.models import Certificate
from certs.servers.files import FileNames
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.chain import intermediates_of, pkcs7_of, root_of
from db.clock import database_now

# What a server needs first. `chain.pem` is everything above the certificate, the root included, for
# programs that verify; `root.pem` is what clients are to trust.
FORMS = ("fullchain.pem", "cert.pem", "chain.pem", "root.pem", "cert.der", "chain.p7b")
_TYPES = {
    "pem": "application/pem-certificate-chain",
    "der": "application/pkix-cert",
    "p7b": "application/x-pkcs7-certificates",
}


def file_stem(certificate: Certificate) -> str:
    """Return how the files of a certificate begin: its first name, of characters that need no quoting in any shell."""
    return FileNames.of((certificate.first_name,), otherwise=certificate.cert_id).stem


def take(certificate: Certificate, form: str, *, authority: Authority) -> tuple[bytes, str]:
    """Return what `content_of` returns, and put the download on record (one `certificate:downloaded` event)."""
    found = content_of(certificate, form, authority=authority)
    _note(certificate, form, authority.actor)
    return found


def content_of(certificate: Certificate, form: str, *, authority: Authority) -> tuple[bytes, str]:
    """Return the content of one of FORMS and its type. Nothing is put on record: for HEAD.

    Raises NotFound for another form or a certificate that the actor may not see, Conflict from the moment on at which a
    revocation was requested.
    """
    if not authority.may_see(certificate):
        raise NotFound("There is no such certificate.")
    if form not in FORMS:
        raise NotFound(f"A certificate has no file {form}.", next_step=f"There are {', '.join(FORMS)}.")
    if certificate.status != Certificate.Status.GOOD:
        revoked = certificate.status == Certificate.Status.REVOKED
        how = "is revoked," if revoked else "is being revoked, its CA has not confirmed it yet,"
        raise Conflict(f"{certificate.cert_id} {how} so it cannot be downloaded.", next_step="Request a new certificate.")
    der, chain = bytes(certificate.body.der), certificate.chain.pem
    content = {
        "cert.pem": pem_of(der).encode(),
        "chain.pem": chain.encode(),
        "fullchain.pem": (pem_of(der) + intermediates_of(chain)).encode(),
        "root.pem": root_of(chain).encode(),
        "cert.der": der,
        "chain.p7b": pkcs7_of(pem_of(der) + intermediates_of(chain)),
    }[form]
    if not content:
        raise NotFound(
            f"The CA of {certificate.cert_id} does not hand out its root.",
            next_step="Ask the operators of the CA for it.",
        )
    return content, _TYPES[form.rpartition(".")[2]]


@transaction.atomic
def _note(certificate: Certificate, form: str, actor: Actor) -> None:
    subject = f"certificate:{certificate.cert_id}"
    record(EventType.CERTIFICATE_DOWNLOADED, subject=subject, actor=actor, at=database_now(), data={"form": form})
