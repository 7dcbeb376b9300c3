"""A run over an estate of any size: the work grows with what is due, memory with nothing."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse

from certs.models import Certificate, CertificateRequest
from certs.renewal import due, expiry
from certs.requests.submit import Requester
from pkiportal.processes.garbage import collect_seldom
from tests.certs.life import brought, issued

pytestmark = pytest.mark.django_db(transaction=True)

# Copies of one certificate with its request, names and CSR. The ends of the first DUE lie within 29
# days from now, those of the rest far away.
_COPIES = """
CREATE TEMPORARY TABLE copies AS SELECT n, nextval('certs_certificaterequest_id_seq') AS r,
  nextval('certs_certificate_id_seq') AS c FROM generate_series(1, %(count)s) AS n;
INSERT INTO certs_certificaterequest ({request})
  SELECT {request_values} FROM copies, certs_certificaterequest AS t WHERE t.id = %(request)s;
INSERT INTO certs_certificate ({certificate})
  SELECT {certificate_values} FROM copies, certs_certificate AS t WHERE t.id = %(certificate)s;
INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels)
  SELECT c, 'dns', 'n' || n || '.example.com', 'com.example.n' || n FROM copies WHERE n <= %(due)s;
INSERT INTO certs_requestcsr (request_id, der, spki_der, spki_sha256, created_at)
  SELECT r, t.der, t.spki_der, md5(n::text) || md5(n::text), t.created_at
  FROM copies, certs_requestcsr AS t WHERE t.request_id = %(request)s AND n <= %(due)s;
DROP TABLE copies;
ANALYZE certs_certificate, certs_certificaterequest, certs_requestcsr;
"""
_OF_REQUEST = {
    "id": "r",
    "public_id": "'req-copy-' || n",
    "common_name": "'n' || n || '.example.com'",
    "dns_names": "jsonb_build_array('n' || n || '.example.com')",
    "spki_sha256": "md5(n::text) || md5(n::text)",
    "resume_id": "NULL",
}
_ENDS = "t.not_before + CASE WHEN n <= %(due)s THEN interval '61 days' + n * interval '28 days' / %(due)s ELSE interval '390 days' END"
_OF_CERTIFICATE = {
    "id": "c",
    "renewal_off_reason": "''",
    "request_id": "r",
    "cert_id": "'cert-copy-' || n",
    "serial_number": "to_hex(n + 1048576)",
    "sha256_fingerprint": "md5(n::text) || md5((n + 1)::text)",
    "spki_sha256": "md5(n::text) || md5(n::text)",
    "common_name": "'n' || n || '.example.com'",
    "not_after": _ENDS,
    "alert_at": f"{_ENDS} - interval '30 days'",
}


def estate(requester: Requester, *, count: int, due: int) -> None:
    first = issued(brought("first.example.com", days=90), requester)
    shift = timedelta(days=60)
    Certificate.objects.filter(pk=first.pk).update(not_before=first.not_before - shift, renewal_off_reason="a pattern only")
    texts = {}
    for model, own, name in ((CertificateRequest, _OF_REQUEST, "request"), (Certificate, _OF_CERTIFICATE, "certificate")):
        columns = [str(field.column) for field in model._meta.concrete_fields]
        texts[name] = ", ".join(f'"{column}"' for column in columns)
        texts[f"{name}_values"] = ", ".join(own.get(column, f't."{column}"') for column in columns)
    with connection.cursor() as cursor:
        for statement in _COPIES.format(**texts).split(";\n"):
            if statement.strip():
                cursor.execute(statement, {"count": count, "due": due, "request": first.request_id, "certificate": first.pk})


def run() -> tuple[expiry.Checked, float]:
    began = time.perf_counter()
    return expiry.check_expiry(begin=False), time.perf_counter() - began


def test_run_keeps_no_more_in_memory_however_much_is_due(twin_portal: Requester, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "PAGE", 100)
    monkeypatch.setattr(expiry, "LISTED", 100)
    estate(twin_portal, count=4000, due=1800)
    kept = []
    for count in (300, 1500):
        settings.PKI_RENEW_BUDGET = count // 15
        tracemalloc.start()
        done = expiry.renew_due(begin=False)
        gc.collect()  # rows that refer to each other
        kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert done.counts["renewed"] == count
        CertificateRequest.objects.filter(renewed_from__isnull=False).update(state="completed")
    assert kept[1] < 1.5 * kept[0]


def test_queries_of_a_run_do_not_grow_with_the_estate(twin_portal: Requester, settings: Any, django_assert_max_num_queries: Any) -> None:
    settings.PKI_RENEW_BUDGET = 100_000
    estate(twin_portal, count=5000, due=200)
    with django_assert_max_num_queries(130):
        done, _ = run()
    assert len(done.renewed) == 200


@pytest.fixture
def as_in_a_worker() -> Iterator[None]:
    """The process as a worker is when a run begins: everything imported, and cycles looked for seldom."""
    before = gc.get_threshold()
    reverse("certificates")
    collect_seldom()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def cpu_of_the_backend() -> float:
    """Return the CPU seconds of the server process of this connection; it runs on this machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)


@pytest.mark.long_fault
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("as_in_a_worker")
def test_fifty_thousand_of_a_million_are_queued_within_half_a_minute(twin_portal: Requester, settings: Any) -> None:
    settings.PKI_RENEW_BUDGET = 100_000
    estate(twin_portal, count=1_000_000, due=50_000)
    before, cpu, cpu_server = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), cpu_of_the_backend()
    done, seconds = run()
    cpu, cpu_server = time.process_time() - cpu, cpu_of_the_backend() - cpu_server
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # The wall clock also counts what other programs of the machine took.
    sys.stdout.write(
        f"{seconds:.1f} s, of them CPU: run {cpu:.1f} s, its PostgreSQL backend {cpu_server:.1f} s; {grown / 1024:.0f} MB more\n"
    )
    assert (done.counts["renewed"], done.left) == (50_000, 0)
    ends = list(
        CertificateRequest.objects.filter(renewed_from__isnull=False).order_by("pk").values_list("renewed_from__not_after", flat=True)
    )
    assert ends == sorted(ends)
    assert expiry.renew_due(begin=False).checked == 0
    assert (seconds < 30, grown < 100 * 1024) == (True, True), (seconds, grown)
