"""The inventory page and its REST list at 1,000,000 certificates: server time of every view, search and count."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence

from django.contrib.auth import get_user_model
from django.test import Client
from django.utils.http import urlencode

from audit.log import Actor
from bench.estate import TEAMS, fill_estate
from bench.machine import loop_ms, row
from certs.access.api_tokens import create_token
from certs.inventory.listing.sorts import Sort
from certs.models import Certificate, Team

LARGEST = int(os.environ.get("PKI_BENCH_CERTIFICATES", "1000000"))
TIMES = int(os.environ.get("PKI_BENCH_TIMES", "20"))


def run() -> None:
    """Print the median and the 99th percentile of each group, of all, and the slowest addresses."""
    print(f"The inventory at {LARGEST:,} certificates, {TEAMS} teams: server time in ms, middleware and template included")
    example = fill_estate(LARGEST)
    row("pages", "addresses", "median", "p99", "worst", "median to a fixed loop")
    worst: list[tuple[float, str]] = []
    all_times: list[float] = []
    for name, client, addresses in _groups(example):
        times: list[float] = []
        for address in addresses:
            found = _times(client, address)
            times += found
            worst.append((statistics.median(found), address))
        all_times += times
        _print(name, len(addresses), times)
    _print("all", len(worst), all_times)
    for median, address in sorted(worst, reverse=True)[:8]:
        row(f"{median:.0f} ms", address)
    print()


def _print(name: str, addresses: int, times: Sequence[float]) -> None:
    p99 = sorted(times)[max(0, round(len(times) * 0.99) - 1)]
    median = statistics.median(times)
    row(name, str(addresses), f"{median:.0f}", f"{p99:.0f}", f"{max(times):.0f}", f"{median / loop_ms():.2f}")


def _times(client: Client, address: str) -> list[float]:
    """The first call warms caches of plans and templates, and is not counted."""
    found = []
    for _ in range(TIMES + 1):
        start = time.perf_counter()
        answer = client.get(address)
        found.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, (address, answer.status_code)
    return found[1:]


def _groups(example: Certificate) -> list[tuple[str, Client, list[str]]]:
    auditor, member, api = (Client(SERVER_NAME="127.0.0.1") for _ in range(3))
    accounts = get_user_model().objects
    auditor.force_login(accounts.get(username="auditor"))
    member.force_login(accounts.get(username="member"))
    team = Team.objects.get(slug=f"t{TEAMS - 1}")
    _, secret = create_token(
        user=accounts.get(username="member"),
        team=team,
        name="bench",
        scopes=["certificates:read"],
        actor=Actor("command", "bench"),
    )
    api.defaults["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    name = example.common_name
    filters = [
        {"state": "valid"},
        {"state": "renew_soon"},
        {"state": "needs_you"},
        {"state": "expired"},
        {"state": "renewed"},
        {"state": "revoked"},
        {"state": "on_hold"},
        {"state": "active"},
        {"expiring": "30"},
        {"team": "t7"},
        {"team": "t7", "state": "valid"},
        {"owner": "owner-3"},
        {"owner": "none"},
        {"issuer": "ca-0"},
        {"issuer": "ca-2"},
        {"profile": "tls-server"},
        {"key": "rsa<3072"},
        {"key": "ed25519"},
        {"key": "rsa-4096", "team": "t7"},
        {"spki": "ab" * 32},
        {"policy": "fails"},
        {"policy": "passes"},
        {"policy": "fails", "issuer": "ca-1", "state": "active"},
        {"served": "yes"},
        {"served": "old"},
        {"served": "no"},
        {"tag": "web"},
        {"tag": "rare"},
        {"source": "schedule"},
        {"renewal": "blocked"},
        {"ends_after": "2027-06-01", "ends_before": "2027-06-08"},
    ]
    searches = [
        name,
        name.partition(".")[0],
        f"t{TEAMS - 1}.example.com",
        "example",
        "host-77",
        "99.t1",
        "nothing-has-it",
        example.cert_id,
        example.serial_number,
        example.sha256_fingerprint,
        example.spki_sha256,
        example.request.public_id,
    ]
    page = [{"sort": f"{sign}{one}"} for one in Sort.values for sign in ("", "-")]
    deep = [
        f"/certificates/?after=in~{example.not_after.isoformat().replace('+', '%2B')}~{example.pk}",
        f"/certificates/?before=in~{example.not_after.isoformat().replace('+', '%2B')}~{example.pk}",
        f"/certificates/?sort=name&after=all~{name}~{example.pk}",
        f"/certificates/?sort=newest&after=all~{example.pk}~{example.pk}",
    ]
    return [
        ("every order, all seen", auditor, ["/certificates/", *_addresses(page)]),
        ("every filter, all seen", auditor, _addresses(filters)),
        ("every search, all seen", auditor, _addresses([{"q": one} for one in searches])),
        ("deep pages, all seen", auditor, deep),
        ("orders and filters, one team", member, _addresses([*page, *filters])),
        ("searches, one team", member, _addresses([{"q": one} for one in searches])),
        ("REST, one team", api, [f"/api/v1{one.replace('s/?', 's?')}" for one in _addresses([{"limit": "50"}, *_rest(filters)])]),
    ]


def _rest(filters: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [one | {"sort": "ends"} for one in filters if "team" not in one]


def _addresses(queries: Sequence[dict[str, str]]) -> list[str]:
    return [f"/certificates/?{urlencode(one)}" for one in queries]
