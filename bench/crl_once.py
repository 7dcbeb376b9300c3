"""One process that publishes a CRL three times and serves it: `python -m bench.crl_once`, run by bench.parts.crl."""

from __future__ import annotations

import json
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402 - Django first
from django.db.models import F  # noqa: E402

from audit.log import Actor  # noqa: E402
from bench.machine import timed  # noqa: E402
from certs.models import Certificate, Issuer, Revocation  # noqa: E402
from certs.status.crl import points_of, publish_crl  # noqa: E402
from certs.status.crl.serve import published_crl  # noqa: E402

ACTOR = Actor("command", "bench")


def peak() -> int:
    """The most memory this process has had since the count began, in kB."""
    (line,) = [line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def main() -> None:
    issuer = Issuer.objects.select_related("key").get(name=settings.PKI_DEFAULT_CA)
    (point,) = points_of(issuer)
    Certificate.objects.exists()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here, not with the process that started us
    before = peak()
    cold = timed(lambda: publish_crl(point, actor=ACTOR))
    again = timed(lambda: publish_crl(point, actor=ACTOR))
    published = point.published
    assert published is not None
    entries = published.count
    last = Revocation.objects.order_by("-pk")[0]
    Revocation.objects.filter(pk=last.pk).update(reason="keyCompromise")
    Certificate.objects.filter(pk=last.pk).update(status_version=F("status_version") + 1)
    one_more = timed(lambda: publish_crl(point, actor=ACTOR))
    crl = published_crl(issuer.slug, 0)
    assert crl is not None
    served = timed(lambda: sum(len(piece) for piece in crl.pieces()))
    megabytes = (peak() - before) / 1024
    figures = {"cold": cold, "again": again, "one_more": one_more, "served": served, "entries": entries, "megabytes": megabytes}
    print(json.dumps(figures))


main()
