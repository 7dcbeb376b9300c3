"""The replay of a stricter policy over 1,000,000 certificates: seconds until the result is there, with one and two workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from django.db import connection

from bench.inventory import BENCH, fill
from bench.machine import row
from certs.models import PolicyReplay, ReplayFinding
from certs.replay.jobs import begin_replay
from db.clock import database_now
from policy.drafting import draft_version
from policy.models import PolicyVersion
from policy.presets import DEFAULT_V2_3

LARGEST = int(os.environ.get("PKI_BENCH_CERTIFICATES", "1000000"))


def run() -> None:
    print("Replay of a policy with shorter validity and stronger keys, by processes of workers")
    fill(LARGEST)
    _vary()
    rules = DEFAULT_V2_3["rules"] | {
        "max_validity": {"days": 60},
        "allowed_keys": {"rsa": {"min_bits": 4096}, "ec": [256, 384]},
    }
    defaults = {"key": "rsa-4096", "validity_days": 45, "profile": "tls-server"}
    data = DEFAULT_V2_3 | {"version": "v9-bench", "rules": rules, "defaults": defaults}
    draft = draft_version("default", data, actor=BENCH, now=database_now())
    row("workers", "certificates", "findings", "seconds", "most memory, MB")
    for workers in (1, 2):
        seconds, megabytes, replay = _replay(draft, workers)
        findings = ReplayFinding.objects.filter(replay=replay).count()
        total = replay.summary["certificates"]["total"]
        row(str(workers), f"{total:,}", f"{findings:,}", f"{seconds:.1f}", f"{megabytes:.0f}")
    print()


def _replay(draft: PolicyVersion, workers: int) -> tuple[float, float, PolicyReplay]:
    """Replay with that many processes. Returns seconds, the most memory that one of them had, and the replay."""
    replay = begin_replay(draft, starts=database_now(), days_back=30, asked_by="bench")
    start = time.perf_counter()
    command = [sys.executable, "-m", "bench.replay_once", str(replay.pk)]
    processes = [subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    peaks = [float(process.communicate()[0].splitlines()[-1]) for process in processes]
    seconds = time.perf_counter() - start
    replay.refresh_from_db()
    assert replay.state == PolicyReplay.State.DONE, replay.error
    return seconds, max(peaks), replay


def _vary() -> None:
    """Names of their own, ends over a year, keys of four kinds: what an inventory of many teams looks like to the rules."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE certs_certificate SET common_name = 'host-' || id || '.example.com',"
            " not_before = now() - interval '30 days', not_after = now() + mod(id, 365) * interval '1 day' + interval '1 hour',"
            " alert_at = now() + mod(id, 365) * interval '1 day' * 2 / 3,"
            " key_type = (ARRAY['ec-p256','ec-p384','rsa-3072','rsa-4096'])[1 + mod(id, 4)] WHERE cert_id LIKE 'bench-%'"
        )
        cursor.execute(
            "INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels)"
            " SELECT id, 'dns', common_name, 'com.example.host-' || id FROM certs_certificate WHERE cert_id LIKE 'bench-%'"
        )
        cursor.execute("VACUUM ANALYZE certs_certificate")
        cursor.execute("VACUUM ANALYZE certs_certificatename")
