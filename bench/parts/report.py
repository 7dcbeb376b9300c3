"""The weekly report over 1,000,000 certificates: seconds and memory of `compute`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from django.db import connection

from bench.inventory import fill
from bench.machine import row

LARGEST = int(os.environ.get("PKI_BENCH_CERTIFICATES", "1000000"))


def run() -> None:
    print("The weekly compliance report, computed from PostgreSQL in a fresh process")
    fill(LARGEST)
    _vary()
    figures = json.loads(
        subprocess.run([sys.executable, "-m", "bench.report_once"], env=os.environ, stdout=subprocess.PIPE, check=True).stdout.splitlines()[
            -1
        ]
    )
    row("certificates", "seconds", "grows by, MB", "do not comply")
    row(f"{figures['total']:,}", f"{figures['seconds']:.1f}", f"{figures['megabytes']:.0f}", f"{figures['fails']:,}")
    print()


def _vary() -> None:
    """Names of their own, ends over a year, three in a hundred on keys that are too short; one in twelve renews another."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE certs_certificate SET common_name = 'host-' || id || '.example.com',"
            " not_before = now() - interval '30 days', not_after = now() + mod(id, 365) * interval '1 day' + interval '1 hour',"
            " key_type = CASE WHEN mod(id, 100) < 3 THEN 'rsa-2048' ELSE 'ec-p256' END,"
            " renewed_from_id = CASE WHEN mod(id, 12) = 1 THEN id - 1 END WHERE cert_id LIKE 'bench-%'"
        )
        cursor.execute(
            "INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels)"
            " SELECT id, 'dns', common_name, 'com.example.host-' || id FROM certs_certificate WHERE cert_id LIKE 'bench-%'"
        )
        cursor.execute("VACUUM ANALYZE certs_certificate")
        cursor.execute("VACUUM ANALYZE certs_certificatename")
