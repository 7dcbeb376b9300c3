"""Certificates by the dozen from the own CA, and status information about them over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.db import connections

from certs.access.permissions import Authority
from certs.ca.local.ocsp_responder import ensure_responder
from certs.enums import RevocationReason
from certs.models import Certificate, Issuer
from certs.revocation.request import request_revocation
from certs.spec import CertificateSpec
from certs.status.crl import points_of, publish_crl
from certs.status.ocsp.lookup import lookups
from certs.status.ocsp.respond import forget_answers
from certs.status.ocsp.signers import forget_signers
from certs.status.publishing import refresh_point
from keys.spec import spki_der
from tests.portal.external import issue_external
from tests.portal.fixtures import SYSTEM, Portal


def issue(portal: Portal, count: int = 1, *, prefix: str = "h", days: int = 90, keys: Sequence[Any] = ()) -> list[Certificate]:
    """Certificates with brought P-256 keys, through the whole workflow."""
    names = [f"{prefix}{number}.example.com" for number in range(count)]
    keys = keys or [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    specs = [
        CertificateSpec(name, (name,), (), "ec-p256", days, "tls-server", csr_der=b"", spki_der=spki_der(key.public_key()))
        for name, key in zip(names, keys, strict=True)
    ]
    requests = issue_external(specs, requester=portal.requester())
    return list(Certificate.objects.filter(request__in=requests).select_related("issuer", "body").order_by("pk"))


def revoke(certificate: Certificate, reason: str = "keyCompromise", **more: Any) -> None:
    request_revocation(certificate, reason=RevocationReason(reason), authority=Authority(SYSTEM), begin=False, **more)


def issuing_ca() -> Issuer:
    return Issuer.objects.select_related("key", "parent__key").get(name=settings.PKI_DEFAULT_CA)


def publish_everything() -> Issuer:
    """What `bootstrap` and beat do: the root's CRL, the issuing CA's, its responder."""
    issuer = issuing_ca()
    ensure_responder(issuer, actor=SYSTEM)
    assert issuer.parent is not None
    for point in points_of(issuer.parent):
        publish_crl(point, actor=SYSTEM, validity=timedelta(days=365))
    for point in points_of(issuer):
        refresh_point(point)
    return issuer


def published(issuer: Issuer, shard: int = 0) -> x509.CertificateRevocationList:
    """The CRL that is public now, as a relying party reads it."""
    from certs.status.crl.serve import published_crl  # noqa: PLC0415 - models must be loaded

    crl = published_crl(issuer.slug, shard)
    assert crl is not None
    data = b"".join(crl.pieces())
    assert len(data) == crl.length
    return x509.load_der_x509_crl(data)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        return


def _closing(application: Any) -> Any:
    """Each request has a thread of its own here: its connections end with it, or the test database could not be dropped."""

    def serve(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        try:
            yield from application(environ, start_response)
        finally:
            lookups.close()
            connections.close_all()

    return serve


@contextmanager
def served() -> Iterator[str]:
    """The portal's own WSGI application on a loopback port; answers its address."""
    from pkiportal.wsgi import application  # noqa: PLC0415 - models must be loaded

    forget_signers()
    forget_answers()
    server = make_server("127.0.0.1", 0, _closing(application), _Server, _Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
