"""The inventory page and its REST list at 1,000,000 certificates: server time of every view, search and count.

Every value of every filter alone, every order, texts; and pairs of them, drawn at random with a
fixed seed, so that what is dear together shows too.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from collections.abc import Sequence
from html import unescape

from django.contrib.auth import get_user_model
from django.test import Client
from django.utils.http import urlencode

from audit.log import Actor
from bench.estate import TEAMS, fill_estate
from bench.machine import loop_ms, row
from certs.access.api_tokens import create_token
from certs.inventory.filters import (
    RULE_CHOICES,
    Compliance,
    Renewal,
    RenewalGroup,
    Source,
    StateGroup,
    YesNo,
)
from certs.inventory.listing.served import Served
from certs.inventory.listing.sorts import Sort
from certs.inventory.states import CertificateState
from certs.models import Certificate, Team

LARGEST = int(os.environ.get("PKI_BENCH_CERTIFICATES", "1000000"))
TIMES = int(os.environ.get("PKI_BENCH_TIMES", "20"))
DRAWN = 60
FILTERS = {
    "state": [*CertificateState.values, *StateGroup.values],
    "expiring": ["7", "30", "90", "400"],
    "ends_after": ["2027-06-01", "2028-06-01"],
    "ends_before": ["2026-06-01", "2027-01-15"],
    "issued_after": ["2026-01-01", "2026-11-01", "2027-10-01"],
    "issued_before": ["2026-01-01", "2026-10-01"],
    "revoked_after": ["2026-06-01"],
    "revoked_before": ["2026-01-01"],
    "reviewed_before": ["2026-06-01"],
    "status": ["revoked", "revocation_pending"],
    "team": ["t0", "t7", "not-there"],
    "owner": ["owner-3", "none", "not-there"],
    "issuer": ["ca-0", "ca-1", "ca-2", "not-there"],
    "profile": ["tls-server", "not-there"],
    "key": ["ec-p256", "rsa-3072", "rsa-4096", "rsa-2048", "ed25519", "ec-p521", "rsa<3072", "ec", "rsa"],
    "spki": ["ab" * 32, "cd" * 32],
    "blocked_key": YesNo.values,
    "renewal": [*Renewal.values, *RenewalGroup.values],
    "critical": YesNo.values,
    "policy": [*Compliance.values, *(rule for rule, _ in RULE_CHOICES)],
    "served": Served.values,
    "tag": ["web", "rare", "not-there"],
    "source": Source.values,
    "replaced": YesNo.values,
    "is_renewal": YesNo.values,
    "longer_than": ["47", "90", "200", "398"],
}
PAIRS = [
    {"team": "t7", "state": "valid"},
    {"key": "rsa-4096", "team": "t7"},
    {"policy": "fails", "issuer": "ca-1", "state": "active"},
    {"ends_after": "2027-06-01", "ends_before": "2027-06-08"},
]
UNSELECTIVE = ["sh", "9", "com.example", "t7.", "7.t7"]  # texts of which no three letters in a row are rare


def run() -> None:
    """Print the median and the 99th percentile of each group, of all, and the slowest addresses."""
    print(f"The inventory at {LARGEST:,} certificates, {TEAMS} teams: server time in ms, middleware and template included")
    example = fill_estate(LARGEST)
    row("pages", "addresses", "median", "p99", "worst", "median to a fixed loop")
    worst: list[tuple[float, str]] = []
    all_times: list[float] = []
    uncounted: list[tuple[Client, str]] = []
    for name, client, addresses in _groups(example):
        uncounted += [(client, found) for address in addresses if (found := _exact_count(client, address))]
        all_times += _measured(name, [(client, address) for address in addresses], worst)
    all_times += _measured("exact counts, after the page", uncounted, worst)
    _print("all", len(worst), all_times)
    for median, address in sorted(worst, reverse=True)[:8]:
        row(f"{median:.0f} ms", address)
    print()


def _measured(name: str, asked: Sequence[tuple[Client, str]], worst: list[tuple[float, str]]) -> list[float]:
    times: list[float] = []
    for client, address in asked:
        found = _times(client, address)
        times += found
        worst.append((statistics.median(found), address))
    _print(name, len(asked), times)
    return times


def _exact_count(client: Client, address: str) -> str:
    """Return the address at which the page asks for its exact number; empty where it has it."""
    found = re.search(r'hx-get="(\?[^"]*total=exact)"', client.get(address).content.decode())
    return address.partition("?")[0] + unescape(found[1]) if found else ""


def _print(name: str, addresses: int, times: Sequence[float]) -> None:
    p99 = sorted(times)[max(0, round(len(times) * 0.99) - 1)]
    median = statistics.median(times)
    row(name, str(addresses), f"{median:.0f}", f"{p99:.0f}", f"{max(times):.0f}", f"{median / loop_ms():.2f}")


def _times(client: Client, address: str) -> list[float]:
    """The first call warms caches of plans and templates, and is not counted."""
    found = []
    for _ in range(TIMES + 1):
        start = time.perf_counter()
        answer = client.get(address, headers={"HX-Request": "true"} if "total=exact" in address else None)
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
    filters = [{name: value} for name, values in FILTERS.items() for value in values]
    filters += PAIRS
    searches = [
        name,
        name.partition(".")[0],
        f"t{TEAMS - 1}.example.com",
        "example",
        "host-77",
        "99.t1",
        "nothing-has-it",
        *UNSELECTIVE,
        example.cert_id,
        example.serial_number,
        example.sha256_fingerprint,
        example.spki_sha256,
        example.request.public_id,
    ]
    orders = [{"sort": f"{sign}{one}"} for one in Sort.values for sign in ("", "-")]
    deep = [
        f"/certificates/?after=in~{example.not_after.isoformat().replace('+', '%2B')}~{example.pk}",
        f"/certificates/?before=in~{example.not_after.isoformat().replace('+', '%2B')}~{example.pk}",
        f"/certificates/?sort=name&after=all~{name}~{example.pk}",
        f"/certificates/?sort=newest&after=all~{example.pk}~{example.pk}",
    ]
    return [
        ("every order, all seen", auditor, ["/certificates/", *_addresses(orders)]),
        ("every filter, all seen", auditor, _addresses(filters)),
        ("every search, all seen", auditor, _addresses([{"q": one} for one in searches])),
        ("deep pages, all seen", auditor, deep),
        ("pairs of filters, drawn", auditor, _addresses(_drawn(filters, filters))),
        ("filter and order, drawn", auditor, _addresses(_drawn(filters, orders))),
        ("filter and text, drawn", auditor, _addresses(_drawn(filters, [{"q": one} for one in searches]))),
        ("orders and filters, one team", member, _addresses([*orders, *filters])),
        ("pairs of filters, drawn, one team", member, _addresses(_drawn(filters, filters))),
        ("searches, one team", member, _addresses([{"q": one} for one in searches])),
        ("REST, one team", api, [f"/api/v1{one.replace('s/?', 's?')}" for one in _addresses([{"limit": "50"}, *_rest(filters)])]),
    ]


def _drawn(first: Sequence[dict[str, str]], second: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return DRAWN queries of one of each, of different parameters."""
    chance = random.Random(DRAWN)  # noqa: S311 - no secret
    found: list[dict[str, str]] = []
    while len(found) < DRAWN:
        one, other = chance.choice(first), chance.choice(second)
        if not one.keys() & other.keys():
            found.append(one | other)
    return found


def _rest(filters: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [one | {"sort": "ends"} for one in filters if "team" not in one]


def _addresses(queries: Sequence[dict[str, str]]) -> list[str]:
    return [f"/certificates/?{urlencode(one)}" for one in queries]
