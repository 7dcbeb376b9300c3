"""After a busy day nothing secret is anywhere it must not be: database dump, Redis, logs, mails, pages."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings as django_settings
from django.core import mail
from django.db import connection
from django.test import Client

from certs.enums import RequestState as S
from certs.models import CertificateRequest
from certs.notifications.delivery.mail import send_due
from certs.requests.plan import plan_words
from certs.requests.representation import wait
from certs.requests.submit import submit
from certs.requests.waiting import hold_for_ca
from keys.backends.local import LocalKeyBackend
from keys.models import Key
from keys.registry import get_key_backend
from keys.use import ref_of
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.x509.csr.test_pasted_secrets import SECRETS
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def dump() -> bytes:
    """Everything that PostgreSQL holds, as a thief would take it."""
    url = urlsplit(os.environ["PKI_TEST_DATABASE_URL"])
    database = urlunsplit(url._replace(path=f"/{connection.settings_dict['NAME']}"))
    return subprocess.run(["pg_dump", "--inserts", database], capture_output=True, check=True).stdout


def in_redis() -> bytes:
    server: Any = redis.Redis.from_url(django_settings.CELERY_BROKER_URL)
    found = b""
    for name in server.scan_iter():
        found += name
        kind = server.type(name)
        if kind == b"list":
            found += b"".join(server.lrange(name, 0, -1))
        elif kind == b"hash":
            found += b"".join(k + v for k, v in server.hgetall(name).items())
    return found


def spellings(secret: bytes) -> list[bytes]:
    """Raw, hex in both cases, base64 at its three alignments (without what the neighbours decide)."""
    encoded = [base64.b64encode(b"\0" * n + secret)[4 if n else 0 : -4] for n in range(3)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *encoded]


def test_nothing_secret_is_left_behind(
    portal: Portal, worker: None, settings: Any, caplog: pytest.LogCaptureFixture, vault_access: Any
) -> None:
    caplog.set_level("DEBUG")
    token, client = portal.token(), Client()
    client.post("/login/", {"username": "alice", "password": "wrong-" + PASSWORD})
    client.post("/login/", {"username": "alice", "password": PASSWORD})
    api = Api(token)
    assert api.post("/certificates/issue", {"csr": pem_csr("a.example.com")})[0] == 200
    pages = b""
    for secret, _ in list(SECRETS.values())[:8]:
        text = secret.decode("latin-1")
        api.post("/certificates/issue", {"csr": text})
        api.post("/requests/words", {"text": text[:4000]})
        pages += client.post("/new/", {"place": "csr", "team": "web", "csr": text}).content
    plan = plan_words("Issue certificates for k-1 through k-3, P-256, 30 days", requester=portal.requester())
    rows = [wait(submit(spec, requester=portal.requester()), seconds=30) for spec in plan.specs]  # type: ignore[union-attr]
    assert {row.state for row in rows} == {S.COMPLETED}
    CertificateRequest.objects.filter(pk=rows[0].pk).update(state=S.CSR_CREATED)
    hold_for_ca([rows[0].pk], "for the mail")
    send_due()
    everything = b"\n".join([dump(), in_redis(), caplog.text.encode(), pages, *(message.message().as_bytes() for message in mail.outbox)])
    assert b"req-" in everything
    assert mail.outbox
    for name, secret in secrets_of_the_day(token, vault_access.token).items():
        assert not any(spelling in everything for spelling in spellings(secret)), name
    assert b"PRIVATE KEY-----" not in everything


def secrets_of_the_day(token: str, vault_token: str) -> dict[str, bytes]:
    found = {"API token": token.encode(), "password": PASSWORD.encode(), "Vault token": vault_token.encode()}
    backend = get_key_backend("local")
    assert isinstance(backend, LocalKeyBackend)
    for key in Key.objects.filter(backend="local"):
        der = backend.load(ref_of(key)).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        found[f"private key {key.name}"] = der[36:68]  # the scalar of a P-256 key stands here in PKCS#8
    for kind, (secret, _) in list(SECRETS.items())[:8]:
        found[f"pasted {kind}"] = secret[60:100]
    return found
