"""CRLs with a hundredth, a tenth and all of 1,000,000 entries: from nothing, again, with one revocation more; and the memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from django.conf import settings

from bench.inventory import fill, revoke_first
from bench.machine import row
from certs.models import CRL, CRLPoint, CRLSegment, Issuer

LARGEST = int(os.environ.get("PKI_BENCH_CERTIFICATES", "1000000"))
SIZES = (LARGEST // 100, LARGEST // 10, LARGEST)


def run() -> None:
    print("A CRL of one issuing CA (P-256), read from PostgreSQL, signed and published; each in a fresh process")
    template = fill(max(SIZES))
    issuer = Issuer.objects.get(name=settings.PKI_DEFAULT_CA)
    row("entries", "cold, s", "again, s", "one more, s", "served, s", "grows by, MB")
    for size in SIZES:
        revoke_first(size, after=template.pk)
        CRLPoint.objects.filter(issuer=issuer).update(published=None)
        CRL.objects.filter(point__issuer=issuer).delete()
        CRLSegment.objects.filter(point__issuer=issuer).delete()
        measured = _in_a_process()
        assert measured["entries"] == size
        seconds = [f"{measured[name]:.2f}" for name in ("cold", "again", "one_more", "served")]
        row(f"{size:,}", *seconds, f"{measured['megabytes']:.0f}")
    print()


def _in_a_process() -> dict[str, float]:
    """Its peak memory is its own."""
    done = subprocess.run([sys.executable, "-m", "bench.crl_once"], env=os.environ, stdout=subprocess.PIPE, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured
